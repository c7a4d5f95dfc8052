# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Which server parameters an instance gets: pure decisions over what the user says, what other files say and what
the primary runs with (manual, Server Configuration)."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._versions import (
    PARAMETER_SPANS,
    floor_defaults,
    floor_parameters,
    major_text,
    supports,
    wal_level_value,
)

#: Parameters that follow from something else the user says, and from what.
DERIVED: dict[str, str] = {
    "port": "pgtandem_port",
    "listen_addresses": "pgtandem_listen_addresses",
    "data_directory": "pgtandem_data_directory",
    "config_file": "pgtandem_config_directory",
    "hba_file": "pgtandem_config_directory",
    "primary_conninfo": "the inventory (pgtandem_upstream, pgtandem_address)",
    "primary_slot_name": "the inventory (pgtandem_slots)",
    "standby_mode": "the inventory's groups",
    "include": "a file of your own beside the managed one",
    "include_dir": "a file of your own beside the managed one",
    "include_if_exists": "a file of your own beside the managed one",
}

#: Written where neither the user nor another configuration file says otherwise.
TUNABLES: dict[str, str] = {
    "hot_standby": "on",
    "wal_sender_timeout": "60s",
    "max_standby_streaming_delay": "30s",
    "wal_receiver_status_interval": "10s",
    "hot_standby_feedback": "off",
}

_ON = ("on", "true", "yes", "1")
_WAL_LEVELS = ("minimal", "archive", "hot_standby", "replica", "logical")


def as_text(value: t.Any) -> str:
    """A value from YAML as the server reads it.

    >>> as_text(True), as_text(300), as_text("64MB")
    ('on', '300', '64MB')
    """
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def check_names(names: t.Iterable[str], version: int) -> list[str]:
    """Sentences for what this version does not know, or what is set elsewhere; empty when all is well."""
    problems = []
    for name in sorted(names):
        if name in DERIVED:
            problems.append(f"{name} is not set here: it follows from {DERIVED[name]}.")
        elif name in PARAMETER_SPANS and not PARAMETER_SPANS[name].span.holds(version):
            problems.append(f"PostgreSQL {major_text(version)} has no {name}: {PARAMETER_SPANS[name].remedy}.")
        elif not re.match(r"^[a-z_][a-z0-9_$]*(\.[a-z_][a-z0-9_$]*)*$", name):
            problems.append(f"{name!r} is not a parameter's name.")
    return problems


def normalise(parameters: t.Mapping[str, t.Any], version: int) -> dict[str, str]:
    """The user's parameters as text under lower-case names; every problem is told at once.

    >>> normalise({"WAL_LEVEL": "hot_standby", "max_connections": 300}, 150000)
    {'wal_level': 'replica', 'max_connections': '300'}
    """
    values = {str(name).lower(): as_text(value) for name, value in parameters.items()}
    problems = check_names(values, version)
    level = values.get("wal_level")
    if level is not None:
        if level.strip().lower() not in _WAL_LEVELS:
            problems.append(f"wal_level {level!r} does not exist; use replica or logical.")
        elif level.strip().lower() == "minimal":
            problems.append("wal_level minimal rules out replication; use replica or logical.")
        else:
            values["wal_level"] = wal_level_value(version, level)
    if values.get("hot_standby", "on").strip().lower() not in _ON:
        problems.append(f"hot_standby is {values['hot_standby']!r}; the proof reads the standby, so it has to be on.")
    if problems:
        raise ReplicationError("pgtandem_parameters cannot be used: " + " ".join(problems), problems=problems)
    return values


def whole_number(text: str | None) -> int | None:
    """A parameter's value where it is a whole number without a unit.

    >>> whole_number("300"), whole_number("64MB"), whole_number(None)
    (300, None, None)
    """
    return int(text) if text is not None and re.match(r"^\d+$", text.strip()) else None


class Needs(t.NamedTuple):
    """What the rest of the cluster asks of this instance's parameters."""

    #: WAL senders and slots that must fit: two for a base backup with its WAL stream, one a standby, some spare.
    senders: int = 0
    #: The upstream's running values, and those in this instance's own control file.
    floors: t.Mapping[str, int] = {}
    port: int = 5432
    listen_addresses: str = ""
    #: Rendered into the settings where this version keeps recovery settings there.
    primary_conninfo: str | None = None
    primary_slot_name: str | None = None


def compose(*, version: int, user: t.Mapping[str, str], elsewhere: t.Mapping[str, str], needs: Needs) -> dict[str, str]:
    """The content of the managed file of settings.

    What the user says always counts. Beyond that a value that another configuration file gives is left alone as
    long as replication works with it: the collection adds to a configuration, it does not take it over.
    """
    values: dict[str, str] = {"port": str(needs.port)}
    wal_level = wal_level_value(version, elsewhere.get("wal_level", "")) if "wal_level" in elsewhere else ""
    if wal_level not in ("logical", wal_level_value(version, "replica")):
        values["wal_level"] = wal_level_value(version, "replica")
    for name in ("max_wal_senders", "max_replication_slots"):
        if (whole_number(elsewhere.get(name)) or 0) < needs.senders:
            values[name] = str(max(10, needs.senders))
    if needs.listen_addresses and elsewhere.get("listen_addresses", "localhost") in ("localhost", "127.0.0.1", ""):
        values["listen_addresses"] = needs.listen_addresses
    keep = (
        ("wal_keep_size", "512MB")
        if PARAMETER_SPANS["wal_keep_size"].span.holds(version)
        else (
            "wal_keep_segments",
            "32",
        )
    )
    tunables = dict(TUNABLES, **{keep[0]: keep[1]})
    if supports(version, "recovery_target_timeline_latest"):
        tunables["recovery_target_timeline"] = "latest"
    for name, value in tunables.items():
        if name not in elsewhere:
            values[name] = value
    # A primary that serves no reads as a standby would break the roles' own proof, so this one is not negotiable.
    if as_text(elsewhere.get("hot_standby", "on")).lower() not in _ON:
        values["hot_standby"] = "on"
    values.update(user)
    for name in floor_parameters(version):
        floor = needs.floors.get(name, 0)
        own = whole_number(values.get(name, elsewhere.get(name)))
        if floor > (own if own is not None else floor_defaults(version)[name]):
            values[name] = str(floor)
    if supports(version, "standby_signal"):
        if needs.primary_conninfo is not None:
            values["primary_conninfo"] = needs.primary_conninfo
        if needs.primary_slot_name is not None:
            values["primary_slot_name"] = needs.primary_slot_name
    return values


def floor_values(version: int, values: t.Mapping[str, str], elsewhere: t.Mapping[str, str]) -> dict[str, int]:
    """What a standby must not have lower than its primary, as the managed file, other files or the server have it.

    >>> floor_values(150000, {"max_connections": "300"}, {"max_worker_processes": "4"})["max_worker_processes"]
    4
    """
    defaults = floor_defaults(version)
    found = {name: whole_number(values.get(name, elsewhere.get(name))) for name in defaults}
    return {name: defaults[name] if value is None else value for name, value in found.items()}
