# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# GNU make. `make` alone lists the targets.

PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
COLLECTIONS := $(CURDIR)/$(VENV)/collections
INVENTORY ?= inventory
# Names of molecule's scenarios; those of tests/run-molecule --some where none is named.
SCENARIOS ?=
# The stages of make test; all of them where none is named.
STAGES ?=
ARGS ?=

export PATH := $(BIN):$(PATH)
export ANSIBLE_COLLECTIONS_PATH := $(COLLECTIONS)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help venv venv-test demo demo-clean lint ruff yamllint shellcheck ansible-lint format types unit licence \
	changelog docs check sanity integration controllers galaxy molecule molecule-all test test-all versions-page bench build \
	release-notes clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv:  ## the virtual environment .venv: run time and demo
	@PYTHON=$(PYTHON) tests/make-venv

venv-test:  ## the same, with what the tests need
	@PYTHON=$(PYTHON) tests/make-venv test

demo: venv  ## set up a primary and a standby on this machine (INVENTORY=..., ARGS=...)
	cd playbooks && $(BIN)/ansible-playbook demo_prepare.yml site.yml -i $(INVENTORY) $(ARGS)

demo-clean: venv  ## remove exactly what the demo made
	cd playbooks && $(BIN)/ansible-playbook demo_clean.yml -i $(INVENTORY) $(ARGS)

# The checks are nox's: noxfile.py says what each does. NOX_SCRIPT_MODE: nox is in the virtual environment already.
CHECKS := ruff yamllint shellcheck ansible-lint types unit sanity integration docs changelog controllers galaxy format
NOX = NOX_SCRIPT_MODE=none $(BIN)/nox --session

$(CHECKS): venv-test
	@$(NOX) $@ -- $(ARGS)

lint: ruff yamllint shellcheck ansible-lint  ## these four; make -k lint goes on after the first that fails

types:  ## mypy, strict

unit:  ## unit tests and doctests

licence: venv-test  ## every file says its licence, by REUSE
	@$(NOX) license-check

changelog:  ## fragments are well-formed, and what users notice has one

docs:  ## the site, in .cache/docs/html, with every warning an error

check: lint types unit licence changelog docs  ## before each commit: all of the above, in two minutes

format:  ## let ruff format the Python files and sort their imports

sanity:  ## ansible-test sanity on a clean copy

integration:  ## modules and roles against real servers on loopback

controllers:  ## the demo by every supported ansible-core, on its own Python

galaxy:  ## the artefact, judged by galaxy-importer

molecule: venv-test  ## scenarios on real hosts in containers (SCENARIOS=...; installs system packages)
	@$(NOX) molecule -- $(SCENARIOS)

molecule-all: venv-test  ## the same with every scenario on every version
	@$(NOX) molecule -- --all

test:  ## checks and tests, with the time of each and a summary (STAGES=..., ARGS=... for pytest)
	@PYTHON=$(PYTHON) tests/run-stages $(STAGES) $(if $(ARGS),-- $(ARGS))

test-all:  ## as test, with galaxy, controllers and every molecule scenario on every version
	@PYTHON=$(PYTHON) PGTANDEM_LIVES=20000 tests/run-stages --all

$(VENV)-bench/.stamp: benchmarks/requirements.txt
	@$(VENV)-bench/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)-bench
	@$(VENV)-bench/bin/python -m pip install --quiet --requirement benchmarks/requirements.txt
	@touch $@

bench: venv-test $(VENV)-bench/.stamp  ## measure beside others, into docs/benchmarks.md (SUBJECTS=..., ARGS=...)
	benchmarks/run $(SUBJECTS) -- $(ARGS)

versions-page: venv  ## write docs/versions.md from the table of versions
	$(BIN)/python tests/versions_page.py

build: venv  ## the collection's artefact, pgtandem-replication-VERSION.tar.gz
	$(BIN)/ansible-galaxy collection build --force

release-notes: venv-test  ## write the changelog of galaxy.yml's version from the fragments (docs/releasing.md)
	$(BIN)/antsibull-changelog release

clean:  ## remove what the targets above made
	@test ! -e .demo || { echo "The demo's servers run from $(VENV): make demo-clean first." >&2; exit 1; }
	rm -rf $(VENV) $(VENV)-bench .nox .cache .ansible .mypy_cache .pytest_cache .ruff_cache tests/output pgtandem-replication-*.tar.gz
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
