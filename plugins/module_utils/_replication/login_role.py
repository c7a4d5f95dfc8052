# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""The login role of the standbys: observe, plan, apply, report (manual, Role Attributes; CREATE ROLE; pg_authid)."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from ansible_collections.pgtandem.replication.plugins.module_utils._argspec import login_from
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import DatabaseError, ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host
from ansible_collections.pgtandem.replication.plugins.module_utils._host.server import open_session
from ansible_collections.pgtandem.replication.plugins.module_utils._system.database import Database
from ansible_collections.pgtandem.replication.plugins.module_utils._values.names import NAME_LENGTH
from ansible_collections.pgtandem.replication.plugins.module_utils._values.quoting import quote_identifier
from ansible_collections.pgtandem.replication.plugins.module_utils._values.scram import password_fits, verifier_kind
from ansible_collections.pgtandem.replication.plugins.module_utils._versions import (
    REWIND_FUNCTIONS,
    password_method,
    supports,
)

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

#: What stands in messages, results and diffs where a secret was.
HIDDEN = "********"

_INSUFFICIENT_PRIVILEGE = "42501"

#: Relative dates would mean another day at every run.
_RELATIVE_DATES = ("now", "today", "tomorrow", "yesterday")

#: Settings of our own session. The first is so that a server whose synchronous standby does not exist yet lets the
#: role be made, which that standby needs; the others keep the statement, and so the verifier, out of the server's log
#: and its views.
_SESSION = {
    "synchronous_commit": "local",
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "log_min_duration_sample": "-1",
    "log_transaction_sample_rate": "0",
    "log_min_error_statement": "panic",
    "debug_print_parse": "off",
    "debug_print_rewritten": "off",
    "debug_print_plan": "off",
    "track_activities": "off",
    "pg_stat_statements.track_utility": "off",
}


@dataclass(frozen=True)
class RoleRequest:
    """What the user wants of the role; None means leave as it is."""

    name: str
    present: bool = True
    password: str | None = None
    connection_limit: int | None = None
    valid_until: str | None = None
    #: Leave an existing role's password alone.
    only_on_create: bool = False
    #: Let it do what pg_rewind does on its source.
    rewind: bool = False


@dataclass(frozen=True)
class RoleState:
    """The role as the server has it."""

    exists: bool
    login: bool = False
    replication: bool = False
    superuser: bool = False
    create_role: bool = False
    create_db: bool = False
    bypass_row_security: bool = False
    connection_limit: int = -1
    #: None: for ever.
    valid_until: str | None = None
    #: Its validity is over.
    expired: bool = False
    #: scram-sha-256, md5, unknown (stored in clear, which 9.x could do), or None for no password.
    password: str | None = None


@dataclass(frozen=True)
class RoleEvidence:
    """The role beside the request, and what decides whether it may be changed."""

    state: RoleState
    #: What the server would store: scram-sha-256 or md5.
    method: str = "scram-sha-256"
    in_recovery: bool = False
    password_fits: bool = False
    valid_until_fits: bool = False
    #: The date that is asked for, as the server writes it; None where it was not asked or means for ever.
    valid_until: str | None = None
    #: That date has passed.
    valid_until_passed: bool = False
    #: Sentences on the WAL senders that are logged in as the role.
    senders: tuple[str, ...] = ()
    #: What the role owns or was granted, as the server describes it.
    dependents: tuple[str, ...] = ()
    is_own_session: bool = False
    #: Functions of pg_rewind that the role may not run, as far as that was asked for.
    rewind_missing: tuple[str, ...] = ()
    #: Those that were granted to it, where it is to be dropped.
    rewind_granted: tuple[str, ...] = ()


@dataclass(frozen=True)
class RolePlan:
    """What to do, in words and as the parts of one statement."""

    actions: tuple[str, ...] = ()
    #: CREATE ROLE, ALTER ROLE or DROP ROLE; empty for nothing.
    verb: str = ""
    options: tuple[str, ...] = ()
    set_password: bool = False
    set_valid_until: bool = False
    #: Functions to grant.
    grants: tuple[str, ...] = ()
    #: Functions whose grants are taken back before the role is dropped.
    revokes: tuple[str, ...] = ()
    blockers: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    #: The role once the plan is carried out.
    after: RoleState = RoleState(False)


