# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""What each major version of PostgreSQL does: the only file that compares versions.

A version is one integer everywhere, as the server's C(server_version_num) has it: 90600, 100023, 150018. Sources: the
release notes of each major (manual, appendix E), and runs against real servers of 10 to 19. What is said of 9.4 to 9.6
comes from the documentation alone and was not tried on a server.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError


class Span(t.NamedTuple):
    """From C(since) on, up to but without C(until); None leaves that end open."""

    since: int | None = None
    until: int | None = None

    def holds(self, version: int) -> bool:
        """Whether a version lies in the span."""
        return (self.since is None or version >= self.since) and (self.until is None or version < self.until)


OLDEST = 90400
NEWEST = 199999

#: A capability and the versions that have it.
FEATURES: dict[str, Span] = {
    # Recovery settings are server parameters, standby.signal makes a standby (release notes 12).
    "standby_signal": Span(120000),
    # primary_conninfo and primary_slot_name are taken over by a reload (release notes 13).
    "conninfo_by_reload": Span(130000),
    # libpq knows passfile= in a connection string (release notes 10).
    "passfile_in_conninfo": Span(100000),
    "bypass_row_security": Span(90500),
    "scram": Span(100000),
    "scram_by_default": Span(140000),
    # 9.x called it pg_xlog, pg_xlogfile_name, pg_current_xlog_location and so on.
    "wal_names": Span(100000),
    "hba_file_rules": Span(100000),
    # The last line of postmaster.pid says how far a start is (release notes 10, pg_ctl).
    "postmaster_status": Span(100000),
    "pending_restart": Span(90500),
    "file_settings": Span(90500),
    "wal_receiver_view": Span(90600),
    "wal_receiver_sender": Span(110000),
    "wal_receiver_written_lsn": Span(130000),
    "sender_lag": Span(100000),
    "session_encryption": Span(90500),
    "sender_reply_time": Span(120000),
    "slots": Span(90400),
    "slot_active_pid": Span(90500),
    "slot_reserve_at_once": Span(90600),
    "slot_confirmed_flush": Span(90600),
    "slot_temporary": Span(100000),
    "slot_wal_status": Span(130000),
    "slot_two_phase": Span(140000),
    "slot_conflicting": Span(160000),
    "slot_invalidation_reason": Span(170000),
    "slot_inactive_since": Span(170000),
    "slot_failover": Span(170000),
    "slot_two_phase_at": Span(180000),
    "slot_sync_skip_reason": Span(190000),
    "wal_flush_position": Span(90600),
    "control_functions": Span(90600),
    # The database keeps the version of its own collation (release notes 15).
    "database_collation_version": Span(150000),
    "logical_message": Span(90600),
    "replay_pause_state": Span(140000),
    "replica_wal_level": Span(90600),
    "backup_manifest": Span(130000),
    "backup_server_compression": Span(150000),
    "checksums_by_default": Span(180000),
    "recovery_target_timeline_latest": Span(120000),
    "temporary_slot_in_backup": Span(100000),
    # The fifth parameter that a standby must not have lower than its primary (manual, 26.4.3 Administrator's overview).
    "senders_in_hot_standby": Span(120000),
    # max_locks_per_transaction is 128 where nobody sets it (release notes 19).
    "doubled_locks": Span(190000),
    # synchronous_standby_names waits for several (release notes 9.6), and knows FIRST and ANY (10).
    "several_sync_standbys": Span(90600),
    "sync_keywords": Span(100000),
    "remote_apply": Span(90600),
    # restore_command is taken over by a reload (release notes 14).
    "restore_command_by_reload": Span(140000),
    # ssl and its files are taken over by a reload (release notes 10).
    "tls_by_reload": Span(100000),
    # clientcert=verify-full in pg_hba.conf; before it was clientcert=1, which looks at the authority only (notes 12).
    "clientcert_verify_full": Span(120000),
    # libpq compares an address with the addresses in a certificate; before only with its names (release notes 15).
    "address_in_certificate": Span(150000),
    "pg_promote": Span(120000),
    "backend_type": Span(100000),
    # pg_basebackup spells its options with "wal"; before it was --xlog-method and --xlogdir (release notes 10).
    "basebackup_wal_options": Span(100000),
    "basebackup_slot": Span(90600),
    "basebackup_no_sync": Span(100000),
    "basebackup_sync_method": Span(170000),
    # pg_rewind logs in to its source as a role with four grants; before that only as a superuser (release notes 11).
    "rewind_by_role": Span(110000),
    # It would recover a target that was not shut down cleanly, unless it is told not to (release notes 13).
    "rewind_ensures_shutdown": Span(130000),
    # The source may be a standby (release notes 14).
    "rewind_from_standby": Span(140000),
    # It looks at the source's timeline itself; before, it went by the source's last checkpoint (release notes 16).
    "rewind_sees_promotion": Span(160000),
    # It fetches WAL that the target no longer has by restore_command (release notes 13), and takes the name of a
    # configuration file (15); before, it read postgresql.conf in the data directory.
    "rewind_restores_wal": Span(130000),
    "rewind_config_file": Span(150000),
    # What a replication connection can be asked about a slot.
    "read_replication_slot": Span(150000),
    "list_wal_directory": Span(100000),
    # It ends a replication connection too that waits for its next command (release notes 14).
    "idle_session_timeout": Span(140000),
}


