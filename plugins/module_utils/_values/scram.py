# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Does a password fit what the server stores for a role? (manual, 55.3 SASL Authentication; pg_authid.rolpassword)"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import stringprep
import unicodedata

_BASE64 = r"((?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?)"
_SCRAM = re.compile(rf"SCRAM-SHA-256\$([0-9]{{1,10}}):{_BASE64}\${_BASE64}:{_BASE64}")
#: Some seconds of work. Who may write a verifier may ask for 2^31 of them, and each would hold a run up for minutes.
_MOST_ITERATIONS = 5_000_000
_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
    stringprep.in_table_a1,
)


def saslprep(password: str) -> str:
    """The password as SCRAM hashes it (RFC 4013). Like the server, one that may not be prepared is taken as it is.

    The server's own order is kept where it differs from the standard's (its saslprep.c): a character in both tables,
    such as the zero width space, becomes a space, and the checks look at the text before it is normalised.
    """
    if password.isascii():
        return password
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char
        for char in password
        if stringprep.in_table_c12(char) or not stringprep.in_table_b1(char)
    )
    if not mapped or any(table(char) for char in mapped for table in _PROHIBITED):
        return password
    right_to_left = [stringprep.in_table_d1(char) for char in mapped]
    if any(right_to_left):
        mixed = any(stringprep.in_table_d2(char) for char in mapped)
        if mixed or not (right_to_left[0] and right_to_left[-1]):
            return password
    return unicodedata.normalize("NFKC", mapped)


def verifier_kind(verifier: str | None) -> str | None:
    """How a stored password is hashed: C(scram-sha-256), C(md5), or None where there is none or it is unknown.

    >>> verifier_kind("md5" + "0" * 32), verifier_kind(None)
    ('md5', None)
    """
    if not verifier:
        return None
    if _SCRAM.fullmatch(verifier):
        return "scram-sha-256"
    return "md5" if re.match(r"^md5[0-9a-f]{32}$", verifier) else None


def password_fits(*, password: str, role: str, verifier: str | None) -> bool:
    """Whether logging in with this password would succeed against the stored verifier."""
    kind = verifier_kind(verifier)
    if kind == "md5":
        digest = hashlib.md5((password + role).encode()).hexdigest()  # the server's own scheme, not our choice
        return hmac.compare_digest("md5" + digest, verifier or "")
    match = _SCRAM.fullmatch(verifier or "")
    if not match or not 1 <= int(match.group(1)) <= _MOST_ITERATIONS:
        return False
    iterations, salt, stored_key = int(match.group(1)), base64.b64decode(match.group(2)), match.group(3)
    salted = hashlib.pbkdf2_hmac("sha256", saslprep(password).encode(), salt, iterations)
    client_key = hmac.new(salted, b"Client Key", hashlib.sha256).digest()
    return hmac.compare_digest(base64.b64encode(hashlib.sha256(client_key).digest()).decode(), stored_key)
