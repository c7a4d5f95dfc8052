# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What follows from pgtandem_tls, and when a certificate is to be replaced."""

from __future__ import annotations

import datetime
import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.live import live_members
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.authority import (
    ensure_authority,
    folder_of,
    read_authority,
)
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.tls_arguments import (
    controller_problems,
    tls_arguments,
)
from ansible_collections.pgtandem.replication.plugins.plugin_utils._gate.settlement import settle
from ansible_collections.pgtandem.replication.plugins.plugin_utils._report.findings import Limits, findings
from ansible_collections.pgtandem.replication.plugins.plugin_utils._tls.certificates import (
    Certificate,
    Pair,
    certificates_in,
    issue,
    make_authority,
    why_issue,
)
from ansible_collections.pgtandem.replication.plugins.plugin_utils._tls.policy import server_names
from nodes import Node, host, seen, sender

NOW = datetime.datetime(2026, 11, 22, 12, tzinfo=datetime.timezone.utc)
DAY = datetime.timedelta(days=1)
AUTHORITY = make_authority("main", now=NOW)
OTHER = make_authority("other", now=NOW)


def pair(tls: t.Any, version: str = "15", **more: t.Any) -> list[Node]:
    instance = {"version": version, "layout": "debian", "data_directory": "/data"}
    return [
        seen(host("pg1", "primary", tls=tls, **more), "primary", instance=instance),
        seen(host("pg2", tls=tls, **more), "standby", instance=instance),
    ]


def plan(tls: t.Any, version: str = "15", **more: t.Any) -> dict[str, t.Any]:
    return t.cast("dict[str, t.Any]", settle(pair(tls, version, **more))["nodes"]["pg2"])


def rules(made: dict[str, t.Any]) -> list[str]:
    keys = ("type", "database", "user", "address", "method", "options")
    return [" ".join(rule[key] for key in keys if rule.get(key)) for rule in made["hba_rules"]]


REJECTED = ["hostnossl replication replica all reject", "hostnossl all replica all reject"]
BOTH = ["replication replica 10.0.0.1/32", "replication replica 10.0.0.2/32"]


@pytest.mark.parametrize(
    ("tls", "version", "expected", "options"),
    [
        pytest.param({}, "15", [f"{rule} auto" for rule in BOTH], {}, id="left alone"),
        pytest.param(
            {"mode": "disable"}, "15", [f"{rule} auto" for rule in BOTH], {"sslmode": "disable"}, id="turned off"
        ),
        pytest.param(
            {"mode": "prefer", "directory": "/ca"},
            "15",
            [f"{rule} auto" for rule in BOTH],
            {"sslmode": "prefer", "sslrootcert": "/data.tls/authority.pem"},
            id="nice to have",
        ),
        pytest.param(
            {"directory": "/ca"},
            "15",
            [f"hostssl {rule} auto" for rule in BOTH] + REJECTED,
            {"sslmode": "verify-full", "sslrootcert": "/data.tls/authority.pem"},
            id="insisted on",
        ),
        pytest.param(
            {"directory": "/ca", "authentication": "certificate"},
            "15",
            [f"hostssl {rule} cert map=pgtandem" for rule in BOTH] + REJECTED,
            {
                "sslmode": "verify-full",
                "sslrootcert": "/data.tls/authority.pem",
                "sslcert": "/data.tls/client.pem",
                "sslkey": "/data.tls/client.pem",
            },
            id="by certificate",
        ),
        pytest.param(
            {"directory": "/ca", "authentication": "both"},
            "12",
            [f"hostssl {rule} auto clientcert=verify-full" for rule in BOTH] + REJECTED,
            None,
            id="by both",
        ),
        pytest.param(
            {"directory": "/ca", "authentication": "both"},
            "11",
            [f"hostssl {rule} auto clientcert=1" for rule in BOTH] + REJECTED,
            None,
            id="by both on 11",
        ),
        pytest.param(
            {"source": "host", "mode": "require", "certificate": "/etc/a.crt", "key": "/etc/a.key"},
            "15",
            [f"hostssl {rule} auto" for rule in BOTH] + REJECTED,
            {"sslmode": "require"},
            id="files on the host without an authority",
        ),
    ],
)
def test_rules_and_options_follow(
    tls: t.Any, version: str, expected: list[str], options: dict[str, str] | None
) -> None:
    made = plan(tls, version)
    # Those for the database that pg_rewind logs in to follow the same way.
    assert [rule for rule in rules(made) if "postgres" not in rule] == expected
    # What is demanded of the other side besides is not of TLS alone (test_upstream_login.py).
    found = {key: value for key, value in made["connection_options"].items() if key.startswith("ssl")}
    assert options is None or found == options