#: What a role that is no superuser needs for pg_rewind on its source (manual, pg_rewind, Notes).
REWIND_FUNCTIONS = (
    "pg_catalog.pg_ls_dir(text,boolean,boolean)",
    "pg_catalog.pg_read_binary_file(text)",
    "pg_catalog.pg_read_binary_file(text,bigint,bigint,boolean)",
    "pg_catalog.pg_stat_file(text,boolean)",
)


class Replaced(t.NamedTuple):
    """A parameter that some versions do not have, and what to write there instead."""

    span: Span
    remedy: str


#: Parameters that only some versions know. A server refuses to start over an unknown name, so the run stops first.
PARAMETER_SPANS: dict[str, Replaced] = {
    "wal_keep_segments": Replaced(
        Span(None, 130000), "use wal_keep_size, in megabytes: one segment is 16 MB, so 32 segments are 512MB"
    ),
    "wal_keep_size": Replaced(Span(130000), "use wal_keep_segments, in segments of 16 MB: 512MB are 32 segments"),
    "max_slot_wal_keep_size": Replaced(
        Span(130000), "this version has no cap on the WAL that slots keep; leave it out"
    ),
    "promote_trigger_file": Replaced(Span(120000, 160000), "use pg_promote() or pg_ctl promote; leave it out"),
    "trigger_file": Replaced(Span(None, OLDEST), "use pg_promote() or pg_ctl promote; leave it out"),
    "standby_mode": Replaced(Span(None, OLDEST), "the file standby.signal makes a standby; leave it out"),
    "idle_replication_slot_timeout": Replaced(Span(180000), "this version never drops idle slots; leave it out"),
    "sync_replication_slots": Replaced(Span(170000), "this version cannot synchronise slots; leave it out"),
    "synchronized_standby_slots": Replaced(Span(170000), "this version cannot synchronise slots; leave it out"),
    "standby_slot_names": Replaced(Span(None, OLDEST), "its name is synchronized_standby_slots, from 17 on"),
    "vacuum_defer_cleanup_age": Replaced(Span(None, 160000), "use hot_standby_feedback or a slot; leave it out"),
    "archive_library": Replaced(Span(150000), "use archive_command"),
    "summarize_wal": Replaced(Span(170000), "this version has no incremental base backups; leave it out"),
    "wal_sender_shutdown_timeout": Replaced(Span(190000), "use wal_sender_timeout; leave it out"),
    "wal_receiver_create_temp_slot": Replaced(Span(130000), "leave it out"),
    "checkpoint_segments": Replaced(Span(None, 90500), "use max_wal_size"),
    "replication_timeout": Replaced(Span(None, OLDEST), "its name is wal_sender_timeout"),
}

#: Options of a connection and the libpq that has them (manual, Parameter Key Words; release notes). The WAL receiver of
#: an older one tries for ever and says so only in its log.
CONNECTION_OPTIONS: dict[str, Span] = {
    **dict.fromkeys(
        (
            "client_encoding",
            "connect_timeout",
            "fallback_application_name",
            "gsslib",
            "keepalives",
            "keepalives_count",
            "keepalives_idle",
            "keepalives_interval",
            "krbsrvname",
            "options",
            "requirepeer",
            "sslcert",
            "sslcompression",
            "sslcrl",
            "sslkey",
            "sslmode",
            "sslrootcert",
        ),
        Span(),
    ),
    "target_session_attrs": Span(100000),
    "gssencmode": Span(120000),
    "tcp_user_timeout": Span(120000),
    "channel_binding": Span(130000),
    "ssl_max_protocol_version": Span(130000),
    "ssl_min_protocol_version": Span(130000),
    "sslcrldir": Span(140000),
    "sslsni": Span(140000),
    "gssdelegation": Span(160000),
    "load_balance_hosts": Span(160000),
    "require_auth": Span(160000),
    "sslcertmode": Span(160000),
    "sslnegotiation": Span(170000),
    "max_protocol_version": Span(180000),
    "min_protocol_version": Span(180000),
    "sslkeylogfile": Span(180000),
}

