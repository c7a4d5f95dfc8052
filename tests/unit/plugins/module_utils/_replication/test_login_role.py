# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The decisions about the replication role."""

from __future__ import annotations

import dataclasses
import typing as t

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import DatabaseError, ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._replication.login_role import (
    HIDDEN,
    RoleEvidence,
    RolePlan,
    RoleRequest,
    RoleState,
    build_statement,
    explained,
    plan_role,
    request_from,
    role_diff,
    shown_state,
)

MADE = RoleState(True, login=True, replication=True, password="scram-sha-256")
MISSING = RoleEvidence(RoleState(False))


def seen(*, fits: bool = True, method: str = "scram-sha-256", **state: t.Any) -> RoleEvidence:
    """An existing role that is as it should be, but for what is said."""
    return RoleEvidence(dataclasses.replace(MADE, **state), method=method, password_fits=fits, valid_until_fits=True)


def wants(**values: t.Any) -> RoleRequest:
    return RoleRequest("replica", **values)


PASSWORD = {"password": "secret"}


@pytest.mark.parametrize(
    ("request_", "evidence", "verb", "options", "sets_password"),
    [
        pytest.param(wants(), MISSING, "CREATE ROLE", ("LOGIN", "REPLICATION"), False, id="create-without-password"),
        pytest.param(wants(**PASSWORD), MISSING, "CREATE ROLE", ("LOGIN", "REPLICATION"), True, id="create"),
        pytest.param(
            wants(**PASSWORD, only_on_create=True), MISSING, "CREATE ROLE", ("LOGIN", "REPLICATION"), True,
            id="create-on-create",
        ),
        pytest.param(
            wants(connection_limit=3), MISSING, "CREATE ROLE", ("LOGIN", "REPLICATION", "CONNECTION LIMIT 3"), False,
            id="create-with-limit",
        ),
        pytest.param(wants(**PASSWORD), seen(), "", (), False, id="as-described"),
        pytest.param(wants(), seen(fits=False, password=None), "", (), False, id="password-not-said"),
        pytest.param(wants(**PASSWORD), seen(fits=False), "ALTER ROLE", (), True, id="another-password"),
        pytest.param(wants(**PASSWORD), seen(fits=False, password=None), "ALTER ROLE", (), True, id="no-password-yet"),
        pytest.param(
            wants(**PASSWORD), seen(fits=False, password="unknown"), "ALTER ROLE", (), True, id="stored-in-clear"
        ),
        pytest.param(
            wants(**PASSWORD, only_on_create=True), seen(fits=False), "", (), False, id="another-password-on-create"
        ),
        pytest.param(wants(**PASSWORD), seen(password="md5"), "ALTER ROLE", (), True, id="md5-becomes-scram"),
        pytest.param(
            wants(**PASSWORD, only_on_create=True), seen(password="md5"), "", (), False, id="md5-stays-on-create"
        ),
        pytest.param(wants(**PASSWORD), seen(password="md5", method="md5"), "", (), False, id="md5-server"),
        pytest.param(wants(**PASSWORD), seen(method="md5"), "", (), False, id="scram-never-becomes-md5"),
        pytest.param(wants(), seen(login=False), "ALTER ROLE", ("LOGIN",), False, id="no-login"),
        pytest.param(wants(), seen(replication=False), "ALTER ROLE", ("REPLICATION",), False, id="no-replication"),
        pytest.param(
            wants(connection_limit=5), seen(), "ALTER ROLE", ("CONNECTION LIMIT 5",), False, id="limit-differs"
        ),
        pytest.param(wants(connection_limit=-1), seen(), "", (), False, id="no-limit-as-it-is"),
        pytest.param(wants(connection_limit=0), seen(connection_limit=0), "", (), False, id="limit-zero-as-it-is"),
        pytest.param(wants(), seen(connection_limit=2), "", (), False, id="limit-not-said"),
        pytest.param(wants(), seen(superuser=True), "", (), False, id="superuser-is-left-so"),
        pytest.param(wants(present=False), MISSING, "", (), False, id="absent-as-it-is"),
        pytest.param(wants(present=False), seen(), "DROP ROLE", (), False, id="drop"),
    ],
)  # fmt: skip
def test_plan(
    request_: RoleRequest, evidence: RoleEvidence, verb: str, options: tuple[str, ...], sets_password: bool
) -> None:
    plan = plan_role(request_, evidence)
    assert (plan.verb, plan.options, plan.set_password) == (verb, options, sets_password)
    assert bool(plan.actions) == bool(verb)
    assert not plan.blockers
    assert plan.after.exists == request_.present


def test_every_step_to_a_lacking_role_is_told() -> None:
    plan = plan_role(
        wants(password="secret", connection_limit=4, valid_until="2030-01-01"),
        dataclasses.replace(seen(fits=False, login=False, replication=False), valid_until_fits=False),
    )
    assert plan.actions == (
        "Grant LOGIN to the role replica",
        "Grant REPLICATION to the role replica",
        "Set the connection limit of the role replica to 4",
        "Set the end of validity of the role replica to 2030-01-01",
        "Set the password of the role replica as scram-sha-256, which differs",
    )
    assert build_statement(wants(valid_until="2030-01-01"), plan, "VERIFIER").shown == (
        f"ALTER ROLE \"replica\" LOGIN REPLICATION CONNECTION LIMIT 4 VALID UNTIL '2030-01-01' PASSWORD '{HIDDEN}'"
    )


@pytest.mark.parametrize(
    ("state", "word"),
    [("superuser", "SUPERUSER"), ("create_role", "CREATEROLE"), ("create_db", "CREATEDB")]
    + [("bypass_row_security", "BYPASSRLS")],
)
def test_more_than_replication_needs_is_a_warning(state: str, word: str) -> None:
    (warning,) = plan_role(wants(), seen(**{state: True})).warnings
    assert word in warning


