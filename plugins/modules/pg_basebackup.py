#!/usr/bin/python
# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_basebackup
short_description: Seed the data directory of a standby from its upstream
version_added: 1.0.0
description:
  - Copies a running server into an absent or empty data directory, as the first step of making a standby.
  - Does nothing where the directory is a standby of that system already, and refuses every other directory with
    the state that it found; without O(replace) it never removes or overwrites anything that it did not make itself.
  - The copy runs as a job of the database host's own (a systemd scope where the module runs as root and systemd is
    there, a detached process otherwise), so it goes on when the connection, the play or the controller ends. The next
    run finds it, waits for its end and takes it over. Several runs at once make one copy.
  - The copy grows in a folder of its own inside the data directory and is moved up when it is whole, marked as a
    standby, so that half a copy is never taken for a cluster. What a job that died left, in the folders of
    tablespaces and of the WAL too, is recognised by a marker, cleared and begun anew by the next run. Nothing else is
    ever cleared.
  - Tries everything that can be tried before anything is written. The replication login from this host, as often at
    once as it will be needed; versions, architecture, slot, room on each disk, empty and writable folders.
  - As a task it prints how far the copy is while it runs, unless it ends within two seconds.
options:
  upstream_host:
    description: The address of the server to copy.
    type: str
    required: true
  upstream_port:
    description: Its port.
    type: int
    default: 5432
  upstream_user:
    description: The role to log in as; it needs C(REPLICATION).
    type: str
    default: replica
  upstream_password:
    description: That role's password. It travels in a password file that only O(os_user) can read.
    type: str
  upstream_options:
    description: More options of libpq for the connection, such as C(sslmode).
    type: dict
    default: {}
  application_name:
    description: The name of the connection in the upstream's C(pg_stat_replication).
    type: str
    default: pgtandem
  slot:
    description: A physical slot on the upstream that keeps the WAL while the copy runs. It must exist.
    type: str
  checkpoint:
    description: Whether the upstream's checkpoint before the copy is fast, or spread out to spare its disk.
    type: str
    choices: [fast, spread]
    default: fast
  max_rate:
    description: The most that is read from the upstream in a second, such as V(100M).
    type: str
  wal_method:
    description:
      - How the WAL written during the copy is taken along. V(stream) takes it at once through a second connection,
        V(fetch) at the end, which needs O(slot) or enough WAL kept on the upstream.
    type: str
    choices: [stream, fetch]
    default: stream
  wal_directory:
    description: A folder of its own for the WAL; absent or empty.
    type: path
  tablespace_mapping:
    description: For each tablespace of the upstream that is to lie elsewhere, the old folder and the new one.
    type: dict
    default: {}
  compress:
    description:
      - Compress on the way, at the upstream (PostgreSQL 15 and newer); the files are written plain. With a level as in
        V(zstd:1), or without.
      - V(lz4) nearly doubles the speed of a copy that the network or the sockets limit, and halves that of data that
        do not compress. V(gzip) never pays but on very slow networks.
    type: str
  manifest_checksums:
    description:
      - Make a manifest with these checksums and keep it in the data directory as C(backup_manifest) (13 and newer).
        Without it a manifest is made only for O(verify), and removed afterwards.
    type: str
    choices: [NONE, CRC32C, SHA224, SHA256, SHA384, SHA512]
  verify:
    description:
      - Check the copy with C(pg_verifybackup) before it counts, every file against the manifest's checksums (13 and
        newer). It reads everything once more.
    type: bool
    default: false
  sync:
    description:
      - Whether the copy is forced to the disk before it counts. Without it a crash of the host within the minutes
        after the copy can leave a standby with holes.
    type: bool
    default: true
  sync_method:
    description: How it is forced to the disk (17 and newer).
    type: str
    choices: [fsync, syncfs]
  system_identifier:
    description: The system that the upstream must be; without it any server at O(upstream_host) is accepted.
    type: str
  upstream_status:
    description:
      - What M(pgtandem.replication.pg_replication_status) returned of the upstream with its option C(sizes), as
        C(replication). With it the copy's size is known before it begins, the room on each disk and the slot are
        checked, the folders of tablespaces are known and cleared after a job that died, and the locales, libraries and
        time zones that the copy needs are looked for on this host.
      - Without it the slot is asked for over the replication connection, which servers from 15 on answer. No such
        connection tells sizes, so the room is not checked, which RV(note) says.
    type: dict
    default: {}
  replace:
    description:
      - What becomes of a standby, a stopped primary or a half rewound directory of the same system that is there.
        V(no) refuses what is no standby, V(aside) renames it and its tablespaces (their names with C(.pgtandem-aside))
        until M(pgtandem.replication.pg_set_aside) deletes it or brings it back.
      - V(delete) also deletes it before the copy begins, where it cannot be set aside - there is no room for both, or
        it is a file system of its own.
      - Everything that a copy needs is tried before. Another system is refused in any case, and a running primary
        unless O(stop_primary) is given.
      - Where the standby that is replaced does not stream by O(slot), that is dropped and made anew over the
        replication connection, between the stop and the copy. From PostgreSQL 16 on a standby that asks for WAL which
        is gone takes its slot back to that, so that one that was made before would be lost again.
      - Give it only where that host was named to be copied anew; each run replaces what it finds, unless an earlier
        run's copy still waits for C(pg_set_aside).
    type: str
    choices: ["no", aside, delete]
    default: "no"
  configuration:
    description:
      - With Debian's layout, make the instance's configuration with C(pg_createcluster) while the copy goes on, where
        it is missing. M(pgtandem.replication.pg_instance) would make it afterwards.
      - It is made on a directory of its own and never touches the copy. Where that fails, nothing is said of it here;
        M(pgtandem.replication.pg_instance) tries again and tells.
    type: bool
    default: false
  stop_primary:
    description:
      - Whether O(replace) may stop a server that runs as a primary. It is for an old primary beside the one that
        counts; what it took by itself is lost with it.
    type: bool
    default: false
  wait_timeout:
    description:
      - How many seconds to wait for the end of the copy. By default until its end; V(0) returns as soon as it runs.
        Its result then says RV(running).
    type: float
  job:
    description:
      - The copy to wait for, from RV(job) of an earlier task. Where that one failed the task fails and begins no other.
    type: str
