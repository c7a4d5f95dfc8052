# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever a server says in any text of its status: the tree, the report and its files say no more than that text.

The status is of two real servers of PostgreSQL 18, a primary with a standby and a stranger.
"""

from __future__ import annotations

import contextlib
import copy
import json
import re
import typing as t
from pathlib import Path

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.foreign import foreign
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.html import html_text
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.inventory import gather
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.terminal import one_line
from ansible_collections.pgtandem.replication.plugins.plugin_utils._gate.settlement import settle
from ansible_collections.pgtandem.replication.plugins.plugin_utils._report.document import document, findings_lines
from ansible_collections.pgtandem.replication.plugins.plugin_utils._report.findings import Limits
from ansible_collections.pgtandem.replication.plugins.plugin_utils._report.metrics import metrics_text
from nodes import host

STATUS = json.loads((Path(__file__).parents[1] / "fixtures/status.json").read_text(encoding="utf-8"))
#: A template, markup, what steers a terminal, a label's end, bytes that are not UTF-8.
PAYLOAD = (
    "{{ lookup('pipe', 'touch /nowhere') }}{% raw %}<script>alert(1)</script>\"'&--><svg onload=x>"
    "\x1b]0;x\x07\x1b[2J\x9b31m\u202e\u2028\nok: [pg1]\r"
    'a"} 1\npgtandem_up{host="pg1"} 0 \\'
    "\udcff\udc80"
)
Path_ = t.Tuple[t.Union[str, int], ...]


def leaves(value: t.Any, path: Path_ = ()) -> t.Iterator[Path_]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from leaves(item, (*path, number))
    elif isinstance(value, str):
        yield path


LEAVES = list(leaves(STATUS))


#: What the two servers say, by its first two steps.
PARTS = sorted({path[:2] for path in LEAVES}, key=str)


def with_text(part: Path_, text: str) -> dict[str, t.Any]:
    """The status with the text in place of all texts of a part."""
    changed = copy.deepcopy(STATUS)
    for path in LEAVES:
        if path[:2] == part:
            place = changed
            for step in path[:-1]:
                place = place[step]
            place[path[-1]] = text
    return t.cast("dict[str, t.Any]", changed)


def nodes_of(statuses: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    """The two hosts as pg_node hands them out."""
    nodes = []
    for name, group in (("pg1", "primary"), ("pg2", "standby")):
        node = host(name, group, address=f"192.0.2.{name[-1]}")
        node["status"] = statuses[name]
        nodes.append(foreign(node))
    return nodes


def test_the_status_has_many_texts() -> None:
    assert len(LEAVES) > 100
    assert ("pg1", "wal_senders", 0, "application_name") in LEAVES and ("pg1", "settings", "archive_command") in LEAVES


SAMPLE = r'^(# (HELP|TYPE) .*|pgtandem_[a-z_]+(\{([a-z_]+="([^"\\\n]|\\[\\"n])*",?)*\})? -?[0-9.e+-]+)$'


def gathered(nodes: t.Sequence[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
    """The nodes as every plugin on the controller gets them."""
    hostvars = {node["name"]: {"pgtandem_node": node} for node in nodes}
    groups = {"primary": ["pg1"], "standby": ["pg2"]}
    return gather({"hostvars": hostvars, "groups": groups}, lambda value: value)


def look(statuses: t.Mapping[str, t.Any]) -> None:
    """All that is made of a status on the controller, and that no text in it became more."""
    nodes = gathered(nodes_of(statuses))
    report = document(nodes, limits=Limits(), generated="2026-01-01T00:00:00+00:00")
    json.dumps(report, ensure_ascii=False).encode("utf-8")
    (cluster,) = report["clusters"]
    assert [node["name"] for node in cluster["nodes"]] == ["pg1", "pg2"]
    for line in map(one_line, (*cluster["tree"], *findings_lines(report["findings"]))):
        assert len(line) < 2100 and not re.search("[\x00-\x1f\x7f-\x9f\u2028-\u202e\ud800-\udfff]", line)
    page = html_text(report)
    assert not re.search("<script|<svg onload", page)
    for line in metrics_text(report).split("\n")[:-1]:
        assert re.fullmatch(SAMPLE, line), line
    with contextlib.suppress(ReplicationError):
        settle(nodes, {"pg1": "x", "pg2": "x"}, in_run=["pg1", "pg2"])


@pytest.mark.parametrize("part", PARTS, ids=lambda part: ".".join(map(str, part)))
def test_a_text_is_only_a_text(part: Path_) -> None:
    look(with_text(part, PAYLOAD))


#: In place of every text; some are digits for C(isdigit) and no number for C(int).
EVERYWHERE = {
    "long": PAYLOAD + "x" * 5_000,
    "a megabyte": "x" * 1_000_000,
    "empty": "",
    "position": "FFFFFFFF/FFFFFFFF",
    "no digit": "\u00b2",
    "no number": "9" * 5_000,
}


@pytest.mark.parametrize("text", EVERYWHERE.values(), ids=EVERYWHERE)
def test_all_texts_are_only_texts(text: str) -> None:
    """But for the few words that say what a host is."""
    changed = copy.deepcopy(STATUS)
    for path in LEAVES:
        if path[-1] in ("role", "state", "layout", "version", "major"):
            continue
        place = changed
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = text
    look(changed)
