# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text in the format of postgresql.conf."""

from __future__ import annotations

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._values.conf import (
    changes,
    last_values,
    parse_lines,
    read_settings,
    render_settings,
    unquote,
)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        pytest.param("port = 5433", ("port", "5433"), id="usual"),
        pytest.param("port 5433", ("port", "5433"), id="no-equals"),
        pytest.param("  Port=5433# why", ("port", "5433"), id="tight-with-comment"),
        pytest.param("shared_buffers = 128MB\t# min 128kB", ("shared_buffers", "128MB"), id="unit"),
        pytest.param("listen_addresses = '*'", ("listen_addresses", "*"), id="quoted"),
        pytest.param("a.b = 'it''s # no \\'comment'", ("a.b", "it's # no 'comment"), id="quotes-inside"),
        pytest.param("archive_command = ''", ("archive_command", ""), id="empty"),
        pytest.param("x = 'a\u2028b'", ("x", "a\u2028b"), id="no-line-end-for-the-server"),
        pytest.param("x = on\r", ("x", "on"), id="carriage-return"),
        pytest.param("#port = 5433", None, id="comment"),
        pytest.param("", None, id="empty-line"),
        pytest.param("port =", None, id="no-value"),
        pytest.param("port5432", None, id="one-word"),
        pytest.param("port'5432'", ("port", "5432"), id="nothing-between"),
        pytest.param("work_mem = 1.5GB", None, id="unit-after-a-fraction"),
        pytest.param("search_path = a.b", None, id="a-name-with-a-dot-is-no-value"),
        pytest.param("log_timezone = Europe/Berlin", ("log_timezone", "Europe/Berlin"), id="word"),
        pytest.param("\u00e4 = 'x'", ("\u00e4", "x"), id="any-byte-is-a-letter"),
        pytest.param("port = 5432 5433", None, id="two-values"),
    ],
)
def test_a_line(line: str, found: tuple[str, str] | None) -> None:
    assert [(setting.name, setting.value) for setting in parse_lines(line, "/x")] == ([found] if found else [])


@pytest.mark.parametrize(
    ("raw", "value"), [(r"'a\nb'", "a\nb"), (r"'\047'", "'"), (r"'\8'", "8"), (r"'\\'", "\\"), ("''", ""), ("on", "on")]
)
def test_escapes(raw: str, value: str) -> None:
    assert unquote(raw) == value


class Texts:
    """Files that are only texts."""

    def __init__(self, **texts: str) -> None:
        self.texts = {f"/etc/{name.replace('__', '/')}.conf": text for name, text in texts.items()}

    def read_text(self, path: str) -> str | None:
        return self.texts.get(path)

    def list_names(self, path: str) -> list[str]:
        names = [name[len(path) + 1 :] for name in self.texts if name.startswith(path + "/")]
        return [*reversed(names), "notes.txt", ".hidden.conf"]


def test_includes_count_where_they_stand() -> None:
    reader = Texts(
        main="a = 1\ninclude 'other.conf'\ninclude_dir = 'd'\nb = main\ninclude_if_exists '/etc/none.conf'",
        other="a = other\nc = other",
        d__20="c = 20",
        d__10="c = 10\nd = 10",
    )
    values = last_values(read_settings("/etc/main.conf", reader))
    assert {name: setting.value for name, setting in values.items()} == {
        "a": "other", "b": "main", "c": "20", "d": "10"
    }  # fmt: skip
    assert (values["c"].path, values["c"].line) == ("/etc/d/20.conf", 1)
    without = last_values(read_settings("/etc/main.conf", reader), without="/etc/d/20.conf")
    assert without["c"].value == "10"


def test_a_file_that_includes_itself_ends() -> None:
    assert read_settings("/etc/main.conf", Texts(main="include 'main.conf'\na = 1"))


def test_what_is_written_is_sorted_and_read_back() -> None:
    text = render_settings({"b": "it's", "a": "C:\\x"}, ["Managed.", ""])
    assert text == "# Managed.\n#\na = 'C:\\\\x'\nb = 'it''s'\n"
    assert [(setting.name, setting.value) for setting in parse_lines(text, "/x")] == [("a", "C:\\x"), ("b", "it's")]


def test_changes() -> None:
    assert changes({"a": "1"}, {"b": "2"}) == {"a": ("1", None), "b": (None, "2")}
