# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""What a server answers to a start-up packet: neither driver tells the SQLSTATE of a connection that failed.

No password is sent, and no text of the answer is read, which a server gives in its own language (manual, Message Flow,
Start-up; Error and Notice Message Fields).
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import socket
import struct
import typing as t

PROTOCOL = 196608
_TLS_REQUEST = struct.pack("!ii", 8, 80877103)
#: Longer is no answer to this.
_LIMIT = 1 << 16


class Answer(t.NamedTuple):
    """How a server met a login. All empty: it closed the connection, or sent what nobody understands."""

    #: Field C of the error, before or after the role was let in.
    sqlstate: str = ""
    #: It wants to be shown more than a name: a password, a ticket.
    asks: bool = False
    #: It is ready for queries.
    admits: bool = False
    #: It accepted the connection, or did not even that, and then said nothing.
    silent: bool = False
    #: Why there was no connection, by the system's number: REFUSED, UNRESOLVED or UNREACHABLE.
    failed: str = ""


REFUSED, UNRESOLVED, UNREACHABLE = "refused", "unresolved", "unreachable"
_FAILURES = {errno.ECONNREFUSED: REFUSED, errno.EHOSTUNREACH: UNREACHABLE, errno.ENETUNREACH: UNREACHABLE}


def startup_packet(**parameters: str) -> bytes:
    """The first packet of a client, in plain text.

    >>> startup_packet(user="a")
    b'\\x00\\x00\\x00\\x10\\x00\\x03\\x00\\x00user\\x00a\\x00\\x00'
    """
    words = b"".join(f"{name}\0{value}\0".encode() for name, value in parameters.items()) + b"\0"
    return struct.pack("!ii", len(words) + 8, PROTOCOL) + words


def ask(
    host: str, port: int, *, user: str, dbname: str, timeout: float = 3.0, replication: bool = False, tls: bool = False
) -> Answer:
    """Knock at a server, as the account whose ids are in effect: with C(tls) over TLS where it offers that. Whose
    certificate it shows does not matter, since nothing secret is sent."""
    more = {"replication": "true"} if replication else {}
    try:
        with contextlib.ExitStack() as stack:
            client = stack.enter_context(contextlib.closing(_connected(host, port, timeout)))
            if tls:
                client = stack.enter_context(contextlib.closing(_over_tls(client)))
            client.sendall(startup_packet(user=user, database=dbname, application_name="pgtandem", **more))
            return _read(client)
    except socket.timeout:
        return Answer(silent=True)
    except socket.gaierror:
        return Answer(failed=UNRESOLVED)
    except OSError as error:
        return Answer(failed=_FAILURES.get(error.errno or 0, ""))
    except (struct.error, ValueError):
        return Answer()


def _connected(host: str, port: int, timeout: float) -> socket.socket:
    if not host.startswith("/"):
        return socket.create_connection((host, port), timeout)
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(timeout)
    try:
        client.connect(f"{host}/.s.PGSQL.{port}")
    except OSError:
        client.close()
        raise
    return client


def _over_tls(client: socket.socket) -> socket.socket:
    client.sendall(_TLS_REQUEST)
    if _exactly(client, 1) != b"S":
        return client
    # Its import takes longer than most runs of a module spend on Python's library, and is rarely needed.
    ssl: t.Any = importlib.import_module("ssl")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return t.cast(socket.socket, context.wrap_socket(client))


def _exactly(client: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = client.recv(count - len(data))
        if not part:
            raise ValueError("the connection ended")
        data += part
    return data


def _read(client: socket.socket) -> Answer:
    for _message in range(1000):
        kind, size = struct.unpack("!ci", _exactly(client, 5))
        if not 4 <= size <= _LIMIT:
            break
        body = _exactly(client, size - 4)
        if kind == b"E":
            fields = {field[:1]: field[1:] for field in body.split(b"\0")}
            return Answer(sqlstate=fields.get(b"C", b"").decode("ascii", "replace"))
        if kind == b"R" and struct.unpack("!i", body[:4])[0] != 0:
            return Answer(asks=True)
        if kind == b"Z":
            client.sendall(b"X\0\0\0\4")
            return Answer(admits=True)
    return Answer()
