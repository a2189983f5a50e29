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
# much, so there are two processes more than processors. The longest files begin (see tests/conftest.py).
# The hostile tests come after them, alone: they measure how long good clients wait.
SPREAD = --numprocesses=$$(($$(getconf _NPROCESSORS_ONLN) + 2)) --maxprocesses=4 --dist=loadfile --no-loadscope-reorder

COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links --no-emit-package polka
AS_IN_DEV = --constraint requirements-dev.txt

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

demo: install-run ## Start everything, send 20,000 payments, clear them, prove every balance
	@$(BIN)/polka demo

up: install-run ## Start everything and keep it running (Ctrl-C stops it)
	@$(BIN)/polka up

test: install-dev ## Run the tests; TESTS="tests/cache/test_cache.py -k epoch" picks some
	$(BIN)/pytest $(or $(TESTS),$(SPREAD) --ignore=tests/hostile)
	$(if $(TESTS),,$(BIN)/pytest tests/hostile)

coverage: install-dev ## Show the share of the code that some fast tests run; TESTS picks others
	$(BIN)/coverage erase
	$(BIN)/coverage run $(BIN)/pytest --quiet $(or $(TESTS),$(COVERED))
	$(BIN)/coverage combine --quiet
	echo "Coverage: $$($(BIN)/coverage report --format=total) %"

test-rules: install-dev ## Run the tests of rules alone, without Postgres
	$(BIN)/pytest --numprocesses=$$(getconf _NPROCESSORS_ONLN) --maxprocesses=4 --dist=worksteal tests/rules

hostile: install-dev ## Attack api and cache over raw sockets and through proxies, beside good clients
	$(BIN)/pytest tests/hostile

cluster-test: install-dev ## Test the chart on the cluster of KUBECONFIG, or on kind; TESTS picks some
	$(BIN)/pytest -m cluster --capture=no --verbose $(or $(TESTS),k8s-tests/cluster)

lint: install-dev ## Check style, types and the directions of imports
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install-dev ## Format the code
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

crash: install-dev ## Kill and freeze processes under load; KILLS=1000 SEED=1
	$(BIN)/python tests/stands/crash.py --kills $(KILLS) --seed $(SEED)

fuzz: install-dev ## Send the api all kinds of requests; EXAMPLES=500 SEED=1
	$(BIN)/python tests/stands/fuzz.py --examples $(EXAMPLES) --seed $(SEED)

bench: install-dev ## Measure, write bench/RESULTS.md; BENCH="posting --quick" picks some
	$(BIN)/python -m bench $(BENCH)

docs: install-dev ## Write the generated parts of the documentation, with examples that a Polka answers
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/api_examples.py

site: install-dev dist/site-installed ## Build the documents as a site in dist/site, and check its links
	$(BIN)/python docs/gather.py
	dist/site-venv/bin/zensical build --strict

dist/site-installed: requirements-docs.txt | install-dev
	"$$(.ci/python)" -m venv dist/site-venv
	dist/site-venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-docs.txt
	touch $@

screenshots: install-dev ## Take the pictures of the console that the documents show
	PYTHONPATH=tests/stands $(BIN)/python docs/screenshots.py

wheel: install-dev ## Build the wheel in dist/wheel, and try an installation of it with each Python
	.ci/wheel

lock: install-dev ## Choose the versions of all dependencies again
	$(COMPILE) --upgrade --extra dev -o requirements-dev.txt pyproject.toml
	$(COMPILE) $(AS_IN_DEV) --extra local --group build -o requirements-run.txt pyproject.toml
	$(COMPILE) $(AS_IN_DEV) --extra spammer --extra traces -o requirements.txt pyproject.toml
	$(COMPILE) $(AS_IN_DEV) --group docs -o requirements-docs.txt

# What Polka's commands use, or that and all tools. Nothing is installed twice.
install-run install-dev: install-%:
	@.ci/install $*

.PHONY: help demo up test coverage test-rules hostile cluster-test lint format crash fuzz bench docs site screenshots wheel lock \
	install-run install-dev
