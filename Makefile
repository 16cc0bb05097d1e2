# Everything sets itself up: each target makes the environment in .venv when it is missing or pyproject.toml has changed.
PYTHON ?= python3
BIN := .venv/bin
# The real clients of other systems, each in an environment of its own: their dependencies clash with ours.
CLIENTS := $(patsubst tests/clients/%.txt,.clients/%.stamp,$(wildcard tests/clients/*.txt))
# What the browser tests need of the machine: commands, each of a Debian package of its name.
COMMANDS := chromium firefox-esr nginx npm

.DEFAULT_GOAL := help
.PHONY: help run test check bench soak screenshots machine clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' Makefile

run: .venv/run.stamp  ## start the gateway on http://127.0.0.1:8000 and run a real job through it
	@$(BIN)/python -m gateway.demo

test: .venv/dev.stamp $(CLIENTS) machine  ## run the tests, with branch coverage (at least 95 %)
	$(BIN)/python -m pytest --numprocesses=3 --dist=loadfile --cov --cov-report=term

check: .venv/dev.stamp  ## ruff, mypy --strict, and the test that holds the layers
	$(BIN)/ruff check gateway tests
	$(BIN)/ruff format --check gateway tests
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layers.py

bench: .venv/dev.stamp  ## measure this machine beside its peers; the results go to build/bench
	$(BIN)/python -m tests.bench --output build/bench

soak: .venv/dev.stamp $(CLIENTS) machine  ## the long tests: many kills, many streams, big logs
	$(BIN)/python -m pytest -m soak --timeout=3600

screenshots: .venv/dev.stamp machine  ## take the pictures of the dashboard that the README shows
	$(BIN)/python -m tests.browser.screenshots

# Browsers, nginx and npm are Debian's: root gets what is missing installed, as in CI; for everybody else the browser
# tests are skipped and say what to install. RUNLEVEL=1: nginx is wanted as a program, not as a service.
machine:  ## install what the browser tests need and this machine lacks: browsers, nginx, npm (as root)
	@missing=; for command in $(COMMANDS); do \
	  PATH="$$PATH:/usr/sbin" command -v $$command >/dev/null || missing="$$missing $$command"; done; \
	if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "installing:$$missing"; export RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive; apt-get update -qq; \
	  apt-get install -y -qq --no-install-recommends $$missing >/dev/null || echo "can't install$$missing" >&2; fi
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory .clients/node.stamp; \
	else echo 'without npm the browser tests are skipped; they need: $(COMMANDS)' >&2; fi

clean:  ## remove the environment and whatever was made, except status.db
	rm -rf .venv .clients build dist htmlcov .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache .schemathesis
	find gateway tests -name __pycache__ -type d -prune -exec rm -rf {} +

# Debian ships Python without venv's ensurepip: root gets it installed, everybody else is told what to install.
.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Python 3.11 or later is needed: make PYTHON=/path/to/python3.11 …' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; \
	  then apt-get update -qq && apt-get install -y -qq python3-venv; \
	  else echo 'Python cannot make environments here. First: sudo apt-get install python3-venv' >&2; exit 1; fi
	$(PYTHON) -m venv .venv

.venv/run.stamp: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[mcp]'
	@touch $@

.venv/dev.stamp: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ .venv/run.stamp

# No lock file: it would name the registry's host. The versions of what is asked for are pinned in package.json.
.clients/node.stamp: tests/browser/package.json
	@mkdir -p .clients/node && cp $< .clients/node/
	cd .clients/node && npm install --no-package-lock --no-audit --no-fund --ignore-scripts --loglevel=error
	@touch $@

# Where a NAME.nodeps stands beside NAME.txt, the packages in it are installed without what they ask for.
.SECONDEXPANSION:
.clients/%.stamp: tests/clients/%.txt $$(wildcard tests/clients/%.nodeps) | .venv/bin/python
	$(PYTHON) -m venv .clients/$*
	.clients/$*/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	$(if $(word 2,$^),.clients/$*/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r $(word 2,$^))
	@touch $@
