# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Values of parameters as people write them in YAML. What the server makes of lists tests/integration tries."""

from __future__ import annotations

import typing as t

import pytest
import yaml
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._values.parameter_value import parameter_texts
from ansible_collections.pgtandem.replication.plugins.module_utils._values.parameters import normalise


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("fsync: off", "off"),
        ("fsync: no", "off"),
        ("jit: true", "on"),
        ("max_connections: 300", "300"),
        ("checkpoint_completion_target: 0.9", "0.9"),
        ("work_mem: 64MB", "64MB"),
        ("work_mem: 64 MB", "64 MB"),
        ("log_file_mode: 0600", "384"),
        ("synchronous_standby_names: ''", ""),
        ("synchronous_standby_names: []", ""),
        ("synchronous_standby_names: [pg-2, pg3, '*']", '"pg-2", pg3, *'),
        ("synchronous_standby_names: ['ANY 1 (a, b)']", "ANY 1 (a, b)"),
        ("search_path: [app, public]", "app, public"),
        ("search_path: ['$user', 'Big \"Shop\"', public]", '$user, "Big ""Shop""", public'),
        ("search_path: ['\"$user\"', public]", '"$user", public'),
        (
            "shared_preload_libraries: [pg_stat_statements, $libdir/auto_explain]",
            "pg_stat_statements, $libdir/auto_explain",
        ),
        ("unix_socket_directories: [/tmp, '/a b,c']", '/tmp, "/a b,c"'),
        ("listen_addresses: [localhost, '::1', 10.0.0.1]", "localhost, ::1, 10.0.0.1"),
        ("DateStyle: [ISO, MDY]", "ISO, MDY"),
    ],
)
def test_what_is_written(written: str, text: str) -> None:
    assert parameter_texts(yaml.safe_load(written)) == ({written.partition(":")[0].lower(): text}, [])


@pytest.mark.parametrize(
    ("value", "word"),
    [({"a": 1}, "a dictionary"), ([["a"]], "holds a list"), (["a", None], "holds null"), ([{}], "holds a dictionary")],
)
def test_what_is_refused_by_name(value: t.Any, word: str) -> None:
    with pytest.raises(ReplicationError, match="work_mem") as caught:
        normalise({"work_mem": value, "jit": "off"}, 150000)
    assert word in caught.value.message


def test_null_is_not_set() -> None:
    assert normalise({"synchronous_standby_names": None, "port": None, "wal_level": None, "jit": "off"}, 150000) == {
        "jit": "off"
    }
