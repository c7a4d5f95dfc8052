# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""The one statement that asks a server everything about its replication, in the words of each version.

The server answers with one JSON document, so that both drivers, and every version, give the same types. What a version
does not have is null. Sources: the manual's Monitoring Statistics, System Administration Functions, and System Views.
"""

from __future__ import annotations

import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._versions import supports


class Column(t.NamedTuple):
    """A column under the name that the result has on every version.

    In an expression C({lsn}) stands for what the version calls a position: lsn from 10 on, location before.
    """

    name: str
    expression: str
    #: The capability that it takes; None where every version has it.
    feature: str | None = None
    #: The expression of the versions without that capability.
    otherwise: str = "NULL"


SENDER_COLUMNS = (
    Column("pid", "s.pid"),
    Column("usesysid", "s.usesysid::bigint"),
    Column("usename", "s.usename"),
    Column("application_name", "s.application_name"),
    Column("client_addr", "host(s.client_addr)"),
    Column("client_hostname", "s.client_hostname"),
    Column("client_port", "s.client_port"),
    Column("backend_start", "s.backend_start"),
    Column("backend_xmin", "s.backend_xmin::text::bigint"),
    Column("state", "s.state"),
    Column("sent_lsn", "s.sent_{lsn}"),
    Column("write_lsn", "s.write_{lsn}"),
    Column("flush_lsn", "s.flush_{lsn}"),
    Column("replay_lsn", "s.replay_{lsn}"),
    Column("write_lag_seconds", "extract(epoch FROM s.write_lag)", "sender_lag"),
    Column("flush_lag_seconds", "extract(epoch FROM s.flush_lag)", "sender_lag"),
    Column("replay_lag_seconds", "extract(epoch FROM s.replay_lag)", "sender_lag"),
    Column("sync_priority", "s.sync_priority"),
    Column("sync_state", "s.sync_state"),
    Column("reply_time", "s.reply_time", "sender_reply_time"),
    Column("encrypted", "(SELECT e.ssl FROM pg_stat_ssl e WHERE e.pid = s.pid)", "session_encryption"),
    Column(
        "slot_name",
        "(SELECT p.slot_name FROM pg_replication_slots p WHERE p.active_pid = s.pid LIMIT 1)",
        "slot_active_pid",
    ),
)

RECEIVER_COLUMNS = (
    Column("pid", "r.pid"),
    Column("status", "r.status"),
    Column("receive_start_lsn", "r.receive_start_lsn"),
    Column("receive_start_tli", "r.receive_start_tli"),
    Column("written_lsn", "r.written_lsn", "wal_receiver_written_lsn"),
    Column("flushed_lsn", "r.flushed_lsn", "wal_receiver_written_lsn", "r.received_lsn"),
    Column("received_tli", "r.received_tli"),
    Column("last_msg_send_time", "r.last_msg_send_time"),
    Column("last_msg_receipt_time", "r.last_msg_receipt_time"),
    Column("latest_end_lsn", "r.latest_end_lsn"),
    Column("latest_end_time", "r.latest_end_time"),
    Column("slot_name", "r.slot_name"),
    Column("sender_host", "r.sender_host", "wal_receiver_sender"),
    Column("sender_port", "r.sender_port", "wal_receiver_sender"),
    Column("conninfo", "r.conninfo"),
)

SLOT_COLUMNS = (
    Column("slot_name", "l.slot_name"),
    Column("plugin", "l.plugin"),
    Column("slot_type", "l.slot_type"),
    Column("datoid", "l.datoid::bigint"),
    Column("database", "l.database"),
    Column("temporary", "l.temporary", "slot_temporary"),
    Column("active", "l.active"),
    Column("active_pid", "l.active_pid", "slot_active_pid"),
    Column("xmin", "l.xmin::text::bigint"),
    Column("catalog_xmin", "l.catalog_xmin::text::bigint"),
    Column("restart_lsn", "l.restart_lsn"),
    Column("confirmed_flush_lsn", "l.confirmed_flush_lsn", "slot_confirmed_flush"),
    Column("wal_status", "l.wal_status", "slot_wal_status"),
    Column("safe_wal_size", "l.safe_wal_size", "slot_wal_status"),
    Column("two_phase", "l.two_phase", "slot_two_phase"),
    Column("two_phase_at", "l.two_phase_at", "slot_two_phase_at"),
    Column("inactive_since", "l.inactive_since", "slot_inactive_since"),
    Column("conflicting", "l.conflicting", "slot_conflicting"),
    Column("invalidation_reason", "l.invalidation_reason", "slot_invalidation_reason"),
    Column("failover", "l.failover", "slot_failover"),
    Column("synced", "l.synced", "slot_failover"),
    Column("slotsync_skip_reason", "l.slotsync_skip_reason", "slot_sync_skip_reason"),
)

#: The parameters that decide over replication. What a version does not know is null.
SETTINGS = (
    "archive_mode",
    "block_size",
    "cluster_name",
    "config_file",
    "data_checksums",
    "data_directory",
    "effective_wal_level",
    "hba_file",
    "hot_standby",
    "hot_standby_feedback",
    "ident_file",
    "idle_replication_slot_timeout",
    "listen_addresses",
    "max_connections",
    "max_locks_per_transaction",
    "max_prepared_transactions",
    "max_replication_slots",
    "max_slot_wal_keep_size",
    "max_standby_streaming_delay",
    "max_wal_senders",
    "max_worker_processes",
    "password_encryption",
    "port",
    "primary_conninfo",
    "primary_slot_name",
    "promote_trigger_file",
    "recovery_min_apply_delay",
    "recovery_target",
    "recovery_target_lsn",
    "recovery_target_name",
    "recovery_target_time",
    "recovery_target_timeline",
    "recovery_target_xid",
    "restore_command",
    "server_encoding",
    "server_version",
    "ssl",
    "ssl_ca_file",
    "ssl_cert_file",
    "ssl_key_file",
    "sync_replication_slots",
    "synchronous_commit",
    "synchronous_standby_names",
    "unix_socket_directories",
    "wal_keep_segments",
    "wal_keep_size",
    "wal_level",
    "wal_log_hints",
    "wal_receiver_status_interval",
    "wal_segment_size",
    "wal_sender_timeout",
)


def _select_list(version: int, columns: t.Iterable[Column]) -> str:
    lsn = "lsn" if supports(version, "wal_names") else "location"
    return ", ".join(
        (
            column.expression if column.feature is None or supports(version, column.feature) else column.otherwise
        ).replace("{lsn}", lsn)
        + f" AS {column.name}"
        for column in columns
    )


def _rows(version: int, columns: t.Iterable[Column], source: str, order: str) -> str:
    return (
        f"(SELECT coalesce(json_agg(row_to_json(q)), '[]'::json) "
        f"FROM (SELECT {_select_list(version, columns)} FROM {source} ORDER BY {order}) q)"
    )


def _collation(version: int) -> str:
    actual = "NULL"
    provider = "'c'"
    if supports(version, "database_collation_version"):
        actual = "pg_database_collation_actual_version(d.oid)"
        provider = "d.datlocprovider"
    return (
        f"(SELECT row_to_json(q) FROM (SELECT {provider} AS provider, d.datcollate AS locale, {actual} AS version "
        "FROM pg_database d WHERE d.datname = current_database()) q)"
    )


def status_statement(version: int) -> str:
    """The statement for a version; its one value is the text of a JSON object."""
    wal, lsn = ("wal", "lsn") if supports(version, "wal_names") else ("xlog", "location")
    primary = "CASE WHEN NOT pg_is_in_recovery() THEN {} END"
    standby = "CASE WHEN pg_is_in_recovery() THEN {} END"
    flush = f"pg_current_{wal}_flush_{lsn}()" if supports(version, "wal_flush_position") else "NULL"
    walfile = f"pg_{wal}file_name(pg_current_{wal}_{lsn}())"
    pause_state = "pg_get_wal_replay_pause_state()" if supports(version, "replay_pause_state") else "NULL"
    pending = "pending_restart" if supports(version, "pending_restart") else "false"
    names = ", ".join(f"'{name}'" for name in SETTINGS)
    receiver = "NULL"
    if supports(version, "wal_receiver_view"):
        receiver = (
            f"(SELECT row_to_json(q) FROM (SELECT {_select_list(version, RECEIVER_COLUMNS)} "
            "FROM pg_stat_wal_receiver r WHERE r.pid IS NOT NULL) q)"
        )
    control = "NULL"
    if supports(version, "control_functions"):
        control = (
            "(SELECT row_to_json(q) FROM (SELECT s.system_identifier::text, c.timeline_id, "
            f"c.checkpoint_{lsn} AS checkpoint_lsn, r.min_recovery_end_{lsn} AS minimum_recovery_lsn, "
            "r.min_recovery_end_timeline AS minimum_recovery_timeline, i.database_block_size AS block_size, "
            "i.bytes_per_wal_segment AS wal_segment_bytes FROM pg_control_system() s, pg_control_checkpoint() c, "
            "pg_control_recovery() r, pg_control_init() i) q)"
        )
    members = {
        "in_recovery": "pg_is_in_recovery()",
        "current": primary.format(f"pg_current_{wal}_{lsn}()"),
        "flush": primary.format(flush),
        "insert": primary.format(f"pg_current_{wal}_insert_{lsn}()"),
        "walfile": primary.format(walfile),
        "receive": standby.format(f"pg_last_{wal}_receive_{lsn}()"),
        "replay": standby.format(f"pg_last_{wal}_replay_{lsn}()"),
        "replay_timestamp": standby.format("pg_last_xact_replay_timestamp()"),
        "replay_age": standby.format("extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())"),
        "paused": standby.format(f"pg_is_{wal}_replay_paused()"),
        "pause_state": standby.format(pause_state),
        "control": control,
        "senders": _rows(version, SENDER_COLUMNS, "pg_stat_replication s", "s.application_name, s.pid"),
        "receiver": receiver,
        "slots": _rows(version, SLOT_COLUMNS, "pg_replication_slots l", "l.slot_name"),
        "settings": "p.settings",
        "pending_restart": "p.pending",
        "loaded": "extract(epoch FROM pg_conf_load_time())",
        "sources": "p.sources",
        "collation": _collation(version),
    }
    pairs = ", ".join(f"'{name}', {expression}" for name, expression in members.items())
    # pg_settings shows a role only what it may see, so that current_setting is never refused; one look serves both.
    return (
        f"SELECT json_build_object({pairs})::text FROM (SELECT "
        f"json_object_agg(name, current_setting(name)) FILTER (WHERE name IN ({names})) AS settings, "
        f"json_agg(name ORDER BY name) FILTER (WHERE {pending}) AS pending, "
        "json_agg(DISTINCT sourcefile) FILTER (WHERE source = 'configuration file' AND sourcefile IS NOT NULL) "
        "AS sources FROM pg_settings) p"
    )


def sizes_statement(version: int) -> str:
    """How much a base backup copies; the server looks at every file, so it is asked only on demand.

    The tablespaces pg_default and pg_global have no place of their own: they are in the data directory.
    """
    wal = "(SELECT sum(size)::bigint FROM pg_ls_waldir())" if supports(version, "list_wal_directory") else "NULL"
    return (
        "WITH sizes AS (SELECT spcname AS name, pg_tablespace_location(oid) AS location, "
        "pg_tablespace_size(oid) AS bytes FROM pg_tablespace) SELECT json_build_object("
        "'data_bytes', (SELECT sum(q.bytes)::bigint FROM sizes q WHERE q.location = ''), "
        f"'wal_bytes', {wal}, "
        "'tablespaces', (SELECT coalesce(json_agg(row_to_json(q)), '[]'::json) "
        "FROM (SELECT name, location, bytes FROM sizes WHERE location <> '' ORDER BY name) q))::text"
    )


def replication_rules_statement(version: int) -> str | None:
    """The rules of pg_hba.conf about replication, as the file has them now; superusers may ask. None before 10."""
    if not supports(version, "hba_file_rules"):
        return None
    return (
        "SELECT coalesce(json_agg(row_to_json(q)), '[]'::json)::text FROM (SELECT line_number, type, user_name, "
        "address, netmask, auth_method, error FROM pg_hba_file_rules "
        "WHERE error IS NOT NULL OR 'replication' = ANY (database)) q"
    )


def refused_lines_statement(version: int) -> str | None:
    """The lines of the configuration files that the server would not take; superusers may ask. None before 9.5.

    What waits for a restart is an error of that view as well, and no fault of the line.
    """
    if not supports(version, "file_settings"):
        return None
    return (
        "SELECT coalesce(json_agg(row_to_json(q)), '[]'::json)::text FROM (SELECT f.sourcefile AS path, "
        "f.sourceline AS line, f.name, f.error FROM pg_file_settings f WHERE f.error IS NOT NULL AND NOT EXISTS "
        "(SELECT 1 FROM pg_settings s WHERE s.name = f.name AND s.context = 'postmaster') ORDER BY f.seqno) q"
    )


def weak_roles_statement(version: int) -> str | None:
    """The roles for replication whose password is stored as md5; whoever may read pg_authid may ask.

    None before 14, where that was the default. The verifier itself never leaves the server.
    """
    if not supports(version, "scram_by_default"):
        return None
    return (
        "SELECT coalesce(json_agg(rolname ORDER BY rolname), '[]'::json)::text FROM pg_authid "
        "WHERE rolcanlogin AND rolreplication AND rolpassword LIKE 'md5%'"
    )


def write_statement(version: int) -> str | None:
    """Writes a record that changes no data and returns the position behind it.

    A transactional logical message goes through the WAL like any commit and is ignored by physical standbys (manual,
    Replication Management Functions). None before 9.6, which has no such message.
    """
    if not supports(version, "logical_message"):
        return None
    return "SELECT pg_logical_emit_message(true, 'pgtandem', 'position')::text"


def current_position_statement(version: int) -> str:
    """The position that a primary has reached."""
    function = "pg_current_wal_lsn" if supports(version, "wal_names") else "pg_current_xlog_location"
    return f"SELECT {function}()::text"


def replayed_position_statement(version: int) -> str:
    """The position up to which a standby has replayed."""
    function = "pg_last_wal_replay_lsn" if supports(version, "wal_names") else "pg_last_xlog_replay_location"
    return f"SELECT {function}()::text"
