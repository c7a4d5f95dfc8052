# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of status.yml in a browser: light and dark, on a desk and on a phone, and without a network.

PGTANDEM_SCREENSHOTS names a folder that keeps the screenshots.
"""

from __future__ import annotations

import os
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.html import html_text
from ansible_collections.pgtandem.replication.plugins.plugin_utils._report.document import document
from ansible_collections.pgtandem.replication.plugins.plugin_utils._report.findings import Limits
from browser import PROGRAM, Browser

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit" / "plugins" / "plugin_utils"))

from nodes import cascade

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="there is no chromium; tests/install-system-packages browser")

#: Width, height, whether it is a phone.
WINDOWS = {"desk": (1280, 900, False), "tablet": (700, 900, True), "phone": (360, 740, True)}
VIEWS = [
    pytest.param(window, dark, id=f"{window}, {'dark' if dark else 'light'}")
    for window in WINDOWS
    for dark in (False, True)
]

#: What is seen: sizes, colours, and each text whose letters are hard to tell from what is behind them.
MEASURE = """
(() => {
  const luminance = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map(v => v / 255)
      .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const colour = getComputedStyle(one).backgroundColor;
      if (colour !== 'rgba(0, 0, 0, 0)') return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  const faint = [];
  const visible = (element) => element.getClientRects().length > 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !visible(element)) continue;
    const box = element.closest('g')?.querySelector('.card');
    const front = element.closest('svg') ? getComputedStyle(element).fill : getComputedStyle(element).color;
    const back = box ? getComputedStyle(box).fill : behind(element);
    const [one, other] = [luminance(front), luminance(back)].sort((a, b) => b - a);
    if ((one + 0.05) / (other + 0.05) < 4.5) faint.push([walker.currentNode.textContent.trim(), front, back]);
  }
  const spill = [...document.querySelectorAll('svg text')].filter(visible).filter(text => {
    const inside = text.getBoundingClientRect(), svg = text.ownerSVGElement.getBoundingClientRect();
    return inside.left < svg.left - 1 || inside.right > svg.right + 1;
  }).map(text => text.textContent);
  return {
    scroll: document.documentElement.scrollWidth, client: document.documentElement.clientWidth, inner: innerWidth,
    background: luminance(getComputedStyle(document.body).backgroundColor),
    figures: [...document.querySelectorAll('figure')].filter(visible).map(figure => ({
      kind: figure.className, boxes: figure.querySelectorAll('g.box').length,
      lines: figure.querySelectorAll('polyline').length,
      height: figure.querySelector('svg').getBoundingClientRect().height,
      letters: Math.min(...[...figure.querySelectorAll('text')].map(text => text.getBoundingClientRect().height)),
    })),
    small: Math.min(...[...document.querySelectorAll('p, td, th, li')].filter(visible)
      .map(element => parseFloat(getComputedStyle(element).fontSize))),
    faint, spill,
  };
})()
"""


@pytest.fixture(scope="module")
def browser() -> t.Iterator[Browser]:
    made = Browser()
    yield made
    made.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six hosts on four levels: a long name, a host that was not read, a slot of nobody, a lag that is sampled."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    report = document(cascade(), limits=Limits(), generated="2026-11-22T17:39:52+00:00")
    path.write_text(html_text(report), encoding="utf-8")
    return path


@pytest.mark.parametrize(("window", "dark"), VIEWS)
def test_the_page_can_be_read(browser: Browser, page: Path, window: str, dark: bool) -> None:
    width, height, mobile = WINDOWS[window]
    browser.show(page, width=width, height=height, dark=dark, mobile=mobile)
    seen = browser.evaluate(MEASURE)
    kept = os.environ.get("PGTANDEM_SCREENSHOTS")
    if kept:
        browser.screenshot(Path(kept, f"report-{window}-{'dark' if dark else 'light'}.png"))
    assert browser.requests() == [page.as_uri()]
    assert browser.complaints() == []
    assert seen["inner"] == width and seen["scroll"] <= seen["client"], "the page scrolls sideways"
    assert (seen["background"] < 0.1) if dark else (seen["background"] > 0.9)
    topology, plot = seen["figures"]
    assert topology["kind"] == plot["kind"] == ("wide" if window == "desk" else "narrow")
    assert topology["boxes"] == 6 and plot["lines"] == 3
    assert topology["height"] > 200 and plot["height"] > 100
    assert seen["faint"] == [] and seen["spill"] == []
    assert seen["small"] >= 14 and topology["letters"] >= 10 and plot["letters"] >= 10


def test_a_page_about_one_host_fits_too(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    report = document(cascade()[:1], limits=Limits(), generated="2026-11-22T17:39:52+00:00")
    path.write_text(html_text(report), encoding="utf-8")
    browser.show(path, width=360, height=740, dark=False, mobile=True)
    seen = browser.evaluate(MEASURE)
    assert seen["scroll"] <= 360 and seen["figures"][0]["boxes"] == 1 and seen["faint"] == []
