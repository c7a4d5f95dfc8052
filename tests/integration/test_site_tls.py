# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS between real servers: what is on the wire, who is let in, and what a renewal does to a running stream."""

from __future__ import annotations

import contextlib
import datetime
import re
import shutil
import socket
import ssl
import struct
import threading
import typing as t
from pathlib import Path

import pytest
from ansible_collections.pgtandem.replication.plugins.plugin_utils._tls.certificates import (
    Certificate,
    Pair,
    issue,
    make_authority,
)
from conftest import BIN_DIRECTORIES, MakeFolder, MakeSite, run_module
from site_runs import PASSWORD, Node, Sampler, Site, wait_until

#: The server from PyPI is built without TLS; PGTANDEM_TEST_PROGRAMS may name one of another major that has it.
SERVER = next((name for name in ("named", "15", "13") if name in BIN_DIRECTORIES), "")
pytestmark = pytest.mark.skipif(not SERVER, reason="no PostgreSQL of a distribution is installed")

MANAGED = {"mode": "verify-full"}
MUTUAL = {**MANAGED, "authentication": "certificate"}
NOW = datetime.datetime.now(datetime.timezone.utc)


@pytest.fixture(scope="module")
def make_site(make_folder: MakeFolder, programs: t.Callable[[str], Path]) -> t.Iterator[MakeSite]:
    made: list[Site] = []

    def make() -> Site:
        made.append(Site(make_folder(), programs(SERVER)))
        return made[-1]

    yield make
    for site in made:
        site.remove()


@pytest.fixture(autouse=True)
def no_authority_of_another_test(pair: Site) -> None:
    """What a test leaves on the controller is no part of the pair that is restored."""
    for name in ("pgtandem-tls", "elsewhere"):
        shutil.rmtree(pair.private / name, ignore_errors=True)


class Tap:
    """A wire that is listened to: everything that goes through it is kept."""

    def __init__(self, address: str, port: int) -> None:
        self.seen = bytearray()
        self._port, self._ends = port, [socket.create_server((address, port))]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _peer = self._ends[0].accept()
                far = socket.create_connection(("127.0.0.1", self._port))
                self._ends += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self.seen += data
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def served(node: Node) -> Certificate:
    """The certificate that a server shows to whoever asks for TLS."""
    with socket.create_connection(("127.0.0.1", node.port), 10) as plain:
        plain.sendall(struct.pack("!ii", 8, 80877103))
        assert plain.recv(1) == b"S"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(plain) as secured:
            return Certificate(ssl.DER_cert_to_PEM_cert(t.cast(bytes, secured.getpeercert(True))))


def answer_in_plain_text(node: Node, **options: str) -> bytes:
    """What a server says to a startup packet that nobody asked to encrypt."""
    words = b"".join(f"{name}\0{value}\0".encode() for name, value in options.items()) + b"\0"
    with socket.create_connection(("127.0.0.1", node.port), 10) as plain:
        plain.sendall(struct.pack("!ii", len(words) + 8, 196608) + words)
        return plain.recv(4096)


SESSION = (
    "SELECT application_name, state, ssl, coalesce(client_dn, '') FROM pg_stat_replication JOIN pg_stat_ssl USING (pid)"
)


def processes(site: Site) -> tuple[str, str]:
    """The WAL sender and the WAL receiver."""
    return (
        site["pg1"].psql("SELECT string_agg(pid::text, ' ' ORDER BY pid) FROM pg_stat_replication"),
        site["pg2"].psql("SELECT pid FROM pg_stat_wal_receiver"),
    )


def pem(site: Site, name: str, what: str) -> Path:
    return site.folder / f"{name}.tls" / f"{what}.pem"


