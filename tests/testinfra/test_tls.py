# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS between hosts, where the inventory asks for it: who is let in, and what lies on the disk."""

from __future__ import annotations

import typing as t

import pytest
from outside import group, inventory

if t.TYPE_CHECKING:
    from outside import Node

pytestmark = pytest.mark.skipif(
    not any("pgtandem_tls" in inventory()["_meta"]["hostvars"][name] for name in group("primary")),
    reason="the inventory asks for no TLS",
)

#: A startup packet that nobody asked to encrypt, and what the server says to it.
KNOCK = """
import socket, struct, sys
words = b"".join(word.encode() + b"\\0" for word in sys.argv[3:]) + b"\\0"
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 10) as plain:
    plain.sendall(struct.pack("!ii", len(words) + 8, 196608) + words)
    sys.stdout.write(plain.recv(4096).decode("utf-8", "replace"))
"""


@pytest.mark.parametrize("wanted", [("replication", "true"), ("database", "postgres")], ids=lambda pair: pair[0])
def test_plain_text_is_refused(standby: Node, wanted: tuple[str, str]) -> None:
    upstream = standby.upstream
    words = ["user", upstream.replication_user, *wanted]
    said = standby.host.run(
        "python3 -c %s " + " ".join(["%s"] * (2 + len(words))), KNOCK, upstream.address, str(upstream.port), *words
    )
    assert said.stdout.startswith("E") and "pg_hba.conf" in said.stdout, said


def test_the_stream_is_encrypted_and_the_standby_is_who_it_says(standby: Node) -> None:
    row = standby.upstream.psql(
        "select ssl, client_dn from pg_stat_replication join pg_stat_ssl using (pid)"
        f" where client_addr = '{standby.address}'"
    )
    assert row == f"t|/CN={standby.name}"


def test_the_servers_certificate_is_for_its_address(standby: Node) -> None:
    """openssl agrees, from where the standby is, and not to another address."""
    upstream, folder = standby.upstream, f"{standby.data_directory}.tls"
    for address, verdict in ((upstream.address, "0 (ok)"), ("192.0.2.99", "64 (IP address mismatch)")):
        said = standby.out(
            f"openssl s_client -starttls postgres -connect {upstream.address}:{upstream.port}"
            f" -verify_ip {address} -CAfile {folder}/authority.pem </dev/null 2>&1 || true"
        )
        assert f"Verify return code: {verdict}" in said, said


def test_keys_are_closed_to_others(node: Node) -> None:
    folder = f"{node.data_directory}.tls"
    assert node.out(f"stat -c '%U %a' {folder}").strip() == f"{node.os_user} 700"
    for line in node.out(f"stat -c '%U %a' {folder}/*").splitlines():
        assert line == f"{node.os_user} 600"


def test_no_log_holds_a_key(node: Node) -> None:
    """A line in the middle of the key's text is searched for everywhere that others or a journal may have it."""
    folder = f"{node.data_directory}.tls"
    found = node.out(
        f"sed -n '/PRIVATE KEY/,$p' {folder}/server.pem | sed -n 2p > /root/lab-key;"
        " { grep -rlF --text -f /root/lab-key /var/log /tmp /home /run 2>/dev/null;"
        " journalctl --no-pager --all | grep -cF --text -f /root/lab-key | grep -v '^0$'; } || true"
    )
    assert not found.strip(), found