def request_from(parameters: t.Mapping[str, t.Any]) -> RoleRequest:
    """The request in a module's parameters; what can be known to be wrong is refused before a server is asked."""
    request = RoleRequest(
        name=parameters["name"],
        present=parameters["state"] == "present",
        password=parameters["password"],
        connection_limit=parameters["connection_limit"],
        valid_until=parameters["valid_until"] or None,
        only_on_create=parameters["update_password"] == "on_create",
        rewind=parameters["rewind"],
    )
    check_name(request.name)
    if request.present and request.password is not None:
        check_password(request.password)
    if request.connection_limit is not None and request.connection_limit < -1:
        raise ReplicationError(
            f"connection_limit is {request.connection_limit}; it must be -1, which is no limit, or a number from 0 on."
        )
    if (request.valid_until or "").strip().lower() in _RELATIVE_DATES:
        raise ReplicationError(
            f"valid_until is {request.valid_until!r}, which is another moment at every run. Write a date such as "
            "2030-12-31 23:59:59+00, or infinity."
        )
    return request


def check_name(name: str) -> None:
    """Refuse a name that the server would refuse, or cut short."""
    if not name or "\0" in name:
        raise ReplicationError("The role's name is empty or holds a zero byte; name it, such as replica.")
    if len(name.encode("utf-8", "surrogateescape")) > NAME_LENGTH:
        raise ReplicationError(
            f"The role's name {name!r} is longer than {NAME_LENGTH} bytes; the server would cut it short."
        )
    if name.startswith("pg_") or name in ("public", "none"):
        raise ReplicationError(f"The server reserves the role name {name!r}; choose another, such as replica.")


def check_password(password: str) -> None:
    """Refuse a password that a standby could not use. The password is in no message."""
    if not password:
        raise ReplicationError(
            "The password is empty, and the server never lets an empty password in. Set password "
            "(pgtandem_replication_password), best from a vault; without the option the role's password stays as it is."
        )
    if any(char in password for char in "\0\n\r"):
        raise ReplicationError(
            "The password holds a line break or a zero byte, which cannot be written to the standby's password file. "
            "A line break at the end often comes from reading a file: strip it."
        )
    try:
        password.encode()
    except UnicodeEncodeError:
        raise ReplicationError("The password is not valid UTF-8; standbys could not send the same bytes.") from None
    if verifier_kind(password) is not None:
        raise ReplicationError(
            "The password has the form of a stored verifier (md5... or SCRAM-SHA-256$...). Give the password itself: "
            "the standby has to know it."
        )


def plan_role(request: RoleRequest, seen: RoleEvidence) -> RolePlan:
    """What the request asks of a role as it is."""
    plan = _plan_present(request, seen) if request.present else _plan_absent(request, seen)
    if plan.actions and seen.in_recovery:
        wanted = "does not fit the request" if seen.state.exists else "is missing"
        return replace(
            plan,
            blockers=(
                f"This server is a standby and the role {request.name!r} {wanted if request.present else 'is there'}. "
                "A standby has the roles of its primary, by replication: run this on the primary.",
            ),
        )
    return plan


def _plan_present(request: RoleRequest, seen: RoleEvidence) -> RolePlan:
    state, name = seen.state, request.name
    set_password = request.password is not None and (
        not state.exists
        or not request.only_on_create
        and (not seen.password_fits or _would_improve(state.password, seen.method))
    )
    set_valid_until = request.valid_until is not None and not seen.valid_until_fits
    options: list[str] = []
    words: list[str] = []
    for attribute, has in (("LOGIN", state.login), ("REPLICATION", state.replication)):
        if not has:
            options.append(attribute)
            words.append(f"Grant {attribute} to the role {name}")
    after = replace(state, exists=True, login=True, replication=True)
    if request.connection_limit is not None and request.connection_limit != state.connection_limit:
        options.append(f"CONNECTION LIMIT {request.connection_limit}")
        words.append(f"Set the connection limit of the role {name} to {request.connection_limit}")
        after = replace(after, connection_limit=request.connection_limit)
    if set_valid_until:
        words.append(f"Set the end of validity of the role {name} to {request.valid_until}")
        after = replace(after, valid_until=seen.valid_until, expired=seen.valid_until_passed)
    if set_password:
        reason = ""
        if state.exists:
            reason = f", since it is stored as {state.password}" if seen.password_fits else ", which differs"
        words.append(f"Set the password of the role {name} as {seen.method}{reason}")
        after = replace(after, password=seen.method)
    if not state.exists:
        how = f"with a password as {seen.method}" if set_password else "without a password"
        words = [f"Create the role {name} with LOGIN and REPLICATION, {how}"]
    if seen.rewind_missing:
        words.append(f"Let the role {name} run the functions that pg_rewind uses")
    changed = not state.exists or bool(options) or set_valid_until or set_password
    return RolePlan(
        actions=tuple(words),
        verb=("ALTER ROLE" if state.exists else "CREATE ROLE") if changed else "",
        options=tuple(options),
        set_password=set_password,
        set_valid_until=set_valid_until,
        grants=seen.rewind_missing,
        warnings=_warnings(name, after, made=not state.exists),
        after=after,
    )


