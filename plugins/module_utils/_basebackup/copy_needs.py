# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""What a copy needs of its host: read from the server that is copied, and looked for on the host it is copied to."""

from __future__ import annotations

import contextlib
import locale
import os
import re
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._configuration.configuration import judge_settings
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import DatabaseError, ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host
from ansible_collections.pgtandem.replication.plugins.module_utils._host.server import Login, open_database
from ansible_collections.pgtandem.replication.plugins.module_utils._host.server_settings import read_server_settings
from ansible_collections.pgtandem.replication.plugins.module_utils._system.database import Database
from ansible_collections.pgtandem.replication.plugins.module_utils._system.processes import Postmaster
from ansible_collections.pgtandem.replication.plugins.module_utils._system.runner import LOOKING_SECONDS
from ansible_collections.pgtandem.replication.plugins.module_utils._system.server_libraries import library_folder
from ansible_collections.pgtandem.replication.plugins.module_utils._values.copy_needs import (
    COPIED_SETTINGS,
    FILE_SETTINGS,
    RULES,
    SOCKETS,
    icu_problem,
    libraries_of,
    locales_of,
    missing_locales,
    places_of_host,
    places_of_library,
    places_of_settings,
)

#: row_to_json knows the columns that not every version has.
_DATABASES = """
SELECT datname AS database, datcollate AS collate, datctype AS ctype, row_to_json(d) ->> 'datlocprovider' AS provider
FROM pg_database d WHERE datallowconn ORDER BY datname
"""
#: The server's own objects are below this identifier (FirstNormalObjectId).
_LIBRARIES = """
SELECT DISTINCT p.probin AS library, e.extname AS extension FROM pg_proc p
LEFT JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
 AND d.refclassid = 'pg_extension'::regclass
LEFT JOIN pg_extension e ON e.oid = d.refobjid
WHERE p.probin IS NOT NULL AND p.probin <> '' AND p.oid >= 16384 ORDER BY 1, 2
"""
_COLLATIONS = """
SELECT coalesce(row_to_json(c) ->> 'collprovider', 'c') AS provider, collcollate AS collate, collctype AS ctype
FROM pg_collation c WHERE oid >= 16384
"""
_SETTINGS = "SELECT name, setting, sourcefile FROM pg_settings WHERE sourcefile IS NOT NULL AND name = ANY (%s)"


def read_copy_needs(host: Host, login: Login, postmaster: Postmaster | None, database: Database) -> dict[str, t.Any]:
    """What a copy of the server of this session needs of its host."""
    databases = database.rows(_DATABASES)
    locales = [{"database": row["database"], "names": [row["collate"], row["ctype"]]} for row in databases]
    icu = [row["database"] for row in databases if row["provider"] == "i"]
    libraries: list[dict[str, t.Any]] = []
    for row in databases:
        name = row["database"]
        # What one database does not tell its standby finds out later; it is no reason to make none.
        with contextlib.suppress(DatabaseError), open_database(host, login._replace(dbname=name), postmaster) as inside:
            libraries += [{**one, "database": name} for one in inside.rows(_LIBRARIES)]
            own = inside.rows(_COLLATIONS)
            locales += [
                {"database": name, "names": [one["collate"], one["ctype"]]} for one in own if one["provider"] == "c"
            ]
            if name not in icu and any(one["provider"] == "i" for one in own):
                icu.append(name)
    return {
        "locales": locales,
        "icu": {"databases": icu, "library": icu_version(host) if icu else None},
        "libraries": libraries,
        "settings": _copied_settings(host, database),
    }


def _copied_settings(host: Host, database: Database) -> dict[str, str]:
    """The settings that lie in the data directory, but for those that are written there anew."""
    directory = host.files.real_path(host.instance.data_directory)
    managed = host.files.real_path(host.instance.settings_file)
    found = {}
    for row in database.rows(_SETTINGS, [list(COPIED_SETTINGS)]):
        path = host.files.real_path(row["sourcefile"])
        if path.startswith(directory + "/") and path != managed:
            found[row["name"]] = row["setting"]
    winners = read_server_settings(host).winners()
    for name in FILE_SETTINGS:
        if name in winners and host.files.real_path(winners[name].path).startswith(directory + "/"):
            found[name] = winners[name].value
    return found


