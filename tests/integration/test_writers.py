# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the collection writes into files, read by a real server and a real libpq."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import psycopg2
import psycopg2.extensions
import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._values.conf import render_settings
from ansible_collections.pgtandem.replication.plugins.module_utils._values.hba import (
    IdentRule,
    peer_address,
    render_ident,
    render_rule,
    rule_from,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.quoting import format_conninfo, passfile_line
from conftest import SERVERS, Cluster, MakeCluster

VALUES = [
    "plain", " ", "'", "\\", "''", "\\'", "it's", "trailing\\", ":", '"', "#", "# x", "%", "a=b", "a\tb", " lead",
    "trail ", "päß 日本'\\x", "\ufb01", "x" * 200, "{{ x }}", "$HOME", "\\n", "\\047", "a,b", "@x", "+x", "*", "\\\\",
    "a:b\\:c", "\x01", "a\xa0b",
]  # fmt: skip
NAMES = [value for value in VALUES if "\x01" not in value and "\t" not in value and len(value) < 64]


@pytest.fixture(scope="module", params=SERVERS)
def cluster(request: pytest.FixtureRequest, make_cluster: MakeCluster) -> Cluster:
    return make_cluster(request.param)


def rows(cluster: Cluster, query: str) -> list[dict[str, t.Any]]:
    return t.cast(
        "list[dict[str, t.Any]]", json.loads(cluster.psql(f"SELECT coalesce(json_agg(x), '[]') FROM ({query}) x"))
    )


def write(cluster: Cluster, name: str, text: str) -> None:
    path = cluster.data_directory / name
    path.write_text(text, encoding="utf-8")


def test_the_server_reads_settings_as_they_were_meant(cluster: Cluster) -> None:
    conninfo = {f"s{number}": format_conninfo({"host": "a", "user": value}) for number, value in enumerate(VALUES)}
    values = {**{f"v{number}": value for number, value in enumerate(VALUES)}, **conninfo}
    write(cluster, "writers.conf", render_settings({f"w.{name}": value for name, value in values.items()}, ("x",)))
    cluster.configure(include="writers.conf")
    read = rows(cluster, "SELECT name, setting, error FROM pg_file_settings WHERE name LIKE 'w.%'")
    assert {row["name"][2:]: row["setting"] for row in read} == values
    for number, value in enumerate(VALUES):
        dsn = next(row["setting"] for row in read if row["name"] == f"w.s{number}")
        assert psycopg2.extensions.parse_dsn(dsn) == {"host": "a", "user": value}


def test_the_server_reads_rules_as_they_were_meant(cluster: Cluster) -> None:
    addresses = ["10.0.0.1", "::1", "pg-2.example.com"]
    rules = [
        rule_from({"database": name, "user": name, "address": peer_address(address), "method": "md5"})
        for name in NAMES
        for address in addresses
    ]
    path = cluster.data_directory / "pg_hba.conf"
    own = path.read_text(encoding="utf-8")
    write(cluster, "pg_hba.conf", own + "".join(render_rule(rule) + "\n" for rule in rules))
    read = rows(
        cluster,
        "SELECT database, user_name, coalesce(address, '') AS address, auth_method, options, error"
        " FROM pg_hba_file_rules WHERE user_name <> ARRAY['all'] OR error IS NOT NULL ORDER BY line_number",
    )
    write(cluster, "pg_hba.conf", own)
    meant = [
        ([name] if name != "a,b" else ["a", "b"], address, "md5", None, None) for name in NAMES for address in addresses
    ]
    assert [
        (row["user_name"], row["address"], row["auth_method"], row["options"], row["error"]) for row in read
    ] == meant
    assert [row["database"] for row in read] == [names for names, *_others in meant]


def test_the_server_reads_maps_as_they_were_meant(cluster: Cluster) -> None:
    if not cluster.psql("SELECT to_regclass('pg_catalog.pg_ident_file_mappings')"):
        pytest.skip("PostgreSQL before 15 does not show what it reads of pg_ident.conf")
    names = [name for name in NAMES if '"' not in name]
    write(cluster, "pg_ident.conf", "".join(render_ident(IdentRule("m", name, name)) + "\n" for name in names))
    read = rows(
        cluster, "SELECT map_name, sys_name, pg_username, error FROM pg_ident_file_mappings ORDER BY line_number"
    )
    assert [tuple(row.values()) for row in read] == [("m", name, name, None) for name in names]


def test_libpq_reads_password_files_as_they_were_meant(cluster: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "passfile"
    for number, value in enumerate(NAMES):
        literal = value.replace("'", "''")
        role = f"{value}{number}"
        cluster.psql(
            f"SET standard_conforming_strings = on; SET password_encryption = 'scram-sha-256';"
            f"CREATE ROLE \"{role.replace(chr(34), chr(34) * 2)}\" LOGIN PASSWORD '{literal}'"
        )
    lines = [
        passfile_line(host="127.0.0.1", port=cluster.port, user=f"{value}{number}", password=value)
        for number, value in enumerate(NAMES)
    ]
    path.write_text("# a comment\n" + "\n".join(lines) + "\n", encoding="utf-8")
    path.chmod(0o600)
    for number, value in enumerate(NAMES):
        with psycopg2.connect(
            host="127.0.0.1",
            port=cluster.port,
            user=f"{value}{number}",
            dbname="postgres",
            passfile=str(path),
        ) as session, session.cursor() as cursor:
            cursor.execute("SELECT 1")
