# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers that a server, a program or PostgreSQL's account wrote: what is none is refused or nothing, and no traceback.

A digit for C(isdigit) is none for C(int), and C(int) takes no more than 4300 of them.
"""

from __future__ import annotations

import contextlib
import time
import typing as t

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._status.observation import parse_history, upstream_of
from ansible_collections.pgtandem.replication.plugins.module_utils._system.database import _identity_of
from ansible_collections.pgtandem.replication.plugins.module_utils._system.processes import parse_postmaster_pid
from ansible_collections.pgtandem.replication.plugins.module_utils._values.parameters import milliseconds, whole_number
from ansible_collections.pgtandem.replication.plugins.module_utils._values.scram import password_fits
from ansible_collections.pgtandem.replication.plugins.module_utils._values.standby_names import parse_names
from ansible_collections.pgtandem.replication.plugins.module_utils._versions import parse_program_version
from ansible_collections.pgtandem.replication.plugins.plugin_utils._report.findings import _number

KEY = "A" * 43 + "="

READERS: dict[str, t.Callable[[str], object]] = {
    "whole_number": whole_number,
    "milliseconds": milliseconds,
    "finding": _number,
    "pid": lambda text: parse_postmaster_pid(f"{text}\n/d\n1\n5432\n"),
    "port of postmaster.pid": lambda text: parse_postmaster_pid(f"1\n/d\n1\n{text}\n"),
    "start": lambda text: parse_postmaster_pid(f"1\n/d\n{text}\n5432\n"),
    "timeline of a history": lambda text: parse_history(f"{text}\t0/3000148\tno reason\n"),
    "port of primary_conninfo": lambda text: upstream_of(f"host=pg1 port={text}"),
    "count of standbys": lambda text: parse_names(f"ANY {text} (a, b)"),
    "version": lambda text: parse_program_version(f"postgres (PostgreSQL) {text}"),
    "iterations": lambda text: password_fits(password="x", role="r", verifier=f"SCRAM-SHA-256${text}:A$A:A"),
}


@pytest.mark.parametrize("text", ["\u00b2", "9" * 5000, "-1", ""], ids=["no digit", "too long", "negative", "empty"])
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_number_is_refused_or_nothing(reader: str, text: str) -> None:
    with contextlib.suppress(ReplicationError):
        READERS[reader](text)


def test_a_verifier_does_not_hold_a_run_up() -> None:
    """A superuser of the server can write one that asks for minutes of work at every comparison."""
    began = time.monotonic()
    assert not password_fits(password="x", role="r", verifier=f"SCRAM-SHA-256$2147483647:{KEY}${KEY}:{KEY}")
    assert not password_fits(password="x", role="r", verifier=f"SCRAM-SHA-256$4096:A${KEY}:{KEY}")
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("answer", [(), ("7",), ("x", "1", "0/1"), ("7", "\u00b2", "0/1"), ("7", "1", "here")])
def test_what_does_not_say_which_cluster_it_is_is_refused(answer: tuple[str, ...]) -> None:
    with pytest.raises(ReplicationError):
        _identity_of(answer, 150000)
