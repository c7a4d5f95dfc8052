#!/usr/bin/python
# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_replication_status
short_description: Read everything about replication on a host, wait for it, assert it
version_added: 1.0.0
description:
  - Returns what a host knows about physical streaming replication - its role, timeline, positions, WAL senders and WAL
    receiver as rows and as operating-system processes, slots, the settings that matter - in one shape on every version
    of PostgreSQL. What a version does not have is null.
  - Answers whatever state the host is in. A stopped server, an empty or foreign data directory, a host without
    PostgreSQL or without psycopg, and a server that lets nobody in are states to report, not failures. The files, the
    control file and the process table then tell what the server does not.
  - With O(expect) it holds what it sees against conditions, waits for them up to O(timeout) seconds, and fails with
    a sentence for each one that is not met. RV(replication) is the same on success and on failure.
  - It changes nothing, with one exception that changes no data, O(write_position).
  - It is not named C(..._info) because it does more than such a module may - it waits and asserts.
extends_documentation_fragment:
  - pgtandem.replication.instance
  - pgtandem.replication.login
  - pgtandem.replication.reach
  - pgtandem.replication.attributes
  - pgtandem.replication.attributes.actiongroup_replication
attributes:
  check_mode:
    support: full
    details: It looks, waits and asserts as it does without check mode; O(write_position) writes nothing.
  diff_mode:
    support: N/A
    details: It changes nothing.
  idempotent:
    support: full
