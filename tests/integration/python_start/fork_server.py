# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Python that has Ansible loaded already and forks for each run: fork_server.py module|controller SOCKET LAUNCHER.

LAUNCHER takes the place of a Python: of ansible_python_interpreter for modules, of the one that runs ansible-playbook
for controllers. It hands its files, folder, variables and words over, and ends as the process does that was forked;
where it is killed, so is that. The collection's part is loaded by each run as ever. A controller's variables
ANSIBLE_* have to be those of its server, which reads the configuration once. The server ends with whoever holds its
standard input.
"""

from __future__ import annotations

import array
import atexit
import gc
import importlib
import io
import json
import multiprocessing.util
import os
import select
import signal
import socket
import sys
import tempfile
import traceback
import types

PRELOADED = {
    "module": (
        "ansible.module_utils.basic",
        "ansible.module_utils.common.json",
        "ansible.module_utils._internal._ansiballz._loader",
        "psycopg2.extras",
        "base64", "concurrent.futures", "ipaddress", "runpy", "ssl", "urllib.request", "zipfile",
    ),
    "controller": (
        "ansible.cli.playbook",
        *(f"ansible.plugins.action.{name}" for name in ("add_host", "assert", "debug", "fail", "gather_facts")),
        *(f"ansible.plugins.action.{name}" for name in ("group_by", "include_vars", "normal", "set_fact")),
        "ansible.plugins.action.validate_argument_spec",
        "ansible.plugins.callback.default", "ansible.plugins.connection.local", "ansible.plugins.shell.sh",
        "ansible.plugins.strategy.linear", "ansible.plugins.become.sudo", "ansible.plugins.lookup.config",
        *(f"ansible.plugins.filter.{name}" for name in ("core", "encryption", "mathstuff", "urls", "urlsplit")),
        *(f"ansible.plugins.test.{name}" for name in ("core", "files", "mathstuff", "uri")),
        *(f"ansible.plugins.inventory.{name}" for name in ("auto", "host_list", "ini", "script", "toml", "yaml")),
        "ansible.plugins.vars.host_group_vars",
        "csv", "fractions", "ipaddress", "ssl", "urllib.request", "zipfile", "zoneinfo",
    ),
}  # fmt: skip

LAUNCHER = """\
#!{python} -ISE
import array, json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({path!r})
    os.umask(mask := os.umask(0))
    request = json.dumps([sys.argv[1:], dict(os.environ), mask]).encode()
    files = array.array("i", [0, 1, 2, os.open(".", os.O_RDONLY)])
    server.sendmsg([len(request).to_bytes(4, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])
    server.sendall(request)
    status = server.recv(1)
os._exit(status[0] if status else 70)
"""


def read(client: socket.socket) -> tuple[list[int], tuple[list[str], dict[str, str], int]]:
    """A request: open files, and words, variables and the mask of new files."""
    files = array.array("i")
    head, found, _flags, _address = client.recvmsg(4, socket.CMSG_SPACE(4 * files.itemsize))
    for _level, _kind, data in found:
        files.frombytes(data)
    text = bytearray()
    while len(text) < int.from_bytes(head, "big"):
        text += client.recv(1 << 16)
    return list(files), json.loads(text)


def renew_controller() -> None:
    """What a controller makes when it starts, for this one process."""
    from ansible import constants

    atexit.register(multiprocessing.util._exit_function)
    constants.DEFAULT_LOCAL_TMP = constants.config.get_config_value("DEFAULT_LOCAL_TMP")


def run(files: list[int], words: list[str], variables: dict[str, str], mask: int) -> int:
    """Be the interpreter that was asked for."""
    for number, file in enumerate(files[:3]):
        os.dup2(file, number)
    os.fchdir(files[3])
    os.closerange(3, max(files) + 1)
    os.umask(mask)
    os.environ.clear()
    os.environ.update(variables)
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, "rb", closefd=False)), encoding="utf-8")
    outputs = [io.BufferedWriter(io.FileIO(number, "wb", closefd=False)) for number in (1, 2)]
    sys.stdout, sys.stderr = (io.TextIOWrapper(output, encoding="utf-8", line_buffering=True) for output in outputs)
    tempfile.tempdir = None
    sys.argv = words or [""]
    main = types.ModuleType("__main__")
    if words:
        main.__file__ = words[0]
    sys.modules["__main__"] = main
    status = 0
    try:
        if "ansible.constants" in sys.modules:
            renew_controller()
        with open(words[0], "rb") if words else open(0, "rb", closefd=False) as stream:
            source = stream.read()
        exec(compile(source, words[0] if words else "<stdin>", "exec", dont_inherit=True), main.__dict__)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    atexit._run_exitfuncs()
    for stream_of in (sys.stdout, sys.stderr):
        stream_of.flush()
    return status


def attend(client: socket.socket) -> None:
    """Run what one launcher asks for, and tell it the end."""
    files, (words, variables, mask) = read(client)
    pid = os.fork()
    if pid == 0:
        client.close()
        status = 70
        try:
            status = run(files, words, variables, mask)
        finally:
            os._exit(status)
    for file in files:
        os.close(file)
    process = os.pidfd_open(pid)
    ready, _writable, _failed = select.select([client, process], [], [])
    if process not in ready:
        os.kill(pid, signal.SIGKILL)
    _pid, result = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(result)
    client.sendall(bytes([code if code >= 0 else 128 - code]))


def serve(kind: str, path: str, launcher: str) -> None:
    for name in PRELOADED[kind]:
        importlib.import_module(name)
    # What they would do when this process ends is not for those to do that it forks.
    atexit._run_exitfuncs()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(64)
        with open(f"{launcher}.new", "x", encoding="utf-8") as stream:
            stream.write(LAUNCHER.format(python=sys.executable, path=path))
        os.chmod(stream.name, 0o755)
        os.rename(stream.name, launcher)
        while 0 not in (ready := select.select([0, server], [], [])[0]) and ready:
            client, _address = server.accept()
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                signal.signal(signal.SIGINT, signal.default_int_handler)
                server.close()
                try:
                    attend(client)
                except BrokenPipeError:
                    pass
                finally:
                    os._exit(0)
            client.close()


if __name__ == "__main__":
    serve(*sys.argv[1:])
