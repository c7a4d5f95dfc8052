# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""What to copy and how, and the words of pg_basebackup and pg_verifybackup for it (manual, both programs)."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._values.connection_options import known_options
from ansible_collections.pgtandem.replication.plugins.module_utils._values.quoting import format_conninfo
from ansible_collections.pgtandem.replication.plugins.module_utils._versions import major_text, since_text, supports

#: pg_basebackup waits for data without a limit, and the kernel first asks after two hours whether the other side is
#: there. With these a copy fails within a minute after the network did.
_KEEPALIVES = {"keepalives_idle": "20", "keepalives_interval": "10", "keepalives_count": "3"}


@dataclass(frozen=True)
class BaseBackupRequest:
    """What to copy, from where."""

    host: str
    port: int
    user: str
    password: str | None
    application_name: str
    slot: str | None = None
    checkpoint: str = "fast"
    max_rate: str | None = None
    wal_method: str = "stream"
    wal_directory: str | None = None
    tablespace_mapping: t.Mapping[str, str] = field(default_factory=dict)
    compress: str | None = None
    manifest_checksums: str | None = None
    verify: bool = False
    sync: bool = True
    sync_method: str | None = None
    #: The system that the upstream must be, where that is known.
    system_identifier: str | None = None
    options: t.Mapping[str, str] = field(default_factory=dict)
    #: What pg_replication_status said of the upstream, with its sizes.
    upstream_status: t.Mapping[str, t.Any] = field(default_factory=dict)
    #: What becomes of a standby or a stopped primary of this system that is there: C(no), C(aside) or C(delete).
    replace: str = "no"
    #: Whether that may stop a server that runs as a primary beside the one that counts.
    stop_primary: bool = False
    #: Whether to make the configuration that Debian keeps apart, while the copy goes on.
    configuration: bool = False

    def shown(self) -> str:
        """The upstream, for messages."""
        return f"{self.host}:{self.port}"

    @property
    def senders(self) -> int:
        """How many WAL senders the copy takes on the upstream."""
        return 2 if self.wal_method == "stream" else 1


class _Knob(t.NamedTuple):
    """An option that only some versions have."""

    name: str
    asked: t.Callable[[BaseBackupRequest], bool]
    feature: str
    #: The server has to know it too, not the program alone.
    of_server: bool


_KNOBS = (
    _Knob("slot", lambda request: bool(request.slot), "basebackup_slot", False),
    _Knob("verify", lambda request: request.verify, "backup_manifest", True),
    _Knob("manifest_checksums", lambda request: bool(request.manifest_checksums), "backup_manifest", True),
    _Knob("compress", lambda request: bool(request.compress), "backup_server_compression", True),
    _Knob("sync=false", lambda request: not request.sync, "basebackup_no_sync", False),
    _Knob("sync_method", lambda request: bool(request.sync_method), "basebackup_sync_method", False),
)


def check_knobs(request: BaseBackupRequest, *, client: int, server: int) -> None:
    """Stop where the program or the server lacks what is asked: older ones may take an option and ignore it."""
    problems = []
    for knob in _KNOBS:
        if not knob.asked(request):
            continue
        lacking = []
        if knob.of_server and not supports(server, knob.feature):
            lacking.append(f"the upstream is PostgreSQL {major_text(server)}")
        if not supports(client, knob.feature):
            lacking.append(f"pg_basebackup on this host is of {major_text(client)}")
        if lacking:
            problems.append(
                f"{knob.name} needs PostgreSQL {since_text(knob.feature)} or newer, and {' and '.join(lacking)}"
            )
    if request.compress and not re.match(r"^(gzip|lz4|zstd)(:[a-z0-9=,]+)?$", request.compress):
        problems.append(f"compress is {request.compress!r}, and must be lz4, zstd or gzip, with a level as in zstd:1")
    if request.verify and request.manifest_checksums == "NONE":
        problems.append("verify with manifest_checksums=NONE would compare sizes alone; choose CRC32C or leave it out")
    if problems:
        raise ReplicationError("; ".join(problems) + ". Leave it out of pgtandem_basebackup. Nothing was copied.")


def backup_command(
    program: str, request: BaseBackupRequest, *, directory: str, passfile: str, client: int
) -> list[str]:
    """pg_basebackup's words for its own version; the password is in the file alone.

    >>> request = BaseBackupRequest("pg1", 5432, "replica", None, "pg2", slot="pg2")
    >>> words = backup_command("pg_basebackup", request, directory="/data", passfile="/pass", client=150018)
    >>> words[-2]
    '--slot=pg2'
    >>> " ".join(words[-1].split()[:5])
    '--dbname=host=pg1 port=5432 user=replica passfile=/pass application_name=pg2'
    """
    new_names = supports(client, "basebackup_wal_options")
    argv = [
        program,
        f"--pgdata={directory}",
        "--format=plain",
        ("--wal-method=" if new_names else "--xlog-method=") + request.wal_method,
        f"--checkpoint={request.checkpoint}",
        "--no-password",
        "--progress",
        "--verbose",
    ]
    if request.max_rate:
        argv.append(f"--max-rate={request.max_rate}")
    if request.wal_directory:
        argv.append(("--waldir=" if new_names else "--xlogdir=") + request.wal_directory)
    argv += [
        f"--tablespace-mapping={_escaped(old)}={_escaped(new)}"
        for old, new in sorted(request.tablespace_mapping.items())
    ]
    if request.compress:
        # "server": it is compressed for the wire alone, and written plain.
        argv.append(f"--compress=server-{request.compress}")
    if request.manifest_checksums:
        argv.append(f"--manifest-checksums={request.manifest_checksums}")
    elif not request.verify and supports(client, "backup_manifest"):
        # Nobody would read it, and its checksums are a quarter of the time.
        argv.append("--no-manifest")
    if not request.sync:
        argv.append("--no-sync")
    if request.sync_method:
        argv.append(f"--sync-method={request.sync_method}")
    if request.slot:
        argv.append(f"--slot={request.slot}")
    conninfo = {
        "host": request.host,
        "port": str(request.port),
        "user": request.user,
        "passfile": passfile,
        "application_name": request.application_name,
        **_KEEPALIVES,
    }
    conninfo.update(known_options(request.options, client))
    return [*argv, "--dbname=" + format_conninfo(conninfo)]


def verify_command(program: str, *, directory: str) -> list[str]:
    """pg_verifybackup's words: the files against the manifest, and the WAL that the copy needs.

    >>> verify_command("pg_verifybackup", directory="/data")
    ['pg_verifybackup', '--exit-on-error', '--quiet', '/data']
    """
    return [program, "--exit-on-error", "--quiet", directory]


def _escaped(path: str) -> str:
    r"""A path in --tablespace-mapping, where an equals sign parts the two.

    >>> print(_escaped("/ts=1"))
    /ts\=1
    """
    return path.replace("=", "\\=")
