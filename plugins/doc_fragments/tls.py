# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Certificates for encrypted connections; module_utils/_argspec.py has the same options."""

    DOCUMENTATION = r"""
options:
  tls:
    description:
      - Certificates for encrypted connections. The parameters C(ssl), C(ssl_cert_file), C(ssl_key_file) and
        C(ssl_ca_file) follow from them. Without it the module leaves TLS alone.
      - The texts are placed beside the data directory, in the folder DATA_DIRECTORY.tls, which only the server's
        account may enter, a certificate and its key in one file. A text that is left out leaves the file that was
        placed before. New ones are taken over by a reload, which drops no connection.
    type: dict
    suboptions:
      in_place:
        description: The others are paths of files on the host, which are used where they are.
        type: bool
        default: false
      wants_client:
        description: Whether this host shows a certificate of its own to its upstream.
        type: bool
        default: false
      authority:
        description: The certificates of the authorities that are trusted, in PEM.
        type: str
      certificate:
        description: The server's certificate, in PEM, and those that lead from it to the authority.
        type: str
      key_file:
        description: With O(tls.in_place), the file of its private key, without a passphrase.
        type: path
      client_certificate:
        description: The certificate that this host shows to its upstream.
        type: str
      client_key_file:
        description: With O(tls.in_place), the file of its private key.
        type: path
  tls_key:
    description: The private key of O(tls.certificate), in PEM, without a passphrase.
    type: str
  tls_client_key:
    description: The private key of O(tls.client_certificate).
    type: str
  tls_plan:
    description:
      - What the roles know of O(tls). On the controller it becomes O(tls), with certificates that are read or made
        there. It is for the roles, and may change with them.
    type: dict
    default: {}
"""
