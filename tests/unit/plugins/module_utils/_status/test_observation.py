# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The statement of each version, and the result's shape against its documentation."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.pgtandem.replication.plugins.doc_fragments import instance, login
from ansible_collections.pgtandem.replication.plugins.module_utils._argspec import instance_options, login_options
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._status import observation
from ansible_collections.pgtandem.replication.plugins.module_utils._status.observation import (
    _replay_of,
    empty_status,
    parse_history,
    status_without_instance,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._status.queries import (
    RECEIVER_COLUMNS,
    SENDER_COLUMNS,
    SLOT_COLUMNS,
    status_statement,
    write_statement,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.layout import HostFacts
from ansible_collections.pgtandem.replication.plugins.modules import pg_replication_status as module
from stand_ins import host_on

RETURN = yaml.safe_load(module.RETURN)["replication"]["contains"]

# What a version's statement has, and what it must not have.
WORDS = [
    pytest.param(90400, ["sent_location", "pg_current_xlog_location()", "pg_xlogfile_name("],
                 ["_lsn()", "pg_wal", "pg_stat_wal_receiver", "write_lag)", "l.active_pid", "p.active_pid",
                  "pg_control_system", "l.wal_status", "FILTER (WHERE pending_restart"], id="9.4"),
    pytest.param(90600, ["pg_stat_wal_receiver", "pg_control_system", "checkpoint_location"], ["_lsn()", "pg_walfile"],
                 id="9.6"),
    pytest.param(100023, ["pg_walfile_name(", "s.write_lag", "r.received_lsn AS flushed_lsn", "NULL AS sender_host"],
                 ["location", "xlog", "s.reply_time"], id="10"),
    pytest.param(120022, ["s.reply_time", "r.sender_host"], ["r.written_lsn", "l.wal_status"], id="12"),
    pytest.param(130023, ["r.written_lsn", "l.wal_status"], ["pg_get_wal_replay_pause_state"], id="13"),
    pytest.param(150018, ["pg_get_wal_replay_pause_state", "pg_database_collation_actual_version"], ["l.failover"],
                 id="15"),
    pytest.param(180006, ["l.failover", "l.two_phase_at"], ["NULL AS two_phase_at", "l.slotsync_skip_reason"], id="18"),
    pytest.param(190000, ["l.slotsync_skip_reason"], [" NULL AS"], id="19"),
]  # fmt: skip


@pytest.mark.parametrize(("version", "present", "absent"), WORDS)
def test_statement(version: int, present: list[str], absent: list[str]) -> None:
    statement = status_statement(version)
    assert [word for word in present if word not in statement] == []
    assert [word for word in absent if word in statement] == []


def test_writing_a_position_needs_logical_messages() -> None:
    assert write_statement(90500) is None
    assert write_statement(90600) is not None


@pytest.mark.parametrize("version", [90400, 100000, 150000, 190000])
@pytest.mark.parametrize("columns", [SENDER_COLUMNS, RECEIVER_COLUMNS, SLOT_COLUMNS])
def test_every_version_gives_the_same_columns(version: int, columns: t.Any) -> None:
    statement = status_statement(version)
    if columns is not RECEIVER_COLUMNS or "pg_stat_wal_receiver" in statement:
        named = re.findall(r" AS (\w+)", statement)
        assert [column.name for column in columns if column.name not in named] == []


def test_the_documentation_has_every_key_of_the_result() -> None:
    status = empty_status()
    assert sorted(RETURN) == sorted(status)
    for name in ("host", "data_directory", "positions", "replay"):
        assert sorted(RETURN[name]["contains"]) == sorted(status[name]), name


ROWS = [
    pytest.param("wal_senders", SENDER_COLUMNS, ["lag_bytes", "process"], id="wal_senders"),
    pytest.param("wal_receiver", RECEIVER_COLUMNS, ["process", "local_port"], id="wal_receiver"),
    pytest.param("slots", SLOT_COLUMNS, ["retained_bytes"], id="slots"),
]


@pytest.mark.parametrize(("key", "columns", "more"), ROWS)
def test_the_documentation_has_every_column(key: str, columns: t.Any, more: list[str]) -> None:
    assert sorted(RETURN[key]["contains"]) == sorted([column.name for column in columns] + more)


def test_a_host_without_an_instance_has_the_same_keys() -> None:
    status = status_without_instance(ReplicationError("no program"), HostFacts(distribution="debian"))
    assert sorted(status) == sorted(empty_status())
    assert (status["instance_error"], status["host"]["distribution"]) == ("no program", "debian")


def _specification() -> dict[str, t.Any]:
    return {**instance_options(), **login_options(), **module.status_options()}


def test_the_documentation_has_every_option() -> None:
    documented: dict[str, t.Any] = yaml.safe_load(module.DOCUMENTATION)["options"]
    for fragment in (instance.ModuleDocFragment, login.ModuleDocFragment):
        documented.update(yaml.safe_load(fragment.DOCUMENTATION)["options"])
    assert sorted(documented) == sorted(_specification())
    suboptions = module.status_options()["expect"]["options"]
    assert sorted(documented["expect"]["suboptions"]) == sorted(suboptions)
    for name, option in suboptions.items():
        assert documented["expect"]["suboptions"][name].get("choices") == option.get("choices"), name


@pytest.mark.parametrize(
    "task",
    [task for task in yaml.safe_load(module.EXAMPLES) if "pgtandem.replication.pg_replication_status" in task],
    ids=lambda task: task["name"],
)
def test_examples_are_valid(task: dict[str, t.Any]) -> None:
    arguments = task["pgtandem.replication.pg_replication_status"] or {}
    assert ArgumentSpecValidator(_specification()).validate(arguments).error_messages == []


STREAMING = {"status": "streaming", "latest_end_lsn": "0/3000100"}
REPLAYS = [
    pytest.param("0/3000100", "0/3000100", STREAMING, 0, 0, id="idle for an hour is no lag"),
    pytest.param("0/3000100", "0/3000000", STREAMING, 256, 3600.0, id="behind"),
    pytest.param("0/3000000", "0/3000000", STREAMING, 256, 3600.0, id="told of more than it has received"),
    pytest.param("0/3000100", "0/3000100", None, 0, None, id="without a receiver nothing is known of the upstream"),
    pytest.param(None, "0/3000100", None, None, None, id="from the archive alone"),
]


@pytest.mark.parametrize(("receive", "replay", "receiver", "lag_bytes", "lag_seconds"), REPLAYS)
def test_replay(
    receive: str | None, replay: str, receiver: t.Any, lag_bytes: int | None, lag_seconds: float | None
) -> None:
    answer = {"receive": receive, "replay": replay, "receiver": receiver, "replay_age": 3600.0, "paused": False,
              "pause_state": None}  # fmt: skip
    seen = _replay_of(answer)
    assert (seen["lag_bytes"], seen["lag_seconds"]) == (lag_bytes, lag_seconds)


def test_history_skips_what_is_no_switch() -> None:
    text = "1\t0/3000148\tno recovery target specified\n\n# note\n2\t0/5000148\tbefore 2026-11-22 16:47\n"
    assert [(row["timeline"], row["lsn"]) for row in parse_history(text)] == [(1, "0/3000148"), (2, "0/5000148")]


@pytest.mark.parametrize(
    ("words", "runs"),
    [
        ([], False),
        (["/usr/bin/python3", "/usr/bin/patroni", "OWN"], True),
        (["/usr/bin/python3", "/usr/bin/patroni", "OTHER"], False),
        (["/usr/bin/patroni", "/nowhere/to/be/found.yml"], True),
        (["/usr/bin/patroni"], True),
    ],
)
def test_whether_a_patroni_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], runs: bool) -> None:
    host = host_on(tmp_path)
    for name, directory in (("OWN", host.instance.data_directory), ("OTHER", "/var/lib/other")):
        (tmp_path / f"{name}.yml").write_text(f"postgresql:\n  data_dir: {directory}\n", encoding="utf-8")
    there = [f"{tmp_path}/{word}.yml" if word in ("OWN", "OTHER") else word for word in words]
    monkeypatch.setattr(observation, "command_lines_of", lambda _program: [there] if there else [])
    assert observation._patroni_runs(host) is runs
