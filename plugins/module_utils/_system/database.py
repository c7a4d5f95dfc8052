# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""The way out to a server: psycopg 3 or psycopg2 behind one small interface."""

from __future__ import annotations

import contextlib
import importlib
import re
import select
import sys
import time
import typing as t
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

from ansible_collections.pgtandem.replication.plugins.module_utils._errors import DatabaseError, ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._system.identity import acting_as, identity_of
from ansible_collections.pgtandem.replication.plugins.module_utils._system.startup import Answer, ask
from ansible_collections.pgtandem.replication.plugins.module_utils._values.connection_options import known_options
from ansible_collections.pgtandem.replication.plugins.module_utils._versions import NEWEST, session_settings

_UNDEFINED_OBJECT = "42704"
_OBJECT_IN_USE = "55006"
_QUERY_CANCELED = "57014"

#: What lets a superuser in where a library that sessions load cannot be loaded, or where the driver's own first
#: statement (it sets the style of dates) is not through before the time-out of the role or the database. Only the
#: start-up packet comes early enough, and elsewhere the libraries stay, since one may be there to audit.
_SECOND_TRY = "-c session_preload_libraries= -c local_preload_libraries= -c statement_timeout=0 -c datestyle=ISO"

_DRIVER = ""
psycopg: t.Any = None
psycopg2: t.Any = None
# Where both are there psycopg2 is taken: its import takes a fifth of the time of psycopg 3's, at every module run.
try:
    import psycopg2
    import psycopg2.extensions
    import psycopg2.extras

    _DRIVER = "psycopg2"
except ImportError:
    with contextlib.suppress(ImportError):
        psycopg = importlib.import_module("psycopg")
        _DRIVER = "psycopg"


@dataclass(frozen=True)
class Target:
    """Where to connect, and as whom. C(host) may be a socket directory. C(os_user) is the account that opens the
    socket, for peer authentication; only root can take another one."""

    host: str
    port: int
    user: str
    password: str | None = None
    dbname: str = "postgres"
    os_user: str | None = None
    #: sslmode and the like, as libpq names them.
    options: t.Mapping[str, str] | None = None
    connect_timeout: int = 10

    def arguments(self, *, replication: bool) -> dict[str, t.Any]:
        """Keyword arguments for the driver."""
        values: dict[str, t.Any] = {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "dbname": self.dbname,
            "connect_timeout": self.connect_timeout,
            "application_name": "pgtandem",
            # From a cluster that initdb made in the C locale psycopg would return bytes for text, and psycopg2 would
            # look for a codec while the effective user is one who may not be able to read this Python's library.
            "client_encoding": "UTF8",
        }
        if self.password is not None:
            values["password"] = self.password
        values.update(known_options(self.options or {}, _libpq_version()))
        if replication:
            values["replication"] = "true"
        return values

    def with_settings(self, settings: str) -> Target:
        """The same with more settings in its start-up packet, as C(-c name=value)."""
        options = dict(self.options or {})
        options["options"] = f"{options.get('options', '')} {settings}".strip()
        return replace(self, options=options)

    def shown(self) -> str:
        """For messages."""
        return f"{self.host}:{self.port} as {self.user}"


def _libpq_version() -> int:
    """The version of the driver's libpq."""
    if _DRIVER == "psycopg":
        return int(psycopg.pq.version())
    return int(psycopg2.extensions.libpq_version()) if _DRIVER else NEWEST


def driver_name() -> str:
    """psycopg, psycopg2, or nothing."""
    return _DRIVER


def require_driver() -> None:
    """Stop with advice where no driver is installed."""
    if not _DRIVER:
        raise ReplicationError(
            f"The Python at {sys.executable} on this host has neither psycopg nor psycopg2. Install python3-psycopg2 "
            "(Debian, Red Hat) or the PyPI package psycopg2-binary for that interpreter; with pgtandem_manage_packages "
            "the roles do it."
        )


