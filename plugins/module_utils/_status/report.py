# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""The job of pg_replication_status: look until what is expected is there, and report what was seen either way."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host
from ansible_collections.pgtandem.replication.plugins.module_utils._host.log_files import recent_log
from ansible_collections.pgtandem.replication.plugins.module_utils._host.server import Login
from ansible_collections.pgtandem.replication.plugins.module_utils._status.expectations import (
    Expectations,
    is_streaming,
    unmet,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._status.next_start import look_at_next_start
from ansible_collections.pgtandem.replication.plugins.module_utils._status.observation import Position, Status, observe
from ansible_collections.pgtandem.replication.plugins.module_utils._system.network import Place, unreached
from ansible_collections.pgtandem.replication.plugins.module_utils._system.polling import Clock, wait_until
from ansible_collections.pgtandem.replication.plugins.module_utils._values.log_causes import Cause, cause_in

#: Looks after which another position is written, for a standby that tells what it replayed only with what it receives.
_NUDGE = 4


@dataclass(frozen=True)
class Request:
    """What the user asked for; times are seconds."""

    login: Login
    wanted: Expectations
    timeout: float
    stable: float
    position: Position
    sizes: bool
    #: How often to look for the series, and the seconds between two looks.
    samples: int = 1
    interval: float = 1.0
    #: What the next start is judged for.
    parameters: t.Mapping[str, t.Any] | None = None
    #: Servers of other hosts that are to be reached from here.
    reach: tuple[Place, ...] | None = None

    @classmethod
    def make(
        cls,
        *,
        login: Login,
        expect: t.Mapping[str, t.Any] | None,
        timeout: float,
        stable: float,
        write_position: bool,
        sizes: bool,
        check_mode: bool,
        samples: int = 1,
        interval: float = 1.0,
        parameters: t.Mapping[str, t.Any] | None = None,
        reach: t.Sequence[t.Mapping[str, t.Any]] | None = None,
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
            sizes=sizes,
            samples=samples,
            interval=interval,
            parameters=parameters,
            reach=None if reach is None else tuple(Place(one["name"], one["host"], one["port"]) for one in reach),
        )


def report(host: Host, request: Request, clock: Clock | None = None) -> dict[str, t.Any]:
    """The module's result; conditions that are not met by the deadline raise C(ReplicationError) with the same keys."""
    written: str | None = None

    looks = 0

    def look() -> Status:
        nonlocal written, looks
        # One position is enough: later looks are to see it replayed. A standby that is to tell so by itself may need
        # one more to receive before it does.
        looks += 1
        again = request.wanted.written_replayed and looks % _NUDGE == 0
        position = Position.NONE if written and not again else request.position
        status = observe(host, request.login, position=position, sizes=request.sizes)
        written = status["written_lsn"] = written or status["written_lsn"]
        return status

    outcome = wait_until(
        look,
        lambda status: not unmet(status, request.wanted),
        timeout=request.timeout,
        stable=request.stable,
        clock=clock,
    )
    if request.reach is not None:
        outcome.seen["unreached"] = unreached(request.reach)
    result = _result(outcome.seen, request, outcome.seconds, lambda: _cause(host, outcome.seen, request.wanted))
    if request.parameters:
        outcome.seen["next_start"] = look_at_next_start(host, request.login, outcome.seen, request.parameters)
    if request.samples > 1:
        result["replication"], result["samples"] = take_samples(
            outcome.seen,
            lambda: observe(host, request.login),
            count=request.samples,
            interval=request.interval,
            clock=clock or Clock(),
        )
        result["replication"].update(written_lsn=written, unreached=outcome.seen["unreached"])
    return result


def report_anyway(host: Host, request: Request) -> dict[str, t.Any]:
    """The same where conditions that are not met fail nothing: they are in C(unmet)."""
    try:
        return report(host, request)
    except ReplicationError as error:
        if "replication" not in error.details:
            raise
        return error.details


def take_samples(
    first: Status, look: t.Callable[[], Status], *, count: int, interval: float, clock: Clock
) -> tuple[Status, list[dict[str, t.Any]]]:
    """Look at the lag again and again; the last look, and the series with the first one in it."""
    start = clock.monotonic()
    status, series = first, [sample_of(first, 0.0)]
    for number in range(1, count):
        clock.sleep(max(0.0, start + number * interval - clock.monotonic()))
        status = look()
        series.append(sample_of(status, clock.monotonic() - start))
    return status, series


def sample_of(status: Status, seconds: float) -> dict[str, t.Any]:
    """What one look says of lag: the server's own, and what it knows of those that follow it."""
    return {
        "seconds": round(seconds, 3),
        "lag_bytes": status["replay"]["lag_bytes"],
        "lag_seconds": status["replay"]["lag_seconds"],
        "standbys": [
            {
                "application_name": row["application_name"],
                "lag_bytes": row["lag_bytes"],
                "lag_seconds": row["replay_lag_seconds"],
            }
            for row in status["wal_senders"]
        ],
    }


def report_without_instance(status: Status, request: Request) -> dict[str, t.Any]:
    """The same where there is nothing to look at, and so nothing to wait for."""
    return _result(status, request, 0.0, lambda: None)


def _result(
    status: Status, request: Request, seconds: float, find_cause: t.Callable[[], Cause | None]
) -> dict[str, t.Any]:
    missing = unmet(status, request.wanted)
    result = {
        "changed": False,
        "replication": status,
        "unmet": missing,
        "waited_seconds": round(seconds, 3),
        "samples": [],
    }
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
