# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Somebody listens in the stopped primary's place and asks for the password: no client of a standby gives it away."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import typing as t
from pathlib import Path

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import DatabaseError
from ansible_collections.pgtandem.replication.plugins.module_utils._rewind.rewind import RewindRequest, rewind_command
from ansible_collections.pgtandem.replication.plugins.module_utils._system.database import (
    Target,
    connect,
    identify_system,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.backup_command import (
    BaseBackupRequest,
    backup_command,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.quoting import parse_conninfo
from ansible_collections.pgtandem.replication.plugins.module_utils._versions import parse_program_version
from conftest import SERVERS, MakeFolder
from site_runs import PASSWORD, Site, wait_until

_SSL_REQUEST, _GSS_REQUEST = 80877103, 80877104
_IN_CLEAR, _BY_MD5 = struct.pack("!cii", b"R", 8, 3), struct.pack("!cii4s", b"R", 12, 5, b"salt")


class Impostor:
    """A server that wants nothing but the password; what clients answer is kept."""

    def __init__(self, port: int, question: bytes, certificate: Path | None) -> None:
        self.asked, self.answers = 0, [b""]
        self._question, self._context = question, None
        if certificate:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(certificate)
        self._listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _peer = self._listener.accept()
                with contextlib.suppress(OSError, struct.error), client:
                    client.settimeout(5)
                    self._ask(client)

    def _ask(self, client: socket.socket) -> None:
        while True:
            (size,) = struct.unpack("!i", client.recv(4))
            packet = client.recv(size - 4)
            (code,) = struct.unpack("!i", packet[:4])
            if code == _SSL_REQUEST and self._context:
                client.sendall(b"S")
                client = self._context.wrap_socket(client, server_side=True)
            elif code in (_SSL_REQUEST, _GSS_REQUEST):
                client.sendall(b"N")
            else:
                break
        self.asked += 1
        client.sendall(self._question)
        self.answers.append(client.recv(1000))

    def __enter__(self) -> Impostor:
        return self

    def __exit__(self, *_unused: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


#: The newest has require_auth; Debian's has channel_binding, for which it takes TLS.
@pytest.fixture(scope="module", params=[param for param in SERVERS if param.values[0] in ("embedded", "15")])
def guarded(
    request: pytest.FixtureRequest, make_folder: MakeFolder, programs: t.Callable[[str], Path]
) -> t.Iterator[Site]:
    site = Site(make_folder(), programs(request.param))
    site.variables["parameters"] = {"wal_retrieve_retry_interval": "200ms"}
    if request.param == "15":
        # An authority that is not looked at: only the channel tells who is at its end.
        site.variables["pgtandem_tls"] = {"mode": "require"}
        site.variables["pgtandem_connection_options"] = {"gssencmode": "disable"}
    site.add("pg1", "primary")
    site.add("pg2", "standby")
    site.converge()
    site.settled()
    site["pg1"].stop()
    yield site
    site.remove()


@pytest.fixture
def options(guarded: Site) -> dict[str, str]:
    """What the WAL receiver demands beyond where to connect."""
    found = parse_conninfo(guarded["pg2"].setting("primary_conninfo"))
    return {name: value for name, value in found.items() if name.startswith(("ssl", "require_auth", "channel"))}


def certificate_of(site: Site) -> Path | None:
    """A certificate that somebody else could have made as well: without verification any will do."""
    path = site.folder / "pg2.tls" / "server.pem"
    return path if path.exists() else None


@pytest.mark.parametrize("question", [_IN_CLEAR, _BY_MD5], ids=["in clear", "by md5"])
def test_no_client_answers(guarded: Site, options: dict[str, str], question: bytes) -> None:
    node, port = guarded["pg2"], guarded["pg1"].port
    version = parse_program_version(node.run("postgres", "--version").stdout)
    backup = backup_command(
        "pg_basebackup",
        BaseBackupRequest("127.0.0.1", port, "replica", None, "pg2", options=options),
        directory=str(guarded.folder / "copy"),
        passfile=str(node.passfile),
        client=version,
    )
    rewind = rewind_command(
        "pg_rewind",
        RewindRequest("127.0.0.1", port, "replica", options=options),
        directory=str(guarded["pg1"].data_directory),
        passfile=str(node.passfile),
        version=version,
    )
    with Impostor(port, question, certificate_of(guarded)) as impostor:
        wait_until(lambda: impostor.asked > 2, "the WAL receiver to try")
        for command in (backup, rewind):
            before = impostor.asked
            done = node.run(*command, check=False)
            assert done.returncode != 0 and impostor.asked > before, done.stderr
        target = Target("127.0.0.1", port, "replica", PASSWORD, options=options)
        for attempt in (connect, identify_system):
            with pytest.raises(DatabaseError):
                attempt(target)  # type: ignore[operator]
    # Not even how it is hashed.
    assert b"".join(impostor.answers) == b"", impostor.answers
    assert ("require_auth" if version >= 160000 else "channel_binding") in options


def test_the_standby_follows_its_primary_again(guarded: Site) -> None:
    guarded["pg1"].start()
    wait_until(lambda: guarded.streaming("pg1") == "pg2", "the standby to stream")