class Database(ABC):
    """One session. Every statement commits at once."""

    #: server_version_num
    version: int

    @abstractmethod
    def rows(self, sql: str, parameters: t.Sequence[t.Any] = ()) -> list[dict[str, t.Any]]:
        """The rows of a query."""

    @abstractmethod
    def execute(self, sql: str, parameters: t.Sequence[t.Any] = ()) -> None:
        """Run a statement that returns nothing."""

    @abstractmethod
    def encrypt_password(self, *, password: str, role: str, method: str) -> str:
        """The verifier to store, made on this side so that the password itself is never sent in a statement."""

    @abstractmethod
    def close(self) -> None:
        """End the session."""

    def row(self, sql: str, parameters: t.Sequence[t.Any] = ()) -> dict[str, t.Any] | None:
        """The first row, None where there is none."""
        found = self.rows(sql, parameters)
        return found[0] if found else None

    def value(self, sql: str, parameters: t.Sequence[t.Any] = ()) -> t.Any:
        """The first column of the first row, None where there is none."""
        row = self.row(sql, parameters)
        return next(iter(row.values())) if row else None

    def setting(self, name: str) -> str:
        """A parameter as SHOW prints it."""
        return t.cast(str, self.value("SELECT current_setting(%s)", [name]))

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_unused: object) -> None:
        self.close()


def _server_line(error: Exception) -> str:
    """The server's or libpq's own words, without the driver's framing."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    return "; ".join(lines) or type(error).__name__


class _DriverDatabase(Database):
    """Both drivers follow the DB API closely enough to share this."""

    def __init__(self, connection: t.Any, errors: type[Exception], cursor_arguments: dict[str, t.Any]) -> None:
        self._connection = connection
        self._errors = errors
        self._cursor_arguments = cursor_arguments
        self.version = int(connection.info.server_version if _DRIVER == "psycopg" else connection.server_version)

    def _run(self, sql: str, parameters: t.Sequence[t.Any], fetch: bool) -> list[dict[str, t.Any]]:
        try:
            with self._connection.cursor(**self._cursor_arguments) as cursor:
                # Without parameters a percent sign in the statement stays one.
                cursor.execute(sql, list(parameters) or None)
                if not fetch:
                    return []
                names = [column[0] for column in cursor.description]
                return [dict(zip(names, row)) for row in cursor.fetchall()]
        except self._errors as error:
            raise DatabaseError(
                _server_line(error), sqlstate=getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
            ) from error
        except UnicodeDecodeError as error:
            first, end = int(error.start), int(error.end)
            raise DatabaseError(
                f"The server's answer holds bytes that are not {error.encoding} (such as "
                f"{error.object[first:end].hex()}): a file that it shows, or a name in it, holds them"
            ) from error

    def rows(self, sql: str, parameters: t.Sequence[t.Any] = ()) -> list[dict[str, t.Any]]:
        return self._run(sql, parameters, True)

    def execute(self, sql: str, parameters: t.Sequence[t.Any] = ()) -> None:
        self._run(sql, parameters, False)

    def encrypt_password(self, *, password: str, role: str, method: str) -> str:
        if _DRIVER == "psycopg":
            made = self._connection.pgconn.encrypt_password(password.encode(), role.encode(), method.encode())
            return t.cast(bytes, made).decode()
        made = psycopg2.extensions.encrypt_password(password, role, scope=self._connection, algorithm=method)
        return t.cast(str, made)

    def close(self) -> None:
        self._connection.close()


def _account_of(target: Target) -> t.ContextManager[None]:
    """The account that opens the socket."""
    if target.os_user is None:
        return contextlib.nullcontext()
    return acting_as(identity_of(target.os_user))


def knock(target: Target, *, replication: bool = False) -> Answer:
    """What the server answers to the same name without a password, not in words: why it refuses, as far as it says that
    before it asks."""
    with _account_of(target):
        return _answer_to(target, replication=replication)


def _answer_to(target: Target, *, replication: bool = False) -> Answer:
    options = target.options or {}
    answer = ask(
        target.host,
        target.port,
        user=target.user,
        dbname=target.dbname,
        replication=replication,
        tls=not target.host.startswith("/") and options.get("sslmode") != "disable",
    )
    # Without the certificate that a rule may ask for, a refusal says nothing.
    return Answer() if "sslcert" in options and answer.sqlstate.startswith("28") else answer


def _may_be_a_library(target: Target) -> bool:
    """Whether a failed login may have another cause than who it is, where it is and how many there are."""
    answer = _answer_to(target)
    return answer.admits or answer.asks or answer.sqlstate.startswith("58")


def connect(target: Target) -> Database:
    """Open a session that sets what it depends on; C(DatabaseError) holds the server's own line when it is refused."""
    require_driver()
    with _account_of(target):
        try:
            database = _open(target)
        except DatabaseError as error:
            # A server may say it in any language. Through the socket a second try costs nothing.
            cheap = target.host.startswith("/") or error.sqlstate == _QUERY_CANCELED
            if not cheap and not _may_be_a_library(target):
                raise
            try:
                database = _open(target.with_settings(_SECOND_TRY))
            except DatabaseError:
                raise error from None
    try:
        _settle(database)
    except DatabaseError:
        database.close()
        raise
    return database