#: The values of target_session_attrs and the libpq that has them.
SESSION_ATTRIBUTES: dict[str, Span] = {
    "any": Span(100000),
    "read-write": Span(100000),
    "prefer-standby": Span(140000),
    "primary": Span(140000),
    "read-only": Span(140000),
    "standby": Span(140000),
}

#: What the statements of the collection depend on, and the servers that have it: set in every session, whatever the
#: server's files, the database or the role say. On a hot standby no query runs in a serializable transaction.
_SESSION_SETTINGS: dict[str, tuple[str, Span]] = {
    "statement_timeout": ("0", Span()),
    "transaction_timeout": ("0", Span(170000)),
    "lock_timeout": ("0", Span()),
    "idle_in_transaction_session_timeout": ("0", Span(90600)),
    "idle_session_timeout": ("0", Span(140000)),
    "role": ("none", Span()),
    "default_transaction_isolation": ("read committed", Span()),
    "default_transaction_read_only": ("off", Span()),
    "default_transaction_deferrable": ("off", Span()),
    "search_path": ("pg_catalog", Span()),
    "row_security": ("off", Span(90500)),
    "standard_conforming_strings": ("on", Span()),
    "quote_all_identifiers": ("off", Span()),
    "bytea_output": ("hex", Span()),
    "datestyle": ("ISO, YMD", Span()),
    "intervalstyle": ("postgres", Span()),
    "extra_float_digits": ("1", Span()),
}

#: Before 12 these belong to recovery.conf, and a server refuses to start over one in postgresql.conf.
RECOVERY_PARAMETERS = (
    "archive_cleanup_command",
    "primary_conninfo",
    "primary_slot_name",
    "recovery_end_command",
    "recovery_min_apply_delay",
    "recovery_target",
    "recovery_target_action",
    "recovery_target_inclusive",
    "recovery_target_lsn",
    "recovery_target_name",
    "recovery_target_time",
    "recovery_target_timeline",
    "recovery_target_xid",
    "restore_command",
)
#: Each of these ends a recovery where it is not empty (manual, Recovery Target).
RECOVERY_TARGETS = (
    "recovery_target",
    "recovery_target_lsn",
    "recovery_target_name",
    "recovery_target_time",
    "recovery_target_xid",
)
#: A file whose appearance promotes a standby; its name before 12 is the one of recovery.conf.
TRIGGER_FILES = ("promote_trigger_file", "trigger_file")
#: What a standby's postgresql.auto.conf must not hold, in any version: it would win over the managed file.
STANDBY_SETTINGS = frozenset((*RECOVERY_PARAMETERS, "promote_trigger_file"))
PARAMETER_SPANS.update(
    {
        name: Replaced(Span(120000), "before 12 it belongs to recovery.conf, which the collection writes")
        for name in RECOVERY_PARAMETERS
    }
)

#: Distribution release -> the major version that its own packages carry.
DISTRIBUTION_MAJORS: dict[str, str] = {
    "bullseye": "13",
    "bookworm": "15",
    "trixie": "17",
    "forky": "18",
    "focal": "12",
    "jammy": "14",
    "noble": "16",
}


def supports(version: int, feature: str) -> bool:
    """Whether a version has a capability of C(FEATURES).

    >>> supports(150018, "standby_signal"), supports(110022, "standby_signal")
    (True, False)
    """
    return FEATURES[feature].holds(version)


def since_text(feature: str) -> str:
    """The major that brought a capability, for messages.

    >>> since_text("backup_manifest")
    '13'
    """
    return major_text(FEATURES[feature].since or OLDEST)


def parse_major(text: str) -> int:
    """The lowest version number of a major as users write it.

    >>> parse_major("15"), parse_major("9.6"), parse_major(" 13 ")
    (150000, 90600, 130000)
    """
    match = re.match(r"^\s*(?:(9)\.(\d)|(\d{2}))\s*$", text)
    if not match:
        raise ReplicationError(
            f"{text!r} is not a major version of PostgreSQL. Write it as 15, or as 9.6 before version 10."
        )
    number = 90000 + int(match.group(2)) * 100 if match.group(1) else int(match.group(3)) * 10000
    if not Span(OLDEST, NEWEST).holds(number):
        raise ReplicationError(
            f"PostgreSQL {text.strip()} is not supported; supported are {major_text(OLDEST)} to {major_text(NEWEST)}."
        )
    return number


