# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""One promotion a timeline: each host takes down whom a run is about to promote, and holds later runs to it."""

from __future__ import annotations

import fcntl
import json
import os
import time
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host
from ansible_collections.pgtandem.replication.plugins.module_utils._system.folders import FileRefused
from ansible_collections.pgtandem.replication.plugins.module_utils._system.state_file import (
    LIMIT,
    StateFile,
    is_number,
    is_whole,
    like,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.data_directory import CLAIM


class Claim(t.NamedTuple):
    """Who is to be promoted, away from which timeline of which system."""

    target: str
    timeline: int
    system_identifier: str


CLAIM_FILE = StateFile(
    "whom a run was about to promote",
    {
        "target": like(r"[A-Za-z0-9_.:\[\]-]{1,255}"),
        "timeline": is_whole,
        "system_identifier": like(r"\d{1,20}"),
        "since": is_number,
    },
)


def conflict(claim: Claim, noted: t.Mapping[str, t.Any]) -> bool:
    """Whether another run is about to promote somebody else on this timeline.

    >>> noted = {"target": "pg3", "timeline": 1, "system_identifier": "7"}
    >>> [conflict(Claim(*one, "7"), noted) for one in (("pg2", 1), ("pg3", 1), ("pg2", 2))]
    [True, False, False]
    """
    same = (noted.get("timeline"), noted.get("system_identifier")) == (claim.timeline, claim.system_identifier)
    return same and noted.get("target") != claim.target


def read_claim(host: Host) -> dict[str, t.Any] | None:
    """Whose promotion was noted last on this host, away from which timeline of which system."""
    try:
        noted = CLAIM_FILE.read(host.files, f"{host.instance.data_directory}{CLAIM}")
        return {name: noted[name] for name in Claim._fields}
    except (PermissionError, FileRefused, KeyError):
        return None


def make_claim(host: Host, claim: Claim, *, check_mode: bool) -> dict[str, t.Any]:
    """Note the claim beside the data directory, unless another one stands there."""
    path = f"{host.instance.data_directory}{CLAIM}"
    wanted = dict(claim._asdict())
    if check_mode and not host.files.exists(path):
        return {"changed": True, "path": path}
    if not host.files.lies(path):
        host.files.write_text(path, "", mode=0o600, follow=False)
    with os.fdopen(host.files.open_file(path, os.O_RDWR), "r+", encoding="utf-8") as stream:
        # Two runs at once: the second one reads what the first one wrote.
        fcntl.flock(stream, fcntl.LOCK_EX)
        noted = CLAIM_FILE.parse(stream.read(LIMIT), path)
        if conflict(claim, noted):
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(noted.get("since", 0)))
            raise ReplicationError(
                f"Another run is promoting {noted['target']} on timeline {claim.timeline} (noted at {since} UTC in "
                f"{path}), so {claim.target} is not promoted beside it. Wait for its end. If it was cut short, go on "
                f"with it: -e pgtandem_target={noted['target']}. Only if {noted['target']} is down for good, remove "
                "that file on every host."
            )
        changed = {name: noted.get(name) for name in wanted} != wanted
        if changed and not check_mode:
            # A host that is lost meanwhile leaves spaces, which claim nothing.
            text = json.dumps(dict(wanted, since=time.time()), sort_keys=True) + "\n"
            os.ftruncate(stream.fileno(), 0)
            os.pwrite(stream.fileno(), text.encode(), 0)
            os.fsync(stream.fileno())
            host.files.sync_folder(os.path.dirname(path))
    return {"changed": changed, "path": path}
