# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Who takes over from a dead primary, and whether anybody may: pure decisions.

What cannot be seen is taken for the worst. Nobody is promoted while anything says that the old primary lives, unless it
was fenced, nor with fewer than half of the hosts in sight.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from ansible_collections.pgtandem.replication.plugins.module_utils._values.amounts import shown_bytes
from ansible_collections.pgtandem.replication.plugins.module_utils._values.lsn import (
    format_lsn,
    lsn_distance,
    parse_lsn,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.names import slot_name
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.listening import (
    deafness,
    is_deaf,
    not_reached,
)
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.nodes import (
    Node,
    Problem,
    because,
    described,
    leads,
    named,
    quorum,
    runs,
    state_of,
    system_of,
    unread,
    why_unread,
)
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.stranded_slots import left_behind_note
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.timelines import reached
from ansible_collections.pgtandem.replication.plugins.plugin_utils._gate.host_checks import ending_problems
from ansible_collections.pgtandem.replication.plugins.plugin_utils._plan.synchronous import wish_of

#: What a control file says of a server whose last WAL record it names.
_CLEAN = "shut down"


@dataclass(frozen=True)
class Wish:
    """What the user said, and what was found out since the hosts were read."""

    #: The standby to promote; empty: the one with the most WAL.
    target: str = ""
    #: The old primary was fenced in this run.
    fenced: bool = False
    #: Whether a fence will be tried, so that a living primary does not stop the run yet.
    will_fence: bool = False
    #: Hosts from which the old primary's port could be reached.
    answering: frozenset[str] = frozenset()
    accept_loss: bool = False


class Failover(t.NamedTuple):
    """Who is promoted, and what that costs."""

    cluster: str
    target: Node
    #: None where nobody can be told to have been the primary.
    old: Node | None
    #: An earlier run promoted it already.
    done: bool
    #: How far the target's WAL goes.
    lsn: str | None
    #: Bytes that are known to be lost, and whether that is all.
    lost: int
    exact: bool
    timeline: int
    #: Hosts that have more WAL than the target, by the user's leave, and primaries of before that never came back.
    ahead: tuple[str, ...]
    slots: tuple[str, ...]
    #: Hosts that note the promotion before it, in the order of their names, the same for every run.
    claims: tuple[str, ...]
    notes: tuple[str, ...]

    def told(self) -> str:
        """What may be lost, as a sentence."""
        name = self.target["name"]
        if self.done:
            return f"{name} was promoted already (timeline {self.timeline}); the run goes on from there."
        old = self.old["name"] if self.old else "the old primary"
        if self.exact:
            return f"{name} has received WAL up to {self.lsn}; of what {old} had, {self.lost} bytes are lost."
        known = f"at least {self.lost} bytes ({shown_bytes(self.lost)})" if self.lost else "as far as is known nothing"
        return (
            f"{name} has received WAL up to {self.lsn}. Of what {old} told of before it died, {known} would be lost; "
            "what it wrote after its last message nobody can know."
        )

    def as_result(self) -> dict[str, t.Any]:
        """What the tasks need."""
        readable = self.old is not None and self.old["status"] is not None
        return {
            "cluster": self.cluster,
            "target": self.target["name"],
            "old": self.old["name"] if self.old else None,
            "old_readable": readable,
            "done": self.done,
            "lsn": self.lsn,
            "lost_bytes": self.lost,
            "lost_exactly": self.exact,
            "timeline": self.timeline,
            "slots": list(self.slots),
            "claims": list(self.claims),
            "system_identifier": system_of(self.target),
            "options": self.target["status"]["instance"],
            # Who has to be brought back: the old primary, and whoever is beyond the fork that is to be.
            "returning": sorted({*self.ahead, *([self.old["name"]] if self.old and readable else [])}),
            "told": self.told(),
            "notes": list(self.notes),
        }


def old_primary(nodes: t.Sequence[Node]) -> Node | None:
    """The host that was the primary: one that the last failover promoted, or whose directory says so, or whom the
    standbys followed, or the inventory's."""
    latest = _out_of_sight_primary(nodes)
    if latest is not None:
        return latest
    on_disk = [node for node in nodes if state_of(node) == "primary"]
    stopped = [node for node in on_disk if not runs(node)]
    followed = _followed(nodes)
    if len(on_disk) == 1:
        return on_disk[0]
    if len(stopped) == 1 and len(on_disk) == 2:
        return stopped[0]
    if len(followed) == 1:
        return followed[0]
    return next((node for node in unread(nodes) if "primary" in node["groups"]), None)


def _out_of_sight_primary(nodes: t.Sequence[Node]) -> Node | None:
    """The host that could not be read and became the primary after every one that could: the last failover noted it, or
    standbys follow it on a later timeline.
    """
    newest = max((node["status"]["timeline"] or 0 for node in _standbys(nodes)), default=0)
    noted = {_noted(node, newest - 1) for node in nodes}
    promoted = [node for node in unread(nodes) if node["name"] in noted]
    if len(promoted) == 1:
        return promoted[0]
    followed = _followed(nodes)
    on_disk = [node for node in nodes if state_of(node) == "primary"]
    before = all((node["status"]["timeline"] or 0) < newest for node in on_disk)
    return followed[0] if len(followed) == 1 and before else None


def _followed(nodes: t.Sequence[Node]) -> list[Node]:
    """The hosts that could not be read and that one of the others follows."""
    above = [(node["status"] or {}).get("upstream") for node in nodes]
    return [other for other in unread(nodes) if {"host": other["address"], "port": other["port"]} in above]


def _left_behind(nodes: t.Sequence[Node], choice: Node) -> list[str]:
    """The hosts that were primaries before, do not run, and were never brought back."""
    return [
        node["name"]
        for node in nodes
        if state_of(node) == "primary" and not runs(node) and system_of(node) == system_of(choice)
    ]


def takeover(cluster: str, nodes: t.Sequence[Node], wish: Wish) -> Failover | list[Problem]:
    """Who is promoted in a cluster, or every reason not to."""
    problems = _about_the_target(cluster, nodes, wish)
    # What would stop the run after the promotion, when the others are to follow.
    problems += [problem for node in nodes if node["status"] for problem in ending_problems(node)]
    if not quorum(nodes):
        problems.append(
            Problem(
                "no-quorum",
                tuple(node["name"] for node in unread(nodes)),
                f"Of the {len(nodes)} hosts of cluster {cluster!r} only {len(nodes) - len(unread(nodes))} could be "
                f"read, fewer than half ({'; '.join(node['name'] + because(node) for node in unread(nodes))}). The "
                "primary may live on the other side of a broken network.",
                "Make more of them reachable.",
            )
        )
    live = [node for node in nodes if leads(node)]
    if len(live) > 1:
        problems.append(
            Problem(
                "two-primaries",
                tuple(node["name"] for node in live),
                f"{named(live)} all run as primaries of cluster {cluster!r}.",
                "Stop those whose data does not count, and let them come back (rejoin.yml).",
            )
        )
    if problems:
        return problems
    if live:
        return _with_a_primary(cluster, nodes, live[0], wish)
    old = old_primary(nodes)
    if old is not None and not wish.fenced:
        problems += _signs_of_life(old, wish)
    choice = _choose(cluster, nodes, wish)
    if isinstance(choice, Problem):
        return [*problems, choice]
    problems += _noted_for_another(nodes, choice)
    lost, exact = _loss(nodes, old, choice)
    problems += _too_much(cluster, nodes, old, choice, wish, lost if exact else 0)
    return problems or _failover(cluster, nodes, old, choice, lost, exact=exact)


def _about_the_target(cluster: str, nodes: t.Sequence[Node], wish: Wish) -> list[Problem]:
    if not wish.target or any(node["name"] == wish.target for node in nodes):
        return []
    return [
        Problem(
            "inventory-unknown-host",
            (wish.target,),
            f"{wish.target!r}, which pgtandem_target names, is no host of cluster {cluster!r} ({named(nodes)}).",
            "Correct the name.",
        )
    ]


def _with_a_primary(cluster: str, nodes: t.Sequence[Node], live: Node, wish: Wish) -> Failover | list[Problem]:
    """A primary runs: the one that is dead for nobody, or the one that an earlier run promoted."""
    name = live["name"]
    others = [node for node in nodes if node is not live]
    gone = [node for node in others if node["status"] is None or state_of(node) == "primary"]
    promoted = bool(gone) and _was_promoted(live)
    if promoted and wish.target in ("", name):
        old = old_primary(others)
        return _failover(cluster, nodes, old, live, 0, exact=True, done=True)
    later = _out_of_sight_primary(nodes)
    if later is not None and wish.will_fence:
        return [
            Problem(
                "primary-unread",
                (name, later["name"]),
                f"{name} runs as a primary ({described(live)}, timeline {live['status']['timeline']}), but it is not "
                f"the latest one of cluster {cluster!r}: that is {later['name']}, which could not be "
                f"read{because(later)}. A fence of {name} would not make room for another primary.",
                f"Make {later['name']} reachable. If it is down for good, stop the server of {name} and run this "
                "again.",
            )
        ]
    # A run beside this one may have promoted it a moment ago, and the fence was meant for the one before.
    if wish.will_fence and not (promoted and "primary" not in live["groups"]):
        choice = _choose(cluster, nodes, wish)
        noted = [choice] if isinstance(choice, Problem) else _noted_for_another(nodes, choice)
        if isinstance(choice, Problem) or noted:
            return noted
        lost, _exact = _loss(nodes, live, choice)
        return _failover(cluster, nodes, live, choice, lost, exact=False)
    advice = (
        "The fence did not stop it: see what it does, and stop that server."
        if wish.fenced
        else "To move the primary use switchover.yml. If it has to go and cannot be asked, fence it: -e "
        "pgtandem_fence=true stops it through its host, pgtandem_fence_command is a command of yours."
    )
    return [
        Problem(
            "primary-answers",
            (name,),
            f"{name} answers and runs as the primary of cluster {cluster!r} ({described(live)}, timeline "
            f"{live['status']['timeline']}). Nobody is promoted beside it.",
            advice,
        )
    ]


def _was_promoted(live: Node) -> bool:
    """Whether a primary is one by a failover: by the note of the run that promoted it, or against the inventory."""
    forks = live["status"]["timeline_history"]
    if not forks:
        return False
    claim = live["status"]["data_directory"].get("claim") or {}
    last = max(fork["timeline"] for fork in forks)
    return (claim.get("target"), claim.get("timeline")) == (live["name"], last) or "primary" not in live["groups"]


def _noted(node: Node, timeline: int) -> str | None:
    """Whose promotion away from a timeline was noted on a host."""
    claim = ((node["status"] or {}).get("data_directory") or {}).get("claim") or {}
    same = (claim.get("timeline"), claim.get("system_identifier")) == (timeline, system_of(node))
    return claim["target"] if same else None


def _noted_for_another(nodes: t.Sequence[Node], choice: Node) -> list[Problem]:
    """A run that was cut short may have promoted the host that it noted, wherever that host is now."""
    noted: dict[str, list[str]] = {}
    for node in nodes:
        target = _noted(node, choice["status"]["timeline"]) if system_of(node) == system_of(choice) else None
        if target is not None and target != choice["name"]:
            noted.setdefault(target, []).append(node["name"])
    return [
        Problem(
            "promotion-noted",
            (target,),
            f"An earlier run noted that it promotes {target} away from timeline {choice['status']['timeline']} (noted "
            f"on {', '.join(hosts)}), and may have done so. {choice['name']} is not promoted beside it.",
            f"Make {target} reachable and go on with that run: -e pgtandem_target={target}. Only if {target} is down "
            "for good, remove the file DATA_DIRECTORY.pgtandem-claim.json on every host.",
        )
        for target, hosts in sorted(noted.items())
    ]


def who_reached(nodes: t.Sequence[Node]) -> set[str]:
    """The hosts from which the server of the old primary was reached when they were read, where they tried."""
    old = old_primary(nodes)
    if old is None:
        return set()
    tried = {
        node["name"]: node["status"]["unreached"]
        for node in nodes
        if node is not old and node["status"] and node["status"]["unreached"] is not None
    }
    return {name for name, failed in tried.items() if all(place["name"] != old["name"] for place in failed)}


def _signs_of_life(old: Node, wish: Wish) -> list[Problem]:
    """The host may be out of the controller's sight and alive for others."""
    if not wish.answering or wish.will_fence:
        return []
    return [
        Problem(
            "primary-answers",
            (old["name"],),
            f"{old['name']}, the old primary, could not be read{because(old)}, but its server answers "
            f"{', '.join(sorted(wish.answering))} at {old['address']}:{old['port']}. It may be serving clients.",
            "Look at that host; or fence it (pgtandem_fence_command).",
        )
    ]


def _standbys(nodes: t.Iterable[Node]) -> list[Node]:
    return [
        node
        for node in nodes
        if state_of(node) == "standby"
        and runs(node)
        and not leads(node)
        and node["status"]["accepts_connections"]
        and reached(node["status"])
    ]


def _position(node: Node) -> tuple[int, int]:
    """Newer timelines first, then how far it has received."""
    return node["status"]["timeline"] or 0, parse_lsn(reached(node["status"]) or "0/0")


def _delayed(node: Node) -> bool:
    return node["status"]["settings"].get("recovery_min_apply_delay") not in (None, "", "0")


def _choose(cluster: str, nodes: t.Sequence[Node], wish: Wish) -> Node | Problem:
    """The standby with the most WAL of the newest timeline. Of equals one that replays without delay. One that nobody
    would find at its address is not promoted."""
    everybody = _standbys(nodes)
    deaf = [node for node in everybody if is_deaf(node) and wish.target in ("", node["name"])]
    standbys = [node for node in everybody if not is_deaf(node)]
    if deaf and (wish.target or not standbys):
        return Problem(
            "target-deaf",
            tuple(node["name"] for node in deaf),
            f"Nobody would find the new primary: {'; '.join(node['name'] + ': ' + deafness(node) for node in deaf)}.",
            "Correct listen_addresses there and restart that server, which loses nothing; then run this again.",
        )
    # By the user's word one is promoted that the others may only reach later.
    lost = [] if wish.target else [one for one in not_reached(nodes) if one.by_all and one.node in standbys]
    standbys = [node for node in standbys if node not in [one.node for one in lost]]
    if lost and not standbys:
        return Problem(
            "target-unreached",
            tuple(one.node["name"] for one in lost),
            f"Nobody could follow a new primary of cluster {cluster!r}: "
            + " ".join(f"{one.node['name']}: {one.evidence}" for one in lost),
            "Mend the network or pgtandem_address, or name the one that is to take over all the same: -e "
            "pgtandem_target=NAME.",
        )
    if wish.target:
        found = next((node for node in standbys if node["name"] == wish.target), None)
        if found is not None:
            return found
        node = next(node for node in nodes if node["name"] == wish.target)
        return Problem(
            "no-standby",
            (wish.target,),
            f"{wish.target} cannot be promoted: {described(node)}{because(node)}. Only a standby that runs and lets "
            "sessions in can.",
            f"Name another one ({named(standbys) or 'none is there'}).",
        )
    if not standbys:
        return Problem(
            "no-standby",
            tuple(node["name"] for node in nodes),
            f"Cluster {cluster!r} has no standby that runs and lets sessions in: "
            + "; ".join(f"{node['name']}: {described(node)}{because(node)}" for node in nodes)
            + ".",
            "Start one, or start the primary.",
        )
    best = max(_position(node) for node in standbys)
    equal = [node for node in standbys if _position(node) == best]
    return min(equal, key=lambda node: (_delayed(node), bool(node["upstream"])))


def _loss(nodes: t.Sequence[Node], old: Node | None, choice: Node) -> tuple[int, bool]:
    """How much WAL the old primary is known to have had beyond the choice, and whether that is all it had."""
    ours = reached(choice["status"])
    known = []
    exact = False
    if old is not None and old["status"] is not None:
        known.append(reached(old["status"]))
        exact = (old["status"]["control"] or {}).get("state") == _CLEAN and not runs(old)
    for node in _standbys(nodes):
        receiver = node["status"]["wal_receiver"] or {}
        known += [reached(node["status"]), receiver.get("latest_end_lsn")]
    return max((lsn_distance(lsn, ours) or 0 for lsn in known if lsn), default=0), exact


def _too_much(
    cluster: str, nodes: t.Sequence[Node], old: Node | None, choice: Node, wish: Wish, lost: int
) -> list[Problem]:
    """A loss that another choice would not have, or that is not known of, needs the user's word."""
    if wish.accept_loss:
        return []
    hidden = _hidden(nodes, old)
    if hidden:
        return [
            Problem(
                "less-wal",
                tuple(node["name"] for node in hidden),
                f"Commits of cluster {cluster!r} waited for standbys (pgtandem_synchronous), and "
                f"{'; '.join(_out_of_sight(node) for node in hidden)}: what was acknowledged last may be there and "
                "nowhere else.",
                f"Make {named(hidden)} reachable and running, or say -e pgtandem_accept_loss=true.",
            )
        ]
    better = [node for node in _standbys(nodes) if _position(node) > _position(choice)]
    name = choice["name"]
    if better:
        best = max(better, key=_position)
        theirs = reached(best["status"])
        return [
            Problem(
                "less-wal",
                (name, best["name"]),
                f"{name} has received WAL up to {reached(choice['status'])} (timeline {choice['status']['timeline']}), "
                f"and {best['name']} up to {theirs} (timeline {best['status']['timeline']}): "
                f"{lsn_distance(theirs, reached(choice['status']))} bytes of WAL would be lost.",
                f"Promote {best['name']}, or say -e pgtandem_accept_loss=true.",
            )
        ]
    if lost and old is not None:
        return [
            Problem(
                "less-wal",
                (name, old["name"]),
                f"{old['name']} was shut down in order and holds {lost} bytes of WAL that no standby of cluster "
                f"{cluster!r} has received ({described(old)}).",
                "Start it again and use switchover.yml, or say -e pgtandem_accept_loss=true.",
            )
        ]
    return []


def _hidden(nodes: t.Sequence[Node], old: Node | None) -> list[Node]:
    """The standbys out of sight, where they are as many as a commit waited for: those may have been the ones."""
    wish, _problems = wish_of(nodes[0]["synchronous"])
    if wish.mode == "off":
        return []
    moved = next((node["name"] for node in nodes if "primary" in node["groups"]), None)
    # A promoted host's place in the list is the inventory's primary's.
    names = {*wish.standbys, moved} if old is not None and old["name"] in wish.standbys else {*wish.standbys}
    # Without a list all that follow the primary itself are waited for.
    above = ("", moved, old["name"] if old else "")
    hidden = [
        node
        for node in nodes
        if node is not old
        and (node["name"] in names if wish.standbys else node["upstream"] in above)
        and (node["status"] is None or (state_of(node) == "standby" and not runs(node)))
    ]
    return hidden if len(hidden) >= wish.number else []


def _out_of_sight(node: Node) -> str:
    return why_unread(node) if node["status"] is None else f"{node['name']} does not run ({described(node)})"


def _failover(
    cluster: str,
    nodes: t.Sequence[Node],
    old: Node | None,
    choice: Node,
    lost: int,
    *,
    exact: bool,
    done: bool = False,
) -> Failover:
    position = reached(choice["status"])
    others = [node for node in unread(nodes) if node is not old]
    notes = [
        f"{node['name']} could not be read{because(node)}. It may have received WAL that {choice['name']} lacks; it is "
        "left as it is."
        for node in others
    ]
    notes += [f"{one.node['name']}: {one.evidence}" for one in not_reached(nodes) if one.node is choice and not done]
    notes += [] if done else filter(None, [left_behind_note(nodes, old, choice)])
    if old is not None and old["status"] is not None and not runs(old) and not done:
        notes.append(
            f"{old['name']} can be reached and its server is down ({described(old)}). Where it can be started again, "
            "that loses nothing."
        )
    ahead = [] if done else [node["name"] for node in _standbys(nodes) if _position(node) > _position(choice)]
    ahead += [name for name in _left_behind(nodes, choice) if old is None or name != old["name"]]
    # Who followed a host that could not be read follows the new primary, too.
    olds = ("", old["name"] if old else "", choice["name"], *(node["name"] for node in others))
    return Failover(
        cluster=cluster,
        target=choice,
        old=old,
        done=done,
        lsn=format_lsn(parse_lsn(position)) if position else None,
        lost=lost,
        exact=exact,
        timeline=choice["status"]["timeline"],
        ahead=tuple(ahead),
        slots=tuple(
            sorted(
                slot_name(node["name"])
                for node in nodes
                if node is not choice and node["slots"] and (node["upstream"] in olds or node is old)
            )
        ),
        claims=tuple(sorted(node["name"] for node in nodes if node["status"] and system_of(node) == system_of(choice))),
        notes=tuple(notes),
    )


class Takeovers(t.NamedTuple):
    """What a run has to do, cluster by cluster."""

    found: list[Failover]
    #: Why nobody may be promoted in a cluster.
    refused: dict[str, list[Problem]]


def takeovers(
    clusters: t.Mapping[str, t.Sequence[Node]],
    wish: Wish,
    *,
    fenced: t.Container[str] = (),
    unfenced: t.Container[str] = (),
    gate: t.Callable[[Failover, t.Sequence[Node]], t.Sequence[Problem]] = lambda _failover, _nodes: (),
) -> Takeovers:
    """Every cluster of the run that needs a failover, each judged by itself.

    A cluster whose primary runs is only told of where it is meant: where it is the only one, or nothing else is found.
    C(fenced) and C(unfenced) are the clusters whose old primary was fenced, and was to be and was not. C(gate) says
    what will stop the rest of the run after a promotion.
    """
    meant = {
        cluster: nodes
        for cluster, nodes in clusters.items()
        if not wish.target or any(node["name"] == wish.target for node in nodes)
    }
    if not meant:
        everybody = [node for nodes in clusters.values() for node in nodes]
        named_clusters = ", ".join(clusters)
        return Takeovers([], {named_clusters: _about_the_target(named_clusters, everybody, wish)})
    found: list[Failover] = []
    refused: dict[str, list[Problem]] = {}
    healthy: dict[str, list[Problem]] = {}
    for cluster, nodes in meant.items():
        if cluster in unfenced:
            refused[cluster] = [_not_fenced(cluster, nodes)]
            continue
        own = wish.answering.intersection(node["name"] for node in nodes)
        answer = takeover(cluster, nodes, replace(wish, answering=own, fenced=wish.fenced or cluster in fenced))
        if isinstance(answer, Failover):
            problems = list(gate(answer, nodes))
            if problems:
                refused[cluster] = problems
            else:
                found.append(answer)
        elif len(meant) > 1 and [problem.id for problem in answer] == ["primary-answers"]:
            healthy[cluster] = answer
        else:
            refused[cluster] = answer
    return Takeovers(found, refused if found or refused else healthy)


def _not_fenced(cluster: str, nodes: t.Sequence[Node]) -> Problem:
    old = old_primary(nodes)
    name = old["name"] if old else "the old primary"
    return Problem(
        "not-fenced",
        (name,) if old else (),
        f"The fence of {name}, the old primary of cluster {cluster!r}, failed (its error is above), so it may live.",
        "See that it is down and stays down, and run this again.",
    )