def key_lines(path: Path) -> list[str]:
    """The telling lines of a private key."""
    found = re.search(r"-----BEGIN PRIVATE KEY-----\n(.*?)-----END", path.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return [line for line in found.group(1).splitlines() if len(line) > 30]


def test_nothing_of_the_stream_is_readable_on_the_wire(spare: Site) -> None:
    """Without TLS the tap reads the row, which shows that it would."""
    spare["pg1"].variables["pgtandem_address"] = "127.0.0.9"
    tap = Tap("127.0.0.9", spare["pg1"].port)
    try:
        for tls, word in (({}, "openly told"), (MANAGED, "softly whispered")):
            spare.variables["pgtandem_tls"] = tls
            spare.converge()
            spare["pg1"].psql(f"CREATE TABLE IF NOT EXISTS said (word text); INSERT INTO said VALUES ('{word}')")
            wait_until(
                lambda word=word: (
                    spare["pg2"].psql("SELECT to_regclass('said') IS NOT NULL") == "t"
                    and word in spare["pg2"].psql("TABLE said")
                ),
                "the row",
            )
        assert b"openly told" in tap.seen
        assert b"softly whispered" not in tap.seen
        assert spare["pg1"].psql(SESSION) == "pg2|streaming|t|"
        assert "127.0.0.9" in " ".join(served(spare["pg1"]).names)
    finally:
        tap.close()
        del spare["pg1"].variables["pgtandem_address"]


def test_certificates_in_and_plain_text_out(spare: Site) -> None:
    """Turned on while it streams: certificate and map let the standby in, nobody else, and no key leaves its file."""
    spare.variables["pgtandem_tls"] = MUTUAL
    before = {name: node.pid for name, node in spare.nodes.items()}
    foreseen = spare.converge("--check", "--diff")
    assert not list(spare.folder.glob("*.tls")) and not (spare.private / "pgtandem-tls").exists()
    assert min(foreseen.changed.values()) > 0
    spare.watched = True
    with Sampler("PRIVATE KEY") as seen:
        run = spare.converge("-vvv", "--diff")
    assert seen == []
    assert {name: node.pid for name, node in spare.nodes.items()} == before, "a reload is enough"
    assert spare["pg1"].psql(SESSION) == "pg2|streaming|t|/CN=pg2"
    secrets = [
        line for name in spare.nodes for what in ("server", "client") for line in key_lines(pem(spare, name, what))
    ]
    secrets += key_lines(spare.private / "pgtandem-tls/main/authority.pem")
    assert [line for line in secrets if line in run.output] == []
    for name in spare.nodes:
        assert oct(pem(spare, name, "server").parent.stat().st_mode & 0o7777) == "0o700"
        for what in ("server", "client", "authority"):
            assert oct(pem(spare, name, what).stat().st_mode & 0o7777) == "0o600"
            assert pem(spare, name, what).owner() == spare[name].superuser
    for options in ({"replication": "true"}, {"database": "postgres"}):
        said = answer_in_plain_text(spare["pg1"], user="replica", **options)
        assert said.startswith(b"E") and b"pg_hba.conf rejects" in said, said
    # Encrypted but without a certificate, the password alone is not enough.
    refused = spare["pg1"].run(
        "psql", "-X", "-d", f"host=127.0.0.1 port={spare['pg1'].port} user=replica replication=1 sslmode=require",
        "-c", "IDENTIFY_SYSTEM", check=False, PGPASSWORD="repl!cation 1",
    )  # fmt: skip
    assert refused.returncode != 0 and "requires a valid client certificate" in refused.stderr
    spare.settled()
    spare.settled("--check", "--diff")
    # A standby that is new begins with a copy over the same kind of connection.
    spare.add("pg3", "standby")
    spare.converge()
    assert "pg3|streaming|t|/CN=pg3" in spare["pg1"].psql(SESSION)
    spare.settled()


@pytest.mark.parametrize(("before", "after"), [("100", "130"), ("130", "100")])
def test_turned_on_together_with_a_parameter_in_order(make_site: MakeSite, before: str, after: str) -> None:
    """The primary restarts for the parameter and is then closed to standbys without TLS, also before they have replayed
    that it has less: one run does it, on a cascade."""
    site = make_site()
    site.add("pg1", "primary")
    site.add("pg2", "standby")
    site.add("pg3", "standby", pgtandem_upstream="pg2")
    site.variables["parameters"] = {"max_connections": before}
    site.converge()
    site.variables["pgtandem_tls"] = MUTUAL
    site.variables["parameters"] = {"max_connections": after}
    site.converge()
    assert {node.setting("max_connections") for node in site.nodes.values()} == {after}
    assert site["pg1"].psql(SESSION) == "pg2|streaming|t|/CN=pg2"
    assert site["pg2"].psql(SESSION) == "pg3|streaming|t|/CN=pg3"
    site.settled()


def play(site: Site, playbook: str, *arguments: str) -> None:
    site.playbook = playbook
    try:
        site.converge(*arguments)
    finally:
        site.playbook = "site.yml"


def test_roles_change_and_an_old_primary_is_rewound(spare: Site) -> None:
    """There is no password that would let anybody in: switchover.yml, its waiting process and pg_rewind show theirs."""
    spare.variables.update(pgtandem_tls=MUTUAL, pgtandem_on_role_change="follow", parameters={"wal_log_hints": "on"})
    spare.converge()
    for target, other in (("pg2", "pg1"), ("pg1", "pg2")):
        play(spare, "switchover.yml", "-e", f"pgtandem_target={target}")
        assert spare[target].psql(SESSION) == f"{other}|streaming|t|/CN={other}"
        spare.settled()
    spare["pg1"].stop("immediate")
    spare["pg2"].psql("SELECT pg_promote()")
    spare["pg2"].psql("CREATE TABLE kept (word text)")
    spare["pg1"].start()
    spare["pg1"].psql("CREATE TABLE lost (word text)")
    spare["pg1"].stop("immediate")
    play(spare, "rejoin.yml", "-e", "pgtandem_target=pg1")
    assert spare["pg2"].psql(SESSION) == "pg1|streaming|t|/CN=pg1"
    assert spare["pg1"].psql("SELECT to_regclass('kept') IS NOT NULL, to_regclass('lost') IS NULL") == "t|t"
    # site.yml takes note of a promotion that was none of its own.
    spare.converge()
    spare.settled()


def test_both_password_and_certificate(spare: Site) -> None:
    spare.variables["pgtandem_tls"] = {**MANAGED, "authentication": "both"}
    spare.converge()
    assert spare["pg1"].psql(SESSION) == "pg2|streaming|t|/CN=replica"
    rules = (
        "SELECT DISTINCT options::text FROM pg_hba_file_rules WHERE 'replica' = ANY (user_name) AND type = 'hostssl'"
    )
    assert "clientcert=verify-full" in spare["pg1"].psql(rules)
    spare.settled()


@pytest.mark.stops("inventory-tls-authority")
def test_a_renewal_drops_nothing(spare: Site) -> None:
    """Near its end, for another name, and by another authority: the stream goes on, new sessions see the new one."""
    spare.variables["pgtandem_tls"] = MUTUAL
    spare.converge()
    streaming, first = processes(spare), served(spare["pg1"])

    spare.variables["pgtandem_tls"] = {**MUTUAL, "days": 400, "renew_days": 380}
    spare.playbook = "status.yml"
    told = spare.run("-e", "pgtandem_status_fail_on=warning")
    spare.playbook = "site.yml"
    assert told.status != 0 and "certificate-expires" in told.flat and "renews it without" in told.flat, told.output
    assert spare.converge("--check").changed["pg1"] > 0 and served(spare["pg1"]).pem == first.pem
    spare.converge()
    second = served(spare["pg1"])
    assert second.pem != first.pem and second.days_left(NOW) > 380
    assert processes(spare) == streaming
    spare.settled()

    spare.variables["pgtandem_tls"] = {**MUTUAL, "names": ["db.example.com"]}
    spare.converge()
    assert "DNS:db.example.com" in served(spare["pg1"]).names
    assert processes(spare) == streaming
    spare.settled()

    shutil.move(spare.private / "pgtandem-tls", spare.private / "elsewhere")
    spare.refused("has no authority of cluster 'main'", "set new_authority")
    spare.variables["pgtandem_tls"] = {**MUTUAL, "new_authority": True}
    spare.converge()
    assert pem(spare, "pg1", "authority").read_text(encoding="utf-8").count("BEGIN CERTIFICATE") == 2
    spare.variables["pgtandem_tls"] = MUTUAL
    spare.converge()
    assert pem(spare, "pg1", "authority").read_text(encoding="utf-8").count("BEGIN CERTIFICATE") == 1
    assert processes(spare) == streaming
    spare["pg2"].stop()
    spare["pg2"].start()
    spare.settled()
    assert spare["pg1"].psql(SESSION) == "pg2|streaming|t|/CN=pg2"


def test_a_key_that_is_not_the_certificates_own_is_replaced(spare: Site) -> None:
    spare.variables["pgtandem_tls"] = MANAGED
    spare.converge()
    path = pem(spare, "pg1", "server")
    path.write_text(Certificate(path.read_text(encoding="utf-8")).pem, encoding="utf-8")
    run = spare.converge()
    assert run.changed["pg1"] > 0 and run.changed["pg2"] == 0
    assert key_lines(path)
    spare.settled()


# --- Files of the user's own ---


def write_pair(folder: Path, name: str, pair: Pair) -> dict[str, str]:
    paths = {"certificate": folder / f"{name}.crt", "key": folder / f"{name}.key"}
    paths["certificate"].write_text(pair.certificate, encoding="utf-8")
    paths["key"].write_text(pair.key, encoding="utf-8")
    paths["key"].chmod(0o600)
    return {kind: str(path) for kind, path in paths.items()}


@pytest.fixture
def papers(spare: Site) -> dict[str, dict[str, str]]:
    """Certificates of an authority that somebody else runs, by name of the host."""
    authority = make_authority("company", now=NOW)
    folder = spare.folder / "papers"
    folder.mkdir(exist_ok=True)
    (folder / "company.crt").write_text(authority.certificate, encoding="utf-8")
    found = {}
    for name in spare.nodes:
        server = issue(authority, common_name=name, names=["IP:127.0.0.1"], server=True, days=90, now=NOW)
        client = issue(authority, common_name=f"db-{name}", names=[], server=False, days=90, now=NOW)
        found[name] = {
            **write_pair(folder, name, server),
            **{f"client_{kind}": path for kind, path in write_pair(folder, f"{name}-client", client).items()},
            "authority": str(folder / "company.crt"),
            "client_name": f"db-{name}",
            "authentication": "certificate",
        }
    old = issue(authority, common_name="pg1", names=[], server=True, days=1, now=NOW - datetime.timedelta(days=9))
    found["old"] = write_pair(folder, "old", old)
    return found


@pytest.mark.stops("inventory-tls-files")
def test_the_users_own_files_from_the_controller(spare: Site, papers: dict[str, dict[str, str]]) -> None:
    said = {name: {"pgtandem_tls": {"source": "controller", **papers[name]}} for name in spare.nodes}

    def but(**changes: str) -> dict[str, t.Any]:
        return {**said, "pg1": {"pgtandem_tls": {**said["pg1"]["pgtandem_tls"], **changes}}}

    spare.refused("does not belong to key", **but(key=papers["pg2"]["key"]))
    spare.refused("expired on", **but(**papers["old"]))
    spare.refused("No such file", **but(certificate="/nowhere.crt"))
    spare.refused("names 'db-pg1', and the servers will expect 'other'", **but(client_name="other"))
    spare.refused(
        "was not signed by", **but(authority=write_pair(spare.folder, "x", make_authority("x", now=NOW))["certificate"])
    )
    spare.converge(**said)
    assert spare["pg1"].psql(SESSION) == "pg2|streaming|t|/CN=db-pg2"
    assert served(spare["pg1"]).pem == Path(papers["pg1"]["certificate"]).read_text(encoding="utf-8")
    spare.settled(**said)


def test_the_users_own_files_on_the_hosts(spare: Site, papers: dict[str, dict[str, str]]) -> None:
    said = {name: {"pgtandem_tls": {"source": "host", **papers[name]}} for name in spare.nodes}
    for name in spare.nodes:
        for kind in ("certificate", "key", "client_certificate", "client_key"):
            spare[name].own(Path(papers[name][kind]))
    key = Path(papers["pg1"]["key"])
    key.chmod(0o644)
    spare.refused("whose owner or mode (0644) the server refuses", **said)
    key.chmod(0o600)
    spare.converge(**said)
    assert spare["pg1"].setting("ssl_key_file") == str(key)
    assert spare["pg1"].psql(SESSION) == "pg2|streaming|t|/CN=db-pg2"
    assert not list(spare.folder.glob("*.tls"))
    spare.settled(**said)

    key_of_client = Path(papers["pg2"]["client_key"])
    key_of_client.chmod(0o644)
    spare.refused("has mode 0644 or an owner that PostgreSQL does not take", **said)
    key_of_client.chmod(0o600)
    nowhere = {**said["pg2"]["pgtandem_tls"], "client_certificate": "/nowhere/pg2.crt"}
    spare.refused("/nowhere/pg2.crt on this host cannot be read", **{**said, "pg2": {"pgtandem_tls": nowhere}})


@pytest.mark.stops("inventory-tls")
@pytest.mark.parametrize(
    ("tls", "words"),
    [
        ({"mode": "on"}, "it is one of disable"),
        ({"mode": "prefer", "authentication": "certificate"}, "lets a standby come without TLS"),
        ({"source": "host", "certificate": "a.crt", "key": "/a.key"}, "needs authority"),
        ({"ca": "managed"}, "pgtandem_tls has no ca"),
        ({"days": 20}, "not more than renew_days"),
    ],
)
def test_what_cannot_be_is_refused(pair: Site, tls: dict[str, t.Any], words: str) -> None:
    both = {name: {"pgtandem_tls": tls} for name in pair.nodes}
    pair.refused(words, **both)


def test_what_is_said_twice_is_refused(pair: Site) -> None:
    twice = {
        "pgtandem_tls": MANAGED,
        "pgtandem_connection_options": {"sslmode": "require"},
        "parameters": {"ssl": False},
    }
    pair.refused(
        "pgtandem_connection_options has sslmode",
        "pgtandem_parameters has ssl",
        "leave it in one",
        pg1=twice,
        pg2=twice,
    )


def test_a_site_that_begins_with_tls(make_site: MakeSite) -> None:
    """From bare hosts, with a password of which nothing may be in plain text anywhere."""
    site = make_site()
    site.add("pg1", "primary")
    site.add("pg2", "standby")
    site.add("pg3", "standby", pgtandem_upstream="pg2")
    site.variables["pgtandem_tls"] = MUTUAL
    site.converge("--check", "--diff")
    assert not (site.private / "pgtandem-tls").exists()
    site.converge()
    assert site["pg1"].psql(SESSION) == "pg2|streaming|t|/CN=pg2"
    assert site["pg2"].psql(SESSION) == "pg3|streaming|t|/CN=pg3"
    site.settled()


def test_the_module_says_what_is_placed_without_a_warning_too(spare: Site, papers: dict[str, dict[str, str]]) -> None:
    text = {name: Path(papers["pg1"][name]).read_text(encoding="utf-8") for name in ("certificate", "key", "authority")}
    arguments = {
        **spare["pg1"].options,
        "layout": "custom",
        "replication_password": PASSWORD,
        "tls": {"certificate": text["certificate"], "authority": text["authority"]},
        "tls_key": text["key"],
    }
    result = run_module("pg_instance", arguments, check=True)
    assert not result.get("failed") and not result.get("warnings"), result
    assert result["changed"] and result["tls"]["placed"]["server"] is None, result
