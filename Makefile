# `make` lists what there is to do. Every target brings its own set-up with it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory --warn-undefined-variables

# Where Python may not keep what it has compiled, each process compiles all of Moorage, and pytest all tests, anew.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
DEMO := --project-directory examples/commandcenter
SCRIPTS := scripts/venv scripts/engine scripts/engine-root scripts/base-images scripts/browser scripts/shells \
  scripts/registry scripts/machines scripts/machines.d/inside deploy/devcontainer/src/moorage/install.sh \
  $(wildcard scripts/base-images.d/*/build scripts/base-images.d/*/entrypoint) .ci/run
# More for pytest, as in: make test PYTEST_ARGS='-k ports -x'
PYTEST_ARGS ?=
# How many tests run at once: they keep two cores busy, more make nothing faster.
JOBS ?= 3
# Tests that need no engine, no Prefect server and no network.
FAST_TESTS := $(wildcard tests/unit tests/golden tests/properties tests/architecture)
# What is not part of `make test`: measuring, what goes on for minutes (`make faults`), what needs Dagger (`make test-dagger`).
NOT_IN_TEST := not bench and not exhaustive and not dagger_engine
# How long `make faults` lets mixed commands go on at one stack, in seconds.
MIXED_S ?= 60
# How long `make torture` goes on, in seconds; `make faults` does it for two minutes unless this is given.
TORTURE_S ?= 3600
# Which engines `make test-engines` is about; none: all.
ENGINES ?=
# A wheel that is there already, for `make packaging`: what CI built once.
WHEEL ?=
# More for `make lock`, as in: make lock LOCK_ARGS=--upgrade
LOCK_ARGS ?=
# Bare machines for `make test-machines`, and what runs on them if not the usual, as in: MACHINES=debian-13 MACHINES_RUN='demo test-unit'
MACHINES ?=
MACHINES_RUN ?=

.PHONY: help
help: ## show this list
	@echo 'usage: make TARGET'
	@echo
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 } /^##@ / { printf "\n%s\n", substr($$0, 5) }' $(MAKEFILE_LIST)

##@ to use it

.PHONY: setup engine images browser demo demo-down
setup: ## make .venv from requirements.lock, Moorage itself in it
	@scripts/venv

engine: ## make sure that a Docker engine answers (as root on Debian: installs and starts one)
	@scripts/engine

images: ## make sure that the base images of examples and tests exist
	@scripts/base-images

browser: setup ## make sure that Chromium is installed, for the browser tests
	@scripts/browser

demo: engine setup images ## bring up examples/commandcenter and print its addresses
	@$(BIN)/moorage hub start
	@$(BIN)/moorage up $(DEMO)
	@echo 'demo: `make demo-down` removes it, its volumes and its ports, and stops the hub' >&2

demo-down: setup ## remove the demo with its volumes and ports, stop the hub
	@$(BIN)/moorage down $(DEMO) --volumes --release-ports
	@$(BIN)/moorage hub stop

##@ to test it

.PHONY: test test-unit test-warm test-machines wheel packaging faults torture test-engines test-dagger bench
test: engine setup images browser ## every test, on a real engine (fails without one)
	@if ((EUID == 0)); then scripts/engine-root docker-26.1 >/dev/null; fi # one more engine, which only root can have
	@$(BIN)/pytest -n $(JOBS) --dist worksteal --durations=20 -m '$(NOT_IN_TEST)' $(PYTEST_ARGS)

test-unit: setup ## the fast tests: no engine, no Prefect server
	@$(BIN)/pytest -q -m '$(NOT_IN_TEST)' $(FAST_TESTS) $(PYTEST_ARGS)

test-warm: engine setup images ## what tests ask of commands, with commands that are forked from the hub's template
	@TESTS_WARM_COMMANDS=1 $(BIN)/pytest -n $(JOBS) --dist worksteal -m '$(NOT_IN_TEST)' tests/engine $(PYTEST_ARGS)

