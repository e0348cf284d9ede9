# Two commands do everything on a fresh machine with Python 3.11+, make and the package registries:
#   make demo    set up, then run the main job end to end on real data
#   make test    set up, then run every test (TESTS="-k range" narrows)
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export WRANGLER_SEND_METRICS := false
export CLOUDFLARE_CF_FETCH_ENABLED := false
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1

PYTHON_STAMP := $(VENV)/.python-stamp
NODE_STAMP := gateway_worker/node_modules/.node-stamp

.PHONY: help setup demo test check test-fast lint typecheck lock up clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

$(PYTHON_STAMP): requirements/bootstrap.txt requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "make: Python 3.11 or newer is needed, and '$(PYTHON)' is $$($(PYTHON) --version 2>&1); run: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
	$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements/dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --offline -e .
	@touch $@

$(NODE_STAMP): $(PYTHON_STAMP) gateway_worker/package-lock.json
	cd gateway_worker && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

setup: $(PYTHON_STAMP) $(NODE_STAMP) ## Install the locked Python and Node packages (a second call is instant)

demo: setup ## Release, smoke-test, pull, interrupt, resume, update and report on real data
	$(BIN)/python -m benchmarks.demo

test: setup ## Run every test, Python and Worker (TESTS="-k range" narrows the Python ones)
	cd gateway_worker && npm run --silent typecheck && npm test --silent
	$(BIN)/python -m pytest $(TESTS)

test-fast: setup ## Run the tests without the slow ones
	$(BIN)/python -m pytest -m "not slow" $(TESTS)

check: lint typecheck ## Lint and type-check

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

typecheck: setup
	$(BIN)/mypy
	cd gateway_worker && npm run --silent typecheck

lock: $(PYTHON_STAMP) ## Renew the locked Python packages
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --extra dev --upgrade pyproject.toml -o requirements/dev.txt

up: setup ## Run the local stack until Ctrl-C
	$(BIN)/lading up

clean: ## Remove everything that the other commands made
	rm -rf $(VENV) .torch gateway_worker/node_modules .lading .pytest_cache .mypy_cache .ruff_cache
