# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""What brings a host back that was the primary, or fell off: pure decisions.

Two things ask for it. rejoin.yml names hosts that are to come back without losing their directory; pgtandem_reseed
names hosts whose directory may be replaced by a new copy where nothing cheaper is correct. Neither ever means the
primary.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.pgtandem.replication.plugins.module_utils._values.lsn import format_lsn, parse_lsn
from ansible_collections.pgtandem.replication.plugins.module_utils._values.names import slot_name
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.nodes import (
    Node,
    Problem,
    described,
    leads,
    named,
    quorum,
    state_of,
    system_of,
    unread,
    why_unread,
)
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.timelines import divergence, reached

#: The states in which a directory holds a cluster that could follow.
_HOLDS_DATA = ("primary", "standby", "rewinding")


@dataclass(frozen=True)
class Asked:
    """What the run was asked to bring back."""

    #: Hosts that rejoin.yml was given.
    rejoin: frozenset[str] = frozenset()
    #: A server that runs as a second primary may be stopped for it.
    stop: bool = False
    #: Hosts that were found dead, or were fenced: what a standby still says of a stream from there is out of date.
    dead: frozenset[str] = frozenset()
    #: Hosts that are about to leave: the plans are those of a cluster without them.
    leaving: frozenset[str] = frozenset()


class Return(t.NamedTuple):
    """How one host comes back."""

    #: Copy it without trying anything cheaper.
    copy: bool
    #: Its directory may be replaced by a new copy.
    reseed: bool
    #: Which running server of it may be stopped: standby or always.
    stop: str
    why: str
    #: The live primary has to write a checkpoint before pg_rewind sees its timeline.
    checkpoint: bool
    source: Node

    def as_plan(self) -> dict[str, t.Any]:
        """What the tasks need."""
        return {
            "anew": self.copy,
            "reseed": self.reseed,
            "stop": self.stop,
            "why": self.why,
            "checkpoint": self.checkpoint,
            "source": {
                "name": self.source["name"],
                "host": self.source["address"],
                "port": self.source["port"],
            },
        }


class Returning(t.NamedTuple):
    """What becomes of the hosts of one cluster that are to come back."""

    #: By the host's name; those that need nothing special are not in it.
    hosts: dict[str, Return]
    problems: list[Problem]


def reseeds(node: Node) -> bool:
    """Whether pgtandem_reseed names the host: true on the host, or its name in a list."""
    said = node["reseed"]
    if isinstance(said, bool):
        return said
    return node["name"] in _listed(said)


def _listed(said: t.Any) -> list[str]:
    """The names in a list, or in a text as -e has them.

    >>> _listed("pg2, pg3"), _listed(["pg2"]), _listed(None)
    (['pg2', 'pg3'], ['pg2'], [])
    """
    if isinstance(said, str):
        said = said.split(",")
    return [str(name).strip() for name in said or [] if str(name).strip()]


def reseed_problems(cluster: str, nodes: t.Sequence[Node]) -> list[Problem]:
    """pgtandem_reseed has to name hosts: a true for a whole cluster says nothing about any of them."""
    said = [node for node in nodes if node["reseed"] is True]
    if len(said) > 1:
        return [
            Problem(
                "inventory-reseed",
                tuple(node["name"] for node in said),
                f"pgtandem_reseed is true for {named(said)} of cluster {cluster!r}, so it names none of them.",
                f"Name the host whose data directory may be replaced: -e pgtandem_reseed={said[-1]['name']}.",
            )
        ]
    return []


def unknown_names(nodes: t.Sequence[Node], asked: Asked, known: t.Collection[str]) -> list[Problem]:
    """Names, of the command or of these hosts' pgtandem_reseed, that are no host of the inventory's two groups."""
    listed = {name for node in nodes if not isinstance(node["reseed"], bool) for name in _listed(node["reseed"])}
    return [
        Problem(
            "inventory-unknown-host",
            (name,),
            f"{name!r}, which {variable} names, is no host of the groups of primaries and standbys.",
            f"They have {', '.join(sorted(known))}.",
        )
        for variable, names in (("pgtandem_reseed", listed), ("pgtandem_target", asked.rejoin | asked.leaving))
        for name in sorted(names.difference(known))
    ]


