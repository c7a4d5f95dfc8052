# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""For whom commits wait: what the inventory asks, what cannot be, and what a run writes when. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._values.names import application_name
from ansible_collections.pgtandem.replication.plugins.module_utils._values.parameter_value import parameter_texts
from ansible_collections.pgtandem.replication.plugins.module_utils._values.standby_names import (
    StandbyNames,
    meanwhile,
    parse_names,
    render_names,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._versions import (
    NEWEST,
    major_text,
    parse_major,
    supports,
)
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.nodes import Node, Problem, named, state_of

PARAMETERS = ("synchronous_commit", "synchronous_standby_names")
COMMITS = ("remote_write", "on", "remote_apply")
KEYS = ("mode", "count", "standbys", "commit")


class Wish(t.NamedTuple):
    """What pgtandem_synchronous says."""

    mode: str = "off"
    number: int = 1
    standbys: tuple[str, ...] = ()
    commit: str = "on"


class Synchronous(t.NamedTuple):
    """What becomes of one cluster's commits."""

    #: Parameters of every host, and of the primary until its standbys are proven.
    everywhere: dict[str, str]
    primary: dict[str, str]
    #: What the primary gets then; None where the setting is not the collection's.
    wanted: str | None
    before: str | None
    names: tuple[str, ...]
    number: int
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]

    def as_plan(self) -> dict[str, t.Any]:
        """Plain values for the plan of a primary."""
        return {"wanted": self.wanted, "before": self.before, "names": list(self.names), "count": self.number}


NONE = Synchronous({}, {}, None, None, (), 0, (), ())


def wish_of(said: t.Any) -> tuple[Wish, list[str]]:
    """The wish, and a sentence for each thing in it that cannot be.

    >>> wish_of({"mode": "any", "count": 2, "standbys": ["pg2", "pg3"]})[0]
    Wish(mode='any', number=2, standbys=('pg2', 'pg3'), commit='on')
    """
    if not said:
        return Wish(), []
    if not isinstance(said, t.Mapping):
        return Wish(), [f"it is {said!r}, and has to be a mapping such as {{mode: any, count: 1}}."]
    problems = [f"it has no key {key!r}; it knows {', '.join(KEYS)}." for key in sorted(set(said) - set(KEYS))]
    # YAML reads off as false and on as true.
    mode = "off" if said.get("mode") in (None, False) else str(said["mode"]).lower()
    if mode not in ("off", "first", "any"):
        problems.append(f"mode is {said['mode']!r}; it is off, first or any.")
    commit = "on" if said.get("commit", True) is True else str(said["commit"]).lower()
    if commit not in COMMITS:
        problems.append(
            f"commit is {said['commit']!r}; it is {', '.join(COMMITS)}. With less nobody is waited for, as with "
            "mode: off."
        )
    count = said.get("count", 1)
    if isinstance(count, bool) or not str(count).isdigit() or int(count) < 1:
        problems.append(f"count is {count!r}; it is a number from 1 on.")
        count = 1
    standbys = said.get("standbys") or []
    if isinstance(standbys, str) or not isinstance(standbys, t.Sequence):
        problems.append(f"standbys is {standbys!r}; it is a list of names of the inventory.")
        standbys = []
    names = tuple(str(name) for name in standbys)
    if len(set(names)) < len(names):
        problems.append(f"standbys names a host twice: {', '.join(names)}.")
    return Wish(mode, int(count), names, commit), problems


def synchronous_problems(cluster: str, nodes: t.Sequence[Node]) -> t.Iterator[Problem]:
    """What the inventory itself says that cannot be."""

    def problem(hosts: t.Iterable[Node], text: str, remedy: str) -> Problem:
        return Problem("inventory-synchronous", tuple(node["name"] for node in hosts), text, remedy)

    wishes = {}
    for node in nodes:
        wish, texts = wish_of(node.get("synchronous"))
        wishes[node["name"]] = wish
        for text in texts:
            yield problem(
                [node],
                f"{node['name']}: pgtandem_synchronous cannot be used: {text}",
                "docs/synchronous.md has all of it.",
            )
        if texts:
            return
    if len(set(wishes.values())) > 1:
        yield problem(
            nodes,
            f"pgtandem_synchronous differs between the hosts of cluster {cluster!r}, and any may become the primary.",
            "Set it once for all of them.",
        )
        return
    wish = set(wishes.values()).pop()
    if wish.mode == "off":
        return
    for node in nodes:
        both = [name for name in node["parameters"] if str(name).lower() in PARAMETERS]
        if both:
            yield problem(
                [node],
                f"{node['name']}: pgtandem_parameters has {', '.join(both)}, and pgtandem_synchronous sets it too.",
                "Leave it in pgtandem_synchronous (commit, standbys).",
            )
    unknown = [name for name in wish.standbys if name not in wishes]
    if unknown:
        yield problem(
            nodes,
            f"pgtandem_synchronous names {', '.join(unknown)}, which is no host of cluster {cluster!r}.",
            f"Name some of {', '.join(sorted(wishes))}.",
        )
    if wish.standbys and wish.number > len(wish.standbys):
        yield problem(
            nodes,
            f"pgtandem_synchronous asks for {wish.number} of {', '.join(wish.standbys)}, so no commit would ever end.",
            "Lower count, or name more.",
        )