extends_documentation_fragment:
  - pgtandem.replication.instance
  - pgtandem.replication.tls
  - pgtandem.replication.attributes
  - pgtandem.replication.attributes.actiongroup_replication
attributes:
  action:
    description: Has an action plugin, which tells on the controller how far the copy is.
    support: partial
    details: With O(wait_timeout), in check mode and as an asynchronous task it is silent.
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
requirements:
  - psycopg (3.1 or newer) or psycopg2 on the host that runs the module
notes:
  - "PostgreSQL's manual: pg_basebackup; Log-Shipping Standby Servers."
seealso:
  - module: pgtandem.replication.pg_instance
  - module: pgtandem.replication.pg_replication_status
"""

EXAMPLES = r"""
- name: Copy the primary into the standby's empty data directory
  pgtandem.replication.pg_basebackup:
    version: "17"
    upstream_host: 10.12.12.10
    upstream_user: replica
    upstream_password: "{{ pgtandem_replication_password }}"
    slot: pg2

- name: Copy slowly, with the WAL on a disk of its own
  pgtandem.replication.pg_basebackup:
    bin_directory: /usr/local/pgsql-15/bin
    data_directory: /data/pgsql/data2
    upstream_host: pg1.example.com
    upstream_password: "{{ pgtandem_replication_password }}"
    max_rate: 50M
    wal_directory: /wal/data2

- name: Compress on the way, and check every file before the copy counts
  pgtandem.replication.pg_basebackup:
    version: "17"
    upstream_host: pg1.example.com
    upstream_password: "{{ pgtandem_replication_password }}"
    compress: lz4
    verify: true

- name: Begin a copy and do something else meanwhile
  pgtandem.replication.pg_basebackup:
    version: "17"
    upstream_host: pg1.example.com
    upstream_password: "{{ pgtandem_replication_password }}"
    wait_timeout: 0
  register: copy

- name: Wait for it
  pgtandem.replication.pg_basebackup:
    version: "17"
    upstream_host: pg1.example.com
    upstream_password: "{{ pgtandem_replication_password }}"
    job: "{{ copy.job }}"
"""

RETURN = r"""
actions:
  description: What was done, or would be, as sentences.
  returned: success
  type: list
  elements: str
  sample: ["copy 10.12.12.10:5432 into /var/lib/postgresql/17/main"]
data_directory:
  description: The data directory.
  returned: success
  type: str
  sample: /var/lib/postgresql/17/main
data_directory_state:
  description: Its state afterwards, or the state that stopped the module.
  returned: always
  type: str
  sample: standby
system_identifier:
  description: The system that the directory belongs to.
  returned: success
  type: str
  sample: "7480000000000000000"
timeline:
  description: The timeline in its control file.
  returned: success
  type: int
  sample: 1
running:
  description: Whether the copy is still under way, because O(wait_timeout) was over.
  returned: success
  type: bool
  sample: false
job:
  description: What names the copy that is under way.
  returned: when RV(running)
  type: str
  sample: 1f0c2a9b7d3e
progress:
  description: How far the copy is; null before it has said anything.
  returned: when RV(running)
  type: dict
  sample: {"phase": "streaming", "done": 115000000000, "total": 312000000000, "rate": 98000000.0}
