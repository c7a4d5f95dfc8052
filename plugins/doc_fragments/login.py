# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """How a module logs in to the database; module_utils/_argspec.py has the same options."""

    DOCUMENTATION = r"""
options:
  login_host:
    description: The server's address. By default the local server's socket, through the account O(os_user).
    type: str
    default: ""
    aliases: [host]
  login_port:
    description: The server's port; by default the port that the local server listens on.
    type: int
    default: 0
  login_user:
    description: The role to log in as; by default the name in O(os_user).
    type: str
    default: ""
    aliases: [login]
  login_password:
    description: The password of O(login_user).
    type: str
  login_unix_socket:
    description: The folder of the server's socket; by default the one the local server says.
    type: path
    default: ""
    aliases: [unix_socket]
  login_db:
    description: The database to connect to.
    type: str
    default: postgres
  ssl_mode:
    description: Whether TLS is used for a connection to O(login_host); the values are libpq's.
    type: str
    choices: [allow, disable, prefer, require, verify-ca, verify-full]
    default: prefer
  ca_cert:
    description: The file of the certificate authority.
    type: path
    aliases: [ssl_rootcert]
  ssl_cert:
    description: The file of the client's certificate.
    type: path
  ssl_key:
    description: The file of the client's key.
    type: path
  connect_params:
    description: Any other connection parameters of libpq.
    type: dict
    default: {}
requirements:
  - psycopg (3.1 or newer) or psycopg2 on the host that runs the module
"""
