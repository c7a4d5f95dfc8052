# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Advice is given where the cause is known, and left out elsewhere."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._system.startup import (
    REFUSED,
    UNREACHABLE,
    UNRESOLVED,
    Answer,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.login_advice import (
    local_login_advice,
    login_advice,
)

GERMAN = "Verbindung zum Server auf »192.0.2.1« fehlgeschlagen: FATAL:  Passwort-Authentifizierung fehlgeschlagen"


@pytest.mark.parametrize(
    ("message", "answer", "word"),
    [
        ("FATAL:  password authentication failed for user", Answer(asks=True), "pgtandem_replication_password"),
        (GERMAN, Answer(asks=True), ""),
        (GERMAN, Answer(sqlstate="28000"), "pg_hba.conf"),
        (GERMAN, Answer(sqlstate="57P03"), "wait for it"),
        (GERMAN, Answer(sqlstate="53300"), "max_wal_senders"),
        (GERMAN, Answer(failed=REFUSED), "listen_addresses"),
        (GERMAN, Answer(failed=UNRESOLVED), "pgtandem_address"),
        (GERMAN, Answer(failed=UNREACHABLE), "firewall"),
        (GERMAN, Answer(silent=True), "firewall"),
        (GERMAN, Answer(), ""),
        (GERMAN, Answer(sqlstate="XX000"), ""),
    ],
)
def test_a_login_for_replication(message: str, answer: Answer, word: str) -> None:
    advice = login_advice(message, answer)
    assert word in advice and bool(advice) == bool(word)


@pytest.mark.parametrize(
    ("answer", "given", "word"),
    [
        (Answer(silent=True), {}, "kill -CONT"),
        (Answer(asks=True), {}, "Set login_user"),
        (Answer(asks=True), {"password": True}, "login_db"),
        (Answer(asks=True), {"options": True}, "connect_params"),
        (Answer(admits=True), {"options": True}, "connect_params"),
        (Answer(admits=True), {}, ""),
        (Answer(sqlstate="28000"), {}, "Set login_user"),
        (Answer(sqlstate="57P03"), {}, "accepts connections"),
        (Answer(sqlstate="53300"), {}, "superuser_reserved_connections"),
        (Answer(sqlstate="3D000"), {}, "pgtandem_login_db"),
        (Answer(failed=REFUSED), {}, "login_port"),
        (Answer(), {}, ""),
    ],
)
def test_a_login_on_the_host_itself(answer: Answer, given: dict[str, t.Any], word: str) -> None:
    advice = local_login_advice(answer, **given)
    assert word in advice and bool(advice) == bool(word)
    assert ("Set login_user" in advice) == (word == "Set login_user")
