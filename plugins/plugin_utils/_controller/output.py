# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Files that plugins leave on the controller: reports and charts."""

from __future__ import annotations

import contextlib
import os
import tempfile

from ansible.errors import AnsibleActionFail

#: A report holds what servers and hosts said of themselves.
PRIVATE = 0o600
#: node_exporter, which reads the metrics, is another account; they hold names, positions and counts.
PUBLIC = 0o644


def absolute_path(said: object) -> str:
    """The path that an argument names, empty where it names none."""
    return os.path.abspath(os.path.expanduser(str(said))) if said else ""


def write_output(path: str, text: str, *, mode: int = PRIVATE) -> None:
    """Write a file so that a reader sees the old one or the new one, never half of it. A link is replaced, not
    followed."""
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=".pgtandem-", dir=os.path.dirname(path))
        try:
            with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as stream:
                os.fchmod(stream.fileno(), mode)
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as error:
        raise AnsibleActionFail(f"{path} cannot be written on the controller: {error.strerror}.") from error
