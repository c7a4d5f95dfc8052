# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""What a standby that leaves its cluster gives back: what it logs in with, and on request its data."""

from __future__ import annotations

import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._configuration.configuration import (
    PASSFILE_HEADER,
    passfile_path,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host
from ansible_collections.pgtandem.replication.plugins.module_utils._host.server import look_at_directory
from ansible_collections.pgtandem.replication.plugins.module_utils._values.data_directory import (
    DirectoryState,
    classify,
    describe,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.layout import (
    AUTHORITY_PEM,
    CLIENT_PEM,
    SERVER_PEM,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.start_conf import kept_down


def leave(host: Host, *, secrets: bool, delete_data: bool, check_mode: bool) -> list[str]:
    """Do what is asked for, and say what it was. Only what the collection itself has placed is removed."""
    evidence = look_at_directory(host)
    state = classify(evidence)
    if state is DirectoryState.PRIMARY:
        raise ReplicationError(
            f"This host was left as it is: {describe(evidence)}, and only a standby can leave its cluster. "
            "Move the primary to another host first (switchover.yml)."
        )
    if evidence.running_pid is not None and not check_mode:
        raise ReplicationError(
            f"This host was left as it is: {describe(evidence)}. Stop it first (pg_instance with state: stopped)."
        )
    actions = []
    for act in (
        _keep_down if state is DirectoryState.STANDBY else None,
        _forget_password if secrets else None,
        _forget_keys if secrets else None,
        _delete_data if delete_data and state is DirectoryState.STANDBY else None,
    ):
        actions += act(host, check_mode) if act is not None else []
    return actions


def _keep_down(host: Host, check_mode: bool) -> list[str]:
    """Debian's start.conf: its data is a standby's, and would ask for WAL that is not kept any more."""
    instance = host.instance
    path = f"{instance.config_directory}/start.conf"
    if instance.layout != "debian" or not host.files.is_folder(instance.config_directory):
        return []
    text = kept_down(host.files.read_text(path) or "")
    if text is None:
        return []
    if not check_mode:
        host.files.write_text(path, text, mode=0o644)
    return [f"write manual into {path}"]


def _forget_password(host: Host, check_mode: bool) -> list[str]:
    path = passfile_path(host)
    if not (host.files.read_text(path) or "").startswith(PASSFILE_HEADER):
        return []
    if not check_mode:
        host.files.remove_file(path)
    return [f"remove the password file {path}"]


def _forget_keys(host: Host, check_mode: bool) -> list[str]:
    folder = host.instance.tls_directory
    placed = [name for name in (SERVER_PEM, CLIENT_PEM, AUTHORITY_PEM) if host.files.lies(f"{folder}/{name}")]
    if not placed:
        return []
    if not check_mode:
        for name in placed:
            host.files.remove_file(f"{folder}/{name}")
    return [f"remove {', '.join(placed)} from {folder}"]


def _delete_data(host: Host, check_mode: bool) -> list[str]:
    path = host.instance.data_directory
    if not check_mode:
        if host.files.is_mount(path):
            host.files.remove_entries(path)
        else:
            host.files.remove_tree(path)
    return [f"delete {path}"]


def leave_from(host: Host, parameters: t.Mapping[str, t.Any], *, check_mode: bool) -> dict[str, t.Any]:
    """The job of pg_leave."""
    actions = leave(host, secrets=parameters["secrets"], delete_data=parameters["delete_data"], check_mode=check_mode)
    return {"changed": bool(actions), "actions": actions}
