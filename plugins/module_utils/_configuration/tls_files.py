# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Certificates and keys on a host: placed, looked at, and named in the server's settings.

Manual: Secure TCP/IP Connections with SSL. A certificate and its key are in one file, which both the server and libpq
accept, so that they are exchanged in one step: a server that finds a certificate with another's key does not start.
"""

from __future__ import annotations

import os
import re
import ssl
import stat
import typing as t
from dataclasses import dataclass

from ansible_collections.pgtandem.replication.plugins.module_utils._configuration.configuration import FileChange
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host
from ansible_collections.pgtandem.replication.plugins.module_utils._system.folders import FileRefused
from ansible_collections.pgtandem.replication.plugins.module_utils._system.runner import account
from ansible_collections.pgtandem.replication.plugins.module_utils._values.layout import (
    AUTHORITY_PEM,
    CLIENT_PEM,
    SERVER_PEM,
)

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n?", re.DOTALL)
#: Larger is no certificate.
_LIMIT = 1024 * 1024


@dataclass(frozen=True)
class Tls:
    """What an instance is to have. Texts are placed in files of the collection; without one, the file that was placed
    before stays. With C(in_place) the paths are the user's own files on the host."""

    in_place: bool = False
    wants_client: bool = False
    authority: str = ""
    certificate: str = ""
    key: str = ""
    client_certificate: str = ""
    client_key: str = ""

    @classmethod
    def from_parameters(cls, parameters: t.Mapping[str, t.Any]) -> Tls | None:
        """From a module's options C(tls), C(tls_key) and C(tls_client_key)."""
        said = parameters["tls"]
        if said is None:
            return None
        in_place = said["in_place"]
        return cls(
            in_place=in_place,
            wants_client=said["wants_client"],
            authority=said["authority"] or "",
            certificate=said["certificate"] or "",
            key=(said["key_file"] if in_place else parameters["tls_key"]) or "",
            client_certificate=said["client_certificate"] or "",
            client_key=(said["client_key_file"] if in_place else parameters["tls_client_key"]) or "",
        )


def _path(host: Host, name: str) -> str:
    return f"{host.instance.tls_directory}/{name}"


def tls_settings(host: Host, tls: Tls | None) -> dict[str, str]:
    """The server's parameters that name the files."""
    if tls is None:
        return {}
    server = tls.certificate if tls.in_place else _path(host, SERVER_PEM)
    values = {
        "ssl": "on",
        "ssl_cert_file": server,
        "ssl_key_file": tls.key if tls.in_place else server,
    }
    if tls.in_place and tls.authority:
        values["ssl_ca_file"] = tls.authority
    elif not tls.in_place and (tls.authority or host.files.exists(_path(host, AUTHORITY_PEM))):
        values["ssl_ca_file"] = _path(host, AUTHORITY_PEM)
    return values


def tls_changes(host: Host, tls: Tls | None, *, check_mode: bool) -> list[FileChange]:
    """The files to write; each is whole and fits by itself, so that their order does not matter."""
    if tls is None:
        return []
    if tls.in_place:
        _judge_in_place(host, tls)
        return []
    found = []
    if tls.authority:
        found.append(_change(host, AUTHORITY_PEM, tls.authority, secret=False))
    for name, certificate, key, wanted in (
        (SERVER_PEM, tls.certificate, tls.key, True),
        (CLIENT_PEM, tls.client_certificate, tls.client_key, tls.wants_client),
    ):
        if certificate:
            found.append(_change(host, name, certificate + key, secret=True))
        elif wanted and not check_mode and not host.files.exists(_path(host, name)):
            raise ReplicationError(
                f"{_path(host, name)} is not there any more, and was when this run began. Run again."
            )
    return [change for change in found if change.needed]


def _change(host: Host, name: str, text: str, *, secret: bool) -> FileChange:
    path = _path(host, name)
    return FileChange(path, host.files.read_text(path), text, 0o600, secret=secret)


def place(host: Host, tls: Tls | None) -> list[str]:
    """Write what is missing before a first connection; the paths that were written."""
    changes = tls_changes(host, tls, check_mode=False)
    for change in changes:
        write(host, change)
    return [change.path for change in changes]


def write(host: Host, change: FileChange) -> None:
    """Write one of the files, in a folder that only PostgreSQL's account may enter."""
    host.files.make_folder(os.path.dirname(change.path), mode=0o700)
    host.files.write_text(change.path, change.after, mode=change.mode)


def is_tls_file(host: Host, change: FileChange) -> bool:
    """Whether a change is of one of these files."""
    return os.path.dirname(change.path) == host.instance.tls_directory


