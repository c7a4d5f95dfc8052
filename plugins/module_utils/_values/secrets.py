# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Secrets in texts that people see: commands, connection strings and URLs as administrators write them.

It is a net below the rule that a secret does not come into a text at all: `restore_command` and `archive_command` are
the user's own, and a message quotes them.
"""

from __future__ import annotations

import re
import typing as t

MASK = "***"

#: Words before a value that is secret. Not "key" alone: sslkey and ssl_key_file are names of files. How far a word may
#: go on before it has an end, so that no text takes long.
_WORDS = (
    r"[A-Za-z0-9_.-]{0,64}(?:passwords?|passwd|passphrase(?:_command)?|(?<=[_-])pass|(?<![A-Za-z])pwd|secret|token"
    r"|credentials?|(?:api|access|account|private|secret|encryption|sas|scram_client|scram_server)[_-]?key)"
)
#: A value: in quotes (also doubled or escaped ones, as a file's line has them), or up to white space.
_VALUE = r"""(?:\\?'(?:\\.|''|[^'\\])*'?|\\?"(?:\\.|[^"\\])*"?|(?:\\.|[^\s'",;&|)\\])+)"""
_ASSIGNED = re.compile(
    rf"(?<![A-Za-z0-9_.-])({_WORDS}[\"']?\s{{0,9}}(?:=|:(?!//))\s{{0,9}})(?!\*\*\*)({_VALUE})", re.IGNORECASE
)
#: An option of a program and its value as the next word.
_OPTION = re.compile(rf"(?<!\S)(--?{_WORDS}\s{{1,9}}|sshpass\s+-p\s{{0,9}})(?!-|\*\*\*)({_VALUE})", re.IGNORECASE)
_HEADER = re.compile(r"(\bauthorization\s{0,9}:\s{0,9}(?:basic|bearer|digest)?\s{0,9})([^\s'\"]+)", re.IGNORECASE)
_URL = re.compile(r"(?<![A-Za-z0-9+.-])([A-Za-z][A-Za-z0-9+.-]{0,20}://[^/?#:@\s'\"]{0,255}:)([^/?\s'\"]{1,1000})(?=@)")
_PEM = re.compile(
    r"(-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----).*?(?:-----END [A-Z ]{0,20}PRIVATE KEY-----|\Z)", re.DOTALL
)


def mask_secrets(text: str) -> str:
    """The text with what looks like a secret struck out.

    >>> mask_secrets("PGPASSWORD=geheim fetch %f %p"), mask_secrets("fetch --password geheim %f")
    ('PGPASSWORD=*** fetch %f %p', 'fetch --password *** %f')
    >>> mask_secrets("curl https://backup:geheim@store/%f"), mask_secrets("passfile=/var/lib/x.pgpass sslkey=/a")
    ('curl https://backup:***@store/%f', 'passfile=/var/lib/x.pgpass sslkey=/a')
    """
    text = _PEM.sub(rf"\1{MASK}", text)
    text = _URL.sub(rf"\1{MASK}", text)
    text = _HEADER.sub(rf"\1{MASK}", text)
    text = _ASSIGNED.sub(_struck_out, text)
    return _OPTION.sub(_struck_out, text)


def _struck_out(found: t.Match[str]) -> str:
    return found.group(1) + MASK
