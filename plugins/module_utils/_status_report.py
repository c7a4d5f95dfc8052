# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""The job of pg_replication_status: look until what is expected is there, and report what was seen either way."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._expectations import (
    Expectations,
    is_streaming,
    unmet,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._host import Host
from ansible_collections.pgtandem.replication.plugins.module_utils._log_lines import Cause, cause_in
from ansible_collections.pgtandem.replication.plugins.module_utils._server import Login
from ansible_collections.pgtandem.replication.plugins.module_utils._server_log import recent_log
from ansible_collections.pgtandem.replication.plugins.module_utils._status import Position, Status, observe
from ansible_collections.pgtandem.replication.plugins.module_utils._wait import Clock, wait_until


@dataclass(frozen=True)
class Request:
    """What the user asked for; times are seconds."""

    login: Login
    wanted: Expectations
    timeout: float
    stable: float
    position: Position

    @classmethod
    def make(
        cls,
        *,
        login: Login,
        expect: t.Mapping[str, t.Any] | None,
        timeout: float,
        stable: float,
        write_position: bool,
        check_mode: bool,
    ) -> Request:
        """From a module's parameters."""
        position = Position.NONE
        if write_position:
            position = Position.CURRENT if check_mode else Position.WRITE
        # Without a condition there is nothing that a second look could settle.
        watched = any(value is not None for value in (expect or {}).values())
        return cls(
            login=login,
            wanted=Expectations.from_parameters(expect),
            timeout=timeout if watched else 0.0,
            stable=stable if watched else 0.0,
            position=position,
        )


def report(host: Host, request: Request, clock: Clock | None = None) -> dict[str, t.Any]:
    """The module's result; conditions that are not met by the deadline raise C(ReplicationError) with the same keys."""
    written: str | None = None

    def look() -> Status:
        nonlocal written
        status = observe(host, request.login, position=Position.NONE if written else request.position)
        # One position is enough: later looks are to see it replayed, not to write another.
        written = status["written_lsn"] = written or status["written_lsn"]
        return status

    outcome = wait_until(
        look,
        lambda status: not unmet(status, request.wanted),
        timeout=request.timeout,
        stable=request.stable,
        clock=clock,
    )
    return _result(outcome.seen, request, outcome.seconds, lambda: _cause(host, outcome.seen, request.wanted))


def report_without_instance(status: Status, request: Request) -> dict[str, t.Any]:
    """The same where there is nothing to look at, and so nothing to wait for."""
    return _result(status, request, 0.0, lambda: None)


def _result(
    status: Status, request: Request, seconds: float, find_cause: t.Callable[[], Cause | None]
) -> dict[str, t.Any]:
    missing = unmet(status, request.wanted)
    result = {"changed": False, "replication": status, "unmet": missing, "waited_seconds": round(seconds, 3)}
    if not missing:
        return result
    cause = find_cause()
    if cause is not None:
        result["log_line"] = cause.line
    raise ReplicationError(_message(status, missing, request.timeout, cause), **result)


def _message(status: Status, missing: t.Sequence[str], timeout: float, cause: Cause | None) -> str:
    instance = status["instance"]
    place = f"The instance {instance['instance']} ({instance['data_directory']})" if instance else "This host"
    waited = f" within {timeout:g} seconds" if timeout else ""
    message = f"{place} did not meet what is expected{waited}: {'; '.join(missing)}."
    reasons = [status["instance_error"], status["data_directory"]["error"], status["database_error"]]
    if not status["running"]:
        reasons.append(status["data_directory"]["description"])
    for reason in dict.fromkeys(reason for reason in reasons if reason):
        message += f" {reason.rstrip('.')}."
    return f"{message} {cause.sentence()}." if cause else message


def _cause(host: Host, status: Status, wanted: Expectations) -> Cause | None:
    """Why a standby does not stream, or a server does not run, from its log."""
    stopped = not status["accepts_connections"]
    stalled = wanted.about_a_stream and status["role"] == "standby" and not is_streaming(status)
    paused = status["replay"]["paused"]
    return cause_in(recent_log(host)) if stopped or stalled or paused else None
