# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fill an inventory from answers that are given, in a process of its own and on whatever ansible-core this Python has.

Reads JSON: C(file), the inventory file's text, and C(answers), a status or an C(error) for each port. Prints JSON: the
groups, and each host's variables after what C(debug) would do with them.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile

from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader, inventory_loader
from ansible.template import Templar
from ansible.vars.manager import VariableManager

try:
    from ansible.template import trust_as_template
except ImportError:
    trust_as_template = str


def main() -> None:
    asked = json.load(sys.stdin)
    init_plugin_loader([os.environ["ANSIBLE_COLLECTIONS_PATH"]])
    plugin = inventory_loader.get("pgtandem.replication.topology")
    module = sys.modules[type(plugin).__module__]

    def observe(target):
        answer = asked["answers"][str(target.port)]
        if "error" in answer:
            raise module.ReplicationError(answer["error"])
        return answer

    module.observe_from_afar = observe
    module.driver_name = lambda: "stand-in"
    loader = DataLoader()
    inventory = InventoryManager(loader=loader, sources=None)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "topology.yml")
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(asked["file"])
        # As the manager does for each of its sources.
        plugin.parse(inventory._inventory, loader, path, cache=False)
    inventory._inventory.reconcile_inventory()
    variables = VariableManager(loader=loader, inventory=inventory)
    hosts = {}
    for host in inventory.get_hosts("all"):
        known = variables.get_vars(host=host)
        templar = Templar(loader=loader, variables=known)
        own = [name for name in known if name.startswith("pgtandem_") or name in asked.get("also", ())]
        hosts[host.name] = {name: templar.template(trust_as_template("{{ " + name + " }}")) for name in own}
    groups = {name: sorted(members) for name, members in inventory.get_groups_dict().items()}
    print("RESULT" + json.dumps({"hosts": hosts, "groups": groups}, default=str))


if __name__ == "__main__":
    main()
