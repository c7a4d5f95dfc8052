# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""The frame of every module: make it, run its job, report; the only place where errors become results."""

from __future__ import annotations

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.pgtandem.replication.plugins.module_utils._argspec import (
    instance_from,
    instance_options,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host, look_at_host
from ansible_collections.pgtandem.replication.plugins.module_utils._system.files import Files
from ansible_collections.pgtandem.replication.plugins.module_utils._system.runner import ModuleRunner
from ansible_collections.pgtandem.replication.plugins.module_utils._values.ranges import range_problems
from ansible_collections.pgtandem.replication.plugins.module_utils._values.results import clean_result

#: A job takes the instance and the module's parameters and returns the module's result.
Job = t.Callable[[Host, AnsibleModule], t.Dict[str, t.Any]]
#: What a module that only looks says where no instance can be derived, from the reason and its parameters.
WithoutInstance = t.Callable[[ReplicationError, AnsibleModule], t.Dict[str, t.Any]]


def run_job(
    job: Job,
    argument_spec: dict[str, t.Any],
    *,
    without_instance: WithoutInstance | None = None,
    **module_arguments: t.Any,
) -> t.NoReturn:
    """Run a module's job on the instance that its options describe.

    Where the options describe none on this host, the module fails, unless it has an answer to that as well.
    """
    module = AnsibleModule(
        argument_spec=dict(instance_options(), **argument_spec), supports_check_mode=True, **module_arguments
    )
    # Files and folders that programs make must not be open to others; the server insists on it for its own.
    os.umask(0o077)
    try:
        wrong = range_problems(module.params)
        if wrong:
            raise ReplicationError(f"{' '.join(wrong)} Correct {'it' if len(wrong) == 1 else 'them'}.")
        try:
            options = instance_from(module.params)
            host = look_at_host(options, ModuleRunner(module), Files(options.os_user))
        except ReplicationError as error:
            if without_instance is None:
                raise
            result = without_instance(error, module)
        else:
            result = job(host, module)
    except ReplicationError as error:
        module.fail_json(**clean_result(error.result()))
    except OSError as error:
        if error.filename is None:
            raise
        text = f"{error.filename}: {error.strerror} (for the account {options.os_user}). Correct that and run again."
        module.fail_json(**clean_result({"msg": text}))
    except UnicodeError as error:
        # Whatever it came from, it was not written by this collection. The error holds none of it.
        text = (
            f"A file or a server of this host holds bytes that are not text ({error}), so it is not understood. Look "
            f"for them in the configuration of {options.os_user}'s server, and run again."
        )
        module.fail_json(**clean_result({"msg": text}))
    module.exit_json(**clean_result(result))
