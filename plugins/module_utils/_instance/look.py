# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""One look at a host: what is there, whether it is what the inventory asks for, and whether replication flows."""

from __future__ import annotations

import copy
import typing as t

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.pgtandem.replication.plugins.module_utils._argspec import instance_options, login_from
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host
from ansible_collections.pgtandem.replication.plugins.module_utils._host.server import find_postmaster
from ansible_collections.pgtandem.replication.plugins.module_utils._instance.instance import ensure_instance
from ansible_collections.pgtandem.replication.plugins.module_utils._instance.options import own_options, request_from
from ansible_collections.pgtandem.replication.plugins.module_utils._replication.extras import do_also
from ansible_collections.pgtandem.replication.plugins.module_utils._status.expectations import Expectations, unmet
from ansible_collections.pgtandem.replication.plugins.module_utils._status.observation import observe
from ansible_collections.pgtandem.replication.plugins.module_utils._status.report import Request, report_anyway

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

Result = t.Dict[str, t.Any]

#: What the module is given as options of its own: Ansible knows them for secrets only there.
SECRETS = ("replication_password", "login_password")


def look(host: Host, module: AnsibleModule) -> Result:
    """Return `replication`, as pg_replication_status has it, and `answer`: None where no server runs, otherwise

    - `as_asked`: pg_instance would change nothing with these options;
    - `proven`: a standby streams from its upstream; what a primary has just written all its standbys have replayed. A
      primary whose standbys do not all stream from it writes nothing: another one may have been promoted;
    - `floors`: what the control file holds of parameters that a standby must not have lower;
    - `warnings`: what pg_instance would warn of.
    """
    answer = None if find_postmaster(host) is None else _judge(host, module)
    followers: list[str] | None = module.params["followers"]
    expect: dict[str, t.Any] = {}
    writes = False
    if answer is not None and answer["as_asked"]:
        upstream = module.params["wanted"].get("upstream")
        if upstream:
            place = {"host": upstream["host"], "port": upstream["port"]}
            expect = {"role": "standby", "streaming": True, "upstream": place}
        else:
            expect = {"role": "primary", "standbys": followers or None}
            writes = bool(followers) and not unmet(
                observe(host, login_from(module.params)), Expectations.from_parameters(expect)
            )
            if writes:
                expect["written_replayed"] = True
    request = Request.make(
        login=login_from(module.params),
        expect=expect,
        timeout=module.params["patience"] if writes else 0,
        stable=0,
        write_position=writes,
        sizes=False,
        check_mode=module.check_mode,
        parameters=module.params["parameters"],
        reach=module.params["reach"],
    )
    seen = report_anyway(host, request)
    if answer is not None:
        # Without the names of its standbys a primary cannot know whether they are all there.
        known = bool(expect) and (expect["role"] == "standby" or followers is not None)
        answer["proven"] = known and not seen["unmet"] and (writes or not followers)
    return {"replication": seen["replication"], "answer": answer}


def _judge(host: Host, module: AnsibleModule) -> Result:
    """Ask pg_instance what it would do, in its check mode."""
    options = {**instance_options(), **own_options()}
    given = {name: module.params[name] for name in (*instance_options(), *SECRETS) if module.params[name] is not None}
    validated = ArgumentSpecValidator(options).validate({**module.params["wanted"], **given})
    warnings: list[str] = []
    asked = copy.copy(module)
    asked.params = validated.validated_parameters
    asked.check_mode = True
    vars(asked)["warn"] = warnings.append
    try:
        if validated.error_messages:
            raise ReplicationError(" ".join(validated.error_messages))
        result, done = ensure_instance(host, request_from(asked.params), check_mode=True)
        result.update(changed=bool(done.actions), actions=done.actions)
        if not result["changed"]:
            do_also(host, asked, login_from(asked.params), result)
    except ReplicationError as error:
        # The step that acts says so, in its place.
        return {"as_asked": False, "proven": False, "why": [error.message], "floors": {}, "warnings": []}
    return {
        "as_asked": not result["changed"],
        "proven": False,
        "why": result["actions"],
        "floors": result["floors"],
        "warnings": [*done.warnings, *warnings],
    }
