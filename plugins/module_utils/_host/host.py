# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Look at a host: which distribution, which PostgreSQL, which instance; and the ways out bound together."""

from __future__ import annotations

import os
import re
import typing as t
from dataclasses import dataclass, replace

from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._system.files import Files
from ansible_collections.pgtandem.replication.plugins.module_utils._system.runner import LOOKING_SECONDS, Runner
from ansible_collections.pgtandem.replication.plugins.module_utils._values.conf import last_values, read_settings
from ansible_collections.pgtandem.replication.plugins.module_utils._values.layout import (
    CREATING,
    LAYOUTS,
    HostFacts,
    Instance,
    InstanceOptions,
    choose_layout,
    choose_version,
    resolve,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._versions import major_text, parse_program_version


@dataclass(frozen=True)
class Host:
    """An instance on this host and the ways to reach it."""

    instance: Instance
    facts: HostFacts
    runner: Runner
    files: Files


def _os_release(files: Files) -> dict[str, str]:
    pairs = re.findall(r'^([A-Z_]+)="?([^"\n]*)"?$', files.read_text("/etc/os-release") or "", re.MULTILINE)
    return dict(pairs)


def program_version(runner: Runner, files: Files, program: str) -> int:
    """What a program of PostgreSQL says of its version; a C(ReplicationError) where it says none."""
    # The account may own the folder of programs, so that they are never run as root.
    answer = runner.run([program, "--version"], user=files.program_owner(), seconds=LOOKING_SECONDS)
    return parse_program_version(answer.stdout)


def _server_version(runner: Runner, files: Files, folder: str) -> int | None:
    program = f"{folder}/postgres"
    return program_version(runner, files, program) if folder and files.may_run(program) else None


def look_at_facts(options: InstanceOptions, runner: Runner, files: Files) -> HostFacts:
    """What can be said of a host before any instance is derived; nothing is changed and nothing is refused."""
    release = _os_release(files)
    return HostFacts(
        distribution=release.get("ID", ""),
        codename=release.get("VERSION_CODENAME", ""),
        families=tuple([release.get("ID", "")] + release.get("ID_LIKE", "").split()),
        has_systemd=os.path.isdir("/run/systemd/system"),
        is_root=os.geteuid() == 0,
        clusters=tuple(
            (major, name)
            for major in files.list_names("/etc/postgresql")
            for name in files.list_names(f"/etc/postgresql/{major}")
            if files.exists(f"/etc/postgresql/{major}/{name}/postgresql.conf")
        ),
        program_version=_server_version(runner, files, options.bin_directory),
    )


def look_at_host(options: InstanceOptions, runner: Runner, files: Files) -> Host:
    """Find everything about the instance that the options describe; nothing is changed."""
    facts = look_at_facts(options, runner, files)
    layout = choose_layout(options, facts)
    version = choose_version(options, facts, layout)
    names = {"V": major_text(version), "I": options.instance}
    if facts.program_version is None and not options.bin_directory:
        folder = LAYOUTS[layout].bin_directory.format(**names)
        facts = replace(facts, program_version=_server_version(runner, files, folder))
    configuration = options.config_directory or LAYOUTS[layout].config_directory.format(**names)
    if configuration:
        main = f"{configuration}/postgresql.conf"
        said = last_values(read_settings(main, t.cast(t.Any, files))).get("data_directory")
        if files.exists(f"{configuration}/{CREATING}"):
            # A run was killed while it made this configuration, which names the scratch directory until the end.
            said = None
        if said and not said.value.isprintable() and not options.data_directory:
            # The account may have written it, and it would get into a unit of root's.
            raise ReplicationError(
                f"{main} names a data directory with a control character in it ({said.value!r}). Correct that file, or "
                "set pgtandem_data_directory."
            )
        facts = replace(facts, configured_data_directory=said.value if said else None)
    return Host(resolve(options, facts), facts, runner, files.naming(_named(options, facts)))


def _named(options: InstanceOptions, facts: HostFacts) -> list[str]:
    """The places that the user or the layout names. What only postgresql.conf names the account itself may have put
    there."""
    try:
        plain = resolve(options, replace(facts, configured_data_directory=None))
    except ReplicationError:
        return [options.config_directory, options.log_file, options.passfile]
    return [plain.data_directory, plain.config_directory, plain.log_file, plain.passfile]