def _would_improve(stored: str | None, method: str) -> bool:
    """A verifier that fits is stored anew only as the better kind: SCRAM also serves where md5 is the default."""
    return method == "scram-sha-256" and stored != method


def _warnings(name: str, after: RoleState, *, made: bool) -> tuple[str, ...]:
    more = [
        word
        for word, has in (
            ("SUPERUSER", after.superuser),
            ("CREATEROLE", after.create_role),
            ("CREATEDB", after.create_db),
            ("BYPASSRLS", after.bypass_row_security),
        )
        if has
    ]
    found = []
    if made and after.password is None:
        found.append(
            f"The role {name!r} is made without a password, so it can only log in where pg_hba.conf asks for none, as "
            "with a certificate. Was the password's variable null?"
        )
    if more:
        found.append(
            f"The role {name!r} has {', '.join(more)}, more than replication needs. It was left so; a role of its own "
            "for replication is safer."
        )
    if after.expired:
        found.append(
            f"The validity of the role {name!r} ended at {after.valid_until}: its password is no longer accepted. "
            "Set valid_until of pg_replication_role, or ALTER ROLE ... VALID UNTIL 'infinity'."
        )
    return tuple(found)


def _plan_absent(request: RoleRequest, seen: RoleEvidence) -> RolePlan:
    if not seen.state.exists:
        return RolePlan()
    blockers = []
    if seen.senders:
        blockers.append(
            f"The role {request.name!r} is in use for replication: {'; '.join(seen.senders)}. Stop those standbys, or "
            "give them another role, before it is dropped."
        )
    if seen.dependents:
        shown = "; ".join(seen.dependents[:5]) + ("; ..." if len(seen.dependents) > 5 else "")
        blockers.append(
            f"The role {request.name!r} cannot be dropped, since objects depend on it: {shown}. Nothing that a role "
            "owns is dropped here: reassign or revoke it first (REASSIGN OWNED, DROP OWNED)."
        )
    if seen.is_own_session:
        blockers.append(f"This session is logged in as {request.name!r}; use another login_user to drop it.")
    taken = (f"Revoke from the role {request.name} what pg_rewind reads",) if seen.rewind_granted else ()
    return RolePlan(
        actions=(*taken, f"Drop the role {request.name}"),
        verb="DROP ROLE",
        revokes=seen.rewind_granted,
        blockers=tuple(blockers),
        after=RoleState(False),
    )


class Statement(t.NamedTuple):
    """SQL with its parameters, and as it may be shown."""

    sql: str
    parameters: tuple[t.Any, ...]
    shown: str


def build_statement(request: RoleRequest, plan: RolePlan, verifier: str | None) -> Statement:
    """The one statement of a plan."""
    name = quote_identifier(request.name)
    parts = [f"{plan.verb} {name.replace('%', '%%')}"] + list(plan.options)
    shown = [f"{plan.verb} {name}"] + list(plan.options)
    parameters: list[t.Any] = []
    for wanted, clause, value, text in (
        (plan.set_valid_until, "VALID UNTIL", request.valid_until, f"'{request.valid_until}'"),
        (plan.set_password, "PASSWORD", verifier, f"'{HIDDEN}'"),
    ):
        if wanted:
            parts.append(f"{clause} %s")
            shown.append(f"{clause} {text}")
            parameters.append(value)
    # Without parameters the driver leaves percent signs alone.
    sql = " ".join(parts)
    return Statement(sql if parameters else sql.replace("%%", "%"), tuple(parameters), " ".join(shown))


def observe_role(database: Database, request: RoleRequest) -> RoleEvidence:
    """The role, read in few queries. What is stored of a password only a superuser may read, and is needed only
    where one is asked for."""
    try:
        return _observe_role(database, request, "pg_authid")
    except DatabaseError as error:
        if error.sqlstate != _INSUFFICIENT_PRIVILEGE or request.password is not None:
            raise
    return _observe_role(database, request, "pg_roles")