def test_the_map_knows_every_host() -> None:
    made = plan({"directory": "/ca", "authentication": "certificate"})
    assert [rule["system_user"] for rule in made["ident_rules"]] == ["pg1", "pg2"]
    assert {rule["role"] for rule in made["ident_rules"]} == {"replica"}
    assert plan({"directory": "/ca", "authentication": "both"})["ident_rules"] == []
    assert plan({"directory": "/ca", "authentication": "both"})["tls"]["client_name"] == "replica"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("10.0.0.1", ["DNS:10.0.0.1", "DNS:db.example.com", "DNS:pg1", "IP:10.0.0.1"]),
        ("db1.example.com", ["DNS:db.example.com", "DNS:db1.example.com", "DNS:pg1"]),
        ("fe80::1", ["DNS:db.example.com", "DNS:pg1", "IP:fe80::1"]),
    ],
)
def test_a_certificate_is_for_every_way_to_the_host(address: str, expected: list[str]) -> None:
    node = host("pg1", "primary", address=address, tls={"names": ["db.example.com"], "directory": "/ca"})
    assert server_names(node) == expected


@pytest.mark.parametrize(
    ("tls", "more", "words"),
    [
        ("yes", {}, "it is a dictionary"),
        ({"mode": "full"}, {}, "it is one of disable"),
        ({"sorce": "host"}, {}, "has no sorce"),
        ({"days": "many", "directory": "/ca"}, {}, "a whole number of days"),
        ({"mode": "allow", "authentication": "both", "directory": "/ca"}, {}, "come without TLS"),
        ({}, {"tls": {"mode": "require"}}, "needs directory"),
        ({"directory": "/ca"}, {"connection_options": {"sslmode": "require"}}, "leave it in one"),
        ({"directory": "/ca"}, {"parameters": {"SSL": True}}, "leave it in one"),
        ({"directory": "/ca", "key": "/a"}, {}, "makes certificates of its own"),
        ({"source": "controller", "certificate": "a", "key": "b"}, {}, "needs authority"),
        ({"source": "host", "mode": "require", "certificate": "a", "key": "/b"}, {}, "absolute paths"),
    ],
)
def test_what_cannot_be_stops(tls: t.Any, more: dict[str, t.Any], words: str) -> None:
    with pytest.raises(ReplicationError, match=words):
        settle(pair(**{"tls": tls, **more}))


# --- Certificates ---


def issued(**changes: t.Any) -> dict[str, t.Any]:
    """What is seen of a certificate on a host."""
    values: dict[str, t.Any] = {"common_name": "pg1", "names": ["DNS:pg1"], "days": 365, "now": NOW, **changes}
    authority = values.pop("authority", AUTHORITY)
    made = issue(authority, server=True, **values)
    return {"certificate": made.certificate, "usable": changes.get("usable", True), "path": "/data.tls/server.pem"}


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (None, "there is none yet"),
        (issued(), None),
        ({**issued(), "usable": False}, "its key is missing or belongs to another"),
        (issued(authority=OTHER), "another authority signed it"),
        (issued(common_name="pg9"), "it names 'pg9'"),
        (issued(names=["DNS:old"]), "it is for DNS:old"),
        (issued(names=[]), "it is for no address"),
        (issued(days=20), "it expires on 2026-12-12"),
        (issued(days=1, now=NOW - 9 * DAY), "it expired on 2026-11-14"),
    ],
)
def test_when_a_certificate_is_replaced(found: dict[str, t.Any] | None, reason: str | None) -> None:
    said = why_issue(
        found,
        authority=Certificate(AUTHORITY.certificate),
        common_name="pg1",
        names=["DNS:pg1"],
        renew_days=30,
        now=NOW,
    )
    assert said == reason


