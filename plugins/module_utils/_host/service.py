# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Start and stop an instance through whatever looks after it: systemd, postgresql-common, or pg_ctl."""

from __future__ import annotations

import time
import typing as t
from abc import ABC, abstractmethod

from ansible_collections.pgtandem.replication.plugins.module_utils._errors import CommandFailed, ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host
from ansible_collections.pgtandem.replication.plugins.module_utils._host.log_files import (
    LogMark,
    mark_log,
    start_messages,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._host.server import find_postmaster
from ansible_collections.pgtandem.replication.plugins.module_utils._system.files import RootFiles
from ansible_collections.pgtandem.replication.plugins.module_utils._system.processes import (
    Postmaster,
    listener_on,
    runs_in_unit,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.start_conf import taken_back
from ansible_collections.pgtandem.replication.plugins.module_utils._values.unit import command_line, plain_value
from ansible_collections.pgtandem.replication.plugins.module_utils._versions import supports

_UNIT = """\
# Managed by pgtandem.replication
[Unit]
Description=PostgreSQL {major}, instance {name}
Documentation=https://www.postgresql.org/docs/{major}/
Wants=network-online.target
After=network-online.target

[Service]
# The server's own lock file is no PIDFile: systemd would remove it where a start fails, under a running server.
Type=exec
User={os_user}
ExecStart={start}
ExecReload=/bin/kill -HUP $MAINPID
KillMode=mixed
KillSignal=SIGINT
# Replay and a fast shutdown take as long as they take; killing them makes it longer.
TimeoutStartSec=infinity
TimeoutStopSec=infinity
OOMScoreAdjust=-900

[Install]
WantedBy=multi-user.target
"""


class Service(ABC):
    """One instance's service. Nothing here decides whether to act."""

    def __init__(self, host: Host, timeout: int) -> None:
        self.host = host
        self.timeout = timeout
        self._mark: LogMark | None = None

    def start(self) -> None:
        """Start the server; returns when it is up or has failed."""
        self._mark = mark_log(self.host)
        self._start()

    @abstractmethod
    def _start(self) -> None:
        """The same."""

    def _failure(self) -> ReplicationError:
        """What to say when the server did not come up."""
        ended = find_postmaster(self.host) is None
        lines = start_messages(self.host, self._mark, ended=ended) if self._mark else []
        return start_failure(self.host, "\n".join(lines), ended=ended)

    @abstractmethod
    def stop(self) -> None:
        """Stop the server in fast mode and wait for its end."""

    def await_stopped(self) -> None:
        """Wait until whatever looks after a server has seen that it ended; only then a start is one."""
        return None

    def stranger(self) -> str:
        """The running server as a clause, where it was not this service that started it; empty where it was."""
        return ""

    def _require_running(self) -> None:
        """pg_ctl calls a standby that ended at once a success (that of 18 does, that of 15 does not): its control file
        says "shut down in recovery", as that of a server does which has reached its recovery target."""
        if find_postmaster(self.host) is None:
            raise self._failure()

    def restart(self) -> None:
        """Stop and start, and see that it is another process that runs then."""
        before = find_postmaster(self.host)
        self.stop()
        self.start()
        after = find_postmaster(self.host)
        if before is not None and after is not None and (before.pid, before.started) == (after.pid, after.started):
            raise ReplicationError(
                f"The server of {self.host.instance.data_directory} was to be restarted, and process {before.pid} "
                f"still runs: whatever started it is not {self.host.instance.service}. Stop it with pg_ctl, start its "
                "service, and run again."
            )

    def missing(self) -> list[str]:
        """What is yet to do so that the server comes back with the host, as sentences."""
        return [f"write auto into {self._start_conf}"] if self._taken_back() is not None else []

    def install(self) -> None:
        """Do what C(missing) lists; a kind of service that lists nothing has nothing to do."""
        text = self._taken_back()
        if text is not None:
            self.host.files.write_text(self._start_conf, text, mode=0o644)

    @property
    def _start_conf(self) -> str:
        return f"{self.host.instance.config_directory}/start.conf"

    def _taken_back(self) -> str | None:
        """Debian's start.conf without what was written when this host left its cluster; None where nothing was."""
        if self.host.instance.layout != "debian":
            return None
        return taken_back(self.host.files.read_text(self._start_conf) or "")


def unit_text(host: Host) -> str:
    """The unit for the custom layout."""
    instance = host.instance
    arguments = ["-D", instance.data_directory]
    if instance.config_directory != instance.data_directory:
        arguments += ["-c", f"config_file={instance.main_file}"]
    return _UNIT.format(
        major=instance.major,
        name=plain_value(instance.name),
        os_user=plain_value(instance.os_user),
        start=command_line(instance.program("postgres"), *arguments),
    )


class SystemdService(Service):
    """A systemd unit: the distribution's, or one that is installed here for the custom layout."""

    @property
    def _unit(self) -> str:
        return self.host.instance.service + ".service"

    def _unit_path(self) -> str:
        return f"/etc/systemd/system/{self._unit}"

    def _systemctl(self, *words: str, check: bool = True) -> str:
        return self.host.runner.run(["systemctl", *words], check=check).stdout.strip()

    def _wanted_unit(self) -> str | None:
        """The text that our own unit must have, None where the unit is somebody else's."""
        if self.host.instance.layout != "custom":
            return None
        present = RootFiles().read_text(self._unit_path())
        if present is not None and not present.startswith("# Managed by pgtandem.replication"):
            return None
        if present is None and self._systemctl("list-unit-files", self._unit, "--no-legend", check=False):
            return None
        return unit_text(self.host)

    def missing(self) -> list[str]:
        found = super().missing()
        if found:
            # It is enabled by that.
            return found
        wanted = self._wanted_unit()
        if wanted is not None and wanted != RootFiles().read_text(self._unit_path()):
            found.append(f"install the systemd unit {self._unit}")
        # "enabled-runtime" is what postgresql-common's generator gives a cluster whose start.conf says auto.
        if self._systemctl("is-enabled", self._unit, check=False) not in ("enabled", "enabled-runtime"):
            found.append(f"enable the systemd unit {self._unit}")
        return found

    def install(self) -> None:
        if self._taken_back() is not None:
            super().install()
            self._systemctl("daemon-reload")
        wanted = self._wanted_unit()
        if wanted is not None and wanted != RootFiles().read_text(self._unit_path()):
            RootFiles().write_text(self._unit_path(), wanted, mode=0o644)
            self._systemctl("daemon-reload")
        if self._systemctl("is-enabled", self._unit, check=False) not in ("enabled", "enabled-runtime"):
            self._systemctl("enable", self._unit)

    def _start(self) -> None:
        # A unit that failed too often refuses to start until it is told to forget.
        self._systemctl("reset-failed", self._unit, check=False)
        try:
            if self.host.instance.layout == "debian":
                self._start_until_up()
            else:
                self._systemctl("start", self._unit)
                if self._wanted_unit() is not None:
                    # That unit is active as soon as the program runs.
                    self._await_up()
        except CommandFailed as error:
            raise self._failure() from error
        _wait_for_pid_file(self.host)
        if find_postmaster(self.host) is None:
            raise self._failure()

    def _await_up(self) -> None:
        """Wait until the server says that it is up; a replay may take long, and nothing ends it."""
        deadline = time.monotonic() + self.timeout
        while not _is_up(self.host, find_postmaster(self.host)):
            if self._state() not in ("active", "activating") or time.monotonic() > deadline:
                raise self._failure()
            time.sleep(0.03)

    def stranger(self) -> str:
        postmaster = find_postmaster(self.host)
        if postmaster is None or runs_in_unit(postmaster.pid, self._unit):
            return ""
        # What started it outside of a control group of its own may still have told systemd.
        if self._systemctl("show", self._unit, "--property=MainPID", "--value", check=False) == str(postmaster.pid):
            return ""
        return f"process {postmaster.pid}, which {self._unit} did not start"

    def _start_until_up(self) -> None:
        """Start, and wait for the server, not for the unit: pg_ctlcluster, which the unit runs, looks at the server for
        two seconds more when that is up."""
        self._systemctl("start", "--no-block", self._unit)
        deadline = time.monotonic() + self.timeout
        while time.monotonic() < deadline:
            # Asked first: what is up by then counts, whatever the unit made of it.
            state = self._state()
            postmaster = find_postmaster(self.host)
            if state == "active" or (postmaster is not None and postmaster.up):
                return
            if state != "activating":
                raise self._failure()
            time.sleep(0.03)

    def _state(self) -> str:
        """The unit's state; C(activating) also while its start is yet to begin."""
        shown = self._systemctl("show", self._unit, "--property=ActiveState,Job", check=False)
        properties = dict(line.partition("=")[::2] for line in shown.splitlines())
        state = properties.get("ActiveState", "")
        waits = properties.get("Job", "0") not in ("", "0") and state in ("inactive", "failed")
        return "activating" if waits else state

    def stop(self) -> None:
        # While the unit still starts systemd would end all of the server's processes at once.
        self._await(("activating",), self.timeout)
        if self.stranger():
            ProgramService(self.host, self.timeout).stop()
        self._systemctl("stop", self._unit)

    def await_stopped(self) -> None:
        self._await(("active", "activating", "deactivating", "reloading"), 30)

    def _await(self, passing: t.Container[str], seconds: float) -> None:
        """Wait until the unit has left these states."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self._state() in passing:
            time.sleep(0.02)


class ClusterService(Service):
    """postgresql-common without systemd."""

    def _ctl(self, verb: str) -> None:
        instance = self.host.instance
        self.host.runner.run(["pg_ctlcluster", instance.major, instance.name, verb], user=instance.os_user)

    def _start(self) -> None:
        try:
            self._ctl("start")
        except CommandFailed as error:
            raise self._failure() from error
        self._require_running()

    def stop(self) -> None:
        instance = self.host.instance
        self.host.runner.run(
            ["pg_ctlcluster", instance.major, instance.name, "stop", "-m", "fast"], user=instance.os_user
        )


class ProgramService(Service):
    """pg_ctl alone: nothing starts the server when the host comes back."""

    def _ctl(self, *words: str) -> None:
        instance = self.host.instance
        argv = [instance.program("pg_ctl"), *words, "-D", instance.data_directory, "-w", "-t", str(self.timeout)]
        self.host.runner.run(argv, user=instance.os_user)

    def _start(self) -> None:
        instance = self.host.instance
        log = instance.log_file
        if not self.host.files.exists(log):
            # The server writes it as its own account, which may not be able to make files in that folder.
            self.host.files.write_text(log, "", mode=0o600)
        words = ["start", "-s", "-l", log]
        if instance.config_directory != instance.data_directory:
            words += ["-o", f"-c config_file='{instance.main_file}'"]
        try:
            self._ctl(*words)
        except CommandFailed as error:
            raise self._failure() from error
        self._require_running()

    def stop(self) -> None:
        self._ctl("stop", "-s", "-m", "fast")


def _is_up(host: Host, postmaster: Postmaster | None) -> bool:
    if postmaster is None:
        return False
    if supports(host.instance.version, "postmaster_status"):
        return postmaster.up
    return listener_on(postmaster.port) is not None


def _wait_for_pid_file(host: Host, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while find_postmaster(host) is None and time.monotonic() < deadline:
        time.sleep(0.05)


def start_failure(host: Host, log: str, *, ended: bool) -> ReplicationError:
    """What to say when a server does not come up."""
    if not ended:
        return ReplicationError(
            f"The server of {host.instance.data_directory} is still starting after the time allowed; it replays WAL. "
            f"Its last messages: {log}. Wait and run again; nothing is lost.",
            log=log.splitlines(),
        )
    return ReplicationError(
        f"The server of {host.instance.data_directory} did not start. Its last messages: {log or '(none)'}",
        log=log.splitlines(),
    )


def service_of(host: Host, *, timeout: int = 300) -> Service:
    """The service that looks after an instance. C(timeout) is how many seconds a start or stop may take."""
    kinds: dict[str, t.Callable[[Host, int], Service]] = {
        "systemd": SystemdService,
        "pg_ctlcluster": ClusterService,
        "pg_ctl": ProgramService,
    }
    return kinds[host.instance.manager](host, timeout)