def _observe_role(database: Database, request: RoleRequest, catalogue: str) -> RoleEvidence:
    bypass = "a.rolbypassrls" if supports(database.version, "bypass_row_security") else "false"
    # The left join always has a row.
    (row,) = database.rows(
        "SELECT pg_is_in_recovery() AS in_recovery, current_setting('password_encryption') AS password_encryption, "
        "current_user::text AS own_user, a.oid::text AS oid, a.rolsuper, a.rolcreaterole, a.rolcreatedb, "
        f"a.rolcanlogin, a.rolreplication, {bypass} AS rolbypassrls, a.rolconnlimit, a.rolpassword, "
        "nullif(a.rolvaliduntil, 'infinity')::text AS valid_until, "
        "coalesce(a.rolvaliduntil, 'infinity') < now() AS expired, "
        "coalesce(a.rolvaliduntil, 'infinity') = r.valid_until AS valid_until_fits, "
        "r.valid_until < now() AS valid_until_passed, nullif(r.valid_until, 'infinity')::text AS valid_until_wanted "
        "FROM (SELECT coalesce(%s::text, 'infinity')::timestamptz AS valid_until) AS r "
        f"LEFT JOIN {catalogue} a ON a.rolname = %s",
        [request.valid_until, request.name],
    )
    method = password_method(row["password_encryption"])
    in_recovery = bool(row["in_recovery"])
    wanted = REWIND_FUNCTIONS if request.rewind and supports(database.version, "rewind_by_role") else ()
    if row["oid"] is None:
        return RoleEvidence(
            RoleState(False),
            method=method,
            in_recovery=in_recovery,
            valid_until=row["valid_until_wanted"],
            valid_until_passed=row["valid_until_passed"],
            rewind_missing=wanted,
        )
    stored = row["rolpassword"]
    evidence = RoleEvidence(
        RoleState(
            True,
            login=row["rolcanlogin"],
            replication=row["rolreplication"],
            superuser=row["rolsuper"],
            create_role=row["rolcreaterole"],
            create_db=row["rolcreatedb"],
            bypass_row_security=row["rolbypassrls"],
            connection_limit=row["rolconnlimit"],
            valid_until=row["valid_until"],
            expired=row["expired"],
            password=None if stored is None else verifier_kind(stored) or "unknown",
        ),
        method=method,
        in_recovery=in_recovery,
        password_fits=request.password is not None
        and password_fits(password=request.password, role=request.name, verifier=stored),
        valid_until_fits=row["valid_until_fits"],
        valid_until=row["valid_until_wanted"],
        valid_until_passed=row["valid_until_passed"],
        rewind_missing=missing_functions(database, request.name, wanted),
    )
    if request.present:
        return evidence
    functions = REWIND_FUNCTIONS if supports(database.version, "rewind_by_role") else ()
    return replace(
        evidence,
        senders=_senders(database, row["oid"]),
        dependents=_dependents(database, row["oid"], functions),
        rewind_granted=granted_functions(database, request.name, functions),
        is_own_session=row["own_user"] == request.name,
    )


def missing_functions(database: Database, role: str, functions: t.Sequence[str]) -> tuple[str, ...]:
    """Those of the functions that a role may not run."""
    if not functions:
        return ()
    rows = database.rows(
        "SELECT f.signature FROM unnest(%s::text[]) AS f(signature) "
        "WHERE NOT has_function_privilege(%s, f.signature, 'EXECUTE') ORDER BY 1",
        [list(functions), role],
    )
    return tuple(row["signature"] for row in rows)


def granted_functions(database: Database, role: str, functions: t.Sequence[str]) -> tuple[str, ...]:
    """Those of the functions that were granted to the role itself."""
    if not functions:
        return ()
    rows = database.rows(
        "SELECT f.signature FROM unnest(%s::text[]) AS f(signature) "
        "JOIN pg_proc p ON p.oid = f.signature::regprocedure CROSS JOIN LATERAL aclexplode(p.proacl) AS a "
        "JOIN pg_roles r ON r.oid = a.grantee WHERE r.rolname = %s AND a.privilege_type = 'EXECUTE' ORDER BY 1",
        [list(functions), role],
    )
    return tuple(row["signature"] for row in rows)


