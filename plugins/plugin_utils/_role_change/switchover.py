# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""What a switchover has to do from where the hosts are now, and what speaks against it: pure decisions.

The same function looks at a cluster before the first step, after a step that was broken off, and in a run that comes
later: what is there decides, not what was meant to be done.
"""

from __future__ import annotations

import copy
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._values.lsn import format_lsn, parse_lsn
from ansible_collections.pgtandem.replication.plugins.module_utils._values.names import application_name
from ansible_collections.pgtandem.replication.plugins.module_utils._values.parameters import whole_number
from ansible_collections.pgtandem.replication.plugins.module_utils._values.wal_senders import is_backup
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.listening import deafness, is_deaf
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.live import live_members
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.nodes import (
    Node,
    Problem,
    described,
    named,
    of_state,
    runs,
    system_of,
    unread,
    why_unread,
    without_stopping,
)
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.stranded_slots import left_behind_note
from ansible_collections.pgtandem.replication.plugins.plugin_utils._gate.host_checks import (
    host_problems,
    problems_as_standby,
)
from ansible_collections.pgtandem.replication.plugins.plugin_utils._gate.primary import Roles
from ansible_collections.pgtandem.replication.plugins.plugin_utils._gate.settlement import assess, plans_of
from ansible_collections.pgtandem.replication.plugins.plugin_utils._role_change.foresight import problems_after

#: What there is to do: nothing but the rest; the switch itself; the promotion that is still missing; the promotion of
#: the old primary, after a switch that failed.
FINISH, SWITCH, COMPLETE, RETURN = "finish", "switch", "complete", "return"

#: What a control file says of a server whose last WAL record it names.
_SHUT_DOWN = "shut down"


class Limits(t.NamedTuple):
    """What the user allows."""

    lag_bytes: int = 16 * 1024 * 1024
    #: Go on without hosts that cannot be read; neither the primary nor the target is one of them.
    leave_unreachable: bool = False


class Switchover(t.NamedTuple):
    """What to do, and what speaks against it."""

    action: str
    cluster: str
    target: str
    #: The primary that is to step down, or that stepped down in this run.
    primary: str | None = None
    #: The host to promote where nobody is the primary, and the WAL that it must have.
    promote: str | None = None
    minimum_lsn: str = ""
    #: What becomes of each host of the cluster.
    nodes: t.Mapping[str, t.Any] = {}
    #: Hosts that will follow the target besides the old primary.
    siblings: tuple[str, ...] = ()
    #: Physical slots that the target needs.
    slots: tuple[str, ...] = ()
    #: Under which name the primary knows the target.
    successor: str = ""
    steps: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()


def _refusal(kind: str, hosts: t.Iterable[str], evidence: str, remedy: str) -> Problem:
    return Problem(f"switchover-{kind}", tuple(hosts), evidence, remedy)


def as_they_run(nodes: t.Iterable[Node]) -> list[Node]:
    """The hosts with what runs in place of what a file says: a primary that was told to become a standby is one only
    after its next start. And with C(follow), since this is about a change of roles."""
    found = []
    for node in nodes:
        node = copy.deepcopy(node)
        node["on_role_change"] = "follow"
        status = node["status"]
        if status and status["running"] and status["accepts_connections"] and status["role"] == "primary":
            status["data_directory"]["state"] = "primary"
        found.append(node)
    return found


def plan_switchover(
    nodes: t.Sequence[Node],
    target: str,
    *,
    limits: Limits | None = None,
    failed_from: str = "",
    passwords: t.Mapping[str, str] | None = None,
    more: t.Sequence[Problem] = (),
) -> Switchover:
    """What there is to do so that C(target) is the primary.

    C(failed_from): the primary that stepped down in this very run, where the target did not take its place. C(more):
    problems of the cluster that were found elsewhere, in files of the controller.
    """
    if target not in [node["name"] for node in nodes]:
        known = ", ".join(sorted(node["name"] for node in nodes)) or "none"
        problem = _refusal(
            "target",
            (target,) if target else (),
            f"pgtandem_target is {target!r}, which is no host of the groups of primaries and standbys (there are: "
            f"{known}).",
            "Name one of them: -e pgtandem_target=NAME.",
        )
        return Switchover(FINISH, "", target, problems=(problem,))
    cluster = next(node["cluster"] for node in nodes if node["name"] == target)
    members = as_they_run(without_stopping([node for node in nodes if node["cluster"] == cluster]))
    names = {node["name"]: node for node in members}
    wanted = names[target]
    plan = Switchover(FINISH, cluster, target, **_future(members, wanted))
    if not wanted["status"]:
        problem = _refusal(
            "target-unread",
            (target,),
            f"{why_unread(wanted)}, and it is to become the primary.",
            "Make it reachable, or choose another standby.",
        )
        return plan._replace(problems=(problem,))
    running = [node for node in of_state(members, "primary") if runs(node) and node["status"]["role"] == "primary"]
    if [node["name"] for node in running] == [target]:
        return plan._replace(notes=(f"{target} is the primary already.",))
    assessed = assess(cluster, members, passwords or {})
    if running:
        problems = list(assessed.problems)
        if len(running) == 1:
            plan = plan._replace(action=SWITCH, primary=running[0]["name"])
            problems += _against_switch(members, running[0], wanted, plan, limits or Limits())
            problems += _against_the_rest(members, target, {running[0]["name"]}, problems, passwords, more)
            plan = plan._replace(
                successor=_name_of(members, target),
                steps=_steps(plan, running[0]["name"]),
                notes=(
                    *(note.text for note in assessed.notes if note.id != "primary-followed"),
                    *filter(None, [left_behind_note(members, running[0], wanted)]),
                ),
            )
        return plan._replace(problems=tuple(problems))
    plan = _without_primary(members, wanted, plan, failed_from, assessed.problems)
    if plan.action == COMPLETE and not plan.problems:
        return plan._replace(problems=tuple(_against_the_rest(members, target, (), (), passwords, more)))
    return plan


def _against_the_rest(
    members: t.Sequence[Node],
    target: str,
    back: t.Collection[str],
    known: t.Iterable[Problem],
    passwords: t.Mapping[str, str] | None,
    more: t.Sequence[Problem],
) -> list[Problem]:
    """What would stop the run after the roles were swapped."""
    said = {(problem.id, problem.hosts) for problem in known}
    found = problems_after(members, target, back, passwords=passwords, gets_all=True, more=more)
    return [problem for problem in found if (problem.id, problem.hosts) not in said]


#: A key that only a module's success has. Whether a result counts as failed says nothing where a task tolerates it.
_SUCCESS = ("actions", "system_identifier")


def check_problems(plan: t.Mapping[str, t.Any], answers: t.Mapping[str, t.Mapping[str, t.Any] | None]) -> list[str]:
    """What the hosts have against a switch, as sentences; C(answers) are the results of the modules that looked there
    in check mode, by host."""
    found = []
    for host in dict.fromkeys((plan["target"], plan["primary"], *answers)):
        answer = answers.get(host) or {"msg": "it was not asked whether it could take part"}
        if answer.get("unreachable") or not any(answer.get(key) is not None for key in _SUCCESS):
            texts = answer.get("problems") or [answer.get("msg") or "it failed without a word"]
            found += [f"{host}: {' '.join(str(text).split())}" for text in texts]
        elif host == plan["primary"] and not answer.get("point_of_no_return"):
            found.append(f"{host} is a standby by now; another run moved the primary. Run the same command again.")
        elif host == plan["target"] and answer.get("state") == "primary":
            found.append(f"{host} is the primary by now; another run moved it there. Run the same command again.")
    return found


def _future(members: t.Sequence[Node], wanted: Node) -> dict[str, t.Any]:
    """The plan of each host when the target is the primary."""
    named_primary = [node for node in members if "primary" in node["groups"]]
    if len(named_primary) != 1:
        # The gate says so; nothing else can be said.
        return {}
    plans = plans_of(members, Roles(wanted, wanted is not named_primary[0]))
    followers = [name for name, plan in plans.items() if (plan["upstream"] or {}).get("name") == wanted["name"]]
    return {
        "nodes": plans,
        "siblings": tuple(sorted(followers)),
        "slots": tuple(plans[wanted["name"]]["downstream_slots"]),
    }


def _name_of(members: t.Sequence[Node], target: str) -> str:
    member = next(member for member in live_members(members) if member["name"] == target)
    return str((member["connection"] or {}).get("application_name") or application_name(target))


def _steps(plan: Switchover, old: str) -> tuple[str, ...]:
    """The switch in words."""
    followers = [name for name in plan.siblings if name != old]
    return (
        f"{plan.target} waits for the shutdown of {old}"
        + (f" and gets the slots {', '.join(plan.slots)}" if plan.slots else ""),
        f"{old} writes a checkpoint and shuts down; nobody can write from here",
        f"{plan.target} promotes itself when it has replayed the last record; writes go on from here",
        f"{old} comes back as a standby of {plan.target}",
        *(f"{name} follows {plan.target}" for name in followers),
        "Slots that nobody uses any more are dropped",
    )


def _against_switch(
    members: t.Sequence[Node], primary: Node, wanted: Node, plan: Switchover, limits: Limits
) -> list[Problem]:
    target, old = wanted["name"], primary["name"]
    problems = []
    missing = [node for node in unread(members) if node is not wanted]
    if missing and not limits.leave_unreachable:
        problems.append(
            _refusal(
                "unreachable",
                (node["name"] for node in missing),
                f"{'; '.join(why_unread(node) for node in missing)}, so it would go on following {old}, which will be "
                "a standby.",
                "Make it reachable, or go on without it: -e pgtandem_switchover_leave_unreachable=true; the next run "
                "of site.yml that reaches it has it follow the new primary.",
            )
        )
    member = next(member for member in live_members(members) if member["name"] == target)
    status = wanted["status"]
    if not runs(wanted) or status["role"] != "standby":
        problems.append(
            _refusal(
                "target-down",
                (target,),
                f"{target} is no running standby: {described(wanted)}.",
                "Run site.yml first, which makes it one, or choose another standby.",
            )
        )
        return problems
    if is_deaf(wanted):
        problems.append(
            _refusal(
                "target-deaf",
                (target,),
                f"{target} could be followed by nobody: {deafness(wanted)}.",
                f"Correct listen_addresses of {target} and restart it (site.yml does where it came with a copy), or "
                "choose another standby.",
            )
        )
    connection = member["connection"] or {}
    upstream = (member["upstream"] or {}).get("name")
    if upstream and upstream != old:
        problems.append(
            _refusal(
                "target-cascades",
                (target,),
                f"{target} follows {upstream} and not {old}, the primary.",
                f"Let it follow {old} first (pgtandem_upstream, then site.yml), or choose a standby that does.",
            )
        )
    elif not connection.get("streaming"):
        receiver, sender = connection.get("receiver_status"), connection.get("sender_state")
        problems.append(
            _refusal(
                "target-not-streaming",
                (target,),
                f"{target} does not stream from {old} (WAL receiver: {receiver or 'none'}, WAL sender: "
                f"{sender or 'none'}).",
                "The playbook status says what is wrong; run site.yml when that is mended.",
            )
        )
    else:
        lag = connection.get("lag_bytes")
        if lag is None or lag > limits.lag_bytes:
            problems.append(
                _refusal(
                    "lag",
                    (target,),
                    f"{target} has {'an unknown number of' if lag is None else lag} bytes of WAL yet to replay, and "
                    f"{limits.lag_bytes} are allowed; nobody could write for as long as that takes.",
                    "Wait until it has caught up, or allow more (pgtandem_switchover_maximum_lag_bytes).",
                )
            )
    # What the gate tells of a standby is looked at before the primary becomes one.
    known = {(problem.id, problem.hosts) for problem in host_problems(primary)}
    problems += [one for one in problems_as_standby(primary) if (one.id, one.hosts) not in known]
    problems += _room(wanted, plan)
    backups = [row["application_name"] or "unnamed" for row in status["wal_senders"] if is_backup(row)]
    if backups:
        problems.append(
            _refusal(
                "backup",
                (target,),
                f"A base backup is taken from {target} ({', '.join(backups)}), and a promotion would spoil it.",
                "Wait for its end, or end it.",
            )
        )
    return problems


def _room(wanted: Node, plan: Switchover) -> list[Problem]:
    """WAL senders for those who will follow; who follows already is counted once."""
    status = wanted["status"]
    limit = whole_number(str(status["settings"]["max_wal_senders"])) or 0
    taken = {row["application_name"] for row in status["wal_senders"]}
    new = [name for name in plan.siblings if application_name(name) not in taken]
    # One more is the connection with which the old primary shows that it shuts down for this.
    needed = len(status["wal_senders"]) + len(new) + 1
    if needed <= limit:
        return []
    return [
        _refusal(
            "senders",
            (wanted["name"],),
            f"max_wal_senders is {limit} on {wanted['name']}, {len(status['wal_senders'])} are taken, and {needed} are "
            f"needed when {', '.join(new)} follow it.",
            f"Set max_wal_senders to at least {needed} in pgtandem_parameters and run site.yml.",
        )
    ]


class Reach(t.NamedTuple):
    """How far the WAL of a host goes; C(text) says where that is known from."""

    position: int
    text: str


def reach_of(node: Node) -> Reach | None:
    """How far the WAL of a host goes that is no running primary; None where that is not known.

    Of a primary that was shut down only the begin of its last record is known, so the byte behind that stands for it.
    """
    status = node["status"]
    if not status:
        return None
    positions = status["positions"]
    known = [parse_lsn(lsn) for lsn in (positions["receive"], positions["replay"]) if lsn]
    if runs(node) and known:
        return Reach(max(known), f"{node['name']} has the WAL up to {format_lsn(max(known))}")
    control = status["control"] or {}
    if control.get("state") == _SHUT_DOWN and control.get("checkpoint_lsn"):
        lsn = control["checkpoint_lsn"]
        return Reach(parse_lsn(lsn) + 1, f"{node['name']} was shut down with its last record at {lsn}")
    known = [parse_lsn(lsn) for lsn in (control.get("minimum_recovery_lsn"), control.get("checkpoint_lsn")) if lsn]
    if not known:
        return None
    return Reach(max(known), f"{node['name']}, which does not run, has the WAL up to {format_lsn(max(known))} or more")


def _without_primary(
    members: t.Sequence[Node],
    wanted: Node,
    plan: Switchover,
    failed_from: str,
    gate: t.Sequence[Problem],
) -> Switchover:
    """Nobody is the primary: a switchover that was broken off, or a primary that is down."""
    target = wanted["name"]
    missing = unread(members)
    if missing:
        problem = _refusal(
            "no-primary-unread",
            (node["name"] for node in missing),
            f"No primary runs in cluster {plan.cluster!r}, and {'; '.join(why_unread(node) for node in missing)}: it "
            "may be the primary.",
            "Make it reachable and run this again. If it is down for good, failover.yml is the way.",
        )
        return plan._replace(problems=(problem,))
    stopped = of_state(members, "primary")
    if stopped:
        return plan._replace(
            problems=(
                _refusal(
                    "primary-down",
                    (node["name"] for node in stopped),
                    f"The primary does not run ({'; '.join(described(node) for node in stopped)}), so it cannot step "
                    "down.",
                    f"Start {named(stopped)} with site.yml and run this again, or use failover.yml if it cannot be "
                    "started.",
                ),
            )
        )
    standbys = [node for node in members if node["status"]["role"] == "standby" and system_of(node)]
    others = [
        problem for problem in gate if problem.id not in ("no-primary", "primary-empty", "unread-could-be-primary")
    ]
    if others or wanted not in standbys:
        problems = others or [
            _refusal(
                "target-down",
                (target,),
                f"No primary runs in cluster {plan.cluster!r}, and {target} is no standby: {described(wanted)}.",
                "Choose a host that is one.",
            )
        ]
        return plan._replace(problems=tuple(problems))
    reaches = {node["name"]: reach_of(node) for node in standbys}
    ahead = _ahead_of(target, standbys, reaches)
    if not ahead and runs(wanted):
        furthest = max((reach.position for reach in reaches.values() if reach), default=0)
        return plan._replace(
            action=COMPLETE,
            promote=target,
            minimum_lsn=format_lsn(furthest) if furthest else "",
            steps=(
                f"{target} is promoted: nobody is the primary, and it has the WAL of all",
                *(f"{name} follows {target}" for name in plan.siblings),
                "Slots that nobody uses any more are dropped",
            ),
        )
    if failed_from and runs(next(node for node in standbys if node["name"] == failed_from)):
        back = failed_from
        if not _ahead_of(back, standbys, reaches):
            return plan._replace(
                action=RETURN,
                promote=back,
                steps=(f"{back} is promoted again: {'; '.join(ahead) or f'{target} does not run'}",),
            )
    positions = {name: reach.position for name, reach in reaches.items() if reach}
    best = max(positions, key=lambda name: positions[name], default=target)
    evidence = "; ".join(ahead) or f"{target} does not run ({described(wanted)})"
    return plan._replace(
        problems=(
            _refusal(
                "behind",
                (target,),
                f"No primary runs in cluster {plan.cluster!r}, and {target} cannot take its place: {evidence}.",
                f"Start what does not run (systemctl start, pg_ctl start) and run this again: standbys that follow one "
                f"another catch up by themselves. To have {best} as the primary now: -e pgtandem_target={best}.",
            ),
        )
    )


def _ahead_of(name: str, standbys: t.Sequence[Node], reaches: t.Mapping[str, Reach | None]) -> list[str]:
    """Who has WAL that a host does not have, or may have, in words."""
    own = reaches[name]
    own_timeline = next(node["status"]["timeline"] for node in standbys if node["name"] == name)
    found = []
    for node in standbys:
        other = reaches[node["name"]]
        timeline = node["status"]["timeline"]
        if node["name"] == name:
            continue
        if timeline and own_timeline and timeline > own_timeline:
            found.append(f"{node['name']} is on timeline {timeline}, {name} on {own_timeline}")
        elif other is None:
            found.append(f"how far {node['name']} is, is not known")
        elif own is None or other.position > own.position:
            found.append(f"{other.text}, {own.text if own else f'{name} has none'}")
    return found