def returning(cluster: str, nodes: t.Sequence[Node], asked: Asked) -> Returning:
    """How the hosts come back that the run was asked for, and what stands against it."""
    problems = reseed_problems(cluster, nodes)
    wanted = [node for node in nodes if node["name"] in asked.rejoin or reseeds(node)]
    if not wanted or problems:
        return Returning({}, problems)
    live = _live(nodes, wanted)
    if isinstance(live, Problem):
        # For pgtandem_reseed alone the gate says who the primary is, or why that is not known.
        return Returning({}, [live] if live.id == "reseed-primary" or _asked_for(wanted, asked) else [])
    hosts: dict[str, Return] = {}
    for node in wanted:
        if node is live:
            continue
        found = _return_of(cluster, node, live, asked)
        if isinstance(found, Problem):
            problems.append(found)
        elif found is not None:
            hosts[node["name"]] = found
    if hosts and not quorum(nodes):
        problems.append(
            Problem(
                "no-quorum",
                tuple(hosts),
                f"Of the {len(nodes)} hosts of cluster {cluster!r} fewer than half could be read, so which side of a "
                f"broken network counts is not known, and no data directory is rewound or replaced.",
                f"Make more of {named(unread(nodes))} reachable.",
            )
        )
    return Returning(hosts, problems)


def _asked_for(nodes: t.Iterable[Node], asked: Asked) -> bool:
    return any(node["name"] in asked.rejoin for node in nodes)


def _live(nodes: t.Sequence[Node], wanted: t.Sequence[Node]) -> Node | Problem:
    """The primary that the hosts come back to."""
    primaries = [node for node in nodes if leads(node)]
    others = [node for node in primaries if node not in wanted]
    if len(others) == 1:
        return others[0]
    if len(primaries) == 1:
        only = primaries[0]
        if not reseeds(only) and len(wanted) > 1:
            return only
        if reseeds(only):
            return Problem(
                "reseed-primary",
                (only["name"],),
                f"{only['name']} is named in pgtandem_reseed and is the one running primary ({described(only)}). A "
                "primary is never replaced.",
                "Name the standby that is to be copied anew: -e pgtandem_reseed=NAME.",
            )
        return Problem(
            "rejoin-primary",
            (only["name"],),
            f"{only['name']} is the one running primary ({described(only)}), and there is nothing to come back to.",
            "If another host is to be the primary, promote that first (switchover.yml, failover.yml).",
        )
    names = tuple(node["name"] for node in others or primaries or wanted)
    if primaries:
        return Problem(
            "two-primaries",
            names,
            f"{named(others or primaries)} all run as primaries, so it is not clear to which of them the hosts are to "
            "come back.",
            "Name only those that are to come back, and stop those whose data does not count.",
        )
    missing = "".join(f" {why_unread(node)}." for node in unread(nodes))
    return Problem(
        "rejoin-no-primary",
        names,
        f"No primary runs, so there is nothing that {named(wanted)} could come back to.{missing}",
        "Start the primary, or promote a standby (failover.yml), and run again.",
    )


def _return_of(cluster: str, node: Node, live: Node, asked: Asked) -> Return | Problem | None:
    name, state = node["name"], state_of(node)
    if node["status"] is None:
        return Problem(
            "rejoin-unread", (name,), f"{why_unread(node)}, so nothing can be done there.", "Make it reachable."
        )
    # The gate says what is wrong with a directory of another cluster, and nothing is to be brought back where none is.
    if state not in _HOLDS_DATA or (system_of(node) not in (None, system_of(live))):
        return None
    reseed = reseeds(node)
    if leads(node) and not asked.stop:
        return Problem(
            "rejoin-running",
            (name,),
            f"{name} runs as a primary beside {live['name']} ({described(node)}, timeline {node['status']['timeline']};"
            f" {live['name']}: timeline {live['status']['timeline']}). What it took since their ways parted is lost "
            f"when it comes back to {live['name']}.",
            "See that nobody uses it, and stop its server, or run again with -e pgtandem_stop_old_primary=true.",
        )
    why = _why(node, live)
    # A copy that an earlier run made, and that waits for its proof, is not made again.
    waits = (node["status"]["data_directory"].get("set_aside") or {"proven": True})["proven"] is False
    forced = reseed and node["reseed_mode"] == "copy" and not (waits and state == "standby")
    gone = None if why else _wal_gone(node, live)
    if gone and not reseed:
        return Problem(
            "wal-gone",
            (name,),
            f"{name} cannot catch up with {live['name']}: {gone}.",
            f"Only a new copy helps: name it in pgtandem_reseed (-e pgtandem_reseed={name}).",
        )
    if why is None and gone is None and not forced:
        return None
    return Return(
        copy=bool(gone or forced),
        reseed=reseed,
        stop="always" if asked.stop else "standby",
        why=why or gone or "it was asked for",
        checkpoint=_checkpoint_timeline(live) != live["status"]["timeline"],
        source=live,
    )


