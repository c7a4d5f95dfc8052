# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""What a copy of a server needs of the host that it is copied to: pure decisions.

A copy brings its databases' locales, the functions of its extensions and its settings along. What they name lies
outside the data directory: in the C library, in ICU, among the server's libraries and in the time zone data.
"""

from __future__ import annotations

import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._values.server_settings import names_in_list

#: Settings that name something outside the data directory, and keep a server or its sessions from starting without it.
PLACE_SETTINGS = ("lc_messages", "lc_monetary", "lc_numeric", "lc_time", "log_timezone", "timezone_abbreviations")
LIBRARY_SETTINGS = ("shared_preload_libraries", "session_preload_libraries", "local_preload_libraries")
TIME_ZONE = "TimeZone"
#: What names places of one host. pg_ident.conf the run makes where it is named, and listen_addresses it sets.
SOCKETS, LOGS, RULES = "unix_socket_directories", "log_directory", "hba_file"
#: Of these the server does not tell whence it has them.
FILE_SETTINGS = ("data_directory", RULES)
CERTIFICATES = ("ssl_cert_file", "ssl_key_file", "ssl_ca_file", "ssl_crl_file")
HOST_SETTINGS = (SOCKETS, "logging_collector", LOGS, "ssl", *CERTIFICATES)
COPIED_SETTINGS = (*PLACE_SETTINGS, TIME_ZONE, *LIBRARY_SETTINGS, "dynamic_library_path", *HOST_SETTINGS)
#: Every C library has these.
_PLAIN_LOCALES = ("", "C", "POSIX")
#: The libraries that come with the server itself lie there as well as those of extensions.
LIBRARY_FOLDER = "$libdir"


class Library(t.NamedTuple):
    """A library that a copy names."""

    name: str
    #: Who names it, as a clause: an extension or a setting.
    wanted_by: str


def locales_of(needs: t.Mapping[str, t.Any]) -> dict[str, list[str]]:
    """The locales that the C library has to know, each with the databases that it is of.

    >>> locales_of({"locales": [{"database": "a", "names": ["de_DE.utf8", "C"]},
    ...     {"database": "b", "names": ["de_DE.utf8", None]}]})
    {'de_DE.utf8': ['a', 'b']}
    """
    found: dict[str, list[str]] = {}
    for row in needs.get("locales") or ():
        for name in dict.fromkeys(row["names"]):
            if name not in (None, *_PLAIN_LOCALES):
                found.setdefault(str(name), []).append(str(row["database"]))
    return found


def libraries_of(needs: t.Mapping[str, t.Any]) -> list[Library]:
    """The libraries that the server has to load, each once.

    >>> libraries_of({"libraries": [{"library": "$libdir/postgis-3", "extension": "postgis", "database": "maps"}],
    ...     "settings": {"shared_preload_libraries": "pg_stat_statements"}})[1]
    Library(name='pg_stat_statements', wanted_by='shared_preload_libraries')
    """
    found: dict[str, str] = {}
    for row in needs.get("libraries") or ():
        what = f"extension {row['extension']}" if row["extension"] else "functions"
        found.setdefault(str(row["library"]), f"{what} of database {row['database']}")
    settings = needs.get("settings") or {}
    for setting in LIBRARY_SETTINGS:
        for name in names_in_list(str(settings.get(setting) or "")):
            found.setdefault(name, setting)
    return [Library(name, wanted_by) for name, wanted_by in found.items()]


def places_of_library(name: str, folder: str, path: str = "") -> list[str]:
    """Where a server looks for a library, whose own folder is `folder` (manual, dynamic_library_path).

    >>> places_of_library("$libdir/postgis-3", "/lib"), places_of_library("auto_explain", "/lib", "$libdir:/opt")
    (['/lib/postgis-3'], ['/lib/auto_explain', '/opt/auto_explain'])
    """
    places = [name] if "/" in name else [f"{one}/{name}" for one in (path or LIBRARY_FOLDER).split(":")]
    return [place.replace(LIBRARY_FOLDER, folder, 1) for place in places]


def places_of_settings(needs: t.Mapping[str, t.Any]) -> dict[str, str]:
    """The settings that come with the copy and that the server's own program can judge."""
    settings = needs.get("settings") or {}
    return {name: str(settings[name]) for name in (*PLACE_SETTINGS, TIME_ZONE) if settings.get(name)}


class Needed(t.NamedTuple):
    """A place that a setting which comes with the copy names, without which the server does not start."""

    setting: str
    path: str
    is_folder: bool


def places_of_host(needs: t.Mapping[str, t.Any]) -> list[Needed]:
    """The places of a host that settings in a data directory name; what is relative comes with the copy.

    >>> places_of_host({"settings": {"unix_socket_directories": "/run/pg, @x", "log_directory": "/var/log/pg"}})
    [Needed(setting='unix_socket_directories', path='/run/pg', is_folder=True)]
    >>> places_of_host({"settings": {"logging_collector": "on", "log_directory": "/var/log/pg"}})
    [Needed(setting='log_directory', path='/var/log', is_folder=True)]
    """
    settings = {name: str(value) for name, value in (needs.get("settings") or {}).items()}
    found = [Needed(SOCKETS, name, True) for name in names_in_list(settings.get(SOCKETS, "")) if name.startswith("/")]
    if settings.get("logging_collector") == "on" and settings.get(LOGS, "").startswith("/"):
        # The server makes the folder itself, and nothing above it.
        found.append(Needed(LOGS, settings[LOGS].rstrip("/").rpartition("/")[0] or "/", True))
    if settings.get(RULES, "").startswith("/"):
        # One with the collection's rules alone would let nobody in.
        found.append(Needed(RULES, settings[RULES], False))
    if settings.get("ssl") == "on":
        found += [
            Needed(name, settings[name], False) for name in CERTIFICATES if settings.get(name, "").startswith("/")
        ]
    return found


def missing_locales(wanted: t.Mapping[str, t.Sequence[str]], unknown: t.Collection[str]) -> str:
    """A sentence for the locales that this host does not have; empty where it has all.

    >>> missing_locales({"de_DE.utf8": ["a", "b"]}, ["de_DE.utf8"])
    "Its C library does not know the locale 'de_DE.utf8' (databases a, b)."
    """
    said = [
        f"{name!r} ({'databases' if len(wanted[name]) > 1 else 'database'} {', '.join(wanted[name][:3])}"
        + (f" and {len(wanted[name]) - 3} more)" if len(wanted[name]) > 3 else ")")
        for name in sorted(unknown)
    ]
    many = "locales" if len(said) > 1 else "locale"
    return f"Its C library does not know the {many} {', '.join(said)}." if said else ""


def icu_problem(needs: t.Mapping[str, t.Any], ours: str | None) -> str:
    """A sentence where databases sort by ICU and the server here was built without it; empty otherwise.

    Empty texts stand for a server without ICU; None for one of which that is not known.

    >>> icu_problem({"icu": {"databases": ["a"], "library": "72"}}, "")
    'Database a sorts by ICU, and the server program here was built without it.'
    >>> icu_problem({"icu": {"databases": ["a"], "library": "72"}}, None)
    ''
    """
    icu = needs.get("icu") or {}
    if not icu.get("databases") or not icu.get("library") or ours != "":
        return ""
    names = ", ".join(str(name) for name in icu["databases"])
    one = len(icu["databases"]) == 1
    return (
        f"{'Database' if one else 'Databases'} {names} {'sorts' if one else 'sort'} by ICU, and the server program "
        "here was built without it."
    )