def _senders(database: Database, oid: str) -> tuple[str, ...]:
    rows = database.rows(
        "SELECT pid, application_name, client_addr::text AS client_addr, state FROM pg_stat_replication "
        "WHERE usesysid = %s::oid ORDER BY pid",
        [oid],
    )
    return tuple(
        f"WAL sender {row['pid']} ({row['state']}) of {row['application_name'] or 'a nameless client'} at "
        f"{row['client_addr'] or 'the local socket'}"
        for row in rows
    )


def _dependents(database: Database, oid: str, own: t.Sequence[str]) -> tuple[str, ...]:
    """What keeps a role from being dropped (manual, pg_shdepend), but for this database's grants on our C(own)
    functions. Only this database's objects can be described."""
    rows = database.rows(
        "SELECT d.datname, CASE WHEN s.dbid = 0 OR d.datname = current_database() "
        "THEN CASE s.deptype WHEN 'o' THEN 'owner of ' WHEN 'a' THEN 'privileges for ' ELSE '' END "
        "|| pg_describe_object(s.classid, s.objid, s.objsubid) END AS described "
        "FROM pg_shdepend s LEFT JOIN pg_database d ON d.oid = s.dbid "
        # Memberships go with the role.
        "WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = %s::oid "
        "AND s.classid <> 'pg_auth_members'::regclass AND NOT (s.deptype = 'a' AND s.classid = 'pg_proc'::regclass "
        "AND d.datname = current_database() "
        "AND s.objid = ANY (ARRAY(SELECT f::regprocedure::oid FROM unnest(%s::text[]) AS f))) ORDER BY 1, 2",
        [oid, list(own)],
    )
    here = dict.fromkeys(row["described"] for row in rows if row["described"] is not None)
    elsewhere = [row["datname"] for row in rows if row["described"] is None]
    return tuple(here) + tuple(
        f"{elsewhere.count(name)} objects in database {name}" for name in dict.fromkeys(elsewhere)
    )


def prepare_session(database: Database, *, secret: bool) -> None:
    """Let our own session not wait for a synchronous standby, and quiet it where a statement holds a C(secret): only a
    superuser can do that, and only a superuser has got so far with one."""
    settings = _SESSION if secret else {"synchronous_commit": _SESSION["synchronous_commit"]}
    values = ", ".join(["(%s, %s)"] * len(settings))
    flat = [text for pair in sorted(settings.items()) for text in pair]
    database.rows(
        f"SELECT set_config(v.name, v.value, false) FROM (VALUES {values}) AS v(name, value) "
        "JOIN pg_settings s ON s.name = v.name",
        flat,
    )


def shown_state(name: str, state: RoleState) -> dict[str, t.Any]:
    """The role as a result shows it; of the password only how it is stored."""
    if not state.exists:
        return {"name": name, "exists": False}
    return {
        "name": name,
        "exists": True,
        "login": state.login,
        "replication": state.replication,
        "superuser": state.superuser,
        "create_role": state.create_role,
        "create_db": state.create_db,
        "bypass_row_security": state.bypass_row_security,
        "connection_limit": state.connection_limit,
        "valid_until": state.valid_until or "infinity",
        "password_stored_as": state.password or "none",
    }


def role_diff(name: str, before: RoleState, plan: RolePlan) -> dict[str, t.Any]:
    """Before and after without secrets."""
    old, new = shown_state(name, before), shown_state(name, plan.after)
    if plan.grants:
        old["rewind"], new["rewind"] = False, True
    for values, note in ((old, ""), (new, ", new" if plan.set_password else "")):
        if values["exists"]:
            kind = values.pop("password_stored_as")
            values["password"] = "none" if kind == "none" else f"not shown ({kind}{note})"
    return {"before": old, "after": new, "before_header": f"role {name}", "after_header": f"role {name}"}


def manage_role(host: Host, module: AnsibleModule) -> dict[str, t.Any]:
    """The job of pg_replication_role."""
    request = request_from(module.params)
    session = open_session(host, login_from(module.params), or_none=module.check_mode)
    if session is None:
        module.warn(
            f"No server runs on {host.instance.data_directory}, so the role {request.name!r} cannot be looked at. "
            "Check mode takes it for missing."
        )
        unseen = RoleEvidence(RoleState(False), valid_until=request.valid_until)
        return report(module, request, unseen.state, plan_role(request, unseen), [])
    with session as database:
        try:
            evidence = observe_role(database, request)
        except DatabaseError as error:
            raise explained(error) from error
        plan = plan_role(request, evidence)
        if plan.verb == "CREATE ROLE":
            _tell_of_others(module, database, request.name)
        if plan.blockers:
            raise ReplicationError(" ".join(plan.blockers))
        queries: list[str] = []
        if plan.revokes:
            queries.append(revoke_statement(request.name, plan.revokes))
            if not module.check_mode:
                database.execute("SET synchronous_commit = local")
                database.execute(queries[-1])
        if plan.verb:
            queries.append(
                build_statement(request, plan, HIDDEN).shown
                if module.check_mode
                else apply_plan(database, request, plan, evidence.method, module.no_log_values)
            )
        if plan.grants:
            queries.append(grant_statement(request.name, plan.grants))
            if not module.check_mode:
                database.execute("SET synchronous_commit = local")
                database.execute(queries[-1])
        if queries and not module.check_mode:
            plan = replace(plan, after=observe_role(database, request).state)
    return report(module, request, evidence.state, plan, queries)


