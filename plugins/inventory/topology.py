# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: topology
short_description: Ask PostgreSQL servers who is primary and who is standby
version_added: 1.0.0
author:
  - The pgtandem authors (@pgtandem)
description:
  - Logs in to each of the servers named in its file, from the controller and all at once, and sorts the hosts by the
    role that they really have. After a failover that nobody told the inventory about the groups are right.
  - The groups are C(primary), C(standby), C(standby_sync) (those of the standbys that commits wait for),
    C(unreachable) and C(discovered). A host that does not answer is in C(unreachable) alone, so that no play takes it
    for what it was.
  - Two servers that both say that they are primaries are both in C(primary); the collection's playbooks stop then.
  - The variable C(pgtandem_live) of each host says what was seen.
  - The file's name ends with C(topology.yml) or C(topology.yaml).
extends_documentation_fragment:
  - inventory_cache
  - constructed
options:
  plugin:
    description: The name of this plugin, so that it knows its own files.
    type: str
    required: true
    choices: [pgtandem.replication.topology]
  hosts:
    description:
      - The servers, each by its name in the inventory. C(address) (by default the name) and C(port) are where its
        database is, C(ansible_host) where Ansible reaches it (by default C(address)), C(cluster) its cluster.
      - C(variables) are other variables of the host. C(login_user) and C(login_db) override those below.
    type: dict
    required: true
  login_user:
    description: The role to log in as. It needs LOGIN and membership in C(pg_monitor), nothing more.
    type: str
    default: postgres
    env:
      - name: PGTANDEM_LOGIN_USER
  login_password:
    description:
      - Its password. Keep it in a vault (C(!vault)), in the environment, or in libpq's own C(~/.pgpass), which is read
        where this is empty.
      - It becomes no variable of any host.
    type: str
    env:
      - name: PGTANDEM_LOGIN_PASSWORD
  login_db:
    description: The database to log in to.
    type: str
    default: postgres
  ssl_mode:
    description: Whether TLS is used, as libpq's C(sslmode).
    type: str
    choices: [allow, disable, prefer, require, verify-ca, verify-full]
    default: prefer
  ca_cert:
    description: The file of the certificate authority.
    type: path
  connect_params:
    description: Any other connection parameters of libpq.
    type: dict
    default: {}
  connect_timeout:
    description: Seconds after which a server counts as unreachable; libpq takes at least 2.
    type: int
    default: 5
  discover:
    description:
      - Add servers that stream from the ones named and are not among them, by their C(application_name), to the group
        C(discovered) and no other.
      - Only what the upstream knows is known of them. Their port is not, so they are not asked.
      - Everybody who can log in for replication there can add a host, with a name and an address of their choice; so
        look before you let a play loose on that group. What is not a plain name of a host, is C(localhost), or is the
        name of a group, of another host or of a variable of Ansible's own adds nothing, and neither does an address
        of loopback.
    type: bool
    default: false
requirements:
  - psycopg (3.1 or newer) or psycopg2 for the Python that runs Ansible
"""

EXAMPLES = r"""
# topology.yml
plugin: pgtandem.replication.topology
hosts:
  pg1:
    address: 192.0.2.1
  pg2:
    address: 192.0.2.2
    port: 5433
    ansible_host: pg2.example.com
    variables:
      pgtandem_port: 5433
login_user: monitor
cache: true
cache_timeout: 30
keyed_groups:
  - key: pgtandem_live.timeline | string
    prefix: timeline
compose:
  lag: pgtandem_live.connection.lag_bytes | default(0)
