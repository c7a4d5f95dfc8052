# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""A host of a cluster as the other pure files see it: what the inventory says of it, and what was read there."""

from __future__ import annotations

import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._errors import CANNOT_CONNECT_NOW
from ansible_collections.pgtandem.replication.plugins.module_utils._values.lsn import is_lsn

Node = t.Dict[str, t.Any]


class Problem(t.NamedTuple):
    """A reason to stop: what was seen on which hosts and why it stops, and what to do about it."""

    #: Stable, so that a playbook whose job is this very state can go on (docs/status.md has them all).
    id: str
    hosts: tuple[str, ...]
    #: Whole sentences, both.
    evidence: str
    remedy: str

    @property
    def text(self) -> str:
        """All of it, for a message."""
        return f"{self.evidence} {self.remedy}".strip()

    def as_result(self) -> dict[str, t.Any]:
        """Plain values for a task's result."""
        return {
            "id": self.id,
            "hosts": list(self.hosts),
            "text": self.text,
            "evidence": self.evidence,
            "remedy": self.remedy,
        }


def apart(message: str, otherwise: str) -> tuple[str, str]:
    """Evidence and remedy of a message of C(ReplicationError), whose last sentence is its remedy; with one sentence
    alone the remedy is C(otherwise).

    >>> apart("PostgreSQL 8 is not supported; supported are 9.4 to 19.", "Correct pgtandem_version.")
    ('PostgreSQL 8 is not supported; supported are 9.4 to 19.', 'Correct pgtandem_version.')
    >>> apart("This host has no account 'x'. Set pgtandem_os_user. ", "")
    ("This host has no account 'x'.", 'Set pgtandem_os_user.')
    """
    evidence, stop, remedy = message.strip().rpartition(". ")
    return (f"{evidence}{stop.strip()}", remedy) if evidence else (message.strip(), otherwise)


def with_positions(status: Node | None) -> Node | None:
    """What was read of a host, with unknown in place of every position that is none: one server that says nonsense
    does not keep the others from being looked at.

    >>> with_positions({"positions": {"replay": "x"}, "slots": [{"restart_lsn": "0/3000060"}], "control": {"lsn": "x"}})
    {'positions': {'replay': None}, 'slots': [{'restart_lsn': '0/3000060'}], 'control': None}
    """
    if status is None:
        return None
    known = {key: _with_positions(value, among_positions=key == "positions") for key, value in status.items()}
    for key in ("control", "timeline_history"):
        # Half of them would be something else than what was written there.
        if known.get(key) != status.get(key):
            known[key] = None
    return known


def _with_positions(value: t.Any, *, among_positions: bool = False) -> t.Any:
    if isinstance(value, dict):
        return {
            key: None
            if isinstance(item, str) and (among_positions or str(key).endswith("lsn")) and not is_lsn(item)
            else _with_positions(item)
            for key, item in value.items()
        }
    return [_with_positions(one) for one in value] if isinstance(value, list) else value


def state_of(node: Node) -> str | None:
    """The state of the data directory; None where it is not known."""
    status = node["status"]
    return status["data_directory"]["state"] if status else None


def system_of(node: Node) -> str | None:
    """The system identifier; None where there is none or it is not known."""
    status = node["status"]
    return status["system_identifier"] if status else None


def described(node: Node) -> str:
    """What was found on the host, as a clause."""
    status = node["status"] or {}
    return (status.get("data_directory") or {}).get("description") or "nothing is known of it"


def of_state(nodes: t.Iterable[Node], state: str) -> list[Node]:
    """The hosts whose data directory is in a state."""
    return [node for node in nodes if state_of(node) == state]


def runs(node: Node) -> bool:
    """Whether the server was seen running."""
    return bool(node["status"] and node["status"]["running"])


def leads(node: Node) -> bool:
    """Whether its server runs as a primary, whatever its data directory would start as."""
    return runs(node) and bool(node["status"]["role"] == "primary")


#: What to do about C(signalled).
UNSIGNAL = (
    "A switchover that was cut short leaves that: run switchover.yml again. Otherwise delete that file, and do not "
    "restart the server before."
)


def postmaster_status(node: Node) -> str:
    """What the server says of itself in postmaster.pid: starting, stopping, ready or standby; empty where it does not.

    >>> postmaster_status({"status": {"postmaster": {"status": "stopping"}}}), postmaster_status({"status": None})
    ('stopping', '')
    """
    return ((node["status"] or {}).get("postmaster") or {}).get("status") or ""


def is_starting(node: Node) -> bool:
    """Whether a server runs and takes no sessions yet. Before 10 only the code of its answer tells.

    >>> is_starting({"status": {"postmaster": {"status": ""}, "database_sqlstate": "57P03"}})
    True
    """
    state = postmaster_status(node)
    refused = (node["status"] or {}).get("database_sqlstate") == CANNOT_CONNECT_NOW
    return state == "starting" or (refused and state != "stopping")


def without_stopping(nodes: t.Sequence[Node]) -> list[Node]:
    """The hosts, but those whose server is shutting down while another one is the primary of its system count as not
    read: an old primary that its archiver or a client keeps from ending comes back later, as a standby."""
    leaders = {
        (node["cluster"], system_of(node)) for node in nodes if leads(node) and postmaster_status(node) != "stopping"
    }
    return [
        {**node, "status": None, "stopping": True, "unread_reason": None}
        if postmaster_status(node) == "stopping" and (node["cluster"], system_of(node)) in leaders
        else node
        for node in nodes
    ]


def signalled(node: Node) -> str:
    """What makes a standby of a running primary at its next start, as a clause; empty where nothing does."""
    if not leads(node):
        return ""
    directory = node["status"]["data_directory"]
    files = " and ".join(f"{directory['path']}/{name}" for name in directory["signal_files"])
    return files and f"{files} lies in its data directory, so that its next start makes a standby of it"


def follows(node: Node, other: Node) -> bool:
    """Whether a standby streams now from the place of another host."""
    receiver = (node["status"] or {}).get("wal_receiver")
    return bool(
        receiver
        and receiver["status"] == "streaming"
        and (receiver["sender_host"], receiver["sender_port"]) == (other["address"], other["port"])
    )


def named(nodes: t.Iterable[Node]) -> str:
    """The names of hosts, for a message."""
    return ", ".join(node["name"] for node in nodes)


def unread(nodes: t.Iterable[Node]) -> list[Node]:
    """The hosts of which nothing was read in this run."""
    return [node for node in nodes if not node["status"]]


def why_unread(node: Node) -> str:
    """The evidence that a host was not read."""
    if node.get("stopping"):
        return f"the server of {node['name']} is shutting down"
    return f"{node['name']} could not be read{because(node)}"


def remedy_for_unread(node: Node, then: str = "run again") -> str:
    """What to do about a host that was not read."""
    if node.get("stopping"):
        return f"Wait for its end, or end what it waits for (its archive_command, its WAL senders), and {then}."
    return f"Make it reachable and {then}."


def because(node: Node) -> str:
    """The reason in brackets, where one is known."""
    reason = node.get("unread_reason")
    return f" ({reason})" if reason else ""


def quorum(nodes: t.Sequence[Node]) -> bool:
    """Whether enough hosts of a cluster were read to promote or to delete: never with fewer than half of them.

    >>> seen, unseen = {"status": {"role": "primary"}}, {"status": None}
    >>> quorum([seen, unseen]), quorum([seen, unseen, unseen]), quorum([])
    (True, False, False)
    """
    return 2 * (len(nodes) - len(unread(nodes))) >= len(nodes) > 0
