# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The configuration files on a temporary folder: what is to be written, and what would win over it."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._configuration import configuration
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host
from ansible_collections.pgtandem.replication.plugins.module_utils._host.service import unit_text
from ansible_collections.pgtandem.replication.plugins.module_utils._system.network import Lookup
from ansible_collections.pgtandem.replication.plugins.module_utils._system.runner import Completed
from ansible_collections.pgtandem.replication.plugins.module_utils._values.hba import (
    BEGIN,
    END,
    HbaRule,
    IdentRule,
    replace_block,
    with_addresses,
)
from stand_ins import NoRunner, host_on


@pytest.fixture
def host(tmp_path: Path) -> Host:
    (tmp_path / "data").mkdir()
    return host_on(tmp_path)


def put(host: Host, name: str, text: str) -> Path:
    path = Path(host.instance.data_directory, name)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_our_file_is_included_once_and_last(host: Host) -> None:
    path = put(host, "postgresql.conf", "port = 1\nwork_mem = '1MB'")
    change = configuration.include_change(host)
    assert change is not None and change.after.startswith("port = 1\nwork_mem = '1MB'\n")
    assert change.after.splitlines()[-1] == "include_if_exists = 'pgtandem.conf'"
    path.write_text(change.after, encoding="utf-8")
    assert configuration.include_change(host) is None


@pytest.mark.parametrize("block", ["", f"{BEGIN}\r\n{END}\r\n"])
def test_lines_of_others_end_as_they_did(host: Host, block: str) -> None:
    """Those of an editor of Windows are left so, also where a refusal of the server puts the file back."""
    theirs = b"host app app 192.0.2.1/32 reject\r\n"
    for name in ("postgresql.conf", "pg_hba.conf", "pg_ident.conf"):
        Path(host.instance.data_directory, name).write_bytes(block.encode() + theirs)
    rules = [HbaRule("host", "replication", "replica", "192.0.2.2/32", "scram-sha-256")]
    changes = [
        *configuration.hba_changes(host, rules, in_force={}, used=configuration.InUse()),
        *configuration.ident_changes(
            host, [IdentRule("pgtandem", "pg2", "replica")], in_force={}, used=configuration.InUse()
        ),
    ]
    for change in changes:
        assert change.before is not None and change.before.encode() == block.encode() + theirs
        assert theirs.decode() in change.after and change.after.count("\r") == 1
    Path(host.instance.main_file).write_bytes(b"port = 1\r\n")
    included = configuration.include_change(host)
    assert included is not None and included.after.startswith("port = 1\r\n")


