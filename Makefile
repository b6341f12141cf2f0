# What a contributor does, one word each. `make up` is only `pip install` and `helexa up`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
.DEFAULT_GOAL := help

.PHONY: help up install develop test lint types soak sim bench lock docs clean

help: ## list these words
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# A stamp file per environment: installing again costs nothing until the pins or sources change.
$(VENV)/installed: requirements/run.lock pyproject.toml
	@echo "installing helexa into $(VENV) …" >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/run.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

NODE := tests/e2e/node
$(VENV)/developed: $(VENV)/installed requirements/develop.lock $(NODE)/package-lock.json
	@echo "installing what the tests need …" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/develop.lock
	@if command -v npm >/dev/null; then cd $(NODE) && npm ci --silent --no-audit --no-fund; \
	  else echo "npm is not here, so the test of the Node client will be skipped" >&2; fi
	@touch $@

install: $(VENV)/installed ## helexa and its default engine, in .venv

develop: $(VENV)/developed ## what the tests and linters need, too

up: install ## a cortex, a neuron and a small model, here and now
	@$(BIN)/helexa up

test: develop lint types ## everything: lint, types, contracts and all tests
	$(BIN)/python -m pytest

lint: develop
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: develop
	$(BIN)/mypy

soak: develop ## long runs of the coverage-guided fuzzers
	$(BIN)/python -m tests.soak

SEEDS ?= 2000
sim: develop ## simulated fleets with faults, SEEDS=2000 of them; what breaks a rule is kept
	$(BIN)/python -m tests.sim --seeds $(SEEDS)

bench: develop ## measure the gateway beside nginx and a bare backend (needs gcc and nginx)
	$(BIN)/python -m bench.run
	$(BIN)/python -m bench.routing
	$(BIN)/python -m bench.prefix
	$(BIN)/python -m bench.fleet
	$(BIN)/python -m bench.holding

docs: develop ## write the generated pages again
	$(BIN)/python -m helexa.cli.manual docs

lock: develop ## pin every dependency again, with hashes
	$(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-header \
	  --no-emit-index-url --extra llama --extra hub pyproject.toml requirements/build.in \
	  -o requirements/run.lock
	$(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-header \
	  --no-emit-index-url --extra dev pyproject.toml requirements/build.in \
	  -o requirements/develop.lock

clean: ## remove what can be made again
	rm -rf $(VENV) .make $(NODE)/node_modules bench/build bench/results .pytest_cache .mypy_cache .ruff_cache
