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
from ansible_collections.pgtandem.replication.plugins.module_utils._values.listening import listening_instead
from ansible_collections.pgtandem.replication.plugins.module_utils._values.parameter_value import (
    as_text,
    parameter_texts,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._versions import (
    PARAMETER_SPANS,
    RECOVERY_TARGETS,
    TRIGGER_FILES,
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

#: What a slot keeps for a standby that is away has an end, unless the user sets another: a standby can be copied anew,
#: a primary whose disk is full stops for everybody. Each megabyte a second fills 10 GB in not quite three hours.
SLOT_CAP = "10GB"

#: What a server takes for these, of the ways in which people write a switch.
ON = ("on", "true", "yes", "1")
OFF = ("off", "false", "no", "0")
_WAL_LEVELS = ("minimal", "archive", "hot_standby", "replica", "logical")


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
    """The user's parameters as text under lower-case names, without those that are null; every problem is told at once.

    >>> normalise({"WAL_LEVEL": "hot_standby", "max_connections": 300}, 150000)
    {'wal_level': 'replica', 'max_connections': '300'}
    """
    values, problems = parameter_texts(parameters)
    problems = [*check_names(values, version), *problems]
    level = values.get("wal_level")
    if level is not None:
        if level.strip().lower() not in _WAL_LEVELS:
            problems.append(f"wal_level {level!r} does not exist; use replica or logical.")
        elif level.strip().lower() == "minimal":
            problems.append("wal_level minimal rules out replication; use replica or logical.")
        else:
            values["wal_level"] = wal_level_value(version, level)
    if values.get("hot_standby", "on").strip().lower() not in ON:
        problems.append(f"hot_standby is {values['hot_standby']!r}; the proof reads the standby, so it has to be on.")
    if problems:
        raise ReplicationError("pgtandem_parameters cannot be used: " + " ".join(problems), problems=problems)
    return values


def whole_number(text: str | None) -> int | None:
    """A parameter's value where it is a whole number without a unit.

    >>> whole_number("300"), whole_number("64MB"), whole_number(None)
    (300, None, None)
    """
    return int(text) if text is not None and re.fullmatch(r"\s*[0-9]{1,20}\s*", text) else None


_UNITS = {"us": 0.001, "ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}


def milliseconds(text: str) -> int | None:
    """A time as the server writes it, with its unit; None where it is none.

    >>> milliseconds("1h"), milliseconds("90 s"), milliseconds("0"), milliseconds("5")
    (3600000, 90000, 0, None)
    """
    match = re.match(r"^\s*([0-9]{1,20})\s*([a-z]*)\s*\Z", text)
    if match is None or match.group(2) not in (*_UNITS, ""):
        return None
    amount = int(match.group(1))
    if not match.group(2):
        # The server would read milliseconds, which nobody means.
        return 0 if amount == 0 else None
    return round(amount * _UNITS[match.group(2)])


def recovery_settings(*, apply_delay: str, restore_command: str) -> dict[str, str]:
    """The settings of recovery that the user asks for, under the server's names; what is not asked is left out.

    >>> recovery_settings(apply_delay="1h", restore_command="")
    {'recovery_min_apply_delay': '1h'}
    """
    said = {"recovery_min_apply_delay": apply_delay.strip(), "restore_command": restore_command}
    return {name: value for name, value in said.items() if value and value != "0"}


def recovery_problems(*, apply_delay: str, restore_command: str, parameters: t.Mapping[str, t.Any]) -> list[str]:
    """Sentences for what the user asks of recovery and cannot be.

    >>> recovery_problems(apply_delay="5", restore_command="", parameters={})
    ["pgtandem_apply_delay is '5'; write it with its unit, such as 30min, 1h or 2d."]
    """
    problems = []
    if apply_delay and milliseconds(apply_delay) is None:
        problems.append(f"pgtandem_apply_delay is {apply_delay!r}; write it with its unit, such as 30min, 1h or 2d.")
    if any(char in restore_command for char in "\r\n\0"):
        problems.append("pgtandem_restore_command holds a line break or a NUL; write it on one line.")
    elif restore_command and not ("%f" in restore_command and "%p" in restore_command):
        problems.append(
            f"pgtandem_restore_command ({restore_command!r}) needs %f, the file it fetches, and %p, where to put it."
        )
    said = {str(name).lower() for name, value in parameters.items() if value is not None}
    for name in sorted(said & {*RECOVERY_TARGETS, *TRIGGER_FILES}):
        problems.append(
            f"{name} in pgtandem_parameters would end the recovery of a standby without a promotion that was asked "
            "for; leave it out."
        )
    both = sorted(said & set(recovery_settings(apply_delay=apply_delay, restore_command=restore_command)))
    for name in both:
        problems.append(f"{name} is in pgtandem_parameters and has a variable of its own; leave it in one.")
    return problems


class Needs(t.NamedTuple):
    """What the rest of the cluster asks of this instance's parameters."""

    #: WAL senders and slots that must fit: two for a base backup with its WAL stream, one a standby, some spare.
    senders: int = 0
    #: The upstream's running values, and those in this instance's own control file.
    floors: t.Mapping[str, int] = {}
    port: int = 5432
    listen_addresses: str = ""
    #: Where the other hosts look for this server, and the addresses that its host has where that is known.
    address: str = ""
    own_addresses: t.Collection[str] | None = None
    #: Rendered into the settings where this version keeps recovery settings there.
    primary_conninfo: str | None = None
    primary_slot_name: str | None = None
    #: Likewise: restore_command and the like.
    recovery: t.Mapping[str, str] = {}
    #: ssl and its files; empty where the collection leaves them alone.
    tls: t.Mapping[str, str] = {}


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
    listening = listening_instead(
        elsewhere.get("listen_addresses"), needs.listen_addresses, address=needs.address, own=needs.own_addresses
    )
    if listening is not None:
        values["listen_addresses"] = listening
    keep = (
        ("wal_keep_size", "512MB")
        if PARAMETER_SPANS["wal_keep_size"].span.holds(version)
        else (
            "wal_keep_segments",
            "32",
        )
    )
    tunables = dict(TUNABLES, **{keep[0]: keep[1]})
    if PARAMETER_SPANS["max_slot_wal_keep_size"].span.holds(version):
        tunables["max_slot_wal_keep_size"] = SLOT_CAP
    if supports(version, "recovery_target_timeline_latest"):
        tunables["recovery_target_timeline"] = "latest"
    for name, value in tunables.items():
        if name not in elsewhere:
            values[name] = value
    # A primary that serves no reads as a standby would break the roles' own proof, so this one is not negotiable.
    if as_text(elsewhere.get("hot_standby", "on")).lower() not in ON:
        values["hot_standby"] = "on"
    values.update(needs.tls)
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
        values.update(needs.recovery)
    return values


def floor_values(version: int, values: t.Mapping[str, str], elsewhere: t.Mapping[str, str]) -> dict[str, int]:
    """What a standby must not have lower than its primary, as the managed file, other files or the server have it.

    >>> floor_values(150000, {"max_connections": "300"}, {"max_worker_processes": "4"})["max_worker_processes"]
    4
    """
    defaults = floor_defaults(version)
    found = {name: whole_number(values.get(name, elsewhere.get(name))) for name in defaults}
    return {name: defaults[name] if value is None else value for name, value in found.items()}
