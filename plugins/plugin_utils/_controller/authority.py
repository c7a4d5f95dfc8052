# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""The small certificate authority of a cluster, in a folder on the controller, and the user's own files there."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import os
import re
import tempfile
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.plugin_utils._tls.certificates import (
    Certificate,
    Pair,
    certificates_in,
    make_authority,
)

#: The authority's certificate and key in one file, so that neither is ever there without the other.
NAME = "authority.pem"
_KEY = re.compile(r"-----BEGIN (?:EC |RSA )?PRIVATE KEY-----.*?-----END (?:EC |RSA )?PRIVATE KEY-----", re.DOTALL)


def folder_of(directory: str, cluster: str) -> str:
    """Where a cluster's authority is; a cluster's name may hold what a folder's name cannot."""
    safe = re.sub(r"[^A-Za-z0-9._-]", lambda found: f"%{ord(found.group(0)):x}", cluster)
    return os.path.join(os.path.expanduser(directory), f"%{safe}" if safe.startswith(".") else safe)


def read_file(path: str, what: str) -> str:
    """A file on the controller; what cannot be read stops the run."""
    try:
        with open(os.path.expanduser(path), encoding="utf-8") as stream:
            return stream.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ReplicationError(
            f"pgtandem_tls: {what} {path} on the controller cannot be read ({reason}). Correct the path."
        ) from error


def read_authority(directory: str, cluster: str) -> Pair | None:
    """The cluster's authority, None where none was made yet."""
    path = os.path.join(folder_of(directory, cluster), NAME)
    if not os.path.exists(path):
        return None
    text = read_file(path, "the authority")
    certificates, key = certificates_in(text), _KEY.search(text)
    if len(certificates) != 1 or key is None:
        raise ReplicationError(
            f"pgtandem_tls: {path} does not hold one certificate and its key. Restore it from a copy, or move it away "
            "and set new_authority."
        )
    return Pair(certificates[0].pem, key.group(0) + "\n")


def ensure_authority(directory: str, cluster: str, *, now: datetime.datetime) -> Pair:
    """The cluster's authority, made where there is none; several hosts may ask at once. Whoever has its key can be any
    server or standby of the cluster, so nobody else may read it, and git is told to leave it alone."""
    folder = folder_of(directory, cluster)
    whole = os.path.dirname(folder)
    made = not os.path.isdir(whole)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    if made:
        os.chmod(whole, 0o700)
    with _alone(folder) as descriptor:
        found = read_authority(directory, cluster)
        if found is None:
            found = make_authority(cluster, now=now)
            _write_secret(os.path.join(folder, NAME), found.certificate + found.key)
        _ignore(whole)
        _close(descriptor)
        return found


def _ignore(folder: str) -> None:
    """Have git leave all of a folder alone, unless somebody said otherwise there."""
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(f"{folder}/.gitignore", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write("# Written by pgtandem.replication: private keys do not belong in a repository.\n*\n")


def _close(folder: int) -> None:
    """Take the authority's folder and file from everybody but their owner, as a checkout or a copy may have left them
    open."""
    own = os.geteuid()
    if os.fstat(folder).st_uid == own:
        os.fchmod(folder, 0o700)
    descriptor = os.open(NAME, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)
    try:
        if os.fstat(descriptor).st_uid == own:
            os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _alone(folder: str) -> t.Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _write_secret(path: str, text: str) -> None:
    # Of a name that nobody can have put a link at; its mode is 0600.
    descriptor, temporary = tempfile.mkstemp(prefix=".pgtandem-", dir=os.path.dirname(path))
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class Given(t.NamedTuple):
    """Files that the user has on the controller, as texts."""

    authority: str
    server: Pair
    client: Pair | None


def read_given(files: t.Mapping[str, str], *, client_name: str, now: datetime.datetime) -> Given:
    """Read and judge the user's own files before anything is sent."""
    authority = read_file(files["authority"], "authority") if files.get("authority") else ""
    if files.get("authority") and not certificates_in(authority):
        raise ReplicationError(f"pgtandem_tls: authority {files['authority']} holds no certificate. Correct it.")
    server = _read_pair(files, "certificate", "key", authority, now)
    client = None
    if client_name:
        client = _read_pair(files, "client_certificate", "client_key", authority, now)
        name = certificates_in(client.certificate)[0].common_name
        if name != client_name:
            raise ReplicationError(
                f"pgtandem_tls: client_certificate {files['client_certificate']} names {name!r}, and the servers will "
                f"expect {client_name!r}. Set client_name, or take the right certificate."
            )
    return Given(authority, server, client)


def _read_pair(files: t.Mapping[str, str], certificate: str, key: str, authority: str, now: datetime.datetime) -> Pair:
    text, secret = read_file(files[certificate], certificate), read_file(files[key], key)
    found = certificates_in(text)
    shown = f"pgtandem_tls: {certificate} {files[certificate]}"
    if not found:
        raise ReplicationError(f"{shown} holds no certificate. Correct it.")
    try:
        fits = found[0].belongs_to(secret)
    except ReplicationError as error:
        raise ReplicationError(f"pgtandem_tls: {key} {files[key]}: {error.message}") from error
    if not fits:
        raise ReplicationError(f"{shown} does not belong to {key} {files[key]}. Take the two that were made together.")
    if found[0].days_left(now) < 0:
        raise ReplicationError(f"{shown} expired on {found[0].not_after:%Y-%m-%d}. Take a newer one.")
    # With a certificate in between, only the whole chain leads to the authority; the server and libpq follow it.
    above = [*found[1:], *certificates_in(authority)]
    if authority and not any(found[0].signed_by(one) for one in above):
        raise ReplicationError(
            f"{shown} was not signed by {files['authority']}, nor by a certificate that follows it in its own file. "
            "Take the right authority, or append the certificates in between."
        )
    return Pair("".join(one.pem for one in found), secret.strip() + "\n")


def strangers(authority: Pair | None, seen: t.Iterable[t.Mapping[str, t.Any]]) -> list[str]:
    """Fingerprints of authorities that hosts trust and the controller does not have."""
    own = {Certificate(authority.certificate).fingerprint} if authority else set()
    trusted = [certificates_in((one.get("authority") or {}).get("certificate")) for one in seen]
    # A host that trusts ours besides another is in the middle of a change.
    unknown = {one.fingerprint for found in trusted for one in found if not own & {each.fingerprint for each in found}}
    return sorted(unknown)
