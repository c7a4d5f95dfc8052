# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Debian's start.conf: whether a cluster comes back with its host (pg_createcluster(8)); pure text."""

from __future__ import annotations

import re

#: Says that the word below it was written when the host left its cluster, so that it is taken back when it returns.
LEFT = "# pgtandem.replication wrote manual when this host left its cluster, and takes it back when it returns."


def kept_down(text: str) -> str | None:
    r"""The text with which the cluster does not come back; None where it does not come back as it is.

    >>> kept_down("# Automatic startup\nauto\n").splitlines()[-1], kept_down("manual\n")
    ('manual', None)
    """
    if re.search(r"(?m)^\s*(?:manual|disabled)\b", text):
        return None
    replaced, count = re.subn(r"(?m)^\s*auto\b.*$", f"{LEFT}\nmanual", text, count=1)
    return replaced if count else f"{text}{LEFT}\nmanual\n"


def taken_back(text: str) -> str | None:
    r"""The text from before the host left; None where nothing of that is in it.

    >>> taken_back(kept_down("auto\n")), taken_back("manual\n")
    ('auto\n', None)
    """
    if LEFT not in text:
        return None
    return re.sub(r"(?m)^\s*manual\b.*$", "auto", text.replace(f"{LEFT}\n", ""), count=1)
