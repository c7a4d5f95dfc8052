# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A headless Chromium, told what to do by the DevTools protocol over a pair of pipes: no driver, no library."""

from __future__ import annotations

import base64
import fcntl
import itertools
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
import typing as t
from pathlib import Path

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE = 120.0


class Browser:
    """One tab."""

    def __init__(self) -> None:
        assert PROGRAM is not None
        self._numbers = itertools.count(1)
        self._buffer = b""
        #: What the tab told without being asked.
        self.events: list[dict[str, t.Any]] = []
        self._profile = tempfile.mkdtemp(prefix="pgt-browser-")
        ours_in, out = os.pipe()
        into, ours_out = os.pipe()
        # Out of the way of the two that they become.
        theirs_in, theirs_out = (fcntl.fcntl(descriptor, fcntl.F_DUPFD, 10) for descriptor in (into, out))
        self._read, self._write = ours_in, ours_out
        arguments = [
            PROGRAM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-background-networking", "--remote-debugging-pipe", f"--user-data-dir={self._profile}",
            "about:blank",
        ]  # fmt: skip
        # The protocol's descriptors are 3 and 4 and no others.
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "bash", *arguments],
            pass_fds=(theirs_in, theirs_out), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for descriptor in (into, out, theirs_in, theirs_out):
            os.close(descriptor)
        self._session = ""
        try:
            targets = self("Target.getTargets")["targetInfos"]
            page = next(target["targetId"] for target in targets if target["type"] == "page")
            self._session = self("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
            for domain in ("Page", "Network", "Runtime", "Log"):
                self(f"{domain}.enable")
        except BaseException:
            self.close()
            raise

    def __call__(self, method: str, **parameters: t.Any) -> dict[str, t.Any]:
        """Ask for something, and wait for the answer."""
        number = next(self._numbers)
        message: dict[str, t.Any] = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return t.cast("dict[str, t.Any]", answer["result"])

    def _next(self) -> dict[str, t.Any]:
        deadline = time.monotonic() + PATIENCE
        while b"\0" not in self._buffer:
            ready, _none, _error = select.select([self._read], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"{PROGRAM} said nothing for {PATIENCE:g} seconds"
            piece = os.read(self._read, 1 << 20)
            assert piece, f"{PROGRAM} ended"
            self._buffer += piece
        line, _zero, self._buffer = self._buffer.partition(b"\0")
        message = t.cast("dict[str, t.Any]", json.loads(line))
        if "method" in message:
            self.events.append(message)
        return message

    def show(self, path: Path, *, width: int, height: int, dark: bool, mobile: bool = False) -> None:
        """Load a file into a window of a size, for a reader who likes it light or dark."""
        self.events.clear()
        self("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self("Emulation.setEmulatedMedia", features=[scheme])
        self("Page.navigate", url=path.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self._next()

    def evaluate(self, script: str) -> t.Any:
        """The value of an expression in the page."""
        answer = self("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def screenshot(self, path: Path) -> None:
        """The whole page as a PNG."""
        path.write_bytes(base64.b64decode(self("Page.captureScreenshot", captureBeyondViewport=True)["data"]))

    def requests(self) -> list[str]:
        """The addresses that the page asked for."""
        return [
            event["params"]["request"]["url"]
            for event in self.events
            if event["method"] == "Network.requestWillBeSent"
        ]  # fmt: skip

    def complaints(self) -> list[t.Any]:
        """What the browser had to say of the page."""
        told = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")
        return [event["params"] for event in self.events if event["method"] in told]

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        os.close(self._read)
        os.close(self._write)
        shutil.rmtree(self._profile, ignore_errors=True)
