# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Read what a server of this host runs with after its next start: files, includes, ALTER SYSTEM, command line."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host
from ansible_collections.pgtandem.replication.plugins.module_utils._system.identity import NOBODY
from ansible_collections.pgtandem.replication.plugins.module_utils._values.command_line import (
    settings_of_pg_ctl_conf,
    settings_of_unit,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.conf import Reading, parse_file, read_tree
from ansible_collections.pgtandem.replication.plugins.module_utils._values.server_settings import (
    RecoveryEnd,
    ServerSettings,
    recovery_ends,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._versions import supports

#: Where systemd looks for units, the first that has one wins (systemd.unit(5)).
_UNIT_FOLDERS = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
#: Where the shell of a server looks for programs unless its service says otherwise.
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def read_server_settings(host: Host, *, overlay: t.Any = None) -> ServerSettings:
    """Everything that the instance's server reads when its service starts it.

    C(overlay) reads files in place of C(host.files), for a look at files as they will be.
    """
    instance, reader = host.instance, overlay or host.files
    place, options = _command_line(host)
    main = options.get("config_file") or instance.main_file
    recovery = None
    if not supports(instance.version, "standby_signal"):
        path = f"{instance.data_directory}/recovery.conf"
        text = reader.read_text(path)
        recovery = parse_file(text, path) if text is not None else None
    auto = reader.read_text(instance.auto_file)
    return ServerSettings(
        main_file=main,
        managed_file=instance.settings_file,
        auto_file=instance.auto_file,
        files=read_tree(main, reader),
        auto=parse_file(auto, instance.auto_file) if auto is not None else Reading([], []),
        command_line=options,
        command_place=place,
        recovery_conf=recovery,
    )


def _command_line(host: Host) -> tuple[str, dict[str, str]]:
    """What the instance's service puts on the command line, and where it says so."""
    instance = host.instance
    if instance.layout == "debian":
        path = f"{instance.config_directory}/pg_ctl.conf"
        return path, settings_of_pg_ctl_conf(host.files.read_text(path) or "", path)
    if instance.manager == "systemd":
        path, texts = _unit_files(host, f"{instance.service}.service")
        return path, settings_of_unit(texts)
    return "", {}


def _unit_files(host: Host, unit: str) -> tuple[str, list[str]]:
    """A unit's own file and the texts of it and of its drop-ins, which are read in the order of their names."""
    paths = [f"{folder}/{unit}" for folder in _UNIT_FOLDERS]
    found = [(path, host.files.read_text(path)) for path in paths]
    path, text = next(((path, text) for path, text in found if text is not None), (f"{paths[0]}", None))
    drop_ins: dict[str, str] = {}
    for folder in reversed(_UNIT_FOLDERS):
        for name in host.files.list_names(f"{folder}/{unit}.d"):
            if name.endswith(".conf"):
                drop_ins[name] = host.files.read_text(f"{folder}/{unit}.d/{name}") or ""
    texts = [text] if text is not None else []
    return path, texts + [drop_ins[name] for name in sorted(drop_ins)]


def read_recovery_ends(host: Host, settings: ServerSettings, *, pid: int | None = None) -> list[RecoveryEnd]:
    """What would end the recovery of this server. C(pid) is that of its running postmaster."""
    names = host.files.list_names(host.instance.data_directory)
    return recovery_ends(
        settings,
        signal_files=[name for name in names if name.endswith(".signal")],
        directory=host.instance.data_directory,
        can_run=lambda program: _can_run(host, program, pid),
    )


def _can_run(host: Host, program: str, pid: int | None) -> bool:
    """Whether the server's account finds and may run a program, as the server's shell looks for it."""
    if host.files.identity() is NOBODY:
        # It comes with the packages, and so may the program.
        return True
    if "/" in program:
        places = [os.path.join(host.instance.data_directory, program)]
    else:
        path = f"{_PATH}:{os.environ.get('PATH', '')}"
        with host.files.acting():
            path += ":" + _path_of(pid)
        places = [f"{folder}/{program}" for folder in path.split(":") if folder]
    return any(host.files.may_run(place) for place in places)


def _path_of(pid: int | None) -> str:
    """The search path of a process, as far as this account may see it."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as stream:
            words = stream.read().split(b"\0")
    except OSError:
        return ""
    return next((word[5:].decode("utf-8", "replace") for word in words if word.startswith(b"PATH=")), "")
