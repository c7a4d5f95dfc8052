# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The life of clusters: whatever happens to hosts, networks and runs, in whatever order, no plan makes two primaries,
none loses a directory that nobody named, and every refusal says why and what to do.

PGTANDEM_LIVES is the number of lives that are lived; each is a sequence of some twenty events.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.nodes import Problem
from ansible_collections.pgtandem.replication.plugins.plugin_utils._gate.settlement import clusters_of, settle
from ansible_collections.pgtandem.replication.plugins.plugin_utils._plan.rejoin import Asked
from ansible_collections.pgtandem.replication.plugins.plugin_utils._role_change.failover import (
    Failover,
    Takeovers,
    Wish,
    takeovers,
)
from ansible_collections.pgtandem.replication.plugins.plugin_utils._role_change.foresight import problems_after
from ansible_collections.pgtandem.replication.plugins.plugin_utils._role_change.switchover import (
    COMPLETE,
    SWITCH,
    Limits,
    plan_switchover,
)
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from model import Server, World
from nodes import Node

LIVES = int(os.environ.get("PGTANDEM_LIVES", "40"))
HOSTS = ("pg1", "pg2", "pg3", "pg5", "pg6")
names = st.sampled_from(HOSTS)
#: Whom something happens to: a primary more often than by name alone, since most depends on it.
whom = st.tuples(st.sampled_from(("main", "main", "other")), st.sampled_from((None, None, 0, 1, 2)))
Whom = t.Tuple[str, t.Optional[int]]
troubles = st.tuples(whom, st.sampled_from(("near", "ssh", "held", "stops", "dies", "starts", "is promoted")))
Trouble = t.Tuple[Whom, str]
#: What happened just before a run.
first = st.one_of(st.none(), troubles)
#: After how many steps a run is broken off; most are not.
breaks = st.one_of(st.just(99), st.just(99), st.integers(0, 5))
Plan = t.Mapping[str, t.Any]


class BrokenOff(Exception):
    """The run dies here."""