test-machines: ## `make demo` and the tests on bare Debian and Ubuntu machines, in fresh clones of what is committed (root; hours)
	@scripts/machines $(if $(MACHINES_RUN),--run '$(MACHINES_RUN)') $(MACHINES)

wheel: setup ## build the wheel into dist/ (unless WHEEL names one)
	@if [[ -z '$(WHEEL)' ]]; then rm -rf dist && $(BIN)/hatchling build --target wheel 2>&1 | tail -n 1; fi

packaging: engine wheel images ## test the wheel in a fresh environment (downloads its packages), next to a decoy project
	@rm -rf build/fresh && $(BIN)/python -m venv build/fresh
	@echo 'packaging: installing the packages of requirements.lock into a fresh environment (about a minute)' >&2
	@build/fresh/bin/pip install --quiet --require-hashes --no-deps --requirement requirements.lock
	@build/fresh/bin/pip install --quiet --no-deps $(or $(WHEEL),dist/*.whl) && build/fresh/bin/pip check
	@MOORAGE_WHEEL=$$(echo $(or $(WHEEL),dist/*.whl)) MOORAGE_WHEEL_ENV=build/fresh \
	  $(BIN)/pytest tests/packaging $(PYTEST_ARGS)

faults: engine setup images ## failure and SIGKILL at every step, many commands at once, and all tests that take minutes
	@FAULTS_MIXED_S=$(MIXED_S) $(BIN)/pytest -n $(JOBS) --dist load -m 'faults or exhaustive' $(PYTEST_ARGS)

torture: engine setup images ## an hour (TORTURE_S) of random verbs while engine, hub and disks fail, histories checked (root)
	@TORTURE_S=$(TORTURE_S) $(BIN)/pytest tests/torture -m exhaustive $(PYTEST_ARGS)

test-engines: engine setup images ## every verb on Docker 20.10 to 29, rootless, and Podman 5 (root), or ENGINES='docker-29 …'; writes docs/engines.md
	@$(BIN)/python -m tests.engines.matrix $(ENGINES)

test-dagger: engine setup images ## tests that need Dagger: set _EXPERIMENTAL_DAGGER_CLI_BIN and _RUNNER_HOST to CLI and engine
	@$(BIN)/pytest -m dagger_engine tests/dagger_engine $(PYTEST_ARGS)

bench: engine setup images ## measure for an hour, one at a time as they share the cores; writes docs/benchmarks.md
	@rm -f build/benchmarks.json
	@ended=0; $(BIN)/pytest -s tests/benchmarks $(PYTEST_ARGS) || ended=$$?; $(BIN)/python -m tests.benchmarks.figures; exit $$ended

##@ to change it

.PHONY: check lint types format lock ci clean
check: lint types test-unit ## lint, types and the fast tests

lint: setup ## ruff (all rules), shellcheck, and the schemas of action.yml and of files for CI servers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/shellcheck $(SCRIPTS)
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-actions action.yml
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml examples/github-actions.yml
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.gitlab-ci examples/gitlab-ci.yml

types: setup ## mypy --strict
	@$(BIN)/mypy

format: setup ## let ruff format the code and fix what it can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock: setup ## write requirements.lock again from pyproject.toml (LOCK_ARGS=--upgrade: newest versions)
	@UV_CUSTOM_COMPILE_COMMAND='make lock' $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-emit-find-links --extra compose --extra dagger --extra docker-blocks --group dev \
	  --output-file requirements.lock $(LOCK_ARGS) pyproject.toml
	@scripts/venv

ci: ## what CI runs: lint, types and every test
	@.ci/run

clean: ## remove what these targets created here: .venv, caches, builds (but not the engine or images)
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
	@find . -name __pycache__ -type d -not -path './.git/*' -not -path '*/node_modules/*' -prune -exec rm -rf {} +
