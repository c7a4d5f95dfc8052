# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# /// script
# dependencies = ["nox>=2025.5.1", "antsibull-nox>=1.10.0"]
# ///

"""All checks, each as a session: `nox --list`. `nox` alone runs the quick ones, `nox -s unit -- -k hba` one of them.

`make NAME` is a short name for `nox -s NAME`. The sessions use the virtual environment .venv, which tests/make-venv
makes, as the collection has to be in it under its own name; only license-check, which antsibull-nox brings, has one of
its own. `nox -s test` runs what a change has to pass, and sums up: tests/run-stages.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import antsibull_nox
import nox

nox.needs_version = ">=2025.5.1"
nox.options.reuse_existing_virtualenvs = True

ROOT = Path(__file__).resolve().parent
#: What a commit should pass; the others take minutes or need root.
QUICK = ["ruff", "yamllint", "shellcheck", "ansible-lint", "types", "unit", "license-check", "changelog", "docs"]
nox.options.sessions = QUICK

antsibull_nox.load_antsibull_nox_toml()


# Programs are those of .venv, and the collection is found there under its own name.
os.environ["PATH"] = f"{ROOT}/.venv/bin{os.pathsep}{os.environ['PATH']}"
os.environ["ANSIBLE_COLLECTIONS_PATH"] = f"{ROOT}/.venv/collections"


def run(session: nox.Session, *argv: str, success_codes: tuple[int, ...] = (0,)) -> None:
    """Run a program of .venv, or one of the repository's scripts.

    On Ctrl-C it has the time that it needs to take down what it set up.
    """
    session.run(*argv, external=True, success_codes=success_codes, interrupt_timeout=60, terminate_timeout=5)


def run_pytest(session: nox.Session, *argv: str) -> None:
    """Run pytest, which leaves no server and no file behind, whatever ends it."""
    # 5: what was asked for by arguments is in another folder.
    found = (0, 5) if session.posargs else (0,)
    run(session, "tests/keep-clean", "pytest", *argv, *session.posargs, success_codes=found)


def prepare(session: nox.Session) -> None:
    """The virtual environment with what the tests need; nothing to do where it is up to date."""
    session.run("tests/make-venv", "test", external=True, silent=True)


@nox.session(python=False)
def ruff(session: nox.Session) -> None:
    """Python: mistakes and format."""
    prepare(session)
    run(session, "ruff", "check")
    run(session, "ruff", "format", "--check")


@nox.session(python=False)
def yamllint(session: nox.Session) -> None:
    """YAML."""
    prepare(session)
    run(session, "yamllint", "--strict", ".")


@nox.session(python=False)
def shellcheck(session: nox.Session) -> None:
    """Shell scripts, whatever their names end with."""
    prepare(session)
    run(session, "tests/run-shellcheck")


@nox.session(name="ansible-lint", python=False)
def ansible_lint(session: nox.Session) -> None:
    """Roles and playbooks, with the profile production."""
    prepare(session)
    run(session, "ansible-lint", "--offline")


@nox.session(python=False, default=False)
def lint(session: nox.Session) -> None:
    """These four."""
    for name in ("ruff", "yamllint", "shellcheck", "ansible-lint"):
        session.notify(name)


@nox.session(name="format", python=False, default=False)
def format_python(session: nox.Session) -> None:
    """Let ruff format the Python files and sort their imports."""
    prepare(session)
    run(session, "ruff", "check", "--select", "I", "--fix")
    run(session, "ruff", "format")


@nox.session(python=False)
def types(session: nox.Session) -> None:
    """mypy, strict."""
    prepare(session)
    run(session, "tests/run-mypy", *session.posargs)


@nox.session(python=False)
def unit(session: nox.Session) -> None:
    """Unit tests and doctests, and what the documentation says of the code."""
    prepare(session)
    # How many lives of clusters are lived (tests/unit/plugins/plugin_utils/test_life.py); "make test-all" says more.
    os.environ.setdefault("PGTANDEM_LIVES", "2000")
    run_pytest(session)


@nox.session(python=False)
def changelog(session: nox.Session) -> None:
    """The fragments are well-formed, and a change that users notice has one."""
    prepare(session)
    run(session, "tests/check-changelog")


@nox.session(python=False)
def docs(session: nox.Session) -> None:
    """The documentation of modules and roles is right, and the site builds without a warning."""
    prepare(session)
    run(session, "antsibull-docs", "lint-collection-docs", "--plugin-docs", "--validate-collection-refs", "all", ".")
    run(session, "tests/build-docs")


@nox.session(python=False, default=False)
def sanity(session: nox.Session) -> None:
    """ansible-test sanity on a clean copy."""
    prepare(session)
    run(session, "tests/keep-clean", "tests/run-sanity", *session.posargs)


@nox.session(python=False, default=False)
def integration(session: nox.Session) -> None:
    """Modules and roles against real servers on loopback, and the report in a browser."""
    prepare(session)
    # Where no browser can be installed its tests say so and are skipped.
    run(session, "tests/install-system-packages", "browser", success_codes=(0, 1))
    # What repeats another test on another level or version is left to `make test-all`, which says: -m ""
    chosen = ("-m", "not repetition", "--durations", "20")
    run_pytest(session, "tests/integration", "-n", "3", "--dist", "worksteal", *chosen)


@nox.session(python=False, default=False)
def molecule(session: nox.Session) -> None:
    """Scenarios on real hosts in containers, by name, --some or --all of them; installs system packages."""
    prepare(session)
    run(session, "tests/keep-clean", "tests/run-molecule", *(session.posargs or ["--some"]))


@nox.session(python=False, default=False)
def controllers(session: nox.Session) -> None:
    """The demo by every supported ansible-core on its own Python, without a deprecation warning."""
    prepare(session)
    run(session, "tests/keep-clean", "--grace", "20", "tests/run-controllers", *session.posargs)


@nox.session(python=False, default=False)
def galaxy(session: nox.Session) -> None:
    """The artefact, judged by galaxy-importer as Galaxy does."""
    prepare(session)
    run(session, "tests/keep-clean", "tests/run-galaxy-importer")


@nox.session(python=False, default=False)
def test(session: nox.Session) -> None:
    """What a change has to pass, with a summary; `-- --all` is everything, `-- unit -- -k hba` a part of it."""
    run(session, "tests/run-stages", *session.posargs)


if __name__ == "__main__":
    sys.exit(nox.main())
