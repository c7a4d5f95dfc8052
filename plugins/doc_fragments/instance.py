# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Which instance of PostgreSQL a module works on; module_utils/_argspec.py has the same options."""

    DOCUMENTATION = r"""
options:
  layout:
    description:
      - Where the files of an instance are.
      - V(debian) is what postgresql-common makes, V(redhat) the packages of PGDG, V(custom) any O(bin_directory) and
        O(data_directory).
      - V(auto) is V(custom) where O(bin_directory) is given, and otherwise the distribution's.
    type: str
    choices: [auto, debian, redhat, custom]
    default: auto
  version:
    description:
      - The major version, such as V(17).
      - By default that of the program in O(bin_directory), of the host's one cluster with this name, or of the
        distribution's packages.
    type: str
    default: ""
  instance:
    description: The instance's name; with Debian's layout the cluster's name.
    type: str
    default: main
  port:
    description: The TCP port. A running server's own port is read from it.
    type: int
    default: 5432
  bin_directory:
    description: The folder of the server's programs.
    type: path
    default: ""
  client_bin_directory:
    description: The folder of C(pg_basebackup), C(pg_controldata) and the like, where it is not O(bin_directory).
    type: path
    default: ""
  data_directory:
    description: The data directory.
    type: path
    default: ""
  config_directory:
    description: The folder of C(postgresql.conf) and C(pg_hba.conf); by default the layout's, or O(data_directory).
    type: path
    default: ""
  service:
    description:
      - The systemd unit of the instance. By default the layout's; V(none) starts the server with C(pg_ctl).
      - Without systemd, or without root, it is not used.
    type: str
    default: ""
  os_user:
    description: The account that PostgreSQL runs as.
    type: str
    default: postgres
  log_file:
    description: Where a server that C(pg_ctl) starts writes its messages; by default O(data_directory) with C(.log).
    type: path
    default: ""
  passfile:
    description: The password file of the standby's connection; by default O(data_directory) with C(.pgpass).
    type: path
    default: ""
"""
