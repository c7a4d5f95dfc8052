# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Make an instance that is not there: its data directory with initdb, and its configuration where that lies apart."""

from __future__ import annotations

import contextlib
import os
import re
import time
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._configuration.configuration import SETTINGS_HEADER
from ansible_collections.pgtandem.replication.plugins.module_utils._data_directory.staging import filling, try_lock
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host
from ansible_collections.pgtandem.replication.plugins.module_utils._values.layout import CREATING
from ansible_collections.pgtandem.replication.plugins.module_utils._values.quoting import quote_setting
from ansible_collections.pgtandem.replication.plugins.module_utils._versions import default_auth_method

#: initdb's locale must not depend on who runs it.
_LOCALE = {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}

#: Said on disk while a new cluster is made.
_PURPOSE = "initdb"

#: Seconds to wait for another run that makes a configuration.
_PATIENCE = 60.0

#: Read in place of createcluster.conf, in the folder of the configuration.
_DEFAULTS = ".pgtandem-createcluster.conf"
_WITHOUT_WAL_DIRECTORY = "include_if_exists '/etc/postgresql-common/createcluster.conf'\nwaldir = ''\nxlogdir = ''\n"

_CONFIGURATION_FILES = ("postgresql.conf", "pg_hba.conf", "pg_ident.conf")


def initdb_command(host: Host, *, directory: str, superuser: str, options: t.Sequence[str]) -> list[str]:
    """initdb with peer authentication through the socket and passwords over TCP (manual, initdb)."""
    return [
        host.instance.program("initdb"),
        f"--pgdata={directory}",
        f"--username={superuser}",
        "--auth-local=peer",
        f"--auth-host={default_auth_method(host.instance.version)}",
        *options,
    ]


def create_cluster(host: Host, *, superuser: str, options: t.Sequence[str]) -> bool:
    """Fill the empty data directory with a new cluster; Debian's configuration is made with it where it is missing.

    Returns whether that was made too.
    """
    instance = host.instance
    with filling(host) as incoming, contextlib.ExitStack() as stack:
        made = with_configuration = False
        if not incoming.is_whole(_PURPOSE):
            incoming.begin(_PURPOSE)
            with_configuration = instance.layout == "debian" and lacks_configuration(host)
            if with_configuration:
                # One initdb for both. What pg_createcluster drops when it fails is what was begun here.
                lock = stack.enter_context(_configuring(host))
                _begin_configuration(host)
                words = [f"--username={superuser}", *options]
                _pg_createcluster(host, incoming.path, words, keep_open=[incoming.lock, lock])
            else:
                host.runner.run(
                    initdb_command(host, directory=incoming.path, superuser=superuser, options=options),
                    user=instance.os_user,
                    environment=_LOCALE,
                    keep_open=[incoming.lock],
                )
                if instance.config_directory != instance.data_directory:
                    if not host.files.exists(instance.main_file):
                        _take_configuration(host, incoming.path)
                        made = True
                    for name in _CONFIGURATION_FILES:
                        host.files.remove_file(f"{incoming.path}/{name}", durable=False)
        incoming.finish(_PURPOSE)
        if with_configuration:
            _finish_configuration(host)
    return made or with_configuration


def lacks_configuration(host: Host) -> bool:
    """Whether a configuration apart from the data is not there, or was left half made by an earlier run of ours."""
    instance = host.instance
    if instance.config_directory == instance.data_directory:
        return False
    return not host.files.exists(instance.main_file) or host.files.exists(f"{instance.config_directory}/{CREATING}")


def create_configuration(host: Host) -> None:
    """Make the configuration of a cluster whose data directory is there: with Debian's layout by postgresql-common.

    pg_createcluster can take over a data directory, but it drops that directory when it fails. So it makes its
    cluster on a scratch directory, and the configuration is pointed at the real one afterwards.
    """
    with _configuring(host) as lock:
        # Another run may have made it until now.
        if not lacks_configuration(host):
            return
        scratch = _scratch(host)
        if host.instance.layout != "debian":
            host.files.remove_tree(scratch)
            host.files.make_folder(scratch, mode=0o700)
            words = initdb_command(host, directory=scratch, superuser=host.instance.os_user, options=["--no-sync"])
            host.runner.run(words, user=host.instance.os_user, environment=_LOCALE, keep_open=[lock])
            _take_configuration(host, scratch)
            host.files.remove_tree(scratch)
            return
        _begin_configuration(host)
        # What is said there of the WAL's place is for a cluster, and would outlive this scratch one.
        defaults = f"{host.instance.config_directory}/{_DEFAULTS}"
        host.files.write_text(defaults, _WITHOUT_WAL_DIRECTORY, mode=0o644)
        # The account may not be able to make it beside a data directory in a folder of root's.
        host.files.make_folder(scratch, mode=0o700)
        _pg_createcluster(host, scratch, ["--no-sync"], defaults=defaults, keep_open=[lock])
        host.files.remove_tree(scratch)
        host.files.remove_file(defaults)
        _finish_configuration(host)


