# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""The configuration files of an instance: what they hold, what they should hold, and the difference."""

from __future__ import annotations

import os
import re
import typing as t
from dataclasses import replace

from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host
from ansible_collections.pgtandem.replication.plugins.module_utils._host.server_settings import read_server_settings
from ansible_collections.pgtandem.replication.plugins.module_utils._system.files import Files
from ansible_collections.pgtandem.replication.plugins.module_utils._system.network import look_up
from ansible_collections.pgtandem.replication.plugins.module_utils._system.runner import LOOKING_SECONDS, account
from ansible_collections.pgtandem.replication.plugins.module_utils._values.conf import (
    Setting,
    parse_lines,
    read_settings,
    render_settings,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.hba import (
    HbaRule,
    IdentRule,
    addresses_beside,
    replace_block,
    replace_ident_block,
    with_addresses,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.identities import is_host_name, shown
from ansible_collections.pgtandem.replication.plugins.module_utils._values.quoting import passfile_line
from ansible_collections.pgtandem.replication.plugins.module_utils._values.server_settings import ServerSettings
from ansible_collections.pgtandem.replication.plugins.module_utils._versions import (
    default_auth_method,
    major_text,
    supports,
)

SETTINGS_HEADER = (
    "Managed by pgtandem.replication: changes here are lost.",
    "Set parameters in the inventory (pgtandem_parameters), or in a file of your own beside this one.",
)
PASSFILE_HEADER = "# Managed by pgtandem.replication\n"
_RECOVERY_HEADER = ("Managed by pgtandem.replication: changes here are lost.",)


class FileChange(t.NamedTuple):
    """A file and what it is to hold. C(before) None: it is not there yet."""

    path: str
    before: str | None
    after: str
    mode: int
    secret: bool = False
    #: It is a pg_hba.conf, whatever its name.
    is_hba: bool = False

    @property
    def needed(self) -> bool:
        """Whether writing would change anything."""
        return self.before != self.after

    def as_diff(self) -> dict[str, str]:
        """One entry of a module's diff; a secret file shows only that it differs."""
        if self.secret:
            return {
                "before_header": self.path,
                "after_header": self.path,
                "before": "" if self.before is None else "(content not shown)\n",
                "after": "(content not shown, differs)\n",
            }
        return {
            "before_header": self.path,
            "after_header": self.path,
            "before": self.before or "",
            "after": self.after,
        }


class _Overlay:
    """The files as they are, with one of them as it will be."""

    def __init__(self, files: Files, path: str, text: str) -> None:
        self._files, self._path, self._text = files, path, text

    def read_text(self, path: str) -> str | None:
        return self._text if path == self._path else self._files.read_text(path)

    def list_names(self, path: str) -> list[str]:
        names = set(self._files.list_names(path))
        if path == os.path.dirname(self._path):
            names.add(os.path.basename(self._path))
        return sorted(names)


def settings_elsewhere(host: Host) -> dict[str, str]:
    """What the configuration says without our own file; postgresql.auto.conf is judged by itself."""
    return read_server_settings(host).elsewhere()


def settings_to_be(host: Host, values: t.Mapping[str, str]) -> ServerSettings:
    """What the server would read at its next start if our file held these values."""
    path, text = host.instance.settings_file, render_settings(values, ())
    settings = read_server_settings(host, overlay=_Overlay(host.files, path, text))
    if any(setting.path == path for setting in settings.files.settings) or not values:
        return settings
    # Our file is about to be included at the very end.
    return replace(
        settings, files=settings.files._replace(settings=[*settings.files.settings, *parse_lines(text, path)])
    )


def judge_settings(host: Host, values: t.Mapping[str, str]) -> None:
    """Ask the server program itself whether it would accept these settings, before any file is written.

    C(postgres -C) reads a configuration file and ends. Its errors name the parameter and its range; that they are in
    English says the command line, over a lc_messages among the settings, which is judged all the same.
    """
    with host.files.scratch() as folder:
        path = f"{folder}/postgresql.conf"
        # A connection string says nothing about ranges.
        judged = {name: value for name, value in values.items() if name != "primary_conninfo"}
        host.files.write_text(path, render_settings(judged, ()), mode=0o600, durable=False)
        answer = host.runner.run(
            [host.instance.program("postgres"), "-C", "max_connections", "-D", folder, "-c", "lc_messages=C"],
            user=host.instance.os_user,
            check=False,
            seconds=LOOKING_SECONDS,
        )
        if answer.status == 0:
            return
        said = [
            re.sub(rf'\s+in file "{re.escape(path)}" line \d+', "", found.group(2))
            for found in re.finditer(r"(?m)^.*?\b(LOG|HINT|ERROR|FATAL):\s+(.*)$", answer.stderr)
            if "postgresql.auto.conf" not in found.group(2) and "contains errors" not in found.group(2)
        ]
        unable = any("not supported by this build" in line for line in said)
        raise ReplicationError(
            f"PostgreSQL {host.instance.major} would not start with these parameters: "
            + ("; ".join(said) or answer.last_lines())
            + (". Leave pgtandem_tls out, or take" if unable else ". Correct pgtandem_parameters.")
            + (f" a server that was built for it ({host.instance.bin_directory})." if unable else "")
            + " Nothing was written.",
            problems=said,
        )


def configuration_problem(host: Host) -> str:
    """What the server program says of the files as they lie there; it reads them and ends."""
    instance = host.instance
    words = [instance.program("postgres"), "-D", instance.data_directory, "-C", "max_connections"]
    words += ["-c", "lc_messages=C"]
    if instance.config_directory != instance.data_directory:
        words += ["-c", f"config_file={instance.main_file}"]
    for path in (instance.main_file, f"{instance.data_directory}/postgresql.auto.conf"):
        # The program would wait for a pipe.
        host.files.read_part(path, offset=0, count=1)
    answer = host.runner.run(words, user=instance.os_user, check=False, seconds=LOOKING_SECONDS)
    return "" if answer.status == 0 else answer.last_lines()


def settings_change(host: Host, values: t.Mapping[str, str]) -> FileChange:
    """Our file of settings."""
    path = host.instance.settings_file
    return FileChange(path, host.files.read_text(path), render_settings(values, SETTINGS_HEADER), 0o640)


def include_change(host: Host) -> FileChange | None:
    """postgresql.conf with our file included at its end, None where it is read already."""
    main, path = host.instance.main_file, host.instance.settings_file
    probe = _Overlay(host.files, path, "pgtandem.probe = on\n")
    if any(setting.name == "pgtandem.probe" for setting in read_settings(main, t.cast(t.Any, probe))):
        return None
    before = host.files.read_text(main, as_written=True)
    text = before or ""
    if text and not text.endswith("\n"):
        text += "\n"
    name = os.path.relpath(path, os.path.dirname(main))
    text += "\n# Settings of pgtandem.replication; the last assignment of a parameter wins.\n"
    text += f"include_if_exists = '{name}'\n"
    return FileChange(main, before, text, host.files.mode(main) or 0o640)


def hba_path(host: Host, said: t.Mapping[str, str]) -> str:
    """pg_hba.conf, where the server finds it."""
    return _rules_path(host, said, "hba_file", "pg_hba.conf")


def ident_path(host: Host, said: t.Mapping[str, str]) -> str:
    """pg_ident.conf, where the server finds it."""
    return _rules_path(host, said, "ident_file", "pg_ident.conf")


def _rules_path(host: Host, said: t.Mapping[str, str], parameter: str, name: str) -> str:
    path = said.get(parameter)
    if path and not path.startswith("/"):
        raise ReplicationError(
            f"{parameter} of {host.instance.data_directory} is {shown(path)}, which depends on the folder that the "
            "server is started in. Write an absolute path there, and run again."
        )
    # Unless it is told, a server looks in the folder that it is started with (-D), and not beside its config_file.
    within = f"{host.instance.data_directory}/{name}"
    return path or (within if host.files.lies(within) else f"{host.instance.config_directory}/{name}")


#: Whether there is TLS, and the files of it that a server reads again when it reloads.
TLS_SETTINGS = ("ssl", "ssl_cert_file", "ssl_key_file", "ssl_ca_file")


class InUse(t.NamedTuple):
    """What a running server uses, wherever it has it from; empty and None where that is not known."""

    hba_file: str = ""
    ident_file: str = ""
    #: Only where it is from no file: the command line, the role or the database that is logged in to.
    password_encryption: str | None = None
    #: Of TLS_SETTINGS.
    tls: t.Mapping[str, str | None] = {}


def in_use(rows: t.Iterable[t.Mapping[str, t.Any]]) -> InUse:
    """From rows of pg_settings.

    >>> in_use([{"name": "password_encryption", "setting": "md5", "source": "user"}]).password_encryption
    'md5'
    """
    found = {row["name"]: row for row in rows}
    encryption = found.get("password_encryption") or {"source": "default"}
    return InUse(
        hba_file=found["hba_file"]["setting"] if "hba_file" in found else "",
        ident_file=found["ident_file"]["setting"] if "ident_file" in found else "",
        password_encryption=None
        if encryption["source"] in ("default", "configuration file")
        else encryption["setting"],
        tls={name: found[name]["setting"] for name in TLS_SETTINGS if name in found},
    )


def known_by_name(peers: t.Iterable[tuple[str, int]]) -> list[str]:
    """The hosts among these that are known by name.

    >>> known_by_name([("pg2.example.com", 5432), ("10.0.0.3", 5432)])
    ['pg2.example.com']
    """
    return sorted({host for host, _port in peers if is_host_name(host)})


def _used_and_next(host: Host, used: str, after: str) -> list[str]:
    """The file that the running server reads, and the one that it reads after its next start where that is another."""
    if used and host.files.real_path(used) != host.files.real_path(after):
        return [used, after]
    return [used or after]


def hba_changes(
    host: Host,
    rules: t.Sequence[HbaRule],
    *,
    in_force: t.Mapping[str, str],
    used: InUse,
    named: t.Collection[str] = (),
) -> list[FileChange]:
    """pg_hba.conf with our block; the method C(auto) becomes what fits how this server stores passwords.

    C(named) are hosts that are known by name. A server takes a name only where its look-up leads there and back; where
    it does not, there are rules for the addresses as well.
    """
    encryption = used.password_encryption or in_force.get("password_encryption")
    method = default_auth_method(host.instance.version, encryption)
    rules = [rule._replace(method=method) if rule.method == "auto" else rule for rule in rules]
    found = []
    lookups = {name: look_up(name) for name in named}
    for path in _used_and_next(host, used.hba_file, hba_path(host, in_force)):
        before = host.files.read_text(path, as_written=True)
        mode = host.files.mode(path) or 0o640
        beside = {
            # Where nothing is known for the moment, what was known stays.
            name: found_there.addresses or addresses_beside(before or "", rules, name)
            for name, found_there in lookups.items()
            if not found_there.leads_back
        }
        after = replace_block(before or "", with_addresses(rules, beside))
        found.append(FileChange(path, before, after, mode, is_hba=True))
    return found


def ident_changes(
    host: Host, rules: t.Sequence[IdentRule], *, in_force: t.Mapping[str, str], used: InUse
) -> list[FileChange]:
    """pg_ident.conf with our block."""
    found = []
    for path in _used_and_next(host, used.ident_file, ident_path(host, in_force)):
        before = host.files.read_text(path, as_written=True)
        after = replace_ident_block(before or "", rules)
        before = before if before is not None or after else ""
        found.append(FileChange(path, before, after, host.files.mode(path) or 0o640))
    return found


def unread_files(host: Host, paths: t.Iterable[str], loaded: float) -> list[str]:
    """Those of a server's files that were changed, exchanged or removed since it read them."""
    found = []
    for path in sorted(set(paths)):
        seen = host.files.stat(path)
        # What takes a file's place may be older than the file that it replaces.
        if seen is None or max(seen.st_mtime, seen.st_ctime) > loaded:
            found.append(path)
    return found


def certificate_paths(host: Host, settings: t.Mapping[str, str | None]) -> list[str]:
    """The files of TLS that a server with these settings reads again when it reloads, as far as they can be seen."""
    said = [settings.get(name) for name in TLS_SETTINGS[1:]] if settings.get("ssl") == "on" else []
    paths = [os.path.join(host.instance.data_directory, path) for path in said if path]
    return [path for path in paths if host.files.exists(path)]


def passfile_path(host: Host) -> str:
    """The password file; before 10 a connection string cannot name one, and libpq reads only the account's own."""
    if supports(host.instance.version, "passfile_in_conninfo"):
        return host.instance.passfile
    return f"{account(host.instance.os_user).pw_dir}/.pgpass"


def passfile_change(host: Host, *, peers: t.Sequence[tuple[str, int]], user: str, password: str) -> FileChange:
    """The password file with a line for every other host of the cluster, so that any of them can be the upstream."""
    path = passfile_path(host)
    before = host.files.read_text(path)
    if before is not None and not before.startswith(PASSFILE_HEADER):
        raise ReplicationError(
            f"{path} is a password file that something else wrote. Name another file in pgtandem_passfile, or move it "
            "away."
        )
    lines = sorted({passfile_line(host=address, port=port, user=user, password=password) for address, port in peers})
    return FileChange(path, before, PASSFILE_HEADER + "".join(line + "\n" for line in lines), 0o600, secret=True)


def recovery_change(
    host: Host, *, conninfo: str, slot: str | None, recovery: t.Mapping[str, str] | None = None
) -> FileChange:
    """What makes the instance a standby: an empty standby.signal, or recovery.conf before 12."""
    directory = host.instance.data_directory
    if supports(host.instance.version, "standby_signal"):
        path = f"{directory}/standby.signal"
        before = host.files.read_text(path)
        return FileChange(path, before, before or "", 0o600)
    path = f"{directory}/recovery.conf"
    values = {"standby_mode": "on", "primary_conninfo": conninfo, "recovery_target_timeline": "latest"}
    if slot:
        values["primary_slot_name"] = slot
    values.update(recovery or {})
    return FileChange(path, host.files.read_text(path), render_settings(values, _RECOVERY_HEADER), 0o600)


def overriding(host: Host, values: t.Mapping[str, str]) -> list[Setting]:
    """Assignments that would win over ours: later files, and whatever ALTER SYSTEM wrote."""
    path = host.instance.settings_file
    winners = settings_to_be(host, values).winners()
    return [
        winners[name]
        for name in sorted(values)
        if name in winners and winners[name].path != path and winners[name].value != values[name]
    ]


def refuse_overridden_connection(host: Host, winners: t.Sequence[Setting]) -> None:
    """A stale primary_conninfo would make the standby follow somebody else, so it stops the run."""
    bad = [setting for setting in winners if setting.name in ("primary_conninfo", "primary_slot_name")]
    if bad:
        where = "; ".join(f"{setting.name} in {setting.path} line {setting.line}" for setting in bad)
        auto = host.instance.auto_file
        names = ", ".join(
            f"ALTER SYSTEM RESET {setting.name}" if setting.path == auto else f"with an editor in {setting.path}"
            for setting in bad
        )
        raise ReplicationError(
            f"{where} would win over the value that the inventory gives "
            f"(PostgreSQL {major_text(host.instance.version)} takes the last one it reads). "
            f"Take it out there ({names}) and run again."
        )