def parse_program_version(text: str) -> int:
    """The version number in what C(postgres --version) and its like print.

    >>> parse_program_version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)")
    150018
    >>> parse_program_version("pg_basebackup (PostgreSQL) 9.6.24"), parse_program_version("postgres (PostgreSQL) 19rc1")
    (90624, 190000)
    """
    match = re.search(r"\)\s+([0-9]{1,4})(?:\.([0-9]{1,4}))?(?:\.([0-9]{1,4}))?", text)
    if not match:
        raise ReplicationError(f"No version of PostgreSQL can be read in {text.strip()!r}.")
    first, second, third = (int(group or 0) for group in match.groups())
    return first * 10000 + second if first >= 10 else first * 10000 + second * 100 + third


def major_text(version: int) -> str:
    """The major of a version number as users write it.

    >>> major_text(150018), major_text(90624)
    ('15', '9.6')
    """
    return str(version // 10000) if version >= 100000 else f"{version // 10000}.{version // 100 % 100}"


def same_major(one: int, other: int) -> bool:
    """Whether two version numbers are of one major; physical replication needs that.

    >>> same_major(150018, 150002), same_major(90624, 90500)
    (True, False)
    """
    return major_text(one) == major_text(other)


def client_serves(*, client: int, server: int) -> bool:
    """Whether pg_basebackup of one version can copy a server of another: never a newer major than its own.

    >>> client_serves(client=150018, server=130022), client_serves(client=150018, server=160001)
    (True, False)
    """
    return client >= server or same_major(client, server)


def floor_parameters(version: int) -> tuple[str, ...]:
    """Parameters that a standby must not have lower than its primary (manual, 26.4.3 Administrator's Overview)."""
    common = (
        "max_connections",
        "max_locks_per_transaction",
        "max_prepared_transactions",
        "max_worker_processes",
    )
    return common + (("max_wal_senders",) if supports(version, "senders_in_hot_standby") else ())


def floor_defaults(version: int) -> dict[str, int]:
    """What these parameters are where no file names them; C(max_connections) is also what initdb writes.

    >>> floor_defaults(150000)["max_locks_per_transaction"], floor_defaults(190000)["max_locks_per_transaction"]
    (64, 128)
    """
    defaults = {
        "max_connections": 100,
        "max_worker_processes": 8,
        "max_wal_senders": 10,
        "max_prepared_transactions": 0,
        "max_locks_per_transaction": 128 if supports(version, "doubled_locks") else 64,
    }
    return {name: defaults[name] for name in floor_parameters(version)}


def session_settings(version: int) -> dict[str, str]:
    """What a session has to set for itself on a server, time-outs first.

    >>> session_settings(160000)["default_transaction_isolation"], "transaction_timeout" in session_settings(160000)
    ('read committed', False)
    """
    return {name: value for name, (value, span) in _SESSION_SETTINGS.items() if span.holds(version)}


def password_method(password_encryption: str) -> str:
    """The kind of verifier that a server makes, from its C(password_encryption): before 10 a boolean that meant md5.

    >>> password_method("scram-sha-256"), password_method("on"), password_method("md5")
    ('scram-sha-256', 'md5', 'md5')
    """
    return "scram-sha-256" if password_encryption.strip().lower() == "scram-sha-256" else "md5"


def default_auth_method(version: int, password_encryption: str | None = None) -> str:
    """The pg_hba.conf method that accepts the password as this server stores it.

    C(md5) accepts both kinds of verifier from 10 on, so it serves where md5 is still stored.

    >>> default_auth_method(150000), default_auth_method(130000), default_auth_method(130000, "scram-sha-256")
    ('scram-sha-256', 'md5', 'scram-sha-256')
    """
    if password_encryption is None:
        password_encryption = "scram-sha-256" if supports(version, "scram_by_default") else "md5"
    return "scram-sha-256" if supports(version, "scram") and password_encryption == "scram-sha-256" else "md5"


def wal_level_value(version: int, value: str) -> str:
    """The name this version uses for a wal_level: C(hot_standby) and C(archive) became C(replica) in 9.6.

    >>> wal_level_value(150000, "hot_standby"), wal_level_value(90400, "replica"), wal_level_value(150000, "logical")
    ('replica', 'hot_standby', 'logical')
    """
    wanted = value.strip().lower()
    if supports(version, "replica_wal_level"):
        return "replica" if wanted in ("hot_standby", "archive") else wanted
    return "hot_standby" if wanted == "replica" else wanted
