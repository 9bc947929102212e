# Everything is installed into a virtual environment of its own; nothing else on the machine is touched.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
EXTRAS := training,evaluator,gateway,cli,dev
STAMP  := $(VENV)/.installed

# What `make run` trains: a file of recipes/, a data folder, and how many steps.
RECIPE ?=
DATA   ?=
STEPS  ?=
VOLUME ?= volume

.DEFAULT_GOAL := help
.PHONY: help setup run test lint format clean

help:  ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  RECIPE=name DATA=/path STEPS=n VOLUME=/path change what make run does"

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "tandem needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "python3 cannot make virtual environments: install python3-venv"; exit 1; }
	@echo "Installing into $(VENV) (once; takes a minute or two) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

setup: $(STAMP)  ## Make the virtual environment

run: $(STAMP)  ## Train, judge and serve on this machine until the run is done; Ctrl-C stops, again resumes
	@$(BIN)/tandem up --volume '$(VOLUME)' $(if $(RECIPE),--recipe '$(RECIPE)') $(if $(DATA),--data '$(DATA)') $(if $(STEPS),--steps '$(STEPS)')

test: $(STAMP)  ## Run the tests
	@$(BIN)/python -m pytest

lint: $(STAMP)  ## Check style, types and the rules of who imports whom
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(STAMP)  ## Format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean:  ## Remove the virtual environment and caches; the volume stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
