# Every target installs what it needs into .venv first; nothing else has to be set up.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.ONESHELL:
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
# Each start of a process is faster where Python keeps what it has compiled.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
KILLS ?= 1000
EXAMPLES ?= 500
SEED ?= 1
TESTS ?=
BENCH ?=
# Pure rules, and payments through an api and a cache, which are forked processes.
COVERED = tests/rules tests/api/test_fees.py
# All tests at once: each process has a Postgres and services of its own, and a file's tests stay together. Tests wait for
# much: one process more than there are processors takes a sixth less time.
# The hostile tests come after them, alone: they measure how long good clients wait.
SPREAD = --numprocesses=$$(($$(getconf _NPROCESSORS_ONLN) + 1)) --maxprocesses=4 --dist=loadfile

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

demo: .venv/installed ## Start everything, send 20,000 payments, clear them, prove every balance
	$(BIN)/polka demo

up: .venv/installed ## Start everything and keep it running (Ctrl-C stops it)
	$(BIN)/polka up

test: .venv/installed ## Run the tests; TESTS="tests/cache/test_cache.py -k epoch" picks some
	$(BIN)/pytest $(or $(TESTS),$(SPREAD) --ignore=tests/hostile)
	$(if $(TESTS),,$(BIN)/pytest tests/hostile)

coverage: .venv/installed ## Tell which share of the code some fast tests run; TESTS picks others
	$(BIN)/coverage erase
	$(BIN)/coverage run $(BIN)/pytest --quiet $(or $(TESTS),$(COVERED))
	$(BIN)/coverage combine --quiet
	echo "Coverage: $$($(BIN)/coverage report --format=total) %"

test-rules: .venv/installed ## Run the tests of rules alone, without Postgres
	$(BIN)/pytest tests/rules

hostile: .venv/installed ## Attack api and cache over raw sockets and through proxies, beside good clients
	$(BIN)/pytest tests/hostile

cluster-test: .venv/installed ## Test the chart on the cluster of KUBECONFIG, or on kind; TESTS picks some
	$(BIN)/pytest -m cluster --capture=no --verbose $(or $(TESTS),k8s-tests/cluster)

lint: .venv/installed ## Check style, types and the directions of imports
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/installed ## Format the code
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

crash: .venv/installed ## Kill and freeze processes under load; KILLS=1000 SEED=1
	$(BIN)/python tests/stands/crash.py --kills $(KILLS) --seed $(SEED)

fuzz: .venv/installed ## Send the api all kinds of requests; EXAMPLES=500 SEED=1
	$(BIN)/python tests/stands/fuzz.py --examples $(EXAMPLES) --seed $(SEED)

bench: .venv/installed ## Measure, write bench/RESULTS.md; BENCH="posting --quick" picks some
	$(BIN)/python -m bench $(BENCH)

docs: .venv/installed ## Write the generated parts of the documentation, with examples that a Polka answers
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/api_examples.py

site: .venv/installed dist/site-installed ## Build the documents as a site in dist/site, and check its links
	$(BIN)/python docs/gather.py
	dist/site-venv/bin/zensical build --strict

dist/site-installed: requirements-docs.txt | .venv/installed
	"$$(.ci/python)" -m venv dist/site-venv
	dist/site-venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-docs.txt
	touch $@

screenshots: .venv/installed ## Take the pictures of the console that the documents show
	PYTHONPATH=tests/stands $(BIN)/python docs/screenshots.py

lock: .venv/installed ## Choose the versions of all dependencies anew
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--no-emit-index-url --no-emit-find-links --no-emit-package polka --upgrade --quiet \
		--extra dev -o requirements-dev.txt pyproject.toml
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--no-emit-index-url --no-emit-find-links --no-emit-package polka --quiet \
		--constraint requirements-dev.txt --extra spammer --extra traces -o requirements.txt pyproject.toml
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--no-emit-index-url --no-emit-find-links --quiet \
		--constraint requirements-dev.txt --group docs -o requirements-docs.txt

.venv/installed: requirements-dev.txt pyproject.toml
	"$$(.ci/python)" -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

.PHONY: help demo up test coverage test-rules hostile cluster-test lint format crash fuzz bench docs site screenshots lock
