# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Where an instance lives: one table of paths for each layout, and a pure function over it."""

from __future__ import annotations

import os.path
import typing as t
from dataclasses import dataclass

from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._values.identities import value_problem
from ansible_collections.pgtandem.replication.plugins.module_utils._versions import (
    DISTRIBUTION_MAJORS,
    major_text,
    parse_major,
)

#: C(service) with this value: no service manager, the server is started by pg_ctl.
NO_SERVICE = "none"


class Paths(t.NamedTuple):
    """A layout's paths; V stands for the major version, I for the instance's name."""

    bin_directory: str
    data_directory: str
    config_directory: str
    service: str
    log_file: str


#: Debian: postgresql-common's README. Red Hat: the packages of PGDG; no test covers it yet.
LAYOUTS: dict[str, Paths] = {
    "debian": Paths(
        "/usr/lib/postgresql/{V}/bin",
        "/var/lib/postgresql/{V}/{I}",
        "/etc/postgresql/{V}/{I}",
        "postgresql@{V}-{I}",
        "/var/log/postgresql/postgresql-{V}-{I}.log",
    ),
    "redhat": Paths("/usr/pgsql-{V}/bin", "/var/lib/pgsql/{V}/data", "", "postgresql-{V}", ""),
    "custom": Paths("", "", "", "postgresql-{V}-{I}", ""),
}


#: In Debian's configuration folder while it is being made.
CREATING = ".pgtandem-creating"


#: Certificates and keys are beside the data directory, where no base backup takes them along.
TLS_SUFFIX = ".tls"
#: A certificate and its key are in one file each, so that a power cut never leaves the one without the other.
SERVER_PEM = "server.pem"
CLIENT_PEM = "client.pem"
AUTHORITY_PEM = "authority.pem"


@dataclass(frozen=True)
class InstanceOptions:
    """What the user said of an instance; an empty text means the layout decides."""

    layout: str = "auto"
    version: str = ""
    instance: str = "main"
    port: int = 5432
    bin_directory: str = ""
    client_bin_directory: str = ""
    data_directory: str = ""
    config_directory: str = ""
    service: str = ""
    os_user: str = "postgres"
    log_file: str = ""
    passfile: str = ""


@dataclass(frozen=True)
class HostFacts:
    """What decides between layouts on a host."""

    distribution: str = ""
    codename: str = ""
    families: tuple[str, ...] = ()
    has_systemd: bool = False
    is_root: bool = False
    #: (major, name) of each cluster that postgresql-common knows.
    clusters: tuple[tuple[str, str], ...] = ()
    #: Version number of the server program in C(bin_directory), None where there is none.
    program_version: int | None = None
    #: C(data_directory) in an existing postgresql.conf outside the data directory.
    configured_data_directory: str | None = None


@dataclass(frozen=True)
class Instance:
    """An instance with everything derived; whether any of it exists is another question."""

    layout: str
    #: The lowest version number of the major, or the installed program's.
    version: int
    name: str
    port: int
    bin_directory: str
    client_bin_directory: str
    data_directory: str
    config_directory: str
    #: systemd unit without its suffix, C(none) for pg_ctl.
    service: str
    #: systemd, pg_ctlcluster or pg_ctl.
    manager: str
    os_user: str
    log_file: str
    passfile: str
    installed: bool

    @property
    def major(self) -> str:
        """The major version as users write it."""
        return major_text(self.version)

    @property
    def main_file(self) -> str:
        """postgresql.conf"""
        return f"{self.config_directory}/postgresql.conf"

    @property
    def settings_file(self) -> str:
        """The one file of settings that the collection owns."""
        folder = f"{self.config_directory}/conf.d" if self.layout == "debian" else self.config_directory
        return f"{folder}/99-pgtandem.conf" if self.layout == "debian" else f"{folder}/pgtandem.conf"

    @property
    def tls_directory(self) -> str:
        """The folder of certificates and keys."""
        return self.data_directory + TLS_SUFFIX

    @property
    def auto_file(self) -> str:
        """What ALTER SYSTEM writes; it wins over every other file."""
        return f"{self.data_directory}/postgresql.auto.conf"

    def program(self, name: str) -> str:
        """A server program's path."""
        return f"{self.bin_directory}/{name}"

    def client_program(self, name: str) -> str:
        """A client program's path."""
        return f"{self.client_bin_directory}/{name}"

    def as_result(self) -> dict[str, t.Any]:
        """Plain values for a module's result; they can be given back to any module as options."""
        return {
            "layout": self.layout,
            "version": self.major,
            "instance": self.name,
            "port": self.port,
            "bin_directory": self.bin_directory,
            "client_bin_directory": self.client_bin_directory,
            "data_directory": self.data_directory,
            "config_directory": self.config_directory,
            "service": self.service,
            "os_user": self.os_user,
            "log_file": self.log_file,
            "passfile": self.passfile,
        }