class Life(RuleBasedStateMachine):
    """Two clusters, of three hosts and of two."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(
            Server("pg1", "main", "primary"),
            Server("pg2", "main", "standby"),
            Server("pg3", "main", "standby"),
            Server("pg5", "other", "primary"),
            Server("pg6", "other", "standby"),
        )
        self._left = 99

    def __getitem__(self, name: str) -> Server:
        return self.world.servers[name]

    def one_of(self, whom: Whom) -> Server:
        members = self.world.of(whom[0])
        leading = next((one for one in members if one.is_primary), members[0])
        return leading if whom[1] is None else members[whom[1] % len(members)]

    # --- What happens to hosts ---

    @initialize(made=st.sampled_from((True, True, True, False)))
    def begin(self, made: bool) -> None:
        if made:
            self.site(trouble=None, limit=None, follow=False, reseed=None, after=99)

    @rule()
    def write(self) -> None:
        self.world.write()

    def befall(self, trouble: Trouble | None) -> None:
        """Something happens to a host."""
        if trouble is None:
            return
        server, what = self.one_of(trouble[0]), trouble[1]
        if what in ("near", "ssh", "held"):
            setattr(server, what, not getattr(server, what))
            self.world.flow()
        elif what in ("stops", "dies"):
            if server.running:
                self.world.stop(server, clean=what == "stops")
        elif what == "starts":
            if server.system and not server.running:
                self.world.start(server)
        elif server.running and not server.leads:
            self.world.promote(server)
            server.strange = True

    @rule(trouble=troubles)
    def trouble(self, trouble: Trouble) -> None:
        self.befall(trouble)

    @rule()
    def mend_all(self) -> None:
        for server in self.world.servers.values():
            server.near, server.ssh, server.held = True, True, False
        self.world.flow()

    # --- What must hold ---

    def step(self) -> None:
        """One step of a run, which may be broken off before it."""
        if self._left == 0:
            raise BrokenOff
        self._left -= 1

    def nobody_else_leads(self, server: Server, *, in_sight: bool) -> None:
        """Before a server becomes a primary. What is in sight of nobody cannot be known; half of the hosts are. Nor can
        it be known, of a host that does not let the controller in, that another hand promoted it, or that it came back
        after a failover that left it behind: that one is the primary before the primary before."""
        others = [one for one in self.world.of(server.cluster) if one is not server and one.is_primary]
        others = [one for one in others if one.system == server.system and (one.near or not in_sight)]
        left = [one for one in others if one.lines == server.lines[: len(one.lines)] != server.lines]
        others = [one for one in others if one.readable or not (in_sight and (one.strange or one in left))]
        assert not others, f"{server} would be a primary beside {others}"
        members = self.world.of(server.cluster)
        assert 2 * sum(one.readable for one in members) >= len(members), "with fewer than half of the hosts"

    @staticmethod
    def says_why(problems: t.Iterable[t.Any]) -> None:
        for problem in problems:
            one = problem.as_result() if isinstance(problem, Problem) else problem
            assert one["id"] and one["evidence"].strip() and one["remedy"].strip(), one

    def settled(self, nodes: list[Node], in_run: t.Collection[str] | None, asked: Asked | None = None) -> Plan | None:
        """The plan, looked at from outside: it changes nothing that was read, and no cluster has a say in another."""
        before = pickle.dumps(nodes)
        whole = self._settle(nodes, in_run, asked)
        assert pickle.dumps(nodes) == before
        plans, refused = whole
        # A name of another cluster's host is known only to the whole inventory.
        alike = nodes if not any(node["reseed"] for node in nodes) else []
        for cluster, members in clusters_of(alike).items():
            inside = in_run is None or any(node["name"] in in_run for node in members)
            if asked is None or not (asked.rejoin | asked.leaving | asked.dead):
                alone = self._settle(members, in_run if inside else None, asked)
                own = {node["name"] for node in members}
                if inside:
                    assert {name: plan for name, plan in plans.items() if name in own} == alone[0]
                    assert (cluster in refused) == bool(alone[1])
                else:
                    assert own.isdisjoint(plans)
        return plans

    def _settle(
        self, nodes: list[Node], in_run: t.Collection[str] | None, asked: Asked | None
    ) -> tuple[dict[str, Plan], set[str]]:
        try:
            found = settle(nodes, in_run=in_run, asked=asked)
        except ReplicationError as error:
            self.says_why(error.details["reasons"])
            clusters = {node["cluster"] for node in nodes if in_run is None or node["name"] in in_run}
            return {}, clusters
        for one in found["refused"].values():
            self.says_why(one["reasons"])
        return found["nodes"], set(found["refused"])

    # --- What a run does with a plan ---

    def carry_out(
        self, plans: Plan, *, hosts: t.Container[str], named: t.Container[str], copies: t.Container[str]
    ) -> None:
        """Set up each host; C(named) may be rewound, C(copies) may be copied over."""
        for name, plan in sorted(plans.items(), key=lambda item: (item[1]["level"], item[0])):
            server = self[name]
            if name not in hosts or not server.readable:
                continue
            self.step()
            if plan["role"] == "primary":
                self.set_up_primary(server)
            else:
                self.set_up_standby(server, plan, named=named, copies=copies)

    def set_up_primary(self, server: Server) -> None:
        if not server.system:
            assert not any(one.system for one in self.world.of(server.cluster)), "a new cluster beside data"
            self.world.make(server)
        elif not server.running and not server.signal:
            self.nobody_else_leads(server, in_sight=False)
            self.world.start(server)

    def set_up_standby(self, server: Server, plan: Plan, *, named: t.Container[str], copies: t.Container[str]) -> None:
        above, primary = self[plan["upstream"]["name"]], self[plan["primary"]]
        back = plan["returning"]
        if back is not None:
            assert server.name in named or server.name in copies, f"{server} was not named"
            assert not back["reseed"] or server.name in copies, f"{server} may not be copied over"
            if (server.is_primary and back["stop"] != "always") or not primary.running:
                return
            if back["anew"] or not primary.holds(server):
                assert back["reseed"] or not back["anew"]
                server.same_as(primary)
        elif not server.system:
            if not (above.running and above.readable):
                return
            server.same_as(above)
        elif server.is_primary or not server.signal:
            # The module refuses.
            return
        elif primary.running:
            alike = self.streams_from_it(server, primary) or self.look_alike(server, primary)
            assert primary.holds(server) or alike, f"{server} diverged from {primary}"
        self.world.follow(server, above.name)

    @staticmethod
    def look_alike(server: Server, primary: Server) -> bool:
        """Another hand began a second timeline of the same number where the first one begins: their history files say
        the same, so neither PostgreSQL nor pg_rewind finds a difference."""
        ours, theirs = ([(line.number, line.begin) for line in one.lines] for one in (server, primary))
        return ours == theirs and server.lines != primary.lines and server.records <= primary.records

    def streams_from_it(self, server: Server, primary: Server) -> bool:
        """A standby ahead of a primary that is behind on the same timeline is one that waits there."""
        return server.lines == primary.lines and not server.running

    # --- Runs ---

    @rule(trouble=first, limit=st.sampled_from((None, None, "main", "other")), follow=st.booleans(),
          reseed=st.one_of(st.none(), st.none(), names), after=breaks)  # fmt: skip
    def site(self, trouble: Trouble | None, limit: str | None, follow: bool, reseed: str | None, after: int) -> None:
        self.befall(trouble)
        said = {"on_role_change": "follow" if follow else "fail", "reseed": reseed or False}
        in_run = None if limit is None else [server.name for server in self.world.of(limit)]
        plans = self.settled(self.world.nodes(**said), in_run)
        self._left = after
        with contextlib.suppress(BrokenOff):
            self.carry_out(plans or {}, hosts=in_run or HOSTS, named=(), copies=(reseed,))

    @rule(trouble=first, name=names, stop=st.booleans(), after=breaks)
    def rejoin(self, trouble: Trouble | None, name: str, stop: bool, after: int) -> None:
        self.befall(trouble)
        nodes = self.world.nodes(on_role_change="follow")
        plans = self.settled(nodes, [name], Asked(frozenset({name}), stop=stop))
        self._left = after
        with contextlib.suppress(BrokenOff):
            self.carry_out(plans or {}, hosts=(name,), named=(name,), copies=())

    @rule(name=names)
    def remove(self, name: str) -> None:
        plans = self.settled(self.world.nodes(), None, Asked(leaving=frozenset({name})))
        if plans:
            assert all(self[other].cluster == self[name].cluster for other in plans) and name not in plans
            assert not self[name].is_primary or not self[name].readable

    @rule(trouble=first, name=names, after=breaks)
    def switchover(self, trouble: Trouble | None, name: str, after: int) -> None:
        self.befall(trouble)
        nodes = self.world.nodes()
        before = pickle.dumps(nodes)
        plan = plan_switchover(nodes, name, limits=Limits())
        assert pickle.dumps(nodes) == before
        self.says_why(plan.problems)
        if plan.problems:
            return
        self._left = after
        target = self[name]
        try:
            if plan.action == SWITCH:
                self.swap(self[t.cast(str, plan.primary)], target)
            elif plan.action == COMPLETE:
                self.step()
                chosen = self[t.cast(str, plan.promote)]
                self.nobody_else_leads(chosen, in_sight=False)
                lost = [one for one in self.world.of(chosen.cluster) if one.system and not chosen.holds(one)]
                assert not lost, f"{chosen} lacks WAL of {lost}"
                self.world.promote(chosen)
            members = [node for node in self.world.nodes(on_role_change="follow") if node["cluster"] == target.cluster]
            plans, refused = self._settle(members, None, None)
            assert not refused or plan.action not in (SWITCH, COMPLETE), "the roles changed and the rest is refused"
            self.carry_out(plans, hosts=HOSTS, named=(), copies=())
        except BrokenOff:
            pass

    def swap(self, old: Server, target: Server) -> None:
        assert self.world.streams(target) and target.upstream == old.name
        self.step()
        old.signal = True
        self.step()
        self.world.stop(old, clean=True)
        self.step()
        assert target.holds(old) and old.holds(target)
        self.nobody_else_leads(target, in_sight=False)
        self.world.promote(target)
        self.step()
        old.leads = False
        self.world.follow(old, target.name)

    @rule(trouble=first, name=st.one_of(st.none(), st.none(), st.none(), names),
          fence=st.sampled_from(("", "", "", "works", "fails")),
          loss=st.booleans(), limit=st.sampled_from((None, None, None, "main")), after=breaks)  # fmt: skip
    def failover(
        self, trouble: Trouble | None, name: str | None, fence: str, loss: bool, limit: str | None, after: int
    ) -> None:
        self.befall(trouble)
        first = self._takeovers(name, limit, loss, will_fence=bool(fence), answering=frozenset())
        answering = {
            one.name
            for failover in first.found
            for one in self.world.of(failover.cluster)
            if one.readable and failover.old and self[failover.old["name"]].running and self[failover.old["name"]].near
        }
        fenced = set()
        for one in first.found:
            if fence == "works" and one.old is not None and not one.done:
                self[one.old["name"]].running = False
                fenced.add(one.cluster)
        chosen = {one.cluster: one for one in first.found}
        second = self._takeovers(
            name, limit, loss, answering=frozenset(answering), fenced=fenced,
            unfenced={key for key, one in chosen.items() if fence and one.old and not one.done} - fenced, only=chosen,
        )  # fmt: skip
        self._left = after
        for one in second.found:
            try:
                self.take_over(one, loss=loss)
            except BrokenOff:
                continue

    def _takeovers(
        self, name: str | None, limit: str | None, loss: bool, *, answering: frozenset[str], will_fence: bool = False,
        fenced: t.Container[str] = (), unfenced: t.Container[str] = (), only: t.Container[str] | None = None,
    ) -> Takeovers:  # fmt: skip
        nodes = self.world.nodes()
        before = pickle.dumps(nodes)

        def gate(failover: Failover, members: t.Sequence[Node]) -> list[Problem]:
            old = failover.old["name"] if failover.old else ""
            return problems_after(members, failover.target["name"], {old, *failover.ahead}, dead=[old] if old else [])

        clusters = {
            cluster: members
            for cluster, members in clusters_of(nodes).items()
            if limit in (None, cluster) and (only is None or cluster in only)
        }
        found = takeovers(
            clusters, Wish(name or "", will_fence=will_fence, answering=answering, accept_loss=loss),
            fenced=fenced, unfenced=unfenced, gate=gate,
        )  # fmt: skip
        assert pickle.dumps(nodes) == before
        for problems in found.refused.values():
            self.says_why(problems)
        return found

    def take_over(self, failover: Failover, *, loss: bool) -> None:
        self.step()
        target = self[failover.target["name"]]
        old = failover.old["name"] if failover.old else ""
        if not failover.done:
            assert target.readable and target.running and not target.leads
            self.nobody_else_leads(target, in_sight=True)
            if not loss:
                standbys = [one for one in self.world.of(target.cluster) if one.readable and one.running and one.signal]
                more = [
                    one
                    for one in standbys
                    if one.system == target.system and one.holds(target) and not target.holds(one)
                ]
                assert not more, f"{target} has less than {more}"
            for name in failover.claims:
                self.step()
                self[name].claim = (target.name, failover.timeline, target.system)
            self.step()
            self.world.promote(target)
        self.step()
        members = [node for node in self.world.nodes(on_role_change="follow") if node["cluster"] == target.cluster]
        survivors = [node["name"] for node in members if node["status"] and node["name"] != old]
        result = failover.as_result()
        asked = Asked(frozenset(result["returning"]), dead=frozenset({old} if old else ()))
        plans, refused = self._settle(members, survivors, asked)
        assert not refused, "a standby was promoted and the rest is refused"
        self.carry_out(plans, hosts=survivors, named=result["returning"], copies=())


Life.TestCase.settings = settings(
    max_examples=LIVES,
    # The shortest way to a failure takes minutes to find.
    phases=[Phase.generate] if LIVES < 10000 else list(Phase),
    stateful_step_count=20,
    deadline=None,
    # Few are the same each time.
    derandomize=LIVES < 10000,
    database=None,
    suppress_health_check=list(HealthCheck),
)
TestLife = Life.TestCase
