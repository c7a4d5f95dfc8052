# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""What numbers the options of the modules may be; Ansible's argument specification has types alone."""

from __future__ import annotations

import math
import typing as t

_NOT_NEGATIVE = (0, math.inf)
_POSITIVE = (1, math.inf)
_PORT = (1, 65535)
#: By the name of the option, wherever it stands; an option of the type int or float that is not here fails a test.
RANGES: dict[str, tuple[float, float]] = {
    "clients": _POSITIVE,
    # -1 is no limit for PostgreSQL.
    "connection_limit": (-1, math.inf),
    # 0 is the instance's own.
    "login_port": (0, 65535),
    "maximum_lag_bytes": _NOT_NEGATIVE,
    "maximum_lag_seconds": _NOT_NEGATIVE,
    "maximum_pause": _NOT_NEGATIVE,
    "maximum_slot_bytes": _NOT_NEGATIVE,
    "maximum_transaction_seconds": _NOT_NEGATIVE,
    "minimum_standbys": _NOT_NEGATIVE,
    "patience": _NOT_NEGATIVE,
    "port": _PORT,
    "receiver_port": _PORT,
    "sample_interval": _NOT_NEGATIVE,
    "samples": _POSITIVE,
    "scale": _POSITIVE,
    "seconds": _POSITIVE,
    "senders": _NOT_NEGATIVE,
    "source_port": _PORT,
    "stable": _NOT_NEGATIVE,
    "threads": _POSITIVE,
    "timeline": _POSITIVE,
    "timeout": _NOT_NEGATIVE,
    "upstream_port": _PORT,
    "wait_timeout": _NOT_NEGATIVE,
}


def range_problems(parameters: t.Mapping[str, t.Any], within: str = "") -> list[str]:
    """A sentence for each number out of its range, in dictionaries and lists of them as well.

    >>> range_problems({"samples": 0, "timeout": None, "expect": {"receiver_port": 5432}})
    ['samples is 0, which is to be at least 1.']
    >>> range_problems({"expect": {"receiver_port": -1}})
    ['receiver_port of expect is -1, which is to be from 1 to 65535.']
    """
    found = []
    for name, value in sorted(parameters.items(), key=lambda pair: str(pair[0])):
        inner = value if isinstance(value, list) else [value]
        for item in inner:
            if isinstance(item, dict):
                found += range_problems(item, f" of {name}")
        if name not in RANGES or isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        least, most = RANGES[name]
        # Not a number is in no range.
        if not least <= value <= most or math.isinf(value):
            to_be = f"from {least:g} to {most:g}" if most < math.inf else f"at least {least:g}"
            found.append(f"{name}{within} is {value:g}, which is to be {to_be}.")
    return found
