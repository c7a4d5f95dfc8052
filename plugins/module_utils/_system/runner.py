# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""The way out to other programs."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import typing as t
from abc import ABC, abstractmethod

from ansible_collections.pgtandem.replication.plugins.module_utils._errors import CommandFailed, ReplicationError

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


#: For programs that look at a few files and end.
LOOKING_SECONDS = 30
#: How timeout ends where it ended the program, by a signal that it takes or by one that it does not.
_TIMED_OUT = (124, 137)


class Completed(t.NamedTuple):
    """How a program ended."""

    status: int
    stdout: str
    stderr: str

    def last_lines(self, count: int = 5) -> str:
        """The end of what it printed, its errors before all."""
        lines = [line.strip() for line in (self.stderr or self.stdout).splitlines() if line.strip()]
        return "\n".join(lines[-count:])


class Runner(ABC):
    """Runs a program to its end. C(user) is the account it runs as."""

    @abstractmethod
    def run(
        self,
        argv: t.Sequence[str],
        *,
        user: str | None = None,
        environment: t.Mapping[str, str] | None = None,
        check: bool = True,
        keep_open: t.Sequence[int] = (),
        seconds: int | None = None,
    ) -> Completed:
        """Run it; with C(check) a status other than zero raises C(CommandFailed). C(keep_open) are descriptors that
        the program inherits. Where it has not ended after so many C(seconds) it is killed, which is an error."""

    @abstractmethod
    def run_until(self, argv: t.Sequence[str], *, word: str, user: str | None = None) -> Completed:
        """Run it, and kill it with the first line that holds C(word), which counts as a status of 0. What it printed is
        stdout, errors among it."""

    def words_as(self, argv: t.Sequence[str], *, user: str) -> list[str]:
        """The words that run a program as C(user), for another program that is to run it."""
        return as_user(argv, user=user, effective_uid=os.geteuid())


def account(user: str) -> pwd.struct_passwd:
    """An account of this host."""
    try:
        return pwd.getpwnam(user)
    except KeyError:
        raise ReplicationError(
            f"This host has no account {user!r}, which PostgreSQL is to run as. "
            "Install PostgreSQL (pgtandem_manage_packages) or name the right account in pgtandem_os_user."
        ) from None


def as_user(argv: t.Sequence[str], *, user: str | None, effective_uid: int) -> list[str]:
    """The command that runs C(argv) as C(user): itself where that is who we are, through setpriv from root."""
    if user is None or account(user).pw_uid == effective_uid:
        return list(argv)
    if effective_uid != 0:
        raise ReplicationError(
            f"Running {os.path.basename(argv[0])} needs the account {user!r}, and this task runs as "
            f"{pwd.getpwuid(effective_uid).pw_name!r}. Set become: true, or become_user: {user}."
        )
    entry = account(user)
    return [
        "setpriv",
        f"--reuid={entry.pw_uid}",
        f"--regid={entry.pw_gid}",
        "--init-groups",
        "--inh-caps=-all",
        "--",
        *argv,
    ]


def _plain_environment(user: str | None) -> dict[str, str]:
    """What a program has to find: messages that can be read, and its account's home."""
    return {"LANG": "C", "LC_ALL": "C", **({} if user is None else {"HOME": account(user).pw_dir})}


def _refuse_borrowed_ids() -> None:
    """A program that is started while this process acts as another account could become root again."""
    if os.geteuid() != os.getuid():
        raise RuntimeError("a program must not be started while this process acts as another account")


class ModuleRunner(Runner):
    """Runs programs through an Ansible module."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        # Nothing that a login shell exported may redirect PostgreSQL's programs or hand them a password.
        for name in [name for name in os.environ if name.startswith("PG")]:
            del os.environ[name]

    def run(
        self,
        argv: t.Sequence[str],
        *,
        user: str | None = None,
        environment: t.Mapping[str, str] | None = None,
        check: bool = True,
        keep_open: t.Sequence[int] = (),
        seconds: int | None = None,
    ) -> Completed:
        _refuse_borrowed_ids()
        variables = {**_plain_environment(user), **(environment or {})}
        words = argv if seconds is None else ["timeout", "-k", "5", str(seconds), *argv]
        status, stdout, stderr = self._module.run_command(
            as_user(words, user=user, effective_uid=os.geteuid()),
            environ_update=variables,
            # A server or a program of another account may not be able to enter the folder we were started in.
            cwd="/",
            pass_fds=list(keep_open) or None,
            handle_exceptions=False,
        )
        if seconds is not None and status in _TIMED_OUT:
            raise ReplicationError(
                f"{os.path.basename(argv[0])} did not end within {seconds} s and was killed. It reads files of "
                "PostgreSQL's account: see whether one of them is a named pipe, or whether a disk does not answer."
            )
        completed = Completed(status, stdout, stderr)
        if check and status != 0:
            raise CommandFailed(
                f"{os.path.basename(argv[0])} failed with status {status}: {completed.last_lines()}",
                command=list(argv),
                stdout=stdout,
                stderr=stderr,
            )
        return completed

    def run_until(self, argv: t.Sequence[str], *, word: str, user: str | None = None) -> Completed:
        _refuse_borrowed_ids()
        lines = []
        with subprocess.Popen(
            as_user(argv, user=user, effective_uid=os.geteuid()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **_plain_environment(user)},
            cwd="/",
            # Its children end with it.
            start_new_session=True,
        ) as child:
            reached = False
            for line in t.cast("t.IO[bytes]", child.stdout):
                lines.append(line.decode(errors="replace"))
                if word in lines[-1]:
                    reached = True
                    os.killpg(child.pid, signal.SIGKILL)
                    break
        return Completed(0 if reached else child.returncode, "".join(lines), "")
