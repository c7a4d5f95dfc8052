# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""A standby that waits for the shutdown of its primary and promotes itself the moment it is proven.

Between the last commit on the old primary and the first one on the new nothing may wait for an Ansible task, so the
standby is told beforehand. What it is told goes on in a process of its own, the waiter, which outlives the module, the
connection and the controller. It promotes only when both hold:

- The old primary shows the token: module pg_demote keeps a connection to this standby whose application_name holds it.
  By then the old primary's directory is that of a standby, so that no restart can bring it back as a primary. Without
  the token a shutdown is any shutdown, such as that of a host which is being restarted.
- The last record of the WAL that has arrived is the checkpoint of a shutdown, and it is replayed: nothing can come
  after it, and everything before it is here.

Whatever else happens, it gives up and changes nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import signal
import time
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host
from ansible_collections.pgtandem.replication.plugins.module_utils._host.server import open_session
from ansible_collections.pgtandem.replication.plugins.module_utils._promotion.promotion import (
    PromoteRequest,
    create_slots,
    described_promotion,
    observe_promotion,
    plan_promotion,
    promote_server,
    promotion_found,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._replication.slot import (
    SlotRequest,
    observe_slots,
    plan_slots,
    query_of,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._system.database import Database
from ansible_collections.pgtandem.replication.plugins.module_utils._system.identity import become
from ansible_collections.pgtandem.replication.plugins.module_utils._system.state_file import (
    StateFile,
    is_flag,
    is_line,
    is_number,
    is_text,
    is_whole,
    like,
    one_of,
    or_none,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.lsn import format_lsn, parse_lsn
from ansible_collections.pgtandem.replication.plugins.module_utils._values.wal_record import (
    pages_for,
    record_before,
    segment_name,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._versions import supports

#: In the data directory: what the waiter says of itself. It holds a lock on it as long as it lives.
STATE_FILE = "pgtandem-promote.json"
#: The name of the connection with which the old primary shows the token, and of the one with which it asks whether
#: somebody waits; that one is ended as the answer.
GO, HELLO = "pgtandem-go-", "pgtandem-hello-"

STARTING, WAITING, PROMOTING = "starting", "waiting", "promoting"
PROMOTED, CANCELLED, EXPIRED, FAILED = "promoted", "cancelled", "expired", "failed"
ENDS = (PROMOTED, CANCELLED, EXPIRED, FAILED)

#: Seconds between two looks: until the token is shown, and from then on.
IDLE_TICK = 0.02
TICK = 0.004
#: Seconds for which the received WAL must stand still, without a WAL receiver, until what is not replayed yet is left
#: to the promotion, which replays it first.
STILL = 0.2
#: Seconds that a token is believed in which is still shown. The keepalives of that connection end it some seconds after
#: its host has died; this is for what they do not see.
LONGEST = 600.0
_RECORD_BYTES = 2048


def proven(*, shown: bool, shutdown: bool, replayed: bool, still_without_receiver: bool) -> bool:
    """Whether the standby may promote itself (pure).

    >>> proven(shown=True, shutdown=True, replayed=True, still_without_receiver=False)
    True
    >>> proven(shown=False, shutdown=True, replayed=True, still_without_receiver=True)
    False
    """
    return shown and shutdown and (replayed or still_without_receiver)


def checked_token(text: str) -> str:
    """The token itself, which becomes part of a connection's name and of a statement.

    >>> checked_token("c0ffee")
    'c0ffee'
    """
    if not re.match(r"^[A-Za-z0-9]{1,40}\Z", text):
        raise ReplicationError(f"{text!r} is no token: it takes 1 to 40 letters and digits.")
    return text


NOTE_FILE = StateFile(
    "what a standby waits for",
    {
        "token": is_line,
        "state": one_of(STARTING, WAITING, PROMOTING, *ENDS),
        "pid": or_none(is_whole),
        "started": is_number,
        "patience": is_number,
        "message": or_none(is_text),
        "shown": is_flag,
        **{name: is_number for name in ("shown_at", "proven_at", "promoted_at", "seconds")},
        **{
            name: or_none(like(r"[0-9A-F]{1,8}/[0-9A-F]{1,8}"))
            for name in ("received_lsn", "replayed_lsn", "checkpoint_lsn", "switch_lsn")
        },
        "timeline": is_whole,
        "previous_timeline": or_none(is_whole),
    },
)


class Note:
    """The waiter's file, held open and locked by its process."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.content: dict[str, t.Any] = {}

    def write(self, **changes: t.Any) -> None:
        """Change something. One write of a fixed length, so that a reader sees the old or the new."""
        self.content.update(changes)
        text = json.dumps(self.content, sort_keys=True)
        os.pwrite(self.descriptor, text[:_RECORD_BYTES].ljust(_RECORD_BYTES).encode(), 0)


def _path(host: Host) -> str:
    return f"{host.instance.data_directory}/{STATE_FILE}"


def read_note(host: Host) -> dict[str, t.Any]:
    """What the last waiter of this data directory said, empty where there was none."""
    return NOTE_FILE.read(host.files, _path(host))


def _is_alive(host: Host) -> bool:
    """Whether a waiter holds the lock."""
    try:
        descriptor = host.files.open_file(_path(host), os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _open_note(host: Host) -> Note:
    path = _path(host)
    if not host.files.lies(path):
        host.files.write_text(path, "{}\n", mode=0o600, durable=False, follow=False)
    descriptor = host.files.open_file(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise ReplicationError(
            f"Another switchover is under way on this host (process {read_note(host).get('pid')}). Wait for its end "
            "and run again. This host was left as it is."
        ) from None
    return Note(descriptor)


def _end(host: Host, seconds: float) -> None:
    """Ask a waiter to end, and wait for it. One that promotes already goes on to its end."""
    deadline = time.monotonic() + seconds
    asked = False
    while _is_alive(host) and time.monotonic() < deadline:
        pid = read_note(host).get("pid")
        if pid and not asked:
            host.files.signal(pid, signal.SIGTERM)
            asked = True
        time.sleep(0.02)


def arm(host: Host, request: PromoteRequest, *, token: str, patience: float) -> dict[str, t.Any]:
    """Start the waiter; returns once it really waits."""
    left = read_note(host)
    if left.get("state") == WAITING and not left.get("shown"):
        # A run that was killed left it, and nobody has shown it a token.
        _end(host, 5)
    note = _open_note(host)
    note.content = {}
    note.write(token=token, state=STARTING, pid=None, started=time.time(), patience=patience, message=None)
    child = os.fork()
    if child == 0:
        _become_waiter(host, request, note, patience)
    os.waitpid(child, 0)
    os.close(note.descriptor)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        said = read_note(host)
        if said.get("token") == token and said.get("state") not in (STARTING, None):
            break
        time.sleep(0.01)
    said = read_note(host)
    if said.get("state") != WAITING:
        _end(host, 5)
        raise ReplicationError(
            f"The standby could not be made to wait: {said.get('message') or 'its process ended'}. It "
            "was left as it is."
        )
    return said


def _become_waiter(host: Host, request: PromoteRequest, note: Note, patience: float) -> t.NoReturn:
    """Leave the module's process, its session and its pipes; never return."""
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        nothing = os.open(os.devnull, os.O_RDWR)
        for place in (0, 1, 2):
            os.dup2(nothing, place)
        for number in map(int, os.listdir("/proc/self/fd")):
            if number > 2 and number != note.descriptor:
                with contextlib.suppress(OSError):
                    os.close(number)
        os.chdir("/")
        # For good: whoever reads in that file which process waits can then end it, and it can end nothing else.
        become(host.files.identity())
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            Waiter(host, request, note, patience).run()
        except Exception as error:  # pylint: disable=broad-except
            message = error.message if isinstance(error, ReplicationError) else f"{type(error).__name__}: {error}"
            # Once the server was told, it is promoted sooner or later.
            state = PROMOTING if note.content["state"] == PROMOTING else FAILED
            note.write(state=state, message=message[:1000])
    finally:
        # Nothing of the module's frame may run in this process: it would clear its folder and print its result.
        os._exit(0)


class Waiter:
    """Looks at the server until it may promote it, or has to give up."""

    def __init__(self, host: Host, request: PromoteRequest, note: Note, patience: float) -> None:
        self._host, self._request, self._note, self._patience = host, request, note, patience
        self._stop = False
        self._created: tuple[str, ...] = ()
        self._names = ("wal", "lsn")
        self._timeline = 0
        self._page_size = self._segment_size = 0

    def run(self) -> None:
        """Everything."""
        signal.signal(signal.SIGTERM, self._ask_to_stop)
        with t.cast(Database, open_session(self._host, self._request.login, or_none=False)) as database:
            self._prepare(database)
            self._note.write(state=WAITING, pid=os.getpid(), shown=False)
            reason = self._wait(database)
            if reason is None:
                self._promote(database)
            else:
                self._drop_slots(database)
                self._note.write(state=CANCELLED if self._stop else EXPIRED, message=reason)

    def _ask_to_stop(self, _number: int, _frame: object) -> None:
        self._stop = True

    def _prepare(self, database: Database) -> None:
        """All that need not happen later."""
        database.execute("SET synchronous_commit = local")
        if not supports(database.version, "wal_names"):
            self._names = ("xlog", "location")
        self._timeline = int(database.value("SELECT received_tli FROM pg_stat_wal_receiver") or 0)
        row = database.rows(
            "SELECT (SELECT setting::bigint FROM pg_settings WHERE name = 'wal_block_size') AS page, "
            "pg_size_bytes(current_setting('wal_segment_size')) AS segment"
        )[0]
        self._page_size, self._segment_size = int(row["page"]), int(row["segment"])
        seen = observe_promotion(self._host, database)
        plan = plan_promotion(self._request, seen, waiting=True)
        if plan.blockers:
            raise ReplicationError(" ".join(plan.blockers))
        create_slots(database, plan.slots, self._request.slots, can_reserve=seen.slots.can_reserve)
        self._created = tuple(step.name for step in plan.slots.steps if not step.drop)

    def _drop_slots(self, database: Database) -> None:
        """A slot that nobody reads keeps WAL until the disk is full."""
        if not self._created:
            return
        seen = observe_slots(database)
        free = tuple(slot.name for slot in seen.slots if slot.name in self._created and not slot.active)
        request = SlotRequest(free, present=False)
        for step in plan_slots(request, seen).steps:
            database.rows(query_of(step, request, can_reserve=seen.can_reserve))

    def _wait(self, database: Database) -> str | None:
        """None once the promotion is proven to be right, or else why this gives up."""
        wal, lsn = self._names
        token = self._note.content["token"]
        statement = (
            f"SELECT pg_last_{wal}_receive_{lsn}()::text AS received, pg_last_{wal}_replay_{lsn}()::text AS replayed, "
            "EXISTS (SELECT FROM pg_stat_activity WHERE application_name = "
            f"'{GO}{token}') AS shown, (SELECT max(pg_terminate_backend(pid)::int) FROM pg_stat_activity "
            f"WHERE application_name = '{HELLO}{token}') AS answered, NOT EXISTS (SELECT FROM pg_stat_wal_receiver "
            "WHERE pid IS NOT NULL AND status = 'streaming') AS without_receiver"
        )
        started = time.monotonic()
        deadline = started + self._patience
        before, since = "", started
        while not self._stop:
            row = database.rows(statement)[0]
            now = time.monotonic()
            shown = bool(row["shown"])
            if shown != self._note.content["shown"]:
                self._note.write(shown=shown, **({"shown_at": time.time()} if shown else {}))
            received = row["received"] or row["replayed"]
            if received != before:
                before, since = received, now
            elif shown:
                end = parse_lsn(received)
                record = self._last_record(end)
                shutdown = record is not None
                replayed = parse_lsn(row["replayed"]) >= end
                still = bool(row["without_receiver"]) and now - since >= STILL
                if proven(shown=shown, shutdown=shutdown, replayed=replayed, still_without_receiver=still):
                    self._note.write(
                        state=PROMOTING,
                        proven_at=time.time(),
                        received_lsn=received,
                        replayed_lsn=row["replayed"],
                        checkpoint_lsn=format_lsn(t.cast(int, record)),
                    )
                    return None
            if now >= (started + LONGEST if shown else deadline):
                return (
                    f"The primary was not shut down within {now - started:.0f} seconds"
                    if shown
                    else f"The primary did not say within {self._patience:g} seconds that it shuts down for this"
                )
            time.sleep(TICK if shown else IDLE_TICK)
        return "It was called off"

    def _last_record(self, end: int) -> int | None:
        """Where the shutdown's checkpoint begins, if that is the last record before a position."""
        pages = {}
        for page in pages_for(end, self._page_size):
            name = segment_name(self._timeline, page, self._segment_size)
            path = f"{self._host.instance.data_directory}/pg_{self._names[0]}/{name}"
            part = self._host.files.read_part(path, offset=page % self._segment_size, count=self._page_size)
            if part is not None:
                pages[page] = part
        record = record_before(end, pages, self._page_size)
        return record.start if record is not None and record.is_shutdown_checkpoint else None

    def _promote(self, database: Database) -> None:
        # From here on it is not stopped half-way.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        started = time.monotonic()
        promote_server(self._host, database, self._request.timeout)
        done = time.time()
        self._note.write(
            state=PROMOTED,
            promoted_at=done,
            seconds=round(time.monotonic() - started, 3),
            **described_promotion(self._host, database),
        )


def collect(host: Host, *, token: str, timeout: float) -> dict[str, t.Any]:
    """How a waiter ended; waits for its end, and calls it off where that does not come in time."""
    said = _look_until(host, token=token, timeout=timeout)
    return said if said["state"] in (*ENDS, PROMOTING) else disarm(host, token=token)


def _look_until(host: Host, *, token: str, timeout: float) -> dict[str, t.Any]:
    deadline = time.monotonic() + timeout
    while True:
        alive = _is_alive(host)
        said = read_note(host)
        if said.get("token") != token:
            raise ReplicationError(
                f"No standby on this host waits with the token {token!r}: it was never armed, or another switchover "
                "took its place."
            )
        if not alive or time.monotonic() >= deadline:
            break
        time.sleep(0.02)
    if not alive and said["state"] == PROMOTING:
        # Whether it was promoted only the server knows by now; that it was not, nobody may take for granted.
        said["message"] = said.get("message") or "The process that promoted it was killed"
    elif not alive and said["state"] not in ENDS:
        said["message"] = "The process that waited was killed"
        said["state"] = FAILED
    return said


def disarm(host: Host, *, token: str) -> dict[str, t.Any]:
    """Call a waiter off. It may be too late; then it has promoted."""
    if read_note(host).get("token") == token:
        _end(host, 30)
    return _look_until(host, token=token, timeout=60)


def arm_standby(
    host: Host, request: PromoteRequest, *, token: str, patience: float, check_mode: bool
) -> dict[str, t.Any]:
    """Find every reason not to wait; then start the waiter."""
    with t.cast(Database, open_session(host, request.login, or_none=False)) as database:
        seen = observe_promotion(host, database)
        plan = plan_promotion(request, seen, waiting=True)
        if plan.blockers:
            raise ReplicationError(
                "This standby was left as it is. " + " ".join(plan.blockers), problems=list(plan.blockers)
            )
        result = promotion_found(seen, plan)
        if not plan.promote:
            result.update(described_promotion(host, database), state="primary")
            return result
    if not check_mode:
        # The session is closed by now: the waiter is a copy of this process.
        result["state"] = arm(host, request, token=token, patience=patience)["state"]
    return result


def outcome(said: t.Mapping[str, t.Any], *, wanted: bool) -> dict[str, t.Any]:
    """What a waiter said as a module's result; a failure where it is C(wanted) to have promoted and has not."""
    state = said["state"]
    if wanted and state != PROMOTED:
        raise ReplicationError(
            f"The standby was not promoted ({state}): {said.get('message') or 'it still waits'}.", state=state
        )
    keys = (
        "state",
        "received_lsn",
        "replayed_lsn",
        "checkpoint_lsn",
        "timeline",
        "previous_timeline",
        "switch_lsn",
        "seconds",
    )
    result = {key: said.get(key) for key in keys}
    result["message"] = said.get("message")
    result["times"] = {name: said.get(f"{name}_at") for name in ("shown", "proven", "promoted")}
    result["changed"] = state == PROMOTED
    result["actions"] = ["Promote this standby"] if state == PROMOTED else []
    return result