def _take_configuration(host: Host, source: str) -> None:
    """Bring initdb's files to the folder of the configuration, which says where all of them are."""
    instance = host.instance
    folder = instance.config_directory
    if not host.files.is_folder(folder):
        host.files.make_folder(folder, mode=0o700)
    # The last one is that by which the configuration is known to be there.
    for name in reversed(_CONFIGURATION_FILES):
        path = f"{folder}/{name}"
        if host.files.exists(path):
            continue
        text = host.files.read_text(f"{source}/{name}") or ""
        if name == "postgresql.conf":
            places = {
                "data_directory": instance.data_directory,
                "hba_file": f"{folder}/pg_hba.conf",
                "ident_file": f"{folder}/pg_ident.conf",
            }
            text += "".join(f"{parameter} = {quote_setting(place)}\n" for parameter, place in places.items())
        host.files.write_text(path, text, mode=0o600)


@contextlib.contextmanager
def _configuring(host: Host) -> t.Iterator[int]:
    """Wait until no other run makes a configuration here. The lock is inherited by what makes it, which may outlive us.

    It is on the folder of the version's configurations, since a configuration that was left half made is removed.
    """
    folder = os.path.dirname(host.instance.config_directory)
    deadline = time.monotonic() + _PATIENCE
    while True:
        if not host.files.is_folder(folder):
            host.files.make_folder(folder, mode=0o755)
        lock = try_lock(host, folder)
        if lock is not None:
            break
        if time.monotonic() > deadline:
            raise ReplicationError(
                f"Another run has been making a configuration in {folder} for {_PATIENCE:g} s (it holds the lock on "
                "that folder). Wait for its end and run again."
            )
        time.sleep(0.05)
    try:
        yield lock
    finally:
        os.close(lock)


def _scratch(host: Host) -> str:
    return f"{host.instance.data_directory}.pgtandem-scratch"


def _begin_configuration(host: Host) -> None:
    """Remove what an earlier run left half made, and mark the folder as ours until it is whole."""
    folder = host.instance.config_directory
    if host.files.lies(f"{folder}/{CREATING}"):
        host.files.remove_tree(folder)
        host.files.remove_tree(_scratch(host))
    # A host that died while the mark was written has a file beside it, which writing it again removes.
    theirs = [name for name in host.files.list_names(folder) if not name.startswith(f".{CREATING}.")]
    if theirs == [os.path.basename(os.path.dirname(host.instance.settings_file))] and _is_left_over(host):
        # pg_dropcluster leaves what it does not know; the file is written anew.
        host.files.remove_tree(f"{folder}/{theirs[0]}")
        theirs = []
    if theirs:
        raise ReplicationError(
            f"{folder} holds files ({', '.join(theirs[:3])}) and no postgresql.conf, so it is "
            "not a cluster's configuration, and pg_createcluster would refuse it (pg_dropcluster leaves files that it "
            "does not know). Move it away and run again."
        )
    host.files.make_folder(folder, mode=0o755)
    host.files.write_text(f"{folder}/{CREATING}", "", mode=0o644)


def _is_left_over(host: Host) -> bool:
    """Whether the folder of more settings holds nothing but this collection's own file, or nothing at all."""
    path = host.instance.settings_file
    names = host.files.list_names(os.path.dirname(path))
    written = (host.files.read_text(path) or "").startswith(f"# {SETTINGS_HEADER[0]}")
    return names == [] or (names == [os.path.basename(path)] and written)


def _pg_createcluster(
    host: Host,
    directory: str,
    options: t.Sequence[str],
    *,
    defaults: str | None = None,
    keep_open: t.Sequence[int] = (),
) -> None:
    """Have a cluster made in a directory that may be dropped, with its configuration. `defaults` is a file in place of
    createcluster.conf."""
    instance = host.instance
    host.runner.run(
        [
            "pg_createcluster",
            "--quiet",
            f"--user={instance.os_user}",
            f"--port={instance.port}",
            f"--datadir={directory}",
            # A host that dies now must not start it when it comes back.
            "--start-conf=manual",
            *([f"--createclusterconf={defaults}"] if defaults else []),
            instance.major,
            instance.name,
            "--",
            *options,
        ],
        # As root it would follow links that the account exchanges meanwhile.
        user=instance.os_user,
        environment=_LOCALE,
        keep_open=keep_open,
    )


def _finish_configuration(host: Host) -> None:
    """Point the configuration at the data directory, let it start with the host, and take the mark away."""
    instance = host.instance
    folder = instance.config_directory
    text = host.files.read_text(instance.main_file) or ""
    line = f"data_directory = {quote_setting(instance.data_directory)}"
    text, replaced = re.subn(r"(?m)^\s*data_directory\s*=.*$", lambda _found: line, text)
    host.files.write_text(instance.main_file, text if replaced else text + line + "\n", mode=0o644)
    start = f"{folder}/start.conf"
    automatic = re.sub(r"(?m)^manual$", "auto", host.files.read_text(start) or "auto\n")
    host.files.write_text(start, automatic, mode=0o644)
    if instance.manager == "systemd":
        host.runner.run(["systemctl", "daemon-reload"])
    host.files.remove_file(f"{folder}/{CREATING}")