def _unfit(error: ValueError) -> DatabaseError:
    """What libpq cannot be given, such as a NUL or half a letter; the error holds none of it."""
    return DatabaseError(f"libpq cannot be given these options ({error})")


def _open(target: Target) -> Database:
    if _DRIVER == "psycopg":
        try:
            connection = psycopg.connect(
                **target.arguments(replication=False), autocommit=True, cursor_factory=psycopg.ClientCursor
            )
        except psycopg.Error as error:
            raise DatabaseError(_server_line(error), sqlstate=error.sqlstate) from error
        except ValueError as error:
            raise _unfit(error) from error
        return _DriverDatabase(connection, psycopg.Error, {})
    try:
        connection = psycopg2.connect(**target.arguments(replication=False))
    except psycopg2.Error as error:
        raise DatabaseError(_server_line(error), sqlstate=error.pgcode) from error
    except ValueError as error:
        raise _unfit(error) from error
    connection.autocommit = True
    return _DriverDatabase(connection, psycopg2.Error, {})


def _settle(database: Database) -> None:
    """Set what the session depends on.

    Not in the start-up packet, which a server refuses for a name that it does not have, and a connection pooler for
    any; nor would pg_settings.reset_val then show what the server has without this.
    """
    statement = "; ".join(f"SET {name} = '{value}'" for name, value in session_settings(database.version).items())
    for again in (True, True, False):
        try:
            database.execute(statement)
            return
        except DatabaseError as error:
            # The time-out that it would have ended was shorter than this.
            if error.sqlstate != _QUERY_CANCELED or not again:
                raise


class Identity(t.NamedTuple):
    """The answer to IDENTIFY_SYSTEM (manual, Streaming Replication Protocol), with the server's version."""

    system_identifier: str
    timeline: int
    lsn: str
    version: int


def identify_system(target: Target, *, sessions: int = 1) -> Identity:
    """Log in for replication, which proves that a standby could, and ask the server who it is.

    C(sessions) are opened at once, which proves that so many WAL senders are free.
    """
    require_driver()
    opened: list[t.Any] = []
    with _account_of(target):
        try:
            for _number in range(sessions):
                opened.append(_replication_session(target))
            return _identity_from(opened[-1])
        finally:
            for session in opened:
                session.close()


def read_slot(target: Target, name: str) -> dict[str, t.Any]:
    """What a replication connection is told of a slot, from 15 on: its type and position, None where there is no such
    slot. The server refuses to tell of a logical one."""
    with _commanded(target) as session:
        row = _command(session, f"READ_REPLICATION_SLOT {_quoted(name)}")
    return {"slot_type": row[0], "restart_lsn": row[1]}


def remake_slot(target: Target, name: str, *, patience: float = 30.0) -> None:
    """Drop a physical slot and make it again over a replication connection, with WAL kept from now on.

    For C(patience) seconds it is waited for whoever uses it: a WAL sender ends a moment after its standby.
    """
    deadline = time.monotonic() + patience
    with _commanded(target) as session:
        while True:
            try:
                _command(session, f"DROP_REPLICATION_SLOT {_quoted(name)}")
                break
            except DatabaseError as error:
                if error.sqlstate == _UNDEFINED_OBJECT:
                    break
                if error.sqlstate != _OBJECT_IN_USE or time.monotonic() > deadline:
                    raise
            time.sleep(0.2)
        _command(session, f"CREATE_REPLICATION_SLOT {_quoted(name)} PHYSICAL RESERVE_WAL")


def read_history(target: Target, timeline: int) -> str:
    """The history file of a timeline, which a replication connection may have whatever the role is."""
    with _commanded(target) as session:
        content: t.Any = _command(session, f"TIMELINE_HISTORY {timeline:d}")[1]
    # psycopg2 takes it for bytes, as which the server declares it.
    return content if isinstance(content, str) else bytes(content or b"").decode()