def _why(node: Node, live: Node) -> str | None:
    """Why a host cannot follow as it is, None where it can."""
    state = state_of(node)
    if state == "rewinding":
        return "a rewind of it was begun and is not finished"
    if state == "primary":
        return "it was a primary"
    return divergence(live["status"], node["status"])


def _checkpoint_timeline(live: Node) -> int | None:
    control = live["status"]["control"] or {}
    return t.cast("int | None", control.get("timeline", live["status"]["timeline"]))


def _wal_gone(node: Node, live: Node) -> str | None:
    """Why a standby can never catch up, as a clause; None where it may. An archive may still have what is gone."""
    status = node["status"]
    receiver = status["wal_receiver"]
    if (receiver and receiver["status"] == "streaming") or status["settings"].get("restore_command"):
        return None
    if node["restore_command"]:
        # It is about to be written, and an archive may have what is gone.
        return None
    oldest, position = live["status"].get("oldest_wal_lsn"), reached(status)
    if oldest is None or position is None or node["upstream"]:
        return None
    if parse_lsn(position) < parse_lsn(oldest):
        return (
            f"it has reached {position}, and the oldest WAL on {live['name']} begins at {format_lsn(parse_lsn(oldest))}"
        )
    return None


def cascade_below(
    nodes: t.Sequence[Node],
    upstreams: t.Mapping[str, str | None],
    replaced: t.Collection[str],
    in_run: t.Container[str] | None,
) -> tuple[list[Problem], list[Problem]]:
    """Hosts that follow one which is copied anew: reasons to stop where they are not in the run, and notes."""
    problems, notes = [], []
    for node in nodes:
        name, upstream = node["name"], node["upstream"]
        if upstream not in replaced or name in replaced or upstreams[name] == upstream:
            continue
        if in_run is None or name in in_run:
            notes.append(
                Problem(
                    "cascade-moved",
                    (name,),
                    f"{name} follows {upstreams[name]} while {upstream}, its upstream, is copied anew.",
                    f"Run site.yml again afterwards, and it follows {upstream}.",
                )
            )
        else:
            problems.append(
                Problem(
                    "reseed-cascade",
                    (upstream, name),
                    f"{upstream} is to be copied anew, and {name} follows it and is not in this run. A copy begins "
                    f"where the primary is then, so {name} would not find there the WAL that it needs.",
                    f"Run site.yml without --limit (-e pgtandem_reseed={upstream}), which has {name} follow "
                    f"{upstreams[name]} meanwhile, or name both.",
                )
            )
    return problems, notes


def as_standby(node: Node) -> Node:
    """The host as it will be once it is back, for the checks and plans that follow."""
    status = dict(node["status"])
    status.update(
        data_directory=dict(status["data_directory"], state="standby"),
        timeline=None,
        running=False,
        wal_receiver=None,
        stale_settings=[],
        # Its postgresql.auto.conf is taken over from its source, without what is a standby's.
        recovery_ends=[end for end in status["recovery_ends"] if end["place"] not in ("auto", "signal", "running")],
    )
    return dict(node, status=status)


def without_stream(node: Node, dead: t.Iterable[Node]) -> Node:
    """The host without a WAL receiver that has not noticed yet that its upstream is gone."""
    receiver = (node["status"] or {}).get("wal_receiver")
    if not receiver:
        return node
    place = (receiver["sender_host"], receiver["sender_port"])
    if all((other["address"], other["port"]) != place for other in dead):
        return node
    return dict(node, status=dict(node["status"], wal_receiver=None))


def strange_slots(node: Node, nodes: t.Iterable[Node], downstream: t.Container[str]) -> list[str]:
    """The slots of hosts of the cluster that follow somebody else: what they keep, nobody reads."""
    return sorted(slot_name(other["name"]) for other in nodes if other is not node and other["name"] not in downstream)


def left_slot(node: Node, upstream: Node | None) -> str:
    """The slot that a standby without slots has on its upstream from when it had one; empty where there is none."""
    if node["slots"] or upstream is None:
        return ""
    name = slot_name(node["name"])
    slots = (upstream["status"] or {}).get("slots") or []
    physical = [slot for slot in slots if slot["slot_type"] == "physical" and not slot.get("temporary")]
    return name if any(slot["slot_name"] == name for slot in physical) else ""