def _judge_in_place(host: Host, tls: Tls) -> None:
    """Refuse what the server would refuse at its next start: it reads its key strictly (manual, Secure TCP/IP ...)."""
    if tls.authority:
        text = _read(host, tls.authority, "authority")
        if not _CERTIFICATE.search(text):
            raise ReplicationError(f"pgtandem_tls: authority {tls.authority} holds no certificate. Correct the path.")
    pairs = [("certificate", tls.certificate, "key", tls.key)]
    if tls.wants_client:
        pairs.append(("client_certificate", tls.client_certificate, "client_key", tls.client_key))
    owner = account(host.instance.os_user)
    for certificate_name, certificate, key_name, key in pairs:
        _read(host, certificate, certificate_name)
        _read(host, key, key_name)
        found = t.cast(os.stat_result, host.files.stat(key))
        mode = stat.S_IMODE(found.st_mode)
        allowed = 0o640 if found.st_uid == 0 and found.st_gid == owner.pw_gid else 0o600
        if found.st_uid not in (owner.pw_uid, 0) or mode & ~allowed:
            raise ReplicationError(
                f"pgtandem_tls: {key_name} {key} has mode {mode:04o} or an owner that PostgreSQL does not take. It has "
                f"to belong to {owner.pw_name} with mode 0600, or to root and that account's group with 0640."
            )
        if found.st_uid == 0 and allowed == 0o600 and owner.pw_uid != 0:
            raise ReplicationError(
                f"pgtandem_tls: {key_name} {key} belongs to root and {owner.pw_name} cannot read it. Give it to "
                f"{owner.pw_name} with mode 0600, or to that account's group with mode 0640."
            )
        if not _fits(host, certificate, key):
            raise ReplicationError(
                f"pgtandem_tls: {certificate_name} {certificate} does not belong to {key_name} {key}. Take the two "
                "that were made together."
            )


def _read(host: Host, path: str, what: str) -> str:
    """As the server's account, which has to read it as well."""
    why = "there is none"
    try:
        text = host.files.read_text(path, limit=_LIMIT)
    except OSError as error:
        text, why = None, f"{error.strerror} for {host.instance.os_user}"
    if text is None:
        raise ReplicationError(f"pgtandem_tls: {what} {path} on this host cannot be read ({why}). Correct the path.")
    return text


def _fits(host: Host, certificate: str, key: str) -> bool:
    """Whether a key is a certificate's own; a key with a passphrase is of no use to a server that starts by itself."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        # OpenSSL opens the files itself, so that it has to be seen first that they are files.
        for path in (certificate, key):
            if host.files.read_bytes(path, limit=_LIMIT) is None:
                return False
        with host.files.acting():
            context.load_cert_chain(certificate, key, password=lambda: b"")
    except (OSError, ValueError, FileRefused):
        return False
    return True


def look(host: Host, settings: t.Mapping[str, t.Any], client: t.Mapping[str, str]) -> dict[str, t.Any]:
    """The certificates of an instance, never a key: those that were placed, and those that are in use.

    C(settings) are the running server's, C(client) the options by which it connects to its upstream.
    """
    server, own = _path(host, SERVER_PEM), _path(host, CLIENT_PEM)
    placed: dict[str, t.Any] = {"server": None, "client": None, "authority": None}
    if host.files.is_folder(host.instance.tls_directory):
        placed = {
            "server": _seen(host, server, server),
            "client": _seen(host, own, own),
            "authority": _seen(host, _path(host, AUTHORITY_PEM), ""),
        }
    used: dict[str, t.Any] = {"server": None, "client": None, "authority": None}
    if settings.get("ssl") == "on":
        certificate, key, authority = (
            _from(host, settings.get(name)) for name in ("ssl_cert_file", "ssl_key_file", "ssl_ca_file")
        )
        used["server"] = placed["server"] if certificate == server else _seen(host, certificate, key)
        used["authority"] = (
            placed["authority"] if authority == _path(host, AUTHORITY_PEM) else _seen(host, authority, "")
        )
    if client.get("sslcert"):
        used["client"] = (
            placed["client"] if client["sslcert"] == own else _seen(host, client["sslcert"], client.get("sslkey", ""))
        )
    return {"placed": placed, "used": used}


def _from(host: Host, path: str | None) -> str:
    """A path as the server reads it: from its data directory."""
    return os.path.join(host.instance.data_directory, path) if path else ""


def _seen(host: Host, path: str, key: str) -> dict[str, t.Any] | None:
    """A file's certificates without anything else that is in it; None where there is none."""
    if not path:
        return None
    try:
        found = "".join(_CERTIFICATE.findall(host.files.read_text(path, limit=_LIMIT) or ""))
    except (OSError, FileRefused):
        return None
    if not found:
        return None
    return {"path": path, "certificate": found, "usable": _fits(host, path, key) if key else None}
