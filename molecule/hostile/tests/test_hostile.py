# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks on hosts whose account postgres put traps wherever it can write, several at once.

Root's canaries stay as they are and are nowhere printed, no unit is stopped, and each run ends with one message or goes
on, within its time. When the traps are gone, so is every trouble.
"""

from __future__ import annotations

import re
import sys
import time
import typing as t
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "shared"))

from steps import on, playbook, psql

HOST = "pg2"
DATA = "/var/lib/postgresql/15/main"
CONF = "/etc/postgresql/15/main"
CANARY = "canary-4711-of-root"
SECONDS = 240
#: What is root's and not to be changed: who owns it, how, and what is in it.
SEEN = (
    "find /root /etc/ssh /etc/systemd/system /srv /etc/cron.d -xdev -printf '%p %U %G %m %s %y\\n' | sort; "
    "cat /root/canary; systemctl is-active ssh cron dbus | tr '\\n' ' '"
)
MARKER = (
    '{"phase": "filling", "purpose": "initdb", "unit": "ssh.service", '
    '"elsewhere": [{"path": "/srv/full", "existed": false}]}'
)
JOURNAL = (
    '{"phase": "moved", "proven": true, "since": 1, "system_identifier": null, "moves": [["/srv/gone", "/srv/full"]]}'
)
REWIND = '{"phase": "rewound", "mode": 511, "files": ["../../../../../root/canary"], "folders": []}'
#: What postgres runs. Each holds traps that do not hide each other.
TRAPS = {
    "a link to nothing in root's folder, and a forged journal": (
        f"ln -sf /etc/ssh/sshrc {CONF}/conf.d/99-pgtandem.conf; echo '{JOURNAL}' > {DATA}.pgtandem-aside.json"
    ),
    "links to a file of root's": (
        f"ln -sf /root/canary {CONF}/pg_hba.conf; ln -sf /root/canary {DATA}.pgpass; "
        f"ln -sf /root/canary {DATA}.pgtandem-claim.json"
    ),
    "a pipe, and a link to a folder of root's": (
        f"rm -f {DATA}.pgpass; mkfifo {DATA}.pgpass; ln -s /srv/empty {DATA}.tls; "
        f"rm -f {DATA}.pgtandem-claim.json; mkfifo {DATA}.pgtandem-claim.json"
    ),
    "an endless device, and a huge file": (
        f"ln -sf /dev/zero {CONF}/conf.d/99-pgtandem.conf; truncate -s 5G {CONF}/pg_ident.conf"
    ),
    "a forged rewind": f"mkdir {DATA}.pgtandem-rewind; echo '{REWIND}' > {DATA}.pgtandem-rewind/state.json",
    "a forged marker": f"echo '{MARKER}' > {DATA}/pgtandem-incoming.json",
    "the log, of a server that does not start": (
        f"echo nonsense >> {CONF}/conf.d/50-theirs.conf; rm -f /var/log/postgresql/postgresql-15-main.log; "
        "ln -s /root/canary /var/log/postgresql/postgresql-15-main.log; "
        f"/usr/lib/postgresql/15/bin/pg_ctl -D {DATA} stop -m fast -s"
    ),
}


def seen() -> str:
    return on(HOST, SEEN)


@pytest.fixture(scope="module", autouse=True)
def pair() -> None:
    """The pair, and what is root's."""
    said = playbook("site")
    assert said.returncode == 0, said.output
    on(
        HOST,
        f"install -m 600 /dev/null /root/canary; echo {CANARY} > /root/canary; "
        "mkdir -p /srv/empty /srv/full/PG_15_1 /srv/full/archive_status; touch /srv/full/PG_15_1/file",
    )


@pytest.fixture
def whole() -> t.Iterator[None]:
    """The account's folders, which are as they were afterwards."""
    places = f"{CONF} /var/lib/postgresql/15"
    on(HOST, f"systemctl stop postgresql@15-main; tar -C / -cpf /var/tmp/whole.tar {places}")
    on(HOST, "systemctl start postgresql@15-main")
    yield
    on(
        HOST,
        f"systemctl stop postgresql@15-main; rm -rf {places} /var/log/postgresql/postgresql-15-main.log; "
        "tar -C / -xpf /var/tmp/whole.tar; systemctl reset-failed; systemctl start postgresql@15-main",
    )


@pytest.mark.parametrize("traps", TRAPS)
def test_the_playbooks_among_traps(whole: None, traps: str) -> None:
    on(HOST, f"runuser -u postgres -- bash -ec '{_quoted(TRAPS[traps])}'")
    before = seen()
    for words in (("status",), ("site", "--diff"), ("rejoin", "--limit", HOST)):
        began = time.monotonic()
        said = playbook(*words)
        assert time.monotonic() - began < SECONDS, said.output
        assert CANARY not in said.output
        assert seen() == before, said.output
        failed = re.findall(r"(?m)^\[ERROR\]: Task failed.*|^fatal: .*", said.output)
        assert said.returncode == 0 or failed, said.output
        assert "MODULE FAILURE" not in said.output and "unexpected exception" not in said.text.lower(), said.output
    # What was root's is readable to postgres nowhere.
    found = on(HOST, f"runuser -u postgres -- grep -rsl {CANARY} {CONF} /var/lib/postgresql /var/log /tmp", check=False)
    assert found == ""


def test_hba_exchanged_while_site_runs(whole: None) -> None:
    """A link to a file of root's and an own file, exchanged all the while: what is put back is never root's."""
    flip = (
        f"cd {CONF}; cp pg_hba.conf own; while :; do cp own a; mv -f a pg_hba.conf; "
        "ln -sf /root/canary b; mv -Tf b pg_hba.conf; done"
    )
    on(HOST, f"systemd-run --quiet --unit=flip --uid=postgres bash -c '{flip}'")
    before = seen()
    try:
        for _round in range(2):
            assert (
                CANARY
                not in playbook("site", "--diff", "-e", '{"pgtandem_hba_rules": [{"method": "nonsense"}]}').output
            )
    finally:
        on(HOST, "systemctl stop flip")
    assert seen() == before
    assert on(HOST, f"runuser -u postgres -- grep -rsl {CANARY} {CONF}", check=False) == ""


def test_when_the_traps_are_gone_so_is_the_trouble() -> None:
    said = playbook("site")
    assert said.returncode == 0, said.output
    assert psql(HOST, "SELECT status FROM pg_stat_wal_receiver") == "streaming"


def _quoted(script: str) -> str:
    return script.replace("'", "'\\''")