def test_a_certificate_says_what_was_asked() -> None:
    made = issue(AUTHORITY, common_name="pg1", names=["DNS:pg1", "IP:fe80::1"], server=True, days=7, now=NOW)
    read = certificates_in(made.key + made.certificate + AUTHORITY.certificate)
    assert len(read) == 2 and read[0].names == ["DNS:pg1", "IP:fe80::1"]
    assert read[0].belongs_to(made.key) and not read[0].belongs_to(OTHER.key)
    assert read[0].signed_by(read[1]) and not read[0].signed_by(Certificate(OTHER.certificate))
    assert round(read[0].days_left(NOW)) == 7
    with pytest.raises(ReplicationError, match="no private key in PEM"):
        read[0].belongs_to("-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----")


def test_an_authority_is_made_once_and_closed_to_others(tmp_path: Path) -> None:
    assert read_authority(str(tmp_path / "ca"), "main") is None
    made = ensure_authority(str(tmp_path / "ca"), "main", now=NOW)
    assert ensure_authority(str(tmp_path / "ca"), "main", now=NOW + DAY) == made
    assert oct((tmp_path / "ca/main").stat().st_mode & 0o7777) == "0o700"
    assert oct((tmp_path / "ca/main/authority.pem").stat().st_mode & 0o7777) == "0o600"
    assert ensure_authority(str(tmp_path / "ca"), "other", now=NOW) != made
    (tmp_path / "ca/main/authority.pem").write_text(made.certificate, encoding="utf-8")
    with pytest.raises(ReplicationError, match="does not hold one certificate and its key"):
        read_authority(str(tmp_path / "ca"), "main")


@pytest.mark.parametrize("cluster", ["..", ".", "a/b", "über"])
def test_a_clusters_folder_stays_inside(cluster: str, tmp_path: Path) -> None:
    folder = Path(folder_of(str(tmp_path), cluster))
    assert folder.resolve().parent == tmp_path.resolve()


def sent(tmp_path: Path, placed: dict[str, t.Any], *, check_mode: bool = False, **changes: t.Any) -> t.Any:
    values = {
        "source": "managed",
        "directory": str(tmp_path),
        "cluster": "main",
        "common_name": "pg1",
        "names": ["DNS:pg1"],
        "client_name": "pg1",
        "days": 365,
        "renew_days": 30,
        "new_authority": False,
        "files": {},
        "seen": {"placed": placed},
    }
    return tls_arguments({**values, **changes}, check_mode=check_mode)


def test_what_is_good_is_not_sent_again(tmp_path: Path) -> None:
    foreseen = sent(tmp_path, {}, check_mode=True)
    assert foreseen.actions and foreseen.options["tls_key"] is None and not list(tmp_path.iterdir())
    first = sent(tmp_path, {})
    assert len(first.actions) == 2 and certificates_in(first.options["tls"]["certificate"])[0].belongs_to(
        first.options["tls_key"]
    )
    placed = {
        "server": {"certificate": first.options["tls"]["certificate"], "usable": True},
        "client": {"certificate": first.options["tls"]["client_certificate"], "usable": True},
        "authority": {"certificate": first.options["tls"]["authority"], "usable": None},
    }
    again = sent(tmp_path, placed)
    assert again.actions == [] and again.options["tls"]["certificate"] is None and again.options["tls_key"] is None
    assert again.options["tls"]["authority"] == first.options["tls"]["authority"]
    renamed = sent(tmp_path, placed, names=["DNS:pg1", "IP:10.0.0.1"])
    assert renamed.actions == ["issue a certificate for the server: it is for DNS:pg1"]
    assert renamed.options["tls"]["certificate"] and renamed.options["tls"]["client_certificate"] is None