@contextlib.contextmanager
def _commanded(target: Target) -> t.Iterator[t.Any]:
    """A replication connection, for commands of its protocol."""
    require_driver()
    with _account_of(target):
        session = _replication_session(target)
        try:
            yield session
        finally:
            session.close()


def _quoted(name: str) -> str:
    return '"{}"'.format(name.replace('"', '""'))


def _command(session: t.Any, statement: str) -> list[str | None]:
    """A command of the replication protocol, and the first two values of what it answers."""
    if _DRIVER == "psycopg":
        try:
            answer = session.pgconn.exec_(statement.encode())
        except psycopg.Error as error:
            raise DatabaseError(_server_line(error), sqlstate=error.sqlstate) from error
        if answer.error_message:
            state = answer.error_field(psycopg.pq.DiagnosticField.SQLSTATE)
            raise DatabaseError(
                answer.error_message.decode("utf-8", "replace").strip(), sqlstate=state.decode() if state else None
            )
        if not answer.ntuples:
            return [None, None]
        found = [answer.get_value(0, column) for column in range(2)]
        return [value.decode() if value is not None else None for value in found]
    try:
        with session.cursor() as cursor:
            cursor.execute(statement)
            return list((cursor.fetchone() if cursor.description else None) or (None, None))
    except psycopg2.Error as error:
        raise DatabaseError(_server_line(error), sqlstate=error.pgcode) from error


class ReplicationSession:
    """A login for replication that is kept open."""

    def __init__(self, target: Target) -> None:
        require_driver()
        with _account_of(target):
            self._session = _replication_session(target)

    def identify(self) -> Identity:
        """Ask the server who it is."""
        return _identity_from(self._session)

    def ended_within(self, seconds: float) -> bool:
        """Whether the other side ends the session in that time."""
        readable, _writable, _broken = select.select([self._session.fileno()], [], [], seconds)
        return bool(readable)

    def close(self) -> None:
        """End it."""
        self._session.close()

    def __enter__(self) -> ReplicationSession:
        return self

    def __exit__(self, *_unused: object) -> None:
        self.close()


def _replication_session(target: Target) -> t.Any:
    if _DRIVER == "psycopg":
        try:
            return psycopg.connect(**target.arguments(replication=True), autocommit=True)
        except psycopg.Error as error:
            raise DatabaseError(_server_line(error), sqlstate=error.sqlstate) from error
        except ValueError as error:
            raise _unfit(error) from error
    try:
        return psycopg2.connect(
            connection_factory=psycopg2.extras.PhysicalReplicationConnection,
            **{name: value for name, value in target.arguments(replication=False).items() if name != "dbname"},
        )
    except psycopg2.Error as error:
        raise DatabaseError(_server_line(error), sqlstate=error.pgcode) from error
    except ValueError as error:
        raise _unfit(error) from error


def _identity_from(session: t.Any) -> Identity:
    if _DRIVER == "psycopg":
        try:
            answer = session.pgconn.exec_(b"IDENTIFY_SYSTEM")
            # A replication session ends its result with other tags than a query; the values say enough.
            values = [(answer.get_value(0, column) or b"").decode() for column in range(3)]
        except psycopg.Error as error:
            raise DatabaseError(_server_line(error), sqlstate=error.sqlstate) from error
        return _identity_of(values, session.info.server_version)
    try:
        with session.cursor() as cursor:
            cursor.execute("IDENTIFY_SYSTEM")
            row = cursor.fetchone()
    except psycopg2.Error as error:
        raise DatabaseError(_server_line(error), sqlstate=error.pgcode) from error
    return _identity_of([str(value) for value in row or ()], int(session.server_version))


_IDENTITY = re.compile("[0-9]{1,20} [0-9]{1,10} [0-9A-F]{1,8}/[0-9A-F]{1,8}")


def _identity_of(values: t.Sequence[str], version: int) -> Identity:
    if not _IDENTITY.fullmatch(" ".join(values[:3])):
        raise DatabaseError("The server does not say which cluster it is (IDENTIFY_SYSTEM), as PostgreSQL does")
    return Identity(values[0], int(values[1]), values[2], version)
