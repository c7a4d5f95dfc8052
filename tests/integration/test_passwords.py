# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Does the comparison of passwords agree with a real server's own verifiers?"""

from __future__ import annotations

import random

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._values.scram import password_fits, verifier_kind
from conftest import SERVERS, MakeCluster

#: Each letter is one that saslprep treats in its own way, or one of ASCII.
LETTERS = (
    "aZ09 '\"\\:%#$\t"
    "\u00a0\u2003\u200b\u3000"  # spaces
    "\u00ad\u200c\u200d\ufeff\u1806"  # mapped to nothing
    "\u00aa\u2168\ufb01\u2126\u212b\uff21\u00b2e\u0301"  # normalised to something else
    "\u05d0\u0627\u0661\u05be"  # right to left, and a digit that is neither
    "\u0080\u200e\ue000\ufffd\u2ff0\U000e0041"  # prohibited
    "\u0221\u1e9e\U0001f600\U0001f130"  # not assigned in the standard's Unicode
    "\u00e4\u00df\u65e5\u672c\u0416\U00010400"
)


def passwords() -> list[str]:
    """Each letter alone and between others, and a few hundred mixtures that are the same at every run."""
    chance = random.Random(4)
    mixed = ["".join(chance.choices(LETTERS, k=chance.randint(1, 8))) for _unused in range(300)]
    single = {text for letter in LETTERS for text in (letter, f"x{letter}y", f"\u05d0{letter}\u05d0")}
    return sorted(single | set(mixed))


@pytest.mark.same_on_every_version
@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("method", ["scram-sha-256", "md5"])
def test_every_password_fits_the_servers_own_verifier(make_cluster: MakeCluster, server: str, method: str) -> None:
    cluster = make_cluster(server, password_encryption=method, log_statement="none", log_min_duration_statement="-1")
    tried = passwords()
    hexed = ", ".join(f"'{text.encode().hex()}'" for text in tried)
    rows = cluster.psql(
        "DO $$ DECLARE word text; BEGIN CREATE TABLE seen (word text, verifier text); CREATE ROLE r; "
        f"FOREACH word IN ARRAY ARRAY[{hexed}] LOOP "
        "EXECUTE format('ALTER ROLE r PASSWORD %L', convert_from(decode(word, 'hex'), 'UTF8')); "
        "INSERT INTO seen SELECT word, rolpassword FROM pg_authid WHERE rolname = 'r'; "
        "END LOOP; END $$; SELECT word, verifier FROM seen"
    ).splitlines()
    wrong = []
    for row in rows:
        word, verifier = row.split("|")
        text = bytes.fromhex(word).decode()
        assert verifier_kind(verifier) == method
        if not password_fits(password=text, role="r", verifier=verifier):
            wrong.append(ascii(text))
        assert not password_fits(password=text + "x", role="r", verifier=verifier)
    assert len(rows) == len(tried)
    assert wrong == []