def test_a_folder_that_is_read_already_needs_no_include(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    (folder / "conf.d").mkdir(parents=True)
    (folder / "postgresql.conf").write_text("include_dir = 'conf.d'\n")
    host = host_on(tmp_path, layout="debian", config_directory=str(folder))
    assert host.instance.settings_file == f"{folder}/conf.d/99-pgtandem.conf"
    assert configuration.include_change(host) is None
    (folder / "conf.d" / "99-pgtandem.conf").write_text("work_mem = '2MB'\n")
    (folder / "conf.d" / "50-own.conf").write_text("work_mem = '3MB'\nport = 7\n")
    assert configuration.settings_elsewhere(host) == {"work_mem": "3MB", "port": "7"}


WINNERS = [
    pytest.param("", "", [], id="nothing else"),
    pytest.param("work_mem = '9MB'\n", "", [], id="an earlier value"),
    pytest.param("", "work_mem = '9MB'\n", ["9MB"], id="ALTER SYSTEM"),
    pytest.param("", "work_mem = '4MB'\n", [], id="ALTER SYSTEM with the same value"),
    pytest.param("", "WORK_MEM = '1MB'\nwork_mem = '9MB'\n", ["9MB"], id="the last one counts"),
]


@pytest.mark.parametrize(("main", "auto", "values"), WINNERS)
@pytest.mark.parametrize("included", [True, False])
def test_what_wins_over_our_file(host: Host, main: str, auto: str, values: list[str], included: bool) -> None:
    put(host, "postgresql.conf", main + ("include_if_exists = 'pgtandem.conf'\n" if included else ""))
    put(host, "postgresql.auto.conf", auto)
    found = configuration.overriding(host, {"work_mem": "4MB"})
    assert [setting.value for setting in found] == values


def test_a_later_line_wins(host: Host) -> None:
    put(host, "postgresql.conf", "include 'pgtandem.conf'\nwork_mem = '9MB'\n")
    (setting,) = configuration.overriding(host, {"work_mem": "4MB"})
    assert (setting.line, setting.path) == (2, f"{host.instance.data_directory}/postgresql.conf")


def test_a_connection_that_wins_is_refused(host: Host) -> None:
    put(host, "postgresql.conf", "")
    put(host, "postgresql.auto.conf", "# by hand\nprimary_conninfo = 'host=old password=Zitrone'\n")
    winners = configuration.overriding(host, {"primary_conninfo": "host=new", "work_mem": "4MB"})
    with pytest.raises(ReplicationError, match="auto.conf line 2 would win .*ALTER SYSTEM RESET") as raised:
        configuration.refuse_overridden_connection(host, winners)
    assert "Zitrone" not in raised.value.message
    configuration.refuse_overridden_connection(host, [])


def test_the_password_file(host: Host) -> None:
    peers = (("pg1", 5432), ("fe80::1", 5433), ("pg1", 5432))
    change = configuration.passfile_change(host, peers=peers, user="re:plica", password="a: \\b' é")
    secret = "a\\: \\\\b' é"
    assert change.after.splitlines()[1:] == [
        f"fe80\\:\\:1:5433:*:re\\:plica:{secret}",
        f"pg1:5432:*:re\\:plica:{secret}",
    ]
    assert change.mode == 0o600 and change.needed
    assert "\\\\b" not in str(change.as_diff())
    Path(change.path).write_text(change.after, encoding="utf-8")
    assert not configuration.passfile_change(host, peers=peers, user="re:plica", password="a: \\b' é").needed


def test_somebody_elses_password_file_is_kept(host: Host) -> None:
    Path(host.instance.passfile).write_text("*:*:*:*:mine\n")
    with pytest.raises(ReplicationError, match="something else wrote") as raised:
        configuration.passfile_change(host, peers=(("pg1", 5432),), user="replica", password="b")
    assert "mine" not in raised.value.message


def test_what_makes_a_standby(host: Host, tmp_path: Path) -> None:
    change = configuration.recovery_change(host, conninfo="host=pg1", slot="pg2")
    assert (os.path.basename(change.path), change.before, change.after) == ("standby.signal", None, "")
    old = configuration.recovery_change(host_on(tmp_path, version="11"), conninfo="host='pg 1'", slot=None)
    assert os.path.basename(old.path) == "recovery.conf"
    assert "primary_conninfo = 'host=''pg 1'''" in old.after and "primary_slot_name" not in old.after


def test_the_servers_judgement_is_told_without_the_scratch_file(host: Host) -> None:
    said = (
        'LOG:  300 is outside the valid range for parameter "x" (0 .. 3)\n'
        'LOG:  unrecognized configuration parameter "y" in file "/tmp/somewhere" line 3\n'
        'FATAL:  configuration file "/tmp/somewhere" contains errors\n'
    )
    judged = dataclasses.replace(host, runner=NoRunner(Completed(1, "", said)))
    with pytest.raises(ReplicationError) as raised:
        configuration.judge_settings(judged, {"x": "300", "primary_conninfo": "host=a"})
    assert len(raised.value.details["problems"]) == 2
    assert "contains errors" not in raised.value.message and "Nothing was written." in raised.value.message
    configuration.judge_settings(dataclasses.replace(host, runner=NoRunner()), {"x": "3"})


def test_the_unit_of_the_custom_layout(tmp_path: Path) -> None:
    text = unit_text(host_on(tmp_path, config_directory="/etc/pg", os_user="pg"))
    lines = text.splitlines()
    assert text.startswith("# Managed by pgtandem.replication\n")
    assert {"User=pg", "Type=exec", "TimeoutStartSec=infinity", "TimeoutStopSec=infinity"} <= set(lines)
    # systemd removes a PIDFile when a start fails, and a server without its lock file shuts itself down.
    assert not [line for line in lines if line.startswith("PIDFile=")]
    (start,) = [line for line in lines if line.startswith("ExecStart=")]
    assert start.startswith(f"ExecStart=/bin-17/postgres -D {tmp_path}/data") and "config_file=/etc/pg" in start
    assert "/etc/pg" not in unit_text(host_on(tmp_path))


def test_files_are_unread_that_were_written_exchanged_or_removed(host: Host) -> None:
    old, now = put(host, "own.conf", ""), put(host, "postgresql.conf", "")
    os.utime(old, (1_000_000_000, 1_000_000_000))
    loaded = old.stat().st_ctime
    names = [str(old), str(now), f"{host.instance.data_directory}/gone.conf"]
    assert configuration.unread_files(host, names, loaded + 60) == [names[2]]
    # Its date is old, and it took the other one's place after all was read.
    assert configuration.unread_files(host, names, loaded - 60) == sorted(names)


def test_a_certificate_that_cannot_be_seen_is_not_judged(host: Host) -> None:
    put(host, "server.crt", "")
    settings = {"ssl": "on", "ssl_cert_file": "server.crt", "ssl_key_file": "/nowhere/server.key", "ssl_ca_file": ""}
    assert configuration.certificate_paths(host, settings) == [f"{host.instance.data_directory}/server.crt"]
    assert configuration.certificate_paths(host, {**settings, "ssl": "off"}) == []


@pytest.mark.parametrize(
    ("addresses", "leads_back", "before", "after"),
    [
        pytest.param(("10.0.0.2",), True, (), ["pg2.example"], id="leads-back"),
        pytest.param(("10.0.0.2",), False, (), ["pg2.example", "10.0.0.2/32"], id="leads-elsewhere"),
        pytest.param((), False, ("10.0.0.2",), ["pg2.example", "10.0.0.2/32"], id="no-answer-now"),
        pytest.param((), False, (), ["pg2.example"], id="no-answer-ever"),
    ],
)
def test_a_name_has_its_address_beside_it_where_dns_does_not_lead_back(
    host: Host,
    monkeypatch: pytest.MonkeyPatch,
    addresses: tuple[str, ...],
    leads_back: bool,
    before: tuple[str, ...],
    after: list[str],
) -> None:
    rule = HbaRule("host", "replication", "replica", "pg2.example", "md5")
    put(host, "pg_hba.conf", replace_block("", with_addresses([rule], {"pg2.example": before})))
    monkeypatch.setattr(configuration, "look_up", lambda _name: Lookup(addresses, leads_back, "other.example"))
    [change] = configuration.hba_changes(host, [rule], in_force={}, used=configuration.InUse(), named=["pg2.example"])
    assert [line.split()[3] for line in change.after.splitlines() if line.startswith("host ")] == after