options:
  expect:
    description:
      - Conditions that must hold, all of them. Without any the module never fails for a state it finds.
      - Where a standby does not stream, the message also quotes the last line of its own log that names the cause,
        and what to do about it where that is known.
    type: dict
    suboptions:
      role:
        description: What the server is or, stopped, would start as.
        type: str
        choices: [primary, standby]
      state:
        description: The server is in one of these states.
        type: list
        elements: str
        choices: [running, stopped]
      upstream:
        description:
          - Where the standby's WAL receiver receives from, as it names its sender itself.
          - Before PostgreSQL 11 the receiver does not, and its connection string is read.
        type: dict
        suboptions:
          host:
            description: The host, as C(primary_conninfo) has it.
            type: str
          port:
            description: The port.
            type: int
      streaming:
        description:
          - With V(true) the WAL receiver's status is C(streaming), its process is among the server's, and replay is
            not paused. With V(false) nothing is streaming in.
        type: bool
      timeline:
        description: The timeline that the server writes or receives; give the upstream's RV(replication.timeline).
        type: int
      standbys:
        description:
          - The C(application_name) of standbys. Each must have a WAL sender here in the state C(streaming), as a row
            and as a process, and a slot of its own, if any, that still keeps WAL for it.
          - O(expect.sync_state), O(expect.replayed_lsn) and the limits of lag are then asked of these, also on a
            standby that feeds others.
        type: list
        elements: str
      minimum_standbys:
        description: At least this many WAL senders feed a standby as described at O(expect.standbys).
        type: int
      receiver_port:
        description:
          - A WAL sender here serves a receiver on this TCP port - a standby's RV(replication.wal_receiver.local_port).
            The row of the one and the process of the other then name each other.
          - It does not hold where addresses are translated between the two, or through a Unix socket.
        type: int
      sync_state:
        description: C(sync_state) of each standby in O(expect.standbys) or, without those, of at least one standby.
        type: str
        choices: [async, potential, sync, quorum]
      replayed_lsn:
        description:
          - A position, such as V(0/3000060). A standby must have replayed the WAL up to there; on a primary each
            standby must have, as far as it has reported.
          - Ask the standby where time matters. Before PostgreSQL 15 it tells its upstream what it has replayed only
            every C(wal_receiver_status_interval), which is 10 seconds.
        type: str
      written_replayed:
        description:
          - On a primary, with O(write_position), each standby has replayed the position that is written. Until that
            is so, more is written now and then, since before PostgreSQL 15 a standby tells what it has replayed only
            when it receives more; the first one is what counts.
        type: bool
      received_lsn:
        description:
          - A position up to which a standby must have received the WAL and flushed it to its disk; on a primary each
            standby must have. It is what a standby that replays late on purpose can be asked
            (C(recovery_min_apply_delay)).
        type: str
      maximum_lag_bytes:
        description:
          - So many bytes of WAL at most wait to be replayed; on a standby of what its upstream told it of, on a
            primary for each standby of what has been written.
          - A standby that does not stream cannot know, which does not meet the condition.
        type: int
      maximum_lag_seconds:
        description:
          - So many seconds at most. A standby that replayed everything is 0 seconds behind, however long ago the last
            transaction was - no traffic is not lag.
        type: float
  timeout:
    description:
      - Seconds to wait for what is in O(expect); V(0) looks once.
    type: float
    default: 0
  stable:
    description:
      - Seconds over which everything in O(expect) must hold, in every look. V(1) sees a connection that comes and goes
        for what it is. A position written and replayed (O(write_position), O(expect.replayed_lsn)) proves more, and at
        once.
    type: float
    default: 0
  parameters:
    description:
      - Parameters that the server is to be started with, as O(pgtandem.replication.pg_instance#module:parameters).
        RV(replication.next_start) then says what would come of it. Nothing is written.
    type: dict
  sizes:
    description:
      - Measure how much a base backup of this server copies, and read what the copy needs of its host, for
        M(pgtandem.replication.pg_basebackup). The server looks at every file, which takes seconds on a large one.
    type: bool
    default: false
  write_position:
    description:
      - On a primary, write one small transactional message into the WAL and return the position behind it
        as RV(replication.written_lsn), so that standbys can be asked to have replayed it.
      - Such a message changes no data, physical standbys ignore it, and RV(ignore:changed) stays false. It is committed
        without waiting for synchronous standbys.
      - In check mode nothing is written, and the position that the primary has reached is returned.
      - Before PostgreSQL 9.6, which has no such messages, a transaction without effect is committed.
    type: bool
    default: false
  samples:
    description:
      - Look so many times once O(expect) is met, and return what each look says of lag as RV(samples).
      - RV(replication) is then that of the last look.
    type: int
    default: 1
  sample_interval:
    description:
      - Seconds from one look to the next.
    type: float
    default: 1
seealso:
  - module: pgtandem.replication.pg_basebackup
  - module: pgtandem.replication.pg_replication_role
notes:
  - Rows about other roles' sessions, some settings and the WAL receiver are shown to superusers and members of
    C(pg_monitor) only; for another O(login_user) they are null.
  - Secrets in connection strings are struck out.
"""

EXAMPLES = r"""
- name: See what is there
  pgtandem.replication.pg_replication_status:
  register: status

- name: Show who follows this server
  ansible.builtin.debug:
    msg: "{{ status.replication.wal_senders | map(attribute='application_name') }}"

- name: Write a position on the primary, which has both standbys
  pgtandem.replication.pg_replication_status:
    write_position: true
    expect:
      role: primary
      standbys: [pg2, pg3]
    timeout: 30
  register: primary

- name: The standby streams from it and has replayed that position
  pgtandem.replication.pg_replication_status:
    expect:
      role: standby
      streaming: true
      upstream:
        host: 192.0.2.1
        port: 5432
      replayed_lsn: "0/3000148"
    timeout: 30

- name: An instance elsewhere, through its own programs, is not far behind
  pgtandem.replication.pg_replication_status:
    layout: custom
    bin_directory: /usr/local/pgsql-15/bin
    data_directory: /data/pgsql/data2
    port: 5433
    expect:
      state: [running]
      maximum_lag_bytes: 16777216
      maximum_lag_seconds: 10
    stable: 1
"""

RETURN = r"""
replication:
  description: What the host knows. All keys are always there; what is not known is null or empty.
  returned: always
  type: dict
  contains:
    host:
      description: The host and the Python that the module ran with.
      type: dict
      contains:
        distribution:
          description: C(ID) of os-release.
          type: str
          sample: debian
        codename:
          description: C(VERSION_CODENAME) of os-release.
          type: str
          sample: bookworm
        has_systemd:
          description: Whether systemd runs the host.
          type: bool
        architecture:
          description: The machine's architecture; a base backup fits no other.
          type: str
          sample: x86_64
        python:
          description: The version of Python.
          type: str
          sample: 3.11.2
        psycopg:
          description: The driver there is, C(psycopg) or C(psycopg2).
          type: str
          sample: psycopg2
        machine:
          description: What the instances of one machine or container have in common, until it is started again.
          type: str
          sample: 9f4a1c9e-6a0e-4c7e-8d0c-0d5ad0b0a8f1 mnt:[4026531841]
        python_path:
          description: The program of that Python.
          type: str
          sample: /usr/bin/python3
        packages_serve_python:
          description: Whether that Python finds a driver that the system's packages bring.
          type: bool
    instance:
      description:
        - The instance with everything derived. Its keys are options of all modules of this collection. Null where none
          can be derived.
      type: dict
      sample: {layout: debian, version: "15", instance: main, port: 5432, data_directory: /var/lib/postgresql/15/main}
    instance_error:
      description: Why no instance can be derived.
      type: str
    installed:
      description: Whether the server program is there.
      type: bool
    missing_programs:
      description: Programs of the server and the client that replication may need and the host does not have.
      type: list
      elements: str
      sample: [pg_rewind]
    data_directory:
      description: What the data directory is, from what lies in it.
      type: dict
      contains:
        path:
          description: The data directory.
          type: str
          sample: /var/lib/postgresql/15/main
        state:
          description:
            - V(absent), V(empty), V(incoming) (half a base backup of this collection), V(standby), V(primary),
              V(partial) (half a copy that something else made) or V(foreign). Null where it could not be read.
          type: str
          sample: standby
        description:
          description: The same as a clause for messages, with the evidence.
          type: str
          sample: >-
            /var/lib/postgresql/15/main holds a standby of system 7711038405245197515 (PostgreSQL 15, control file says
            'shut down in recovery', not running)
        signal_files:
          description: Those of C(standby.signal), C(recovery.signal) and C(recovery.conf) that are there.
          type: list
          elements: str
          sample: [standby.signal]
        set_aside:
          description:
            - Where an older data directory of this instance was set aside (C(path)), and whether the new one has been
              C(proven) since. Null where there is none.
          type: dict
          sample: {path: /var/lib/postgresql/15/main.pgtandem-aside, proven: false}
        claim:
          description:
            - Which host a failover was last about to promote (C(target)), and away from which C(timeline) of which
              system (C(system_identifier)), as M(pgtandem.replication.pg_claim) noted it. Null where none did.
          type: dict
          sample: {target: pg2, timeline: 1, system_identifier: "7243982738499210293"}
        expected_by:
          description:
            - The configuration of this cluster, where that is there and the data directory is empty or absent. Its disk
              may not be mounted. Null elsewhere.
          type: str
          sample: /etc/postgresql/15/main/postgresql.conf
        error:
          description: Why it could not be read.
          type: str
    control:
      description:
        - The control file. A running server tells it from 9.6 on, without C(floors), and otherwise C(pg_controldata)
          does.
      type: dict
      contains:
        system_identifier:
          description: The number that all copies of one cluster share, as text.
          type: str
          sample: "7711038405245197515"
        state:
          description: As C(pg_controldata) words it.
          type: str
          sample: in production
        timeline:
          description: The timeline of the latest checkpoint.
          type: int
          sample: 1
        checkpoint_lsn:
          description: Where the latest checkpoint's record starts.
          type: str
          sample: 0/2000080
        minimum_recovery_lsn:
          description: How far recovery must get before the data is consistent.
          type: str
          sample: 0/0
        minimum_recovery_timeline:
          description: The timeline of RV(replication.control.minimum_recovery_lsn), 0 where there is none.
          type: int
          sample: 0
        full_page_writes:
          description: Whether whole pages were written at the latest checkpoint (C(full_page_writes)).
          type: bool
        data_checksums:
          description: Whether pages have checksums.
          type: bool
        wal_log_hints:
          description: C(wal_log_hints), one of the two that C(pg_rewind) needs.
          type: bool
        wal_level:
          description: The C(wal_level) that the WAL was written with.
          type: str
          sample: replica
        floors:
          description: The settings of the primary that a standby must not be below. Empty while the server tells.
          type: dict
          sample: {max_connections: 100, max_wal_senders: 10}
        block_size:
          description: Bytes of a page; a server of another build cannot read the directory.
          type: int
          sample: 8192
        wal_segment_bytes:
          description: Bytes of a WAL segment.
          type: int
          sample: 16777216
    running:
      description: Whether the server of this data directory runs.
      type: bool
    postmaster:
      description:
        - Its first process, with C(pid), C(port) and C(socket_directory), and from 10 on C(status), as
          C(postmaster.pid) has it (starting, stopping, ready or standby).
      type: dict
      sample: {pid: 4711, port: 5432, socket_directory: /var/run/postgresql, status: ready}
    port_taken_by:
      description: Who listens on the port while the instance itself does not run; then it could not start.
      type: str
      sample: process 815 (python3 -m http.server 5432)
    network:
      description: Where this host and its server are to be found; null where the kernel's tables cannot be read.
      type: dict
      contains:
        addresses:
          description: The addresses of this host, without those of a link alone.
          type: list
          elements: str
          sample: ["127.0.0.1", "192.0.2.1"]
        listens_on:
          description: Those that somebody listens on at the server's port; null where the server does not run.
          type: list
          elements: str
          sample: ["0.0.0.0", "::"]
    unreached:
      description: Those of O(reach) to which no connection could be made; null without it.
      type: list
      elements: dict
      sample: []
      contains:
        name:
          description: The host's name.
          type: str
          sample: pg2
        host:
          description: Its address.
          type: str
          sample: 192.0.2.12
        port:
          description: Its port.
          type: int
          sample: 5432
        reason:
          description: The system's word for it.
          type: str
          sample: Connection refused
    server_version:
      description: The running server's version as a number.
      type: int
      sample: 150018
    major:
      description: Its major version.
      type: str
      sample: "15"
    accepts_connections:
      description: Whether the server let the module in. Null where it runs and there is no driver to try with.
      type: bool
    database_error:
      description: Why it did not, in the server's own words, or that no driver is there.
      type: str
      sample: "FATAL:  the database system is starting up"
    database_sqlstate:
      description:
        - The server's code for that; V(57P03) where it is starting up, shutting down or not consistent yet. Null where
          it gave none.
      type: str
      sample: "28P01"
    role:
      description:
        - V(primary) or V(standby), from the server or, stopped, what it would start as. Null where no cluster is.
      type: str
      sample: standby
    timeline:
      description: The timeline that a primary writes and a standby receives; else that of the control file.
      type: int
      sample: 2
    timeline_history:
      description: How that timeline came about, oldest first. Null where its history file is gone.
      type: list
      elements: dict
      sample: [{timeline: 1, lsn: 0/3000148, reason: no recovery target specified}]
    oldest_wal_lsn:
      description: Where the oldest WAL file begins that is there; a standby further behind cannot catch up.
      type: str
      sample: 0/3000000
    system_identifier:
      description: The number that all copies of one cluster share, as text.
      type: str
      sample: "7711038405245197515"
    upstream:
      description: What a standby follows, C(host) and C(port), from its WAL receiver or else from its settings.
      type: dict
      sample: {host: 192.0.2.1, port: 5432}
    positions:
      description: Positions in the WAL. C(current), C(flush) and C(insert) are a primary's, the others a standby's.
      type: dict
      contains:
        current:
          description: Written.
          type: str
          sample: 0/3000148
        flush:
          description: Flushed to disk; from 9.6 on.
          type: str
          sample: 0/3000148
        insert:
          description: Made, perhaps still in memory.
          type: str
          sample: 0/3000148
        receive:
          description: Received and flushed.
          type: str
          sample: 0/3000148
        replay:
          description: Replayed.
          type: str
          sample: 0/3000148
        replay_timestamp:
          description: When the last replayed transaction was committed on the primary.
          type: str
          sample: "2026-11-22T16:47:16.013065+00:00"
    replay:
      description: How replay goes on a standby.
      type: dict
      contains:
        paused:
          description: Whether it is paused.
          type: bool
        pause_state:
          description: V(not paused), V(pause requested) or V(paused); from 14 on.
          type: str
          sample: not paused
        lag_bytes:
          description: WAL that the standby was told of and has not replayed.
          type: int
          sample: 0
        lag_seconds:
          description:
            - The age of the last replayed transaction while there is more to replay, which is at least how far the
              standby is behind or, after a pause in the traffic, more than that. 0 where everything is replayed, null
              where nothing is streaming in either.
          type: float
          sample: 0
    wal_senders:
      description:
        - Every row of C(pg_stat_replication), under the names that PostgreSQL 10 introduced. Intervals are
          seconds, and C(client_addr) is an address without a mask.
      type: list
      elements: dict
      contains:
        pid:
          description: Process.
          type: int
          sample: 31980
        usesysid:
          description: The role's OID.
          type: int
          sample: 16384
        usename:
          description: The role.
          type: str
          sample: replica
        application_name:
          description: The name the standby gives itself.
          type: str
          sample: pg2
        client_addr:
          description: Address; null through a Unix socket.
          type: str
          sample: 192.0.2.2
        client_hostname:
          description: Name with C(log_hostname).
          type: str
        client_port:
          description: TCP port; -1 through a Unix socket.
          type: int
          sample: 33786
        backend_start:
          description: Since when.
          type: str
          sample: "2026-11-22T16:47:15.722494+00:00"
        backend_xmin:
          description: The standby's horizon with C(hot_standby_feedback).
          type: int
        state:
          description: V(startup), V(catchup), V(streaming), V(backup) or V(stopping).
          type: str
          sample: streaming
        sent_lsn:
          description: Sent.
          type: str
          sample: 0/3000148
        write_lsn:
          description: Written by the standby.
          type: str
          sample: 0/3000148
        flush_lsn:
          description: Flushed by it.
          type: str
          sample: 0/3000148
        replay_lsn:
          description: Replayed by it.
          type: str
          sample: 0/3000148
        write_lag_seconds:
          description: From 10 on. Null after a while without traffic.
          type: float
          sample: 0.0005
        flush_lag_seconds:
          description: From 10 on. Null after a while without traffic.
          type: float
          sample: 0.0006
        replay_lag_seconds:
          description: From 10 on. Null after a while without traffic.
          type: float
          sample: 0.0007
        sync_priority:
          description: Place in C(synchronous_standby_names).
          type: int
          sample: 0
        sync_state:
          description: V(async), V(potential), V(sync) or V(quorum).
          type: str
          sample: async
        encrypted:
          description: Whether the session is encrypted by TLS; from 9.5 on.
          type: bool
          sample: true
        reply_time:
          description: When the standby last answered; from 12 on.
          type: str
        slot_name:
          description: The slot that this sender uses; from 9.5 on.
          type: str
          sample: pg2
        lag_bytes:
          description: Written here and not yet reported as replayed.
          type: int
          sample: 0
        process:
          description: The process's title as the operating system shows it. Null where it shows none.
          type: str
          sample: "postgres: 15/main: walsender replica 192.0.2.2(33786) streaming 0/3000148"
    wal_receiver:
      description: The row of C(pg_stat_wal_receiver), from 9.6 on. Null where no WAL receiver runs.
      type: dict
      contains:
        pid:
          description: Process.
          type: int
          sample: 31979
        status:
          description: V(starting), V(streaming), V(waiting), V(restarting) or V(stopping).
          type: str
          sample: streaming
        receive_start_lsn:
          description: Where it began.
          type: str
          sample: 0/3000000
        receive_start_tli:
          description: On which timeline.
          type: int
          sample: 1
        written_lsn:
          description: Received and written; from 13 on.
          type: str
          sample: 0/3000148
        flushed_lsn:
          description: Received and flushed; before 13 the column C(received_lsn).
          type: str
          sample: 0/3000148
        received_tli:
          description: The timeline of that.
          type: int
          sample: 1
        last_msg_send_time:
          description: By the sender's clock.
          type: str
        last_msg_receipt_time:
          description: By the own clock.
          type: str
        latest_end_lsn:
          description: The end of the sender's WAL that it last told.
          type: str
          sample: 0/3000148
        latest_end_time:
          description: When that was.
          type: str
        slot_name:
          description: The slot on the upstream.
          type: str
          sample: pg2
        sender_host:
          description: The upstream; before 11 from C(conninfo).
          type: str
          sample: 192.0.2.1
        sender_port:
          description: Its port; before 11 from C(conninfo).
          type: int
          sample: 5432
        conninfo:
          description: The connection string without its password.
          type: str
        process:
          description: The process's title as the operating system shows it. Null where it shows none.
          type: str
          sample: "postgres: 15/main: walreceiver streaming 0/3000148"
        local_port:
          description: Its own TCP port, which the upstream's C(client_port) names. Null where it cannot be seen.
          type: int
          sample: 33786
    slots:
      description: Every row of C(pg_replication_slots), with the WAL it holds back.
      type: list
      elements: dict
      contains:
        slot_name:
          description: Name.
          type: str
          sample: pg2
        plugin:
          description: A logical slot's plugin.
          type: str
        slot_type:
          description: V(physical) or V(logical).
          type: str
          sample: physical
        datoid:
          description: A logical slot's database.
          type: int
        database:
          description: Its name.
          type: str
        temporary:
          description: From 10 on.
          type: bool
          sample: false
        active:
          description: Whether it is in use.
          type: bool
          sample: true
        active_pid:
          description: By which process; from 9.5 on.
          type: int
          sample: 31980
        xmin:
          description: The oldest transaction it keeps.
          type: int
        catalog_xmin:
          description: The same for catalogs.
          type: int
        restart_lsn:
          description: The oldest WAL it keeps.
          type: str
          sample: 0/3000148
        confirmed_flush_lsn:
          description: A logical slot's position; from 9.6 on.
          type: str
        wal_status:
          description: V(reserved), V(extended), V(unreserved) or V(lost); from 13 on.
          type: str
          sample: reserved
        safe_wal_size:
          description: Bytes until it may be lost; from 13 on.
          type: int
        two_phase:
          description: From 14 on.
          type: bool
        two_phase_at:
          description: From 18 on.
          type: str
        inactive_since:
          description: From 17 on.
          type: str
        conflicting:
          description: From 16 on.
          type: bool
        invalidation_reason:
          description: From 17 on.
          type: str
        failover:
          description: From 17 on.
          type: bool
        synced:
          description: From 17 on.
          type: bool
        slotsync_skip_reason:
          description: From 19 on.
          type: str
        retained_bytes:
          description: WAL from its C(restart_lsn) up to now.
          type: int
          sample: 0
    slots_on_disk:
      description: The C(slot_name) and C(slot_type) of the slots of a server that cannot be asked; otherwise null.
      type: list
      elements: dict
      sample: []
    settings:
      description:
        - Parameters of the running server that decide over replication, as C(SHOW) prints them. Null where the version
          does not know one or the role may not see it.
      type: dict
      sample: {wal_level: replica, max_wal_senders: "10", wal_keep_size: 512MB, wal_keep_segments: null}
    pending_restart:
      description: Parameters whose change waits for a restart; from 9.5 on.
      type: list
      elements: str
      sample: [max_connections]
    unread_files:
      description:
        - The files of the configuration, and those of TLS, that were changed, exchanged or removed since the running
          server read them. Null where that cannot be known.
      type: list
      elements: str
      sample: []
    refused_lines:
      description:
        - The lines of the configuration files that the server would not take, from pg_file_settings. Null where the
          role that logs in may not see them.
      type: list
      elements: dict
      sample: []
      contains:
        path:
          description: The file.
          type: str
          sample: /etc/postgresql/15/main/postgresql.conf
        line:
          description: The line.
          type: int
          sample: 12
        name:
          description: The parameter, where the line has one.
          type: str
          sample: work_mem
        error:
          description: The server's own words.
          type: str
          sample: setting could not be applied
    stale_settings:
      description: A standby's settings in C(postgresql.auto.conf), which win over the ones in any other file.
      type: list
      elements: dict
      contains:
        name:
          description: Parameter.
          type: str
          sample: primary_conninfo
        value:
          description: Its value without a password.
          type: str
          sample: host=192.0.2.9 user=replica
        overrides:
          description: The value in another file that it wins over.
          type: str
        path:
          description: File.
          type: str
          sample: /var/lib/postgresql/15/main/postgresql.auto.conf
        line:
          description: Line.
          type: int
          sample: 3
    recovery_ends:
      description:
        - What would end the recovery of a standby without anybody having asked for a promotion, or keep it from
          starting, in everything that the server reads at its next start.
      type: list
      elements: dict
      contains:
        name:
          description: Parameter, or C(recovery.signal).
          type: str
          sample: recovery_target_time
        value:
          description: Its value without a password.
          type: str
          sample: "2026-11-01 12:00:00"
        path:
          description: File; empty where it is only in the running server.
          type: str
          sample: /etc/postgresql/15/main/conf.d/20-pitr.conf
        line:
          description: Line; 0 where there is none.
          type: int
          sample: 1
        place:
          description:
            - V(file) for a file of the user's, V(managed) for the collection's own, V(auto) for
              C(postgresql.auto.conf), V(command-line), V(recovery.conf) before 12, V(signal) for a file whose name
              counts, V(running) for what a running standby was started with and no file says any more.
          type: str
          sample: file
        effect:
          description: What comes of it.
          type: str
          sample: a standby with that stops its recovery there, and promotes itself or goes down
    next_start:
      description:
        - What the next start of the server would make of O(parameters); null without them, and where the server
          program is not installed yet.
      type: dict
      contains:
        problems:
          description: What would keep it from starting, each as a sentence.
          type: list
          elements: str
          sample: []
        restarts:
          description: For which of them, and of those that the collection wrote before, the running server restarts.
          type: list
          elements: str
          sample: [shared_preload_libraries]
    configured:
      description:
        - What the configuration files say of the parameters whose change has an order; RV(replication.settings) has
          what runs. Null where the files were not read.
      type: dict
      contains:
        managed:
          description: In the collection's own file.
          type: dict
          sample: {max_connections: "300"}
        elsewhere:
          description: In the other files, of which the last one counts.
          type: dict
        auto:
          description: In C(postgresql.auto.conf), where C(ALTER SYSTEM) writes; it wins over the others.
          type: dict
        command-line:
          description: On the command line of the service, which wins over all of them.
          type: dict
    patroni:
      description: The configuration file of this instance that says of itself that Patroni writes it.
      type: str
      sample: /etc/postgresql/15/main/postgresql.conf
    patroni_running:
      description: Whether a Patroni runs for this instance. Null where RV(replication.patroni) is.
      type: bool
    processes:
      description: The server's processes as the operating system shows them.
      type: list
      elements: dict
      contains:
        pid:
          description: Process.
          type: int
          sample: 31978
        part:
          description: V(walsender), V(walreceiver), V(startup) or null.
          type: str
          sample: startup
        title:
          description: Title.
          type: str
          sample: "postgres: 15/main: startup recovering 000000010000000000000003"
    replication_rules:
      description:
        - The rules about replication in C(pg_hba.conf) as the file has them now, in their order. Each has
          C(line_number), C(type), C(user_name) (a list), C(address), C(netmask), C(auth_method) and C(error), as the
          view pg_hba_file_rules has them.
        - Null before version 10, and where the role that logs in is no superuser.
      type: list
      elements: dict
      sample:
        - line_number: 3
          type: host
          user_name: [replica]
          address: 192.0.2.12
          netmask: 255.255.255.255
          auth_method: scram-sha-256
          error: null
    md5_roles:
      description:
        - The roles that may replicate and log in, and whose password is stored as md5 rather than for SCRAM.
        - Null before version 14, where that was the default, and where the role that logs in may not read pg_authid.
      type: list
      elements: str
      sample: []
    collation:
      description:
        - The default collation of the database logged in to. Indexes on text may break where C(version) differs between
          hosts. C(provider) is V(c) for libc, V(i) for ICU, V(b) for the built-in one.
      type: dict
      sample: {provider: c, locale: en_US.UTF-8, version: "2.36"}
    tls:
      description:
        - The certificates for TLS, never a key - in C(placed) those that the collection put beside the data directory,
          in C(used) those that the running server and its connection to the upstream name.
        - Each of C(server), C(client) and C(authority) is null, or has C(path), C(certificate) in PEM, and C(usable),
          which says whether its key is there and belongs to it.
      type: dict
      sample: {placed: {server: null, client: null, authority: null}}
    sizes:
      description: How much a base backup of this server copies; null without O(sizes).
      type: dict
      contains:
        data_bytes:
          description: The data without WAL and without the tablespaces below.
          type: int
          sample: 300000000000
        wal_bytes:
          description: The WAL that is there at the moment; null before 10.
          type: int
          sample: 1073741824
        tablespaces:
          description: The tablespaces that have a folder of their own.
          type: list
          elements: dict
          sample: [{"name": "fast", "location": "/ssd/fast", "bytes": 12000000000}]
          contains:
            name:
              description: Name.
              type: str
              sample: fast
            location:
              description: Its folder on this host.
              type: str
              sample: /ssd/fast
            bytes:
              description: Its size.
              type: int
              sample: 12000000000
    copy_needs:
      description:
        - What a copy of this server needs of its host outside the data directory; null without O(sizes).
      type: dict
      contains:
        locales:
          description: The locales of the C library that databases and their own collations are of.
          type: list
          elements: dict
          sample: [{"database": "postgres", "names": ["en_US.UTF-8", "en_US.UTF-8"]}]
        icu:
          description: The databases that sort by ICU, and the version of ICU that the server is linked with.
          type: dict
          sample: {"databases": [], "library": null}
        libraries:
          description: The libraries of functions, with their extensions and databases.
          type: list
          elements: dict
          sample: [{"library": "$libdir/postgis-3", "extension": "postgis", "database": "maps"}]
        settings:
          description: Settings in files of the data directory that name locales, time zones or libraries.
          type: dict
          sample: {"log_timezone": "Europe/Berlin"}
    written_lsn:
      description: The position behind the message of O(write_position); null on a standby.
      type: str
      sample: 0/3000148
unmet:
  description: A sentence for each condition of O(expect) that is not met.
  returned: always
  type: list
  elements: str
  sample: ["the WAL receiver's status is 'waiting', expected 'streaming'"]
waited_seconds:
  description: How long the module looked.
  returned: always
  type: float
  sample: 0.012
samples:
  description: A series of looks at the lag, oldest first; empty where O(samples) is 1.
  returned: always
  type: list
  elements: dict
  contains:
    seconds:
      description: When, counted from the first look.
      type: float
      sample: 1.002
    lag_bytes:
      description: As RV(replication.replay.lag_bytes).
      type: int
      sample: 0
    lag_seconds:
      description: As RV(replication.replay.lag_seconds).
      type: float
      sample: 0
    standbys:
      description: Of each WAL sender its C(application_name), C(lag_bytes) and C(replay_lag_seconds) as C(lag_seconds).
      type: list
      elements: dict
      sample: [{application_name: pg2, lag_bytes: 0, lag_seconds: null}]
log_line:
  description: The line of a standby's own log that names why it does not stream.
  returned: failure, where such a line is found
  type: str
  sample: >-
    FATAL:  could not connect to the primary server: connection to server at "192.0.2.1", port 5432 failed: FATAL:
    password authentication failed for user "replica"
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.pgtandem.replication.plugins.module_utils._argspec import (
    instance_from,
    login_from,
    login_options,
    reach_options,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host, look_at_facts
from ansible_collections.pgtandem.replication.plugins.module_utils._module import run_job
from ansible_collections.pgtandem.replication.plugins.module_utils._status.observation import status_without_instance
from ansible_collections.pgtandem.replication.plugins.module_utils._status.report import (
    Request,
    report,
    report_without_instance,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._system.files import Files
from ansible_collections.pgtandem.replication.plugins.module_utils._system.runner import ModuleRunner


def status_options() -> dict[str, t.Any]:
    """The options that only this module has."""
    return {
        "expect": {
            "type": "dict",
            "options": {
                "role": {"type": "str", "choices": ["primary", "standby"]},
                "state": {"type": "list", "elements": "str", "choices": ["running", "stopped"]},
                "upstream": {"type": "dict", "options": {"host": {"type": "str"}, "port": {"type": "int"}}},
                "streaming": {"type": "bool"},
                "timeline": {"type": "int"},
                "standbys": {"type": "list", "elements": "str"},
                "minimum_standbys": {"type": "int"},
                "receiver_port": {"type": "int"},
                "sync_state": {"type": "str", "choices": ["async", "potential", "sync", "quorum"]},
                "replayed_lsn": {"type": "str"},
                "written_replayed": {"type": "bool"},
                "received_lsn": {"type": "str"},
                "maximum_lag_bytes": {"type": "int"},
                "maximum_lag_seconds": {"type": "float"},
            },
        },
        "timeout": {"type": "float", "default": 0},
        "stable": {"type": "float", "default": 0},
        "write_position": {"type": "bool", "default": False},
        "parameters": {"type": "dict"},
        "sizes": {"type": "bool", "default": False},
        "samples": {"type": "int", "default": 1},
        "sample_interval": {"type": "float", "default": 1},
    }


def request_from(module: AnsibleModule) -> Request:
    """What the module's parameters ask for."""
    return Request.make(
        login=login_from(module.params),
        expect=module.params["expect"],
        timeout=module.params["timeout"],
        stable=module.params["stable"],
        write_position=module.params["write_position"],
        sizes=module.params["sizes"],
        check_mode=module.check_mode,
        samples=module.params["samples"],
        interval=module.params["sample_interval"],
        parameters=module.params["parameters"],
        reach=module.params["reach"],
    )


def job(host: Host, module: AnsibleModule) -> dict[str, t.Any]:
    """Look at the instance, as often as what is expected takes."""
    return report(host, request_from(module))


def job_without_instance(error: ReplicationError, module: AnsibleModule) -> dict[str, t.Any]:
    """Say what can be said of a host on which the options describe no instance."""
    options = instance_from(module.params)
    facts = look_at_facts(options, ModuleRunner(module), Files(options.os_user))
    return report_without_instance(status_without_instance(error, facts), request_from(module))


def main() -> t.NoReturn:
    """Run the module."""
    run_job(job, dict(login_options(), **reach_options(), **status_options()), without_instance=job_without_instance)


if __name__ == "__main__":
    main()
