# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A standby with tablespaces and a WAL directory of its own is copied anew, and one is seeded from another standby."""

from __future__ import annotations

import json
import re
import typing as t
from pathlib import Path

import pytest
from seeding import DATA, Site, lab, on, prove

RESEED = ("-e", "pgtandem_reseed=pg2")
#: What belongs to pg2's data directory, and where the tablespace is that shares a disk of 1 GB with others.
FOLDERS = (DATA, "/srv/wal/main", "/srv/other", "/srv/small/slow")
LIST = f"find {' '.join(FOLDERS)} -maxdepth 1 -printf '%p %i\\n' 2>/dev/null | sort"
ASIDE = "ls -d " + " ".join(f"{folder}.pgtandem-aside" for folder in FOLDERS) + " 2>/dev/null"


def psql(host: str, sql: str) -> str:
    return on(host, f"sudo -u postgres psql -XAtq -v ON_ERROR_STOP=1 <<'SQL'\n{sql}\nSQL\n")


@pytest.fixture
def behind(site: Site) -> None:
    """pg2 streams, then it misses WAL that pg1 no longer has, and runs on without a stream."""
    status, output = site().end()
    assert status == 0, output
    on("pg2", "systemctl stop postgresql@15-main")
    psql("pg1", "select pg_drop_replication_slot('pg2');")
    psql("pg1", "alter system set wal_keep_size = 0; select pg_reload_conf();")
    for _again in range(4):
        psql("pg1", "create table if not exists more (n int); insert into more values (1); select pg_switch_wal();")
    psql("pg1", "checkpoint; alter system reset wal_keep_size; select pg_reload_conf();")
    on("pg2", "systemctl start postgresql@15-main")


def refuse(site: Site, said: str, *words: str) -> str:
    """The run fails with these words, and what pg2 holds is untouched; it serves reads as before."""
    before, started = on("pg2", LIST), psql("pg2", "select pg_postmaster_start_time()")
    status, output = site(*words).end()
    flat = " ".join(output.split())
    assert status == 2 and re.search(said, flat), output
    assert on("pg2", LIST) == before
    assert psql("pg2", "select pg_postmaster_start_time(), pg_is_in_recovery()") == f"{started}|t"
    return flat


@pytest.mark.usefixtures("behind")
def test_the_old_directory_waits_until_the_new_one_streams(site: Site) -> None:
    refuse(site, "requested WAL segment .* has already been removed")
    before = on("pg2", LIST)
    status, output = site(*RESEED, "--check").end()
    assert status == 0 and re.search(rf"[sS]et {', '.join(FOLDERS)} aside \(2\.\d GB\)", output), output
    assert on("pg2", LIST) == before
    # Another major's server may have a tablespace in the same folder; it must not go with ours.
    on("pg2", "install -d -o postgres /srv/other/PG_17_202406281")
    refuse(site, "/srv/other/PG_17_202406281 would go with", *RESEED)
    on("pg2", "rmdir /srv/other/PG_17_202406281")

    run = site(*RESEED)
    run.wait_for("pg2", 30)
    run.kill()
    assert on("pg2", ASIDE).split() == sorted(f"{folder}.pgtandem-aside" for folder in FOLDERS)
    assert on("pg2", "sudo -u postgres /usr/lib/postgresql/15/bin/pg_controldata " + DATA + ".pgtandem-aside | head -1")
    # The controller of another day goes on; what was set aside goes only after the proof.
    prove(site, site(*RESEED))
    assert on("pg2", ASIDE, check=False) == ""
    assert on("pg2", f"readlink -f {DATA}/pg_wal; readlink -f {DATA}/pg_tblspc/*").split() == [
        "/srv/wal/main", "/srv/other", "/srv/small/slow",
    ]  # fmt: skip
    assert psql("pg2", "select count(*) from c") == "500000"


@pytest.mark.usefixtures("behind")
def test_what_would_be_deleted_is_said_where_there_is_no_room_for_both(site: Site) -> None:
    on("pg2", "echo theirs > /srv/small/theirs")
    lab("fill", "pg2", "/srv/small", "--leave", "100000000")
    flat = refuse(
        site,
        r"cannot stay beside its copy: \d+ MB is free, .*"
        r" needs \d+ MB for tablespace slow /srv/small/slow\. Without it,"
        rf" {', '.join(FOLDERS)} \(2\.\d GB\) would be deleted before the copy begins",
        *RESEED,
    )
    assert "run again with -e pgtandem_reseed_delete=true. The directory was left as it is." in flat
    prove(site, site(*RESEED, "-e", "pgtandem_reseed_delete=true"))
    assert on("pg2", "cat /srv/small/theirs; ls /srv/small").split() == ["theirs", "lab-ballast", "slow", "theirs"]


def test_a_standby_is_seeded_from_a_standby(site: Site, tmp_path: Path) -> None:
    """Both are empty: one run seeds pg2 from pg1 and then pg3 from pg2, whose tablespaces lie elsewhere."""
    on("pg3", f"systemctl stop postgresql@15-main\nrm -rf {DATA} /srv/fast /srv/slow")
    below: dict[str, t.Any] = {
        "pgtandem_upstream": "pg2",
        "pgtandem_basebackup": {"tablespace_mapping": {"/srv/other": "/srv/fast", "/srv/small/slow": "/srv/slow"}},
    }
    inventory = tmp_path / "cascade.yml"
    inventory.write_text(json.dumps({"standby": {"hosts": {"pg3": below}}}), encoding="utf-8")
    cascade = f"--inventory={inventory}"
    status, output = site(cascade).end()
    assert status == 0, output
    assert re.search(r"(?m)^pg3: copied 2\.\d GB from 10\.\d+\.16\.12 in ", output), output
    assert re.search(r"(?m)^[│ ]+└─ pg3 .* standby .* streaming ", output), output
    assert psql("pg3", "select sender_host from pg_stat_wal_receiver").endswith(".16.12")
    assert on("pg3", f"readlink -f {DATA}/pg_tblspc/*").split() == ["/srv/fast", "/srv/slow"]
    assert psql("pg3", "select count(*) from c") == "500000"
    status, quiet = site(cascade).end()
    assert status == 0 and len(re.findall(r"changed=0 ", quiet)) == 3, quiet
