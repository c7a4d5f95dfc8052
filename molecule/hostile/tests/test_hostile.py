# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks on hosts whose account postgres put traps wherever it can write, several at once.

Root's canaries stay as they are and are nowhere printed, no unit is stopped, and each run ends with one message or goes
on, within its time, whether Ansible comes as root over SSH or becomes root. When the traps are gone, so is every
trouble.
"""

from __future__ import annotations

import itertools
import os
import re
import sys
import typing as t
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "shared"))

from steps import Said, on, playbook

HOST = "pg2"
MAJOR = os.environ.get("PGTANDEM_VERSION") or "15"
CANARY = "canary-4711-of-root"
SECONDS = 240
#: What is root's and not to be changed: who owns it, how, and what is in it.
SEEN = (
    "find /root /etc/ssh /etc/systemd/system /srv /etc/cron.d -xdev -path /root/.ansible -prune -o "
    "-printf '%p %U %G %m %s %y\\n' | sort; cat /root/canary; systemctl is-active ssh cron dbus | tr '\\n' ' '"
)
#: How Ansible becomes root: by sudo, which is the inventory's, or it comes as root.
BY_SUDO: tuple[str, ...] = ()
AS_ROOT = ("-e", "ansible_user=root")


class Places(t.NamedTuple):
    """Where the server's files are in a layout."""

    data: str
    configuration: str
    settings: str
    log: str
    programs: str
    service: str
    folders: str
    socket: str


#: Debian's own majors lie where Debian has them, the others in the custom layout.
PLACES = (
    Places(
        data=f"/var/lib/postgresql/{MAJOR}/main",
        configuration=f"/etc/postgresql/{MAJOR}/main",
        settings=f"/etc/postgresql/{MAJOR}/main/conf.d/99-pgtandem.conf",
        log=f"/var/log/postgresql/postgresql-{MAJOR}-main.log",
        programs=f"/usr/lib/postgresql/{MAJOR}/bin",
        service=f"postgresql@{MAJOR}-main",
        folders=f"/etc/postgresql/{MAJOR}/main /var/lib/postgresql/{MAJOR}",
        socket="/var/run/postgresql",
    )
    if MAJOR in ("13", "15", "17")
    else Places(
        data=f"/var/lib/pgsql/{MAJOR}/data",
        configuration=f"/var/lib/pgsql/{MAJOR}/data",
        settings=f"/var/lib/pgsql/{MAJOR}/data/pgtandem.conf",
        log=f"/var/lib/pgsql/{MAJOR}/data.log",
        programs=f"/usr/local/pgsql-{MAJOR}/bin",
        service=f"pgsql-{MAJOR}",
        folders=f"/var/lib/pgsql/{MAJOR}",
        socket="/tmp",
    )
)
DATA, CONF, SETTINGS, LOG = PLACES.data, PLACES.configuration, PLACES.settings, PLACES.log
START = f"systemctl reset-failed; systemctl start {PLACES.service}"
STOP = f"systemctl stop {PLACES.service}"

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
        f"ln -sf /etc/ssh/sshrc {SETTINGS}; echo '{JOURNAL}' > {DATA}.pgtandem-aside.json"
    ),
    "links to a file of root's": (
        f"ln -sf /root/canary {CONF}/pg_hba.conf; ln -sf /root/canary {DATA}.pgpass; "
        f"ln -sf /root/canary {DATA}.pgtandem-claim.json"
    ),
    "links to nothing and to a folder of root's": (
        f"rm -f {DATA}.pgpass; ln -s /root/made {DATA}.pgpass; ln -s /srv/empty {DATA}.tls; "
        f"ln -sf /srv/full {DATA}.pgtandem-claim.json"
    ),
    "pipes": (
        f"rm -f {DATA}.pgpass {DATA}.pgtandem-claim.json; mkfifo {DATA}.pgpass {DATA}.pgtandem-claim.json; "
        f"mkfifo {DATA}.pgtandem-aside.json"
    ),
    "an endless device, and a huge file": (f"ln -sf /dev/zero {SETTINGS}; truncate -s 5G {CONF}/pg_ident.conf"),
    "a forged rewind": f"mkdir {DATA}.pgtandem-rewind; echo '{REWIND}' > {DATA}.pgtandem-rewind/state.json",
    "a forged marker": f"echo '{MARKER}' > {DATA}/pgtandem-incoming.json",
    "the log, of a server that does not start": (
        f"echo nonsense >> {CONF}/postgresql.conf; rm -f {LOG}; ln -s /root/canary {LOG}; "
        f"{PLACES.programs}/pg_ctl -D {DATA} stop -m fast -s"
    ),
    "a data directory that is root's": (
        f"{PLACES.programs}/pg_ctl -D {DATA} stop -m fast -s; mv {DATA} {DATA}.theirs; ln -s /srv/empty {DATA}"
    ),
}
#: What the collection looks for or writes, and what the account can put there: a prime number of kinds, and at most one
#: place more than that.
FILES = (
    f"{CONF}/pg_hba.conf",
    f"{CONF}/pg_ident.conf",
    SETTINGS,
    f"{DATA}.pgpass",
    f"{DATA}.pgtandem-claim.json",
    f"{DATA}.pgtandem-aside.json",
    f"{DATA}.pgtandem-rewind/state.json",
    f"{DATA}/pgtandem-incoming.json",
)
KINDS = {
    "file": "ln -s /root/canary {}",
    "nothing": "ln -s /root/made {}",
    "full": "ln -s /srv/full {}",
    "folder": "mkdir {}",
    "pipe": "mkfifo {}",
    "device": "ln -s /dev/zero {}",
    "huge": "truncate -s 5G {}",
}


