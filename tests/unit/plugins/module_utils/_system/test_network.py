# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a server of another host can be reached, with real sockets."""

from __future__ import annotations

import socket
import typing as t

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._system.network import Place, unreached


@pytest.fixture
def port() -> t.Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize(
    ("addresses", "reason"),
    [
        (["127.0.0.1"], None),
        (["127.0.0.2", "127.0.0.1"], None),
        (["127.0.0.1", "127.0.0.2"], None),
        (["127.0.0.2"], "Connection refused"),
    ],
)
def test_a_name_is_reached_at_any_of_its_addresses(
    monkeypatch: pytest.MonkeyPatch, port: int, addresses: list[str], reason: str | None
) -> None:
    rows = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_arguments, **_options: rows)
    found = unreached([Place("pg2", "pg2.example.com", port)], 2.0)
    assert [one["reason"] for one in found] == ([reason] if reason else [])


def test_each_place_is_told_with_its_reason(port: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        gone = closed.getsockname()[1]
    found = unreached([Place("pg3", "127.0.0.1", gone), Place("pg2", "127.0.0.1", port)])
    assert found == [{"name": "pg3", "host": "127.0.0.1", "port": gone, "reason": "Connection refused"}]