def _tell_of_others(module: AnsibleModule, database: Database, name: str) -> None:
    """A new role may take the place of another one, which could still log in."""
    others = database.rows(
        "SELECT rolname FROM pg_roles WHERE rolreplication AND rolcanlogin AND NOT rolsuper AND rolname <> %s "
        "ORDER BY 1",
        [name],
    )
    if others:
        module.warn(
            f"{', '.join(row['rolname'] for row in others)} may log in for replication, too. What {name!r} replaces of "
            "them can still do so: once no server uses it any more, DROP ROLE it, or ALTER ROLE it with NOLOGIN."
        )


def grant_statement(name: str, functions: t.Iterable[str]) -> str:
    """What lets a role that is no superuser be pg_rewind's on its source (manual, pg_rewind).

    >>> grant_statement("replica", ["pg_catalog.pg_stat_file(text,boolean)"])
    'GRANT EXECUTE ON FUNCTION pg_catalog.pg_stat_file(text,boolean) TO "replica"'
    """
    return f"GRANT EXECUTE ON FUNCTION {', '.join(functions)} TO {quote_identifier(name)}"


def revoke_statement(name: str, functions: t.Iterable[str]) -> str:
    """What takes those grants back, without which the role cannot be dropped.

    >>> revoke_statement("replica", ["pg_catalog.pg_stat_file(text,boolean)"])
    'REVOKE ALL ON FUNCTION pg_catalog.pg_stat_file(text,boolean) FROM "replica"'
    """
    return f"REVOKE ALL ON FUNCTION {', '.join(functions)} FROM {quote_identifier(name)}"


def explained(error: DatabaseError) -> DatabaseError:
    """An error while looking, with what to do about it."""
    if error.sqlstate == _INSUFFICIENT_PRIVILEGE:
        return DatabaseError(
            f"{error.message}. Only a superuser may look at roles for replication and at what is stored of their "
            "passwords: log in as one (login_user, pgtandem_login_user).",
            sqlstate=error.sqlstate,
        )
    if (error.sqlstate or "").startswith("22"):
        return DatabaseError(
            f"valid_until is no date that the server understands: {error.message}. Write it as "
            "2030-12-31 23:59:59+00, or infinity.",
            sqlstate=error.sqlstate,
        )
    return error


def apply_plan(database: Database, request: RoleRequest, plan: RolePlan, method: str, secrets: set[str]) -> str:
    """Run the plan's statement and return it as it may be shown. The verifier joins C(secrets), which never leave."""
    verifier = None
    if plan.set_password:
        verifier = database.encrypt_password(password=request.password or "", role=request.name, method=method)
        secrets.add(verifier)
    statement = build_statement(request, plan, verifier)
    prepare_session(database, secret=verifier is not None)
    try:
        database.execute(statement.sql, statement.parameters)
    except DatabaseError as error:
        told = error.message.replace(verifier, HIDDEN) if verifier else error.message
        # Not chained: the driver's own text may quote the statement.
        raise DatabaseError(f"The server refused {statement.shown}: {told}", sqlstate=error.sqlstate) from None
    return statement.shown


def report(
    module: AnsibleModule, request: RoleRequest, before: RoleState, plan: RolePlan, queries: list[str]
) -> dict[str, t.Any]:
    """The module's result."""
    for warning in plan.warnings:
        module.warn(warning)
    result: dict[str, t.Any] = {
        "changed": bool(plan.verb or plan.grants),
        "role": shown_state(request.name, plan.after),
        "actions": list(plan.actions),
        "queries": queries,
    }
    if module._diff:
        result["diff"] = role_diff(request.name, before, plan)
    return result