def icu_version(host: Host) -> str | None:
    """The version of ICU that the server program here is linked with; empty where it has none, None if not known."""
    program = host.instance.program("postgres")
    try:
        answer = host.runner.run(
            ["ldd", program], user=host.files.program_owner(), check=False, seconds=LOOKING_SECONDS
        )
    except (ReplicationError, OSError):
        return None
    if answer.status != 0:
        return None
    found = re.search(r"\blibicui18n\.so\.(\d+)", answer.stdout)
    return found.group(1) if found else ""


def _unknown_locales(names: t.Iterable[str]) -> list[str]:
    """Those that the C library does not know, which is the server's own test as well (setlocale)."""
    before = locale.setlocale(locale.LC_CTYPE)
    unknown = []
    try:
        for name in names:
            try:
                locale.setlocale(locale.LC_CTYPE, name)
            except (locale.Error, ValueError):
                unknown.append(name)
    finally:
        locale.setlocale(locale.LC_CTYPE, before)
    return unknown


def lacking(host: Host, needs: t.Mapping[str, t.Any]) -> list[str]:
    """What this host lacks for a copy of the server that needs it, as sentences, each with its remedy."""
    wanted = locales_of(needs)
    problems = []
    unknown = missing_locales(wanted, _unknown_locales(wanted))
    if unknown:
        problems.append(f"{unknown} Make it here as it is there (Debian: locale-gen, or the package locales-all).")
    icu = icu_problem(needs, icu_version(host)) if (needs.get("icu") or {}).get("databases") else ""
    if icu:
        problems.append(f"{icu} Install a server that was built with ICU.")
    return problems + _missing_libraries(host, needs) + _wrong_settings(host, needs) + _missing_places(host, needs)


def _missing_places(host: Host, needs: t.Mapping[str, t.Any]) -> list[str]:
    """Settings of the upstream's host that come with the copy and do not fit here."""
    problems = []
    directory = str((needs.get("settings") or {}).get("data_directory") or "")
    if directory and host.files.real_path(directory) != host.files.real_path(host.instance.data_directory):
        problems.append(
            f"data_directory = {directory!r} comes with the copy, and the server here would work there and not in "
            f"{host.instance.data_directory}. Take that line out there."
        )
    inside = host.instance.data_directory + "/"
    places = [place for place in places_of_host(needs) if not place.path.startswith(inside)]
    missing = [
        place
        for place in places
        if not (host.files.is_folder(place.path) if place.is_folder else host.files.exists(place.path))
    ]
    sockets = [place for place in places if place.setting == SOCKETS]
    for place in missing:
        # One folder for its sockets is enough for a server.
        if place.setting != SOCKETS or all(one in missing for one in sockets):
            otherwise = f"say ALTER SYSTEM RESET {RULES} there"
            if place.setting != RULES:
                otherwise = f"set {place.setting} in pgtandem_parameters"
            problems.append(
                f"{place.setting} comes with the copy, and there is no {place.path} here. Make it here as it is there, "
                f"or {otherwise}."
            )
    return problems


def _missing_libraries(host: Host, needs: t.Mapping[str, t.Any]) -> list[str]:
    folder = library_folder(host.files, host.instance.bin_directory)
    if folder is None:
        return []
    path = str((needs.get("settings") or {}).get("dynamic_library_path") or "")
    missing = []
    for library in libraries_of(needs):
        places = places_of_library(library.name, folder, path)
        if not any(host.files.exists(place) or host.files.exists(f"{place}.so") for place in places):
            missing.append(f"{os.path.basename(library.name)} ({library.wanted_by})")
    if not missing:
        return []
    return [
        f"Its PostgreSQL lacks the {'libraries' if len(missing) > 1 else 'library'} {', '.join(missing)} in {folder}. "
        "Install the packages that the upstream has."
    ]


def _wrong_settings(host: Host, needs: t.Mapping[str, t.Any]) -> list[str]:
    settings = places_of_settings(needs)
    if not settings:
        return []
    try:
        judge_settings(host, settings)
        return []
    except ReplicationError as error:
        said = "; ".join(error.details.get("problems") or [error.message])
    return [
        f"Its PostgreSQL refuses settings that come with the copy: {said}. Install the locale or the time zone data "
        "here (Debian: locales-all, tzdata, tzdata-legacy), or set another value there."
    ]
