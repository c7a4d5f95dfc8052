# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compile each source file and template once in a session of tests.

Ansible compiles the collection's files in every run, on the controller and again out of the archive that it makes of
each module, where Python keeps no bytecode. That is half the time of a module. The code that runs is the same.
"""

from __future__ import annotations

import _imp
import hashlib
import marshal
import os
import sys
import types
import typing as t

#: Read at the start: modules clear their environment.
FOLDER = os.path.join(os.environ["PGTANDEM_TEST_CACHE"], "bytecode")


def _compile(source: bytes | str, filename: str) -> types.CodeType:
    return t.cast("types.CodeType", compile(source, filename, "exec", dont_inherit=True))


def compile_once(
    source: bytes | str, filename: str, make: t.Callable[[bytes | str, str], types.CodeType] = _compile
) -> types.CodeType:
    """The code of a text, from PGTANDEM_TEST_CACHE where one like it was compiled before."""
    text = source.encode("utf-8", "surrogatepass") if isinstance(source, str) else source
    name = f"{hashlib.sha256(text).hexdigest()}.{sys.implementation.cache_tag}"
    path = os.path.join(FOLDER, name)
    try:
        with open(path, "rb") as stream:
            code = t.cast("types.CodeType", marshal.loads(stream.read()))
    except OSError:
        code = make(source, filename)
        try:
            with open(f"{path}.{os.getpid()}", "wb") as stream:
                stream.write(marshal.dumps(code))
            os.rename(stream.name, path)
        except OSError:
            pass  # another account, or the session is over
        return code
    _imp._fix_co_filename(code, filename)  # type: ignore[attr-defined]
    return code
