# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""What would keep a server from starting on this host: libraries, certificates, memory, Debian's start.conf.

The server program judges names and ranges (`postgres -C`), and knows nothing of these until it starts.
"""

from __future__ import annotations

import os
import re
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host
from ansible_collections.pgtandem.replication.plugins.module_utils._system.identity import NOBODY
from ansible_collections.pgtandem.replication.plugins.module_utils._system.server_libraries import library_folder
from ansible_collections.pgtandem.replication.plugins.module_utils._values.amounts import shown_bytes
from ansible_collections.pgtandem.replication.plugins.module_utils._values.copy_needs import places_of_library
from ansible_collections.pgtandem.replication.plugins.module_utils._values.parameters import ON
from ansible_collections.pgtandem.replication.plugins.module_utils._values.server_settings import (
    memory_bytes,
    names_in_list,
)


def start_problems(host: Host, values: t.Mapping[str, str]) -> list[str]:
    """Sentences for what a start with these values would fail over on this host."""
    if host.files.identity() is NOBODY:
        # Its account comes with the packages.
        return []
    return [*_libraries(host, values), *_certificates(host, values), *_memory(values)]


def _libraries(host: Host, values: t.Mapping[str, str]) -> t.Iterator[str]:
    names = names_in_list(values.get("shared_preload_libraries", ""))
    own = library_folder(host.files, host.instance.bin_directory)
    if not names or own is None:
        return
    for name in names:
        candidates = places_of_library(name, own, values.get("dynamic_library_path", ""))
        if not any(host.files.exists(place) or host.files.exists(f"{place}.so") for place in candidates):
            yield (
                f"shared_preload_libraries names {name!r}, and there is no such library in "
                f"{', '.join(sorted({os.path.dirname(place) for place in candidates}))}. Install its package there, or "
                "take it out."
            )


def _certificates(host: Host, values: t.Mapping[str, str]) -> t.Iterator[str]:
    if values.get("ssl", "off").strip().lower() not in ON:
        return
    said = {"ssl_cert_file": "server.crt", "ssl_key_file": "server.key", "ssl_ca_file": "", "ssl_crl_file": ""}
    for name, otherwise in said.items():
        value = values.get(name, otherwise)
        path = os.path.join(host.instance.data_directory, value)
        # The run itself writes what is in that folder.
        if not value or path.startswith(host.instance.tls_directory + "/"):
            continue
        seen = host.files.stat(path)
        if seen is None:
            yield f"{name} is {path}, which is not there or not readable for {host.instance.os_user}. Correct it."
        elif name == "ssl_key_file":
            # As the server judges it (be-secure-common.c): its own and closed to others, or root's and open to a group.
            own = seen.st_uid == host.files.identity().uid
            if not (own or seen.st_uid == 0) or seen.st_mode & (0o077 if own else 0o027):
                yield (
                    f"{name} is {path}, whose owner or mode ({seen.st_mode & 0o777:04o}) the server refuses. Give it "
                    f"to {host.instance.os_user} with mode 0600, or to root with 0640."
                )


def _memory(values: t.Mapping[str, str]) -> t.Iterator[str]:
    wanted = memory_bytes(values.get("shared_buffers", ""), 8192)
    memory = _meminfo()
    if wanted is not None and memory.get("MemTotal") and wanted > memory["MemTotal"]:
        yield (
            f"shared_buffers is {shown_bytes(wanted)}, and this host has {shown_bytes(memory['MemTotal'])} of memory. "
            "Lower it; a quarter of the memory is usual."
        )
    if values.get("huge_pages", "try").strip().lower() in ON and memory.get("HugePages_Total") == 0:
        yield "huge_pages is on, and this host has none. Set vm.nr_hugepages there, or huge_pages to try."


def _meminfo() -> dict[str, int]:
    """The rows of /proc/meminfo, in bytes or pages."""
    try:
        with open("/proc/meminfo", encoding="ascii", errors="replace") as stream:
            rows = re.findall(r"(?m)^(\w+):\s+(\d+)( kB)?$", stream.read())
    except OSError:
        return {}
    return {name: int(count) * (1024 if unit else 1) for name, count, unit in rows}


def start_conf_problem(host: Host) -> str:
    """Why postgresql-common would not start the cluster; empty where it would."""
    path = f"{host.instance.config_directory}/start.conf"
    text = host.files.read_text(path) if host.instance.layout == "debian" else None
    words = [line.split("#")[0].strip() for line in (text or "").splitlines()]
    return f"{path} says disabled. Write auto or manual there." if "disabled" in words else ""