def test_a_validity_that_is_over_is_a_warning() -> None:
    over = seen(expired=True, valid_until="2020-01-01 00:00:00+00")
    assert "2020-01-01" in plan_role(wants(), over).warnings[0]
    longer = dataclasses.replace(over, valid_until_fits=False)
    assert plan_role(wants(valid_until="2099-01-01"), longer).warnings == ()
    passed = dataclasses.replace(longer, valid_until="2021-01-01", valid_until_passed=True)
    assert "2021-01-01" in plan_role(wants(valid_until="2021-01-01"), passed).warnings[0]


@pytest.mark.parametrize(
    ("request_", "evidence", "text"),
    [
        pytest.param(wants(), dataclasses.replace(MISSING, in_recovery=True), "is missing", id="missing"),
        pytest.param(
            wants(), dataclasses.replace(seen(login=False), in_recovery=True), "does not fit", id="another-state"
        ),
        pytest.param(wants(present=False), dataclasses.replace(seen(), in_recovery=True), "is there", id="drop"),
        pytest.param(wants(**PASSWORD), dataclasses.replace(seen(), in_recovery=True), None, id="as-described"),
        pytest.param(wants(present=False), dataclasses.replace(MISSING, in_recovery=True), None, id="absent"),
    ],
)
def test_a_standby_is_only_looked_at(request_: RoleRequest, evidence: RoleEvidence, text: str | None) -> None:
    blockers = plan_role(request_, evidence).blockers
    if text is None:
        assert blockers == ()
    else:
        assert text in blockers[0] and "primary" in blockers[0]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        pytest.param({"senders": ("WAL sender 7 (streaming) of pg2 at 10.0.0.2",)}, "WAL sender 7", id="in-use"),
        pytest.param({"dependents": ("owner of table t",)}, "owner of table t", id="owns"),
        pytest.param({"is_own_session": True}, "login_user", id="own-session"),
    ],
)
def test_a_role_that_is_needed_is_not_dropped(values: dict[str, t.Any], text: str) -> None:
    plan = plan_role(wants(present=False), dataclasses.replace(seen(), **values))
    assert text in plan.blockers[0]


def parameters(**values: t.Any) -> dict[str, t.Any]:
    return {
        "name": "replica",
        "state": "present",
        "password": None,
        "connection_limit": None,
        "valid_until": None,
        "update_password": "always",
        "rewind": False,
        **values,
    }


@pytest.mark.parametrize(
    ("values", "text"),
    [
        pytest.param({"password": ""}, "empty", id="empty"),
        pytest.param({"password": "geheim\n"}, "line break", id="newline"),
        pytest.param({"password": "geheim\r"}, "line break", id="carriage-return"),
        pytest.param({"password": "ge\0heim"}, "zero byte", id="nul"),
        pytest.param({"password": "geheim\udce4"}, "UTF-8", id="not-utf-8"),
        pytest.param({"password": "md5" + "0" * 32}, "verifier", id="md5-verifier"),
        pytest.param({"name": ""}, "empty", id="no-name"),
        pytest.param({"name": "ä" * 32}, "63 bytes", id="long-name"),
        pytest.param({"name": "pg_replica"}, "reserves", id="reserved-prefix"),
        pytest.param({"name": "public"}, "reserves", id="reserved"),
        pytest.param({"connection_limit": -2}, "-1", id="limit"),
        pytest.param({"valid_until": "Tomorrow"}, "every run", id="relative-date"),
    ],
)
def test_bad_input_is_refused(values: dict[str, t.Any], text: str) -> None:
    with pytest.raises(ReplicationError) as refused:
        request_from(parameters(**values))
    assert text in refused.value.message
    assert "geheim" not in refused.value.message


@pytest.mark.parametrize("password", ["' \" \\ : % # $ {{ x }}", " ", "päß", "x" * 1000, "md5"])
def test_any_other_password_is_taken_as_it_is(password: str) -> None:
    assert request_from(parameters(password=password)).password == password


def test_a_password_does_not_matter_to_drop_a_role() -> None:
    assert not request_from(parameters(state="absent", password="")).present


@pytest.mark.parametrize(
    ("plan", "sql", "values"),
    [
        pytest.param(RolePlan(verb="DROP ROLE"), 'DROP ROLE "5%""s"', (), id="without-parameters"),
        pytest.param(
            RolePlan(verb="ALTER ROLE", set_password=True), 'ALTER ROLE "5%%""s" PASSWORD %s', ("V",), id="with-them"
        ),
    ],
)
def test_the_statement_quotes_the_name(plan: RolePlan, sql: str, values: tuple[str, ...]) -> None:
    statement = build_statement(RoleRequest('5%"s', password="p"), plan, "V")
    assert (statement.sql, statement.parameters) == (sql, values)
    assert '"5%""s"' in statement.shown


def test_the_diff_tells_that_the_password_changes_and_nothing_more() -> None:
    before = seen(fits=False).state
    diff = role_diff("replica", before, plan_role(wants(**PASSWORD), seen(fits=False)))
    assert diff["before"]["password"] == "not shown (scram-sha-256)"
    assert diff["after"]["password"] == "not shown (scram-sha-256, new)"
    assert shown_state("replica", RoleState(False)) == {"name": "replica", "exists": False}


@pytest.mark.parametrize(
    ("state", "text"),
    [("42501", "superuser"), ("22007", "valid_until"), ("57014", "the server's line"), (None, "the server's line")],
)
def test_errors_while_looking_say_what_to_do(state: str | None, text: str) -> None:
    assert text in explained(DatabaseError("the server's line", sqlstate=state)).message