def test_an_authority_stays_closed_and_out_of_git(tmp_path: Path) -> None:
    folder = tmp_path / "ca"
    made = ensure_authority(str(folder), "main", now=NOW)
    assert (folder / ".gitignore").read_text(encoding="utf-8").splitlines()[-1] == "*"
    assert [oct(path.stat().st_mode & 0o777) for path in (folder, folder / "main")] == ["0o700", "0o700"]
    # As a checkout would leave them.
    (folder / "main").chmod(0o755)
    (folder / "main/authority.pem").chmod(0o644)
    (folder / ".gitignore").write_text("# mine\n", encoding="utf-8")
    assert ensure_authority(str(folder), "main", now=NOW) == made
    assert oct((folder / "main").stat().st_mode & 0o777) == "0o700"
    assert oct((folder / "main/authority.pem").stat().st_mode & 0o777) == "0o600"
    assert (folder / ".gitignore").read_text(encoding="utf-8") == "# mine\n"


def test_an_authority_is_written_through_no_link(tmp_path: Path) -> None:
    """Neither at the temporary name that earlier versions took, nor at the mark for git."""
    folder = tmp_path / "ca"
    (folder / "main").mkdir(parents=True)
    for name in (f"main/authority.pem.{os.getpid()}", ".gitignore"):
        (folder / name).symlink_to(tmp_path / "elsewhere")
    ensure_authority(str(folder), "main", now=NOW)
    assert not (tmp_path / "elsewhere").exists()


def test_a_controller_without_the_authority_stops(tmp_path: Path) -> None:
    nodes = pair({"directory": str(tmp_path)})
    assert controller_problems(nodes) == []
    for node in nodes:
        node["status"]["tls"] = {"placed": {"authority": {"certificate": OTHER.certificate}}, "used": {}}
    (problem,) = controller_problems(nodes)
    assert "has no authority of cluster 'main'" in problem.text and "new_authority" in problem.text
    ensure_authority(str(tmp_path), "main", now=NOW)
    (problem,) = controller_problems(nodes)
    assert "has another authority than the one that" in problem.text
    for node in nodes:
        node["tls"]["new_authority"] = True
    assert controller_problems(nodes) == []


# --- Findings ---


def told(days: int, *, authority: Pair = AUTHORITY, tls: t.Any = None, client: str | None = None) -> dict[str, str]:
    nodes = pair(tls or {})
    found = issued(days=days, now=NOW - 100 * DAY, authority=authority)
    nodes[0]["status"]["tls"] = {"placed": {}, "used": {"server": found, "client": None, "authority": None}}
    nodes[0]["status"]["wal_senders"] = [sender("pg2", encrypted=False, client_addr=client)]
    return {one.id: one.severity for one in findings("main", nodes, live_members(nodes), Limits(), NOW)}


def test_the_end_of_a_certificate_is_told() -> None:
    assert "certificate-expires" not in told(200)
    assert told(120)["certificate-expires"] == "warning"
    assert told(99)["certificate-expired"] == "error"
    assert "certificate-expires" not in told(120, tls={"directory": "/ca", "renew_days": 10})


def test_plain_text_is_told_where_it_is_not_wanted() -> None:
    assert "plain-text" not in told(200)
    assert "plain-text" not in told(200, client="127.0.0.1")
    assert told(200, client="10.0.0.2")["plain-text"] == "warning"
    assert told(200, tls={"directory": "/ca"})["plain-text"] == "error"
