#!/usr/bin/python
# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_replication_status
short_description: Read everything about replication on a host
"""
EXAMPLES = ""
RETURN = ""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.pgtandem.replication.plugins.module_utils._argspec import (
    instance_from,
    login_from,
    login_options,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._files import Files
from ansible_collections.pgtandem.replication.plugins.module_utils._host import Host, look_at_facts
from ansible_collections.pgtandem.replication.plugins.module_utils._module import run_job
from ansible_collections.pgtandem.replication.plugins.module_utils._runner import ModuleRunner
from ansible_collections.pgtandem.replication.plugins.module_utils._status import observe, status_without_instance


def report(host: Host, module: AnsibleModule) -> dict[str, t.Any]:
    write = module.params["write_position"] and not module.check_mode
    return {"changed": False, "replication": observe(host, login_from(module.params), write_position=write)}


def report_without_instance(error: ReplicationError, module: AnsibleModule) -> dict[str, t.Any]:
    facts = look_at_facts(instance_from(module.params), ModuleRunner(module), Files())
    return {"changed": False, "replication": status_without_instance(error, facts)}


def main() -> t.NoReturn:
    run_job(
        report,
        dict(login_options(), write_position={"type": "bool", "default": False}),
        without_instance=report_without_instance,
    )


if __name__ == "__main__":
    main()