def _version(node: Node) -> int:
    said = ((node["status"] or {}).get("instance") or {}).get("version") or node["options"]["version"]
    try:
        return parse_major(str(said)) if said else NEWEST
    except ReplicationError:
        return NEWEST


def _current(primary: Node) -> str:
    """What the primary runs with; what it would start with where it does not run."""
    status = primary["status"] or {}
    running = (status.get("settings") or {}).get("synchronous_standby_names")
    if running is not None:
        return str(running)
    configured = status.get("configured") or {}
    for place in ("auto", "managed", "elsewhere"):
        if "synchronous_standby_names" in configured.get(place, {}):
            return str(configured[place]["synchronous_standby_names"])
    return ""


def _is_delayed(node: Node) -> bool:
    settings = (node["status"] or {}).get("settings") or {}
    said, _problems = parameter_texts(node["parameters"])
    delay = node.get("apply_delay") or said.get("recovery_min_apply_delay", settings.get("recovery_min_apply_delay"))
    return delay not in (None, "", "0")


def synchronous_of(
    cluster: str,
    primary: Node,
    moved_from: str | None,
    nodes: t.Sequence[Node],
    upstreams: t.Mapping[str, str | None],
) -> Synchronous:
    """The decision for one cluster. C(moved_from) is the inventory's primary where another one is primary now: it takes
    that one's place among the standbys."""
    wish, texts = wish_of(primary.get("synchronous"))
    if wish.mode == "off" or texts:
        return NONE
    problems: list[Problem] = []
    notes: list[str] = []

    def refuse(text: str, remedy: str, *hosts: str) -> None:
        problems.append(Problem("inventory-synchronous", hosts or (primary["name"],), text, remedy))

    by_name = {node["name"]: node for node in nodes}
    direct = [node["name"] for node in nodes if upstreams[node["name"]] == primary["name"]]
    listed = [
        moved_from if moved_from and name == primary["name"] else name for name in wish.standbys if name in by_name
    ] or direct
    wrong = [name for name in listed if name not in direct and name != primary["name"]]
    if wrong:
        refuse(
            f"pgtandem_synchronous names {', '.join(wrong)}, which does not follow {primary['name']} itself: a commit "
            "can wait only for a standby that streams from the primary, not for one below it.",
            "Name others, or set their pgtandem_upstream.",
            *wrong,
        )
    if primary["name"] in listed:
        refuse(f"pgtandem_synchronous names {primary['name']}, which is the primary itself.", "Name its standbys.")
    if wish.number > len(listed):
        refuse(
            f"pgtandem_synchronous asks for {wish.number} synchronous standbys, and {primary['name']} has "
            f"{len(listed)} ({', '.join(listed) or 'none'}), so no commit would ever end.",
            "Lower count, or add standbys.",
        )
    elif wish.number == len(listed):
        notes.append(
            f"Cluster {cluster!r} waits at every commit for {wish.number} of {wish.number} synchronous standbys "
            f"({', '.join(listed)}): as soon as one of them is down, every write waits until it is back. Name one more "
            "than count."
        )
    version = _version(primary)
    for needed, feature, what in (
        (wish.mode == "any", "sync_keywords", "no quorum (mode: any)"),
        (wish.number > 1, "several_sync_standbys", "only one synchronous standby at a time (count)"),
        (wish.commit == "remote_apply", "remote_apply", "no remote_apply (commit)"),
    ):
        if needed and not supports(version, feature):
            refuse(f"pgtandem_synchronous: PostgreSQL {major_text(version)} has {what}.", "Choose another.")
    late = [by_name[name] for name in listed if name in by_name and _is_delayed(by_name[name])]
    if late and wish.commit == "remote_apply":
        refuse(
            f"pgtandem_synchronous has commit: remote_apply, and {named(late)} replays late on purpose "
            "(recovery_min_apply_delay), so every commit would take that long.",
            "Leave it out of standbys.",
            *(node["name"] for node in late),
        )
    problems += _overridden(primary, wish)
    if problems:
        return NONE._replace(problems=tuple(problems))
    names = tuple(application_name(name) for name in listed)
    wanted = StandbyNames(wish.mode, wish.number, names)
    value = render_names(wanted, version)
    current = _current(primary)
    kept = meanwhile(parse_names(current), wanted) if state_of(primary) == "primary" else None
    if current == value:
        before = value
    elif kept is None:
        before = ""
    else:
        # Without a reload where it means what is there.
        before = current if kept == parse_names(current) else render_names(kept, version)
    everywhere = {"synchronous_commit": wish.commit}
    return Synchronous(
        everywhere,
        {"synchronous_standby_names": before},
        value,
        before,
        names,
        wish.number,
        (),
        tuple(notes),
    )


def _overridden(primary: Node, wish: Wish) -> t.Iterator[Problem]:
    auto = ((primary["status"] or {}).get("configured") or {}).get("auto") or {}
    for name in PARAMETERS:
        if name in auto and (name, auto[name]) != ("synchronous_commit", wish.commit):
            yield Problem(
                "inventory-synchronous",
                (primary["name"],),
                f"{primary['name']}: {name} = {auto[name]!r} in postgresql.auto.conf wins over what "
                "pgtandem_synchronous writes.",
                f"Take it out there (ALTER SYSTEM RESET {name}; SELECT pg_reload_conf()) and run again.",
            )