copied_bytes:
  description: How much was copied, without the WAL.
  returned: when this task took over a copy
  type: int
  sample: 312400000000
seconds:
  description: How long the job took.
  returned: when this task took over a copy
  type: float
  sample: 3187.4
tls:
  description:
    - The certificates that were placed, as RV(pgtandem.replication.pg_replication_status#module:replication.tls).
  returned: with O(tls)
  type: dict
note:
  description:
    - In check mode, why the upstream could not be asked yet; otherwise, that without sizes in O(upstream_status) the
      room on this host was not checked.
  returned: success
  type: str
"""

import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._argspec import tls_options
from ansible_collections.pgtandem.replication.plugins.module_utils._basebackup.seed import Waiting, seed
from ansible_collections.pgtandem.replication.plugins.module_utils._configuration.tls_files import Tls, look, place
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._module import run_job
from ansible_collections.pgtandem.replication.plugins.module_utils._values.backup_command import BaseBackupRequest
from ansible_collections.pgtandem.replication.plugins.module_utils._values.connection_options import (
    connection_option_problems,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.parameter_value import as_text

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule
    from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host


def job(host: Host, module: AnsibleModule) -> dict[str, t.Any]:
    """Seed the directory that the parameters describe."""
    parameters = module.params
    problems = connection_option_problems(
        {str(name): as_text(value) for name, value in parameters["upstream_options"].items()}
    )
    if problems:
        raise ReplicationError(" ".join(problems))
    tls = Tls.from_parameters(parameters)
    placed = [] if module.check_mode else place(host, tls)
    result = seed(
        host,
        BaseBackupRequest(
            host=parameters["upstream_host"],
            port=parameters["upstream_port"],
            user=parameters["upstream_user"],
            password=parameters["upstream_password"],
            application_name=parameters["application_name"],
            slot=parameters["slot"] or None,
            checkpoint=parameters["checkpoint"],
            max_rate=parameters["max_rate"] or None,
            wal_method=parameters["wal_method"],
            wal_directory=parameters["wal_directory"] or None,
            tablespace_mapping={str(old): str(new) for old, new in parameters["tablespace_mapping"].items()},
            compress=parameters["compress"] or None,
            manifest_checksums=parameters["manifest_checksums"] or None,
            verify=parameters["verify"],
            sync=parameters["sync"],
            sync_method=parameters["sync_method"] or None,
            system_identifier=parameters["system_identifier"] or None,
            upstream_status=parameters["upstream_status"],
            replace=parameters["replace"],
            stop_primary=parameters["stop_primary"],
            configuration=parameters["configuration"],
            options={str(name): str(value) for name, value in parameters["upstream_options"].items()},
        ),
        check_mode=module.check_mode,
        waiting=Waiting(parameters["wait_timeout"], parameters["job"] or None),
    )
    if placed:
        result.update(changed=True, actions=[*(f"write {path}" for path in placed), *result["actions"]])
    if tls is not None:
        result["tls"] = look(host, {}, {})
    return result


def main() -> None:
    """The module's entry."""
    run_job(
        job,
        {
            "upstream_host": {"type": "str", "required": True},
            "upstream_port": {"type": "int", "default": 5432},
            "upstream_user": {"type": "str", "default": "replica"},
            "upstream_password": {"type": "str", "no_log": True},
            "upstream_options": {"type": "dict", "default": {}},
            **tls_options(),
            "application_name": {"type": "str", "default": "pgtandem"},
            "slot": {"type": "str"},
            "checkpoint": {"type": "str", "choices": ["fast", "spread"], "default": "fast"},
            "max_rate": {"type": "str"},
            "wal_method": {"type": "str", "choices": ["stream", "fetch"], "default": "stream"},
            "wal_directory": {"type": "path"},
            "tablespace_mapping": {"type": "dict", "default": {}},
            "compress": {"type": "str"},
            "manifest_checksums": {
                "type": "str",
                "choices": ["NONE", "CRC32C", "SHA224", "SHA256", "SHA384", "SHA512"],
            },
            "verify": {"type": "bool", "default": False},
            "sync": {"type": "bool", "default": True},
            "sync_method": {"type": "str", "choices": ["fsync", "syncfs"]},
            "system_identifier": {"type": "str"},
            "upstream_status": {"type": "dict", "default": {}},
            "replace": {"type": "str", "choices": ["no", "aside", "delete"], "default": "no"},
            "stop_primary": {"type": "bool", "default": False},
            "configuration": {"type": "bool", "default": False},
            "wait_timeout": {"type": "float"},
            "job": {"type": "str"},
        },
    )


if __name__ == "__main__":
    main()
