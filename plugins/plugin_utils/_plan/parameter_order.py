# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""In which order hosts take over the parameters that a standby must not have lower than its primary. Pure.

Raised on the standbys first, those at the end of a cascade before what they follow; lowered on the primary first, then
downwards, on each standby once it has replayed what the primary wrote of it (manual, Hot Standby, Administrator's
Overview). A change that goes both ways raises first, and keeps high what is to be lowered until the primary has.
"""

from __future__ import annotations

import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._values.parameters import (
    Needs,
    compose,
    normalise,
    whole_number,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._versions import (
    NEWEST,
    floor_defaults,
    floor_parameters,
    parse_major,
)
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.nodes import Node, Problem, runs, state_of

Values = t.Dict[str, int]


class Step(t.NamedTuple):
    """One host's restart, with what it is for."""

    host: str
    changes: dict[str, tuple[int | None, int]]
    why: str
    #: Parameters without an order for which it restarts as well.
    others: tuple[str, ...] = ()

    def text(self) -> str:
        """The step as a line of the plan."""
        changes = [
            f"{name} {'unknown' if before is None else before} -> {after}"
            for name, (before, after) in sorted(self.changes.items())
        ]
        return f"{self.host} restarts: {', '.join([*changes, *self.others])} ({self.why})"


class Order(t.NamedTuple):
    """How one cluster gets from what runs to what is asked for."""

    #: What the primary will run with; what it runs with where it is not part of the run.
    after: Values
    #: What the primary is about to raise, by name.
    raised: Values
    #: Standbys that restart before the primary, in this order, with what they must not have lower by then.
    raises: dict[str, Values]
    steps: tuple[Step, ...]
    problems: tuple[Problem, ...]

    def lines(self, cluster: str) -> list[str]:
        """The plan for people; empty where nothing restarts for it."""
        if not self.steps:
            return []
        return [
            f"cluster {cluster}  parameters in order, one restart after the other",
            *(f"  {number}. {step.text()}" for number, step in enumerate(self.steps, 1)),
        ]


NOTHING = Order({}, {}, {}, (), ())


def _version(node: Node) -> int | None:
    """A version number of the major that is there."""
    status = node["status"] or {}
    said = (status.get("instance") or {}).get("version")
    try:
        return t.cast("int | None", status.get("server_version")) or (parse_major(str(said)) if said else None)
    except ReplicationError:
        return None


def running_values(node: Node) -> Values:
    """What a server runs with; of a stopped one what its control file says it ran with."""
    status = node["status"] or {}
    settings = status.get("settings") or {}
    found = {name: whole_number(settings.get(name)) for name in floor_parameters(_version(node) or NEWEST)}
    if all(value is None for value in found.values()) and not status.get("running"):
        found = dict((status.get("control") or {}).get("floors") or {})
    return {name: value for name, value in found.items() if value is not None}


def values_after(node: Node, *, senders: int, floors: t.Mapping[str, int]) -> Values:
    """What a server runs with once it was configured and restarted; empty where that cannot be known."""
    status = node["status"] or {}
    configured, version = status.get("configured"), _version(node)
    if configured is None or version is None:
        return {}
    try:
        user = normalise(node["parameters"], version)
    except ReplicationError:
        # The gate tells it with the host's other problems.
        return {}
    composed = compose(
        version=version,
        user=user,
        elsewhere=configured["elsewhere"],
        needs=Needs(senders=senders, floors=floors),
    )
    texts = {**configured["elsewhere"], **composed, **configured["auto"]}
    numbers = {
        name: whole_number(texts.get(name, str(floor_defaults(version)[name]))) for name in floor_defaults(version)
    }
    return {name: value for name, value in numbers.items() if value is not None}


def _highest(*several: t.Mapping[str, int]) -> Values:
    return {
        name: max(values[name] for values in several if name in values)
        for name in sorted({name for values in several for name in values})
    }


def _differences(before: t.Mapping[str, int], after: t.Mapping[str, int]) -> dict[str, tuple[int | None, int]]:
    return {name: (before.get(name), value) for name, value in after.items() if before.get(name) != value}


def _other_restarts(node: Node) -> tuple[str, ...]:
    """The parameters without an order between hosts for which a running server restarts."""
    ordered = floor_parameters(_version(node) or NEWEST)
    found = ((node["status"] or {}).get("next_start") or {}).get("restarts", ())
    return tuple(name for name in found if name not in ordered) if runs(node) else ()


def _first_to_try(primary: Node, standbys: t.Sequence[Node], tried: t.Container[str]) -> str | None:
    """The standby that restarts before its primary where any order is right: a server that does not come back is then
    not the primary. None where there is none, or where one goes first anyway."""
    names = set(_other_restarts(primary))
    streaming = [node for node in standbys if (node["status"]["wal_receiver"] or {}).get("status") == "streaming"]
    fit = [node["name"] for node in streaming if names & set(_other_restarts(node))]
    return None if any(name in tried for name in fit) else next(iter(fit), None)