def pairwise() -> list[tuple[str, ...]]:
    """A kind for each place, so that each two kinds come together at each two places, in as few rows as can be.

    Places are lines through a finite plane (an orthogonal array of strength 2).
    """
    kinds = list(KINDS)
    return [
        (*(kinds[(start + place * step) % len(kinds)] for place in range(len(kinds))), kinds[step])
        for start, step in itertools.product(range(len(kinds)), repeat=2)
    ]


def seen() -> str:
    return on(HOST, SEEN)


def plant(script: str) -> None:
    on(HOST, f"runuser -u postgres -- bash -ec '{_quoted(script)}'")


def _quoted(script: str) -> str:
    return script.replace("'", "'\\''")


def run(name: str, *words: str) -> Said:
    """A playbook that may fail with one message, and not otherwise."""
    said = playbook(name, *words, seconds=SECONDS)
    assert CANARY not in said.output
    failed = re.findall(r"(?m)^\[ERROR\]: Task failed.*|^fatal: .*", said.output)
    assert said.returncode == 0 or failed, said.output
    assert "MODULE FAILURE" not in said.output and "unexpected exception" not in said.text.lower(), said.output
    return said


@pytest.fixture(scope="module", autouse=True)
def pair() -> None:
    """The pair, what is root's, and a way in for root."""
    said = playbook("site")
    assert said.returncode == 0, said.output
    on(
        HOST,
        f"install -m 600 /dev/null /root/canary; echo {CANARY} > /root/canary; "
        "mkdir -p /srv/empty /srv/full/PG_15_1 /srv/full/archive_status; touch /srv/full/PG_15_1/file",
    )
    for host in ("pg1", HOST):
        on(
            host,
            "install -D -m 600 ~ansible/.ssh/authorized_keys /root/.ssh/authorized_keys; "
            "echo 'PermitRootLogin prohibit-password' > /etc/ssh/sshd_config.d/00-root.conf; systemctl reload ssh",
        )


@pytest.fixture
def whole() -> t.Iterator[None]:
    """The account's folders, which are as they were afterwards."""
    on(HOST, f"{STOP}; tar -C / -cpf /var/tmp/whole.tar {PLACES.folders}; {START}")
    yield
    on(HOST, f"{STOP}; rm -rf {PLACES.folders} {LOG}; tar -C / -xpf /var/tmp/whole.tar; {START}")


@pytest.mark.parametrize("traps", TRAPS)
def test_the_playbooks_among_traps(whole: None, traps: str) -> None:
    plant(TRAPS[traps])
    before = seen()
    for words in (
        ("status", *AS_ROOT),
        ("site", "--diff", *BY_SUDO),
        ("site", "-vvv", *AS_ROOT),
        ("rejoin", "--limit", HOST, *BY_SUDO),
    ):
        said = run(*words)
        assert seen() == before, said.output
    # What was root's is readable to postgres nowhere.
    found = on(
        HOST, f"runuser -u postgres -- grep -rslD skip {CANARY} {PLACES.folders} /var/log /tmp /var/tmp", check=False
    )
    assert found == ""


def test_every_two_traps_are_in_a_row() -> None:
    rows = pairwise()
    for one, two in itertools.combinations(range(len(FILES)), 2):
        assert {(row[one], row[two]) for row in rows} == set(itertools.product(KINDS, repeat=2))


@pytest.mark.parametrize("row", pairwise(), ids=" ".join)
def test_every_two_traps_at_once(whole: None, row: tuple[str, ...]) -> None:
    """A trap at each place; in some row each two kinds are at each two places."""
    plant(
        "; ".join(
            f"mkdir -p {os.path.dirname(path)}; rm -rf {path}; {KINDS[kind].format(path)}"
            for path, kind in zip(FILES, row)
        )
    )
    before = seen()
    try:
        for words in (("status", *AS_ROOT), ("site", "--diff", *BY_SUDO)):
            said = run(*words)
            assert seen() == before, said.output
    finally:
        # Debian's own tools wait at a pipe for ever, and the service is about to be stopped.
        on(HOST, f"rm -rf {' '.join(FILES)}")


@pytest.mark.parametrize("way", [BY_SUDO, AS_ROOT], ids=["by sudo", "as root"])
def test_hba_exchanged_while_site_runs(whole: None, way: tuple[str, ...]) -> None:
    """A link to a file of root's and an own file, exchanged all the while: what is put back is never root's."""
    flip = (
        f"cd {CONF}; cp pg_hba.conf own; while :; do cp own a; mv -f a pg_hba.conf; "
        "ln -sf /root/canary b; mv -Tf b pg_hba.conf; done"
    )
    on(HOST, f"systemd-run --quiet --collect --unit=flip --uid=postgres bash -c '{flip}'")
    before = seen()
    try:
        for _round in range(2):
            run("site", "--diff", "-e", '{"pgtandem_hba_rules": [{"method": "nonsense"}]}', *way)
    finally:
        on(HOST, "systemctl stop flip")
    assert seen() == before
    assert on(HOST, f"runuser -u postgres -- grep -rslD skip {CANARY} {CONF}", check=False) == ""


def test_when_the_traps_are_gone_so_is_the_trouble() -> None:
    said = playbook("site")
    assert said.returncode == 0, said.output
    sql = "SELECT status FROM pg_stat_wal_receiver"
    psql = f"{PLACES.programs}/psql -XAtq -h {PLACES.socket} -d postgres -c"
    assert on(HOST, f"runuser -u postgres -- {psql} '{sql}'") == "streaming"
