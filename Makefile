# Everything sets itself up: each target makes the environment in .venv when it is missing or pyproject.toml has changed.
PYTHON ?= python3
BIN := .venv/bin
# The real clients of other systems, each in an environment of its own: their dependencies clash with ours.
CLIENTS := $(patsubst tests/clients/%.txt,.clients/%.stamp,$(wildcard tests/clients/*.txt))

.DEFAULT_GOAL := help
.PHONY: help run test check bench soak clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' Makefile

run: .venv/run.stamp  ## start the gateway on http://127.0.0.1:8000 and run a real job through it
	@$(BIN)/python -m gateway.demo

test: .venv/dev.stamp $(CLIENTS)  ## run the tests, with branch coverage (at least 95 %)
	$(BIN)/python -m pytest --numprocesses=3 --dist=loadfile --cov --cov-report=term

check: .venv/dev.stamp  ## ruff, mypy --strict, and the test that holds the layers
	$(BIN)/ruff check gateway tests
	$(BIN)/ruff format --check gateway tests
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layers.py

bench: .venv/dev.stamp  ## measure this machine
	$(BIN)/python -m tests.bench.bench

soak: .venv/dev.stamp $(CLIENTS)  ## the long tests: many kills, many streams, big logs
	$(BIN)/python -m pytest -m soak --timeout=3600

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

# Where a NAME.nodeps stands beside NAME.txt, the packages in it are installed without what they ask for.
.SECONDEXPANSION:
.clients/%.stamp: tests/clients/%.txt $$(wildcard tests/clients/%.nodeps) | .venv/bin/python
	$(PYTHON) -m venv .clients/$*
	.clients/$*/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	$(if $(word 2,$^),.clients/$*/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r $(word 2,$^))
	@touch $@