def order_of(
    primary: Node,
    nodes: t.Sequence[Node],
    levels: t.Mapping[str, int],
    *,
    senders: int,
    in_run: t.Container[str] | None = None,
) -> Order:
    """The order for one cluster. C(in_run) are the hosts that the run works on; None is all of them."""

    def takes_part(node: Node) -> bool:
        return node["status"] is not None and (in_run is None or node["name"] in in_run)

    if state_of(primary) != "primary":
        return NOTHING
    now = running_values(primary)
    after = dict(now)
    if takes_part(primary):
        after.update(values_after(primary, senders=senders, floors={}))
    if not now:
        # Before it ran once nobody can have followed it.
        return NOTHING._replace(after=after)
    after = {name: after[name] for name in now}
    raised = {name: value for name, value in after.items() if value > now.get(name, value)}
    raises: dict[str, Values] = {}
    raising: list[Step] = []
    lowering: list[Step] = []
    problems: list[Problem] = []
    standbys = sorted(
        (node for node in nodes if node is not primary), key=lambda one: (-levels[one["name"]], one["name"])
    )
    first_to_try = None
    if takes_part(primary):
        able = [node for node in standbys if takes_part(node) and state_of(node) == "standby" and runs(node)]
        lower = [node["name"] for node in able if _lacking(node, now, after, raised)]
        first_to_try = _first_to_try(primary, able, lower)
    for node in standbys:
        name = node["name"]
        if node["status"] is None:
            if raised:
                problems.append(_unread(primary, node, now, raised))
            continue
        if state_of(node) != "standby" or not runs(node):
            continue
        runs_with = running_values(node)
        needed = _highest(now, after)
        lacking = _lacking(node, now, after, raised)
        if not takes_part(node):
            if set(lacking) & set(raised):
                problems.append(_left_out(primary, node, now, raised, runs_with))
            continue
        first = runs_with
        if lacking or name == first_to_try:
            floors = _highest(needed, runs_with)
            first = values_after(node, senders=senders, floors=floors)
            held = {key: value for key, value in lacking.items() if first.get(key, value) < value}
            if held:
                problems.append(_overridden(primary, node, held, first))
                continue
            raises[name] = floors
            why = "before its primary, since a standby must not have less" if raised else "it has less than its primary"
            why = why if lacking else "before its primary, so that the primary is not the first to try it"
            raising.append(Step(name, _differences(runs_with, first), why, _other_restarts(node)))
        last = values_after(node, senders=senders, floors=after)
        if last and _differences(first, last):
            why = "after its primary" if _differences(now, after) else "its own values"
            lowering.append(Step(name, _differences(first, last), why))
    change = _differences(now, after)
    others = _other_restarts(primary) if raises else ()
    own = [Step(primary["name"], change, "the primary", others)] if (change or others) and runs(primary) else []
    lowering.sort(key=lambda step: (levels[step.host], step.host))
    return Order(after, raised, raises, (*raising, *own, *lowering), tuple(problems))


def _lacking(node: Node, now: Values, after: Values, raised: Values) -> Values:
    """What a standby has less of than its primary has, or is about to get."""
    has = running_values(node)
    return {
        name: value
        for name, value in _highest(now, after).items()
        if name in after and has.get(name, 0) < value and (name in raised or has.get(name, 0) < now[name])
    }


def _shown(now: t.Mapping[str, int], raised: t.Mapping[str, int]) -> str:
    return ", ".join(f"{name} from {now[name]} to {value}" for name, value in sorted(raised.items()))


def _unread(primary: Node, node: Node, now: Values, raised: Values) -> Problem:
    return Problem(
        "parameters-unread",
        (node["name"],),
        f"{primary['name']} is to raise {_shown(now, raised)}, and {node['name']}, a standby, could not be read. If it "
        "runs with less it would stop replaying the moment its primary has more.",
        "Make it reachable, or take it out of the inventory, or leave the parameter as it is for now.",
    )


def _left_out(primary: Node, node: Node, now: Values, raised: Values, runs_with: Values) -> Problem:
    has = ", ".join(f"{name} = {runs_with.get(name, 'unknown')}" for name in sorted(raised))
    return Problem(
        "parameters-left-out",
        (node["name"],),
        f"{primary['name']} is to raise {_shown(now, raised)}, and {node['name']} runs with {has} and is not part of "
        "this run or play. It would stop replaying the moment its primary has more.",
        "Run site.yml on all hosts of the cluster; plays of your own begin with one on all of them that imports the "
        "role pgtandem.replication.standby with tasks_from: raise.",
    )


def _overridden(primary: Node, node: Node, held: Values, first: Values) -> Problem:
    name = sorted(held)[0]
    return Problem(
        "parameters-overridden",
        (node["name"],),
        f"{node['name']} needs {', '.join(f'{key} = {value}' for key, value in sorted(held.items()))} before "
        f"{primary['name']} has it, and would come up with {name} = {first[name]}: a value in "
        "postgresql.auto.conf wins over the managed one.",
        f"Take it out there (ALTER SYSTEM RESET {name}) and run again.",
    )


def too_low(raised: t.Mapping[str, int], standbys: t.Iterable[Node]) -> list[str]:
    """Running standbys that still have less than their primary is about to get, each as a clause."""
    found = []
    for node in standbys:
        if node["status"] is None or state_of(node) != "standby" or not runs(node):
            continue
        values = running_values(node)
        less = [
            f"{name} = {values.get(name, 'unknown')}" for name in sorted(raised) if values.get(name, 0) < raised[name]
        ]
        if less:
            found.append(f"{node['name']} runs with {', '.join(less)}")
    return found