"""

import concurrent.futures
import ipaddress
import re
import typing as t

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible.vars.reserved import get_reserved_names
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._status.observation import observe_from_afar
from ansible_collections.pgtandem.replication.plugins.module_utils._system.database import Target, driver_name
from ansible_collections.pgtandem.replication.plugins.module_utils._values.identities import is_address, is_host_name
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.live import live_members
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.nodes import with_positions
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.foreign import foreign
from ansible_collections.pgtandem.replication.plugins.plugin_utils._gate.settlement import clusters_of

GROUPS = ("primary", "standby", "standby_sync", "unreachable")
DISCOVERED = "discovered"
#: Names that mean something to Ansible itself.
_NAMES_OF_ANSIBLE = frozenset({"all", "ungrouped", "localhost", "localhost.localdomain", "ip6-localhost"})
#: Variables of its own, besides those that it lists as reserved.
_VARIABLES_OF_ANSIBLE = frozenset(
    {"discovered_interpreter_python", "group_names", "groups", "hostvars", "omit", "playbook_dir", "vars"}
)
#: Programs that stream and are no servers.
_PROGRAMS = frozenset({"pg_basebackup", "pg_receivewal", "pg_receivexlog"})
#: Of one server; what it says is not to fill the memory.
_MOST_DISCOVERED = 100
_KEYS = frozenset({"address", "ansible_host", "cluster", "login_db", "login_user", "port", "variables"})
#: What was seen of a host, without the rows that only the report needs.
_LIVE_KEYS = (
    "cluster",
    "role",
    "timeline",
    "system_identifier",
    "major",
    "position",
    "upstream",
    "connection",
    "downstream",
    "level",
)


class _Guarded:
    """The inventory as the constructed options reach it: what they make of a server's words is never a template, and
    never adds a host to a group that says what a host is."""

    def __init__(self, inventory: t.Any) -> None:
        self._inventory = inventory
        #: Whether names of groups come from values now, and not from the file.
        self.keyed = False
        #: Names of hosts that are yet to be added.
        self.names: set[str] = set()

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self._inventory, name)

    def set_variable(self, entity: str, name: str, value: t.Any) -> None:
        self._inventory.set_variable(entity, name, foreign(value))

    def add_group(self, group: str) -> str:
        return t.cast(str, self._inventory.add_group(self._safe(group)))

    def add_child(self, group: str, child: str) -> t.Any:
        return self._inventory.add_child(self._safe(group), child)

    def _safe(self, group: str) -> str:
        if not self.keyed:
            return group
        name = re.sub(r"[^A-Za-z0-9_]", "_", str(group))[:100]
        taken = name in {*GROUPS, DISCOVERED, *_NAMES_OF_ANSIBLE, *self.names} or name in self._inventory.hosts
        return f"seen_{name}" if taken or not name[:1].strip("0123456789") else name


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    """Groups from what the servers say."""

    NAME = "pgtandem.replication.topology"

    def verify_file(self, path: str) -> bool:
        """Only files of the plugin's own name, so that other YAML inventories are left alone."""
        return bool(super().verify_file(path)) and path.endswith(("topology.yml", "topology.yaml"))

    def parse(self, inventory: t.Any, loader: t.Any, path: str, cache: bool = True) -> None:
        """Read the file, ask the servers or the cache, and fill the inventory."""
        super().parse(inventory, loader, path, cache)
        self._made = inventory
        self._guarded = _Guarded(inventory)
        # What the base classes construct goes through it.
        self.inventory = t.cast(t.Any, self._guarded)
        self._read_config_data(path)
        seeds = self._seeds(path)
        self._guarded.names = {*seeds}
        key = self.get_cache_key(path)
        hosts: list[dict[str, t.Any]] | None = None
        if cache and self.get_option("cache"):
            # A file that was changed since is another question.
            kept = self._cache.get(key)
            hosts = kept["hosts"] if kept and kept.get("seeds") == _shown(seeds) else None
        if hosts is None:
            hosts = self._ask(seeds, path)
            if self.get_option("cache"):
                self._cache[key] = {"seeds": _shown(seeds), "hosts": hosts}
        self._fill(seeds, hosts)

    def _seeds(self, path: str) -> dict[str, dict[str, t.Any]]:
        seeds = {}
        for name, values in self.get_option("hosts").items():
            if values is not None and not isinstance(values, dict):
                raise AnsibleParserError(f"{path}: hosts.{name} is no dictionary; write it as {{address: 192.0.2.1}}.")
            given = dict(values or {})
            unknown = sorted(set(given) - _KEYS)
            if unknown:
                raise AnsibleParserError(
                    f"{path}: hosts.{name} has no {', '.join(unknown)}; it has {', '.join(sorted(_KEYS))}."
                )
            try:
                port = int(given.get("port") or 5432)
            except (TypeError, ValueError):
                raise AnsibleParserError(f"{path}: hosts.{name}.port is {given['port']!r}, which is no port.") from None
            seeds[str(name)] = {
                "address": str(given.get("address") or name),
                "port": port,
                "ansible_host": given.get("ansible_host"),
                "cluster": str(given.get("cluster") or "main"),
                "login_user": str(given.get("login_user") or self.get_option("login_user")),
                "login_db": str(given.get("login_db") or self.get_option("login_db")),
                "variables": dict(given.get("variables") or {}),
            }
        return seeds

    def _ask(self, seeds: dict[str, dict[str, t.Any]], path: str) -> list[dict[str, t.Any]]:
        if not driver_name():
            raise AnsibleParserError(
                f"{path}: the Python that runs Ansible has neither psycopg nor psycopg2, which this inventory asks the "
                "servers with. Install psycopg2-binary or psycopg[binary] there."
            )
        password = self.templar.template(self.get_option("login_password"))
        options = {"sslmode": str(self.get_option("ssl_mode"))}
        if self.get_option("ca_cert"):
            options["sslrootcert"] = str(self.get_option("ca_cert"))
        options.update({str(name): str(value) for name, value in self.get_option("connect_params").items()})

        def look(name: str) -> dict[str, t.Any]:
            seed = seeds[name]
            target = Target(
                host=seed["address"],
                port=seed["port"],
                user=seed["login_user"],
                password=str(password) if password else None,
                dbname=seed["login_db"],
                options=options,
                connect_timeout=int(self.get_option("connect_timeout")),
            )
            node = {
                **{key: seed[key] for key in ("address", "port", "cluster")},
                "name": name,
                "groups": [],
                "upstream": "",
                "status": None,
            }
            try:
                node["status"] = with_positions(observe_from_afar(target))
            except ReplicationError as error:
                node["unread_reason"] = error.message
            return node

        with concurrent.futures.ThreadPoolExecutor(max_workers=16) as pool:
            nodes = list(pool.map(look, seeds))
        return [
            {
                "name": member["name"],
                "unread_reason": member["unread_reason"],
                "live": {key: member[key] for key in _LIVE_KEYS} if member["read"] else None,
                "strangers": member["strangers"],
            }
            for members in clusters_of(nodes).values()
            for member in live_members(members)
        ]

    def _fill(self, seeds: dict[str, dict[str, t.Any]], hosts: list[dict[str, t.Any]]) -> None:
        for group in (*GROUPS, DISCOVERED):
            self._made.add_group(group)
        for host in hosts:
            seed = seeds[host["name"]]
            variables = {
                "ansible_host": seed["ansible_host"] or seed["address"],
                "pgtandem_address": seed["address"],
                "pgtandem_port": seed["port"],
                "pgtandem_cluster": seed["cluster"],
                **seed["variables"],
            }
            live = host["live"] or {"role": None, "error": host["unread_reason"]}
            self._add(host["name"], _groups_of(host["live"]), variables, {"pgtandem_live": live})
        if self.get_option("discover"):
            for host in hosts:
                self._add_strangers(host, seeds[host["name"]])

    def _add_strangers(self, host: dict[str, t.Any], seed: dict[str, t.Any]) -> None:
        for row in host["strangers"][:_MOST_DISCOVERED]:
            name, address = row["application_name"], row["client_addr"]
            # A base backup streams too while it runs.
            if row["state"] != "streaming" or not self._may_be_host(name, address) or name in _PROGRAMS:
                continue
            live = {
                "cluster": seed["cluster"],
                "role": "standby",
                "upstream": {"name": host["name"], "host": seed["address"], "port": seed["port"]},
                "connection": {"sync_state": row["sync_state"], "streaming": True},
            }
            seen = {
                "ansible_host": address,
                "pgtandem_address": address,
                "pgtandem_cluster": seed["cluster"],
                "pgtandem_live": live,
            }
            self._add(name, [DISCOVERED], {}, seen)

    def _may_be_host(self, name: t.Any, address: t.Any) -> bool:
        """Whether what a client says of itself may become a host: nothing that is there already, or means something."""
        if not (isinstance(name, str) and isinstance(address, str)):
            return False
        if not (is_host_name(name) and is_address(address)) or "%" in address:
            return False
        place = ipaddress.ip_address(address)
        if place.is_loopback or place.is_unspecified or place.is_multicast:
            return False
        lower = name.lower()
        taken = {*map(str.lower, self._made.groups), *map(str.lower, self._made.hosts), *_NAMES_OF_ANSIBLE}
        return (
            lower not in taken
            and lower not in _VARIABLES_OF_ANSIBLE
            and lower not in get_reserved_names()
            and not lower.startswith(("ansible_", "inventory_", "pgtandem_", "play_", "role_"))
            and not is_address(lower.rstrip("."))
        )

    def _add(self, name: str, groups: list[str], own: dict[str, t.Any], seen: dict[str, t.Any]) -> None:
        """Add a host with what the file says of it and what was seen."""
        self._made.add_host(name)
        for group in groups:
            self._made.add_child(group, name)
        variables = {**own, **t.cast("dict[str, t.Any]", foreign(seen))}
        for key, value in variables.items():
            self._made.set_variable(name, key, value)
        strict = self.get_option("strict")
        self._set_composite_vars(self.get_option("compose"), variables, name, strict=strict)
        self._add_host_to_composed_groups(self.get_option("groups"), variables, name, strict=strict)
        self._guarded.keyed = True
        try:
            self._add_host_to_keyed_groups(self.get_option("keyed_groups"), variables, name, strict=strict)
        finally:
            self._guarded.keyed = False


def _groups_of(live: dict[str, t.Any] | None) -> list[str]:
    if live is None:
        return ["unreachable"]
    if live["role"] == "primary":
        return ["primary"]
    synchronous = (live["connection"] or {}).get("sync_state") in ("sync", "quorum")
    return ["standby", "standby_sync"] if synchronous else ["standby"]


def _shown(seeds: dict[str, dict[str, t.Any]]) -> list[list[t.Any]]:
    """What of the file decides over the answers, as plain values that a cache keeps."""
    return [
        [name, *(str(seed[key]) for key in ("address", "port", "cluster", "login_user", "login_db"))]
        for name, seed in seeds.items()
    ]