def choose_layout(options: InstanceOptions, facts: HostFacts) -> str:
    """The layout that C(auto) means on a host."""
    if options.layout != "auto":
        return options.layout
    if options.bin_directory:
        return "custom"
    if "debian" in facts.families:
        return "debian"
    if {"rhel", "fedora", "centos"} & set(facts.families):
        return "redhat"
    raise ReplicationError(
        f"This host's distribution ({facts.distribution or 'unknown'}) has no layout of its own here. Set "
        "pgtandem_layout: custom with pgtandem_bin_directory and pgtandem_data_directory."
    )


def choose_version(options: InstanceOptions, facts: HostFacts, layout: str) -> int:
    """The version: said, found in the program, found as an existing cluster, or the distribution's."""
    said = parse_major(options.version) if options.version else None
    if facts.program_version is not None and (said is None or major_text(facts.program_version) == major_text(said)):
        return facts.program_version
    if facts.program_version is not None and said is not None:
        raise ReplicationError(
            f"{options.bin_directory}/postgres is PostgreSQL {major_text(facts.program_version)}, but the version "
            f"asked for is {major_text(said)}. Correct pgtandem_version or pgtandem_bin_directory for this host."
        )
    if said is not None:
        return said
    if layout == "debian":
        of_name = [major for major, name in facts.clusters if name == options.instance]
        if len(of_name) == 1:
            return parse_major(of_name[0])
        if len(of_name) > 1:
            raise ReplicationError(
                f"This host has clusters named {options.instance!r} of versions {', '.join(sorted(of_name))}. "
                "Say which one in pgtandem_version."
            )
        if facts.codename in DISTRIBUTION_MAJORS:
            return parse_major(DISTRIBUTION_MAJORS[facts.codename])
    if layout == "custom":
        raise ReplicationError(
            f"There is no program {options.bin_directory or '(pgtandem_bin_directory is empty)'}/postgres on this "
            "host. The custom layout uses a PostgreSQL that is there already: install it or correct "
            "pgtandem_bin_directory."
        )
    raise ReplicationError("The version cannot be derived on this host. Set pgtandem_version, such as 17.")


def _require(name: str, value: str) -> None:
    problem = value_problem(name, value)
    if problem:
        raise ReplicationError(f"{problem} Correct it for this host.")


def resolve(options: InstanceOptions, facts: HostFacts) -> Instance:
    """Everything about an instance from what was said and what the host is."""
    layout = choose_layout(options, facts)
    version = choose_version(options, facts, layout)
    paths = LAYOUTS[layout]
    for name in ("instance", "service", "os_user"):
        _require(name, getattr(options, name))

    def fill(pattern: str) -> str:
        return pattern.format(V=major_text(version), I=options.instance)

    data = options.data_directory or facts.configured_data_directory or fill(paths.data_directory)
    if not data:
        raise ReplicationError("The custom layout needs pgtandem_data_directory for this host.")
    for name in ("bin_directory", "client_bin_directory", "config_directory", "log_file", "passfile"):
        _require(name, getattr(options, name))
    _require("data_directory", data)
    data = os.path.normpath(data)
    service = options.service or fill(paths.service)
    if service != NO_SERVICE and facts.has_systemd and facts.is_root:
        manager = "systemd"
    elif layout == "debian" and service != NO_SERVICE:
        manager = "pg_ctlcluster"
    else:
        manager = "pg_ctl"
    binaries = options.bin_directory or fill(paths.bin_directory)
    return Instance(
        layout=layout,
        version=version,
        name=options.instance,
        port=options.port,
        bin_directory=binaries,
        client_bin_directory=options.client_bin_directory or binaries,
        data_directory=data,
        config_directory=options.config_directory or fill(paths.config_directory) or data,
        service=service,
        manager=manager,
        os_user=options.os_user,
        log_file=options.log_file or fill(paths.log_file) or data + ".log",
        passfile=options.passfile or data + ".pgpass",
        installed=facts.program_version is not None,
    )
