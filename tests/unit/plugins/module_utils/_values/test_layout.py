# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where an instance lives: one row a host and a set of options."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._values.layout import (
    HostFacts,
    InstanceOptions,
    resolve,
)

DEBIAN = HostFacts("debian", "bookworm", ("debian",), has_systemd=True, is_root=True)
UBUNTU = HostFacts("ubuntu", "noble", ("ubuntu", "debian"), has_systemd=True, is_root=True)
ROCKY = HostFacts("rocky", "", ("rocky", "rhel", "centos", "fedora"), has_systemd=True, is_root=True)
ALPINE = HostFacts("alpine", "", ("alpine",), is_root=True)
CUSTOM = InstanceOptions(bin_directory="/opt/pg/bin", data_directory="/data/pg/")


def on(facts: HostFacts, **more: t.Any) -> HostFacts:
    return HostFacts(**{**facts.__dict__, **more})


RESOLVED = [
    pytest.param(
        InstanceOptions(), DEBIAN,
        {"layout": "debian", "version": 150000, "bin_directory": "/usr/lib/postgresql/15/bin", "installed": False,
         "data_directory": "/var/lib/postgresql/15/main", "config_directory": "/etc/postgresql/15/main",
         "service": "postgresql@15-main", "manager": "systemd", "passfile": "/var/lib/postgresql/15/main.pgpass",
         "log_file": "/var/log/postgresql/postgresql-15-main.log",
         "settings_file": "/etc/postgresql/15/main/conf.d/99-pgtandem.conf"},
        id="debian",
    ),
    pytest.param(InstanceOptions(), UBUNTU, {"layout": "debian", "version": 160000}, id="a descendant of debian"),
    pytest.param(
        InstanceOptions(instance="two"), on(DEBIAN, clusters=(("15", "main"), ("13", "two"))), {"version": 130000},
        id="the version of the one cluster of that name",
    ),
    pytest.param(
        InstanceOptions(), on(DEBIAN, program_version=150018), {"version": 150018, "major": "15", "installed": True},
        id="the installed program's version",
    ),
    pytest.param(
        InstanceOptions(), on(DEBIAN, configured_data_directory="/srv/pg/15"), {"data_directory": "/srv/pg/15"},
        id="the data directory that postgresql.conf says",
    ),
    pytest.param(
        InstanceOptions(), on(DEBIAN, has_systemd=False), {"manager": "pg_ctlcluster"}, id="debian without systemd"
    ),
    pytest.param(
        InstanceOptions(version="17"), ROCKY,
        {"layout": "redhat", "bin_directory": "/usr/pgsql-17/bin", "data_directory": "/var/lib/pgsql/17/data",
         "config_directory": "/var/lib/pgsql/17/data", "service": "postgresql-17",
         "settings_file": "/var/lib/pgsql/17/data/pgtandem.conf"},
        id="redhat",
    ),
    pytest.param(
        CUSTOM, on(ALPINE, program_version=120022),
        {"layout": "custom", "version": 120022, "data_directory": "/data/pg", "config_directory": "/data/pg",
         "manager": "pg_ctl", "log_file": "/data/pg.log", "passfile": "/data/pg.pgpass",
         "client_bin_directory": "/opt/pg/bin"},
        id="custom",
    ),
    pytest.param(
        InstanceOptions(**{**CUSTOM.__dict__, "service": "none"}), on(DEBIAN, program_version=150018),
        {"manager": "pg_ctl"}, id="custom without a service",
    ),
    pytest.param(
        InstanceOptions(**CUSTOM.__dict__), on(DEBIAN, program_version=150018, is_root=False), {"manager": "pg_ctl"},
        id="without root systemd is of no use",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("options", "facts", "expected"), RESOLVED)
def test_resolve(options: InstanceOptions, facts: HostFacts, expected: dict[str, t.Any]) -> None:
    instance = resolve(options, facts)
    assert {name: getattr(instance, name) for name in expected} == expected


def test_what_is_derived_can_be_given_back() -> None:
    facts = on(DEBIAN, program_version=150018)
    instance = resolve(InstanceOptions(), facts)
    assert resolve(InstanceOptions(**instance.as_result()), facts) == instance


REFUSED = [
    pytest.param(InstanceOptions(), ALPINE, "has no layout of its own here", id="unknown distribution"),
    pytest.param(
        InstanceOptions(), on(DEBIAN, clusters=(("13", "main"), ("15", "main"))), "of versions 13, 15",
        id="two clusters",
    ),
    pytest.param(CUSTOM, DEBIAN, "There is no program /opt/pg/bin/postgres", id="custom without programs"),
    pytest.param(
        InstanceOptions(version="17", bin_directory="/opt/pg/bin"), on(DEBIAN, program_version=150018),
        "is PostgreSQL 15, but the version asked for is 17", id="another version's programs",
    ),
    pytest.param(
        InstanceOptions(layout="custom", bin_directory="/opt/pg/bin"), on(DEBIAN, program_version=150018),
        "needs pgtandem_data_directory", id="custom without data directory",
    ),
    pytest.param(
        InstanceOptions(layout="custom", bin_directory="/opt/pg/bin", data_directory="data"),
        on(DEBIAN, program_version=150018), "pgtandem_data_directory is 'data'; it is to be an absolute", id="relative",
    ),
    pytest.param(InstanceOptions(version="15.3"), DEBIAN, "not a major version", id="a minor version"),
    pytest.param(InstanceOptions(version="9.3"), DEBIAN, "is not supported", id="too old"),
    pytest.param(InstanceOptions(), ROCKY, "The version cannot be derived", id="redhat without a version"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "facts", "message"), REFUSED)
def test_refused(options: InstanceOptions, facts: HostFacts, message: str) -> None:
    with pytest.raises(ReplicationError, match=message):
        resolve(options, facts)
