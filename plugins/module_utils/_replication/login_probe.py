# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Log in at another server as this host's WAL receiver will: the same user, password file and options."""

from __future__ import annotations

import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._configuration.configuration import passfile_path
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import DatabaseError, ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host
from ansible_collections.pgtandem.replication.plugins.module_utils._instance.instance import Upstream
from ansible_collections.pgtandem.replication.plugins.module_utils._system.database import (
    ReplicationSession,
    Target,
    knock,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.login_advice import login_advice
from ansible_collections.pgtandem.replication.plugins.module_utils._versions import supports

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


#: Has the other server notice within seconds that this host is gone, where it would take hours otherwise.
NOTICE_SOON = "-c tcp_keepalives_idle=2 -c tcp_keepalives_interval=1 -c tcp_keepalives_count=3"


def _target(host: Host, upstream: Upstream, name: str, settings: str) -> Target:
    options = dict(upstream.options, application_name=name)
    if supports(host.instance.version, "passfile_in_conninfo"):
        options["passfile"] = passfile_path(host)
    if supports(host.instance.version, "idle_session_timeout"):
        # The connection that shows the token of a switchover is idle for as long as that takes.
        settings = f"{settings} -c idle_session_timeout=0"
    target = Target(host=upstream.host, port=upstream.port, user=upstream.user, options=options)
    return target.with_settings(settings) if settings else target


def log_in(host: Host, upstream: Upstream, name: str, settings: str = "") -> ReplicationSession:
    """Log in under a name, with settings of the session; a refusal is told in the server's words, with what to do."""
    target = _target(host, upstream, name, settings)
    try:
        return ReplicationSession(target)
    except DatabaseError as error:
        advice = login_advice(error.message, knock(target, replication=True))
        raise DatabaseError(
            f"This host could not follow {upstream.host}:{upstream.port}: it cannot log in there for replication as "
            f"{upstream.user!r}. The server or libpq says: {error.message.rstrip('.')}. {advice}".rstrip(),
            sqlstate=error.sqlstate,
        ) from error


def check_login(host: Host, upstream: Upstream, system_identifier: str) -> dict[str, t.Any]:
    """Log in, see that it is the right system, and end the session."""
    with log_in(host, upstream, "pgtandem-check") as session:
        found = session.identify()
    if system_identifier and found.system_identifier != system_identifier:
        raise ReplicationError(
            f"{upstream.host}:{upstream.port} is of system {found.system_identifier}, and {system_identifier} is "
            "meant: the address leads to another server. Correct pgtandem_address or pgtandem_port."
        )
    return {"system_identifier": found.system_identifier, "timeline": found.timeline, "lsn": found.lsn}


def try_login(host: Host, module: AnsibleModule) -> dict[str, t.Any]:
    """The job of pg_replication_login."""
    parameters = module.params
    upstream = Upstream(
        host=parameters["upstream_host"],
        port=parameters["upstream_port"],
        user=parameters["replication_user"],
        application_name="",
        options={str(name): str(value) for name, value in parameters["upstream_options"].items()},
    )
    return dict(check_login(host, upstream, parameters["system_identifier"]), changed=False)
