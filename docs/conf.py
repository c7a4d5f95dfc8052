# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How Sphinx builds the site. Run by `make docs`, which lays the pages and the generated reference side by side."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

from docutils import nodes

if t.TYPE_CHECKING:
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

project = "pgtandem.replication"
author = "the pgtandem authors"
project_copyright = "2026, the pgtandem authors"
REPOSITORY = "https://github.com/pgtandem/replication/blob/main"

extensions = ["myst_parser", "sphinx_antsibull_ext", "sphinx_copybutton"]
myst_enable_extensions = ["colon_fence", "attrs_block"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "pgtandem"
html_static_path = ["_static"]
html_css_files = ["house.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options: dict[str, t.Any] = {
    "source_repository": "https://github.com/pgtandem/replication/",
    "source_branch": "main",
    "source_directory": "docs/",
    "light_css_variables": {"color-brand-primary": "#22577a", "color-brand-content": "#22577a"},
    "dark_css_variables": {"color-brand-primary": "#7fc8f8", "color-brand-content": "#7fc8f8"},
}
copybutton_prompt_text = "$ "

# Text that is one file in the repository and a part of several pages here.
HOMES = {
    "README.md#variables": "variables.md",
    "README.md#what-it-refuses-and-why": "refusals.md",
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
}

#: Pages of Ansible that the generated reference names by label. No network is asked for them, as intersphinx would.
ANSIBLE = "https://docs.ansible.com/ansible/latest"
LABELS = {
    "action_plugins": f"{ANSIBLE}/plugins/action.html",
    "ansible_configuration_settings": f"{ANSIBLE}/reference_appendices/config.html",
    "common_return_values": f"{ANSIBLE}/reference_appendices/common_return_values.html",
}


def link_to_ansible(
    _app: Sphinx, _env: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> nodes.reference | None:
    """A label of Ansible's own documentation; any other that is missing stays a warning, thus an error."""
    if node.get("reftype") != "ref" or node["reftarget"] not in LABELS:
        return None
    text = node["reftarget"].replace("_", " ") if not node.get("refexplicit") else content.astext()
    return nodes.reference("", text, refuri=LABELS[node["reftarget"]], internal=False)


def moved(target: str) -> str:
    """Where a link to a file outside docs/ leads to: to the page that has its text, else to the repository."""
    return HOMES.get(target) or HOMES.get(target.split("#")[0]) or f"{REPOSITORY}/{target}"


def lead_links_out(app: Sphinx, docname: str, source: list[str]) -> None:
    """Links of a page, which lead out of docs/ by ../"""
    if app.env.doc2path(docname).suffix == ".md":
        source[0] = re.sub(r"\]\((?:\.\./)+([^)\s]+)\)", lambda found: f"]({moved(found[1])})", source[0])


def lead_links_in(app: Sphinx, path: Path, docname: str, source: list[str]) -> None:
    """Links of a text from the repository's root: those to docs/ lead to pages. The README has addresses at its end."""
    addresses = dict(re.findall(r"(?m)^\[([^\]]+)\]: (\S+)$", source[0]))

    def addressed(found: re.Match[str]) -> str:
        label = found[2] or found[1]
        return f"[{found[1]}]({addresses[label].removeprefix(f'{REPOSITORY}/')})" if label in addresses else found[0]

    def led(found: re.Match[str]) -> str:
        target = found[1]
        if re.match(r"[a-z]+:|#", target):
            return found[0]
        return f"]({target[len('docs/') :] if target.startswith('docs/') else moved(target)})"

    source[0] = re.sub(r"\[([^\[\]]+)\](?:\[([^\]]+)\])?(?![\[(:])", addressed, source[0])
    source[0] = re.sub(r"\]\(([^)\s]+)\)", led, source[0])


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("missing-reference", link_to_ansible)
    app.connect("source-read", lead_links_out)
    app.connect("include-read", lead_links_in)
    assert Path(app.srcdir).name == "source", "make docs"
