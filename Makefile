# Every target sets itself up from a bare clone; it needs Python 3.11 or newer with pip, and nothing else.
# PYTHON=... picks the interpreter. The environment lives in .venv and is rebuilt when its requirements change.

SUPPORTED := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3.11 python3 python3.12 python3.13 python3.14; do \
	if $$python -c '$(SUPPORTED)' 2>/dev/null; then echo $$python; break; fi; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check
# Bytecode is left to the first import: most of the modules that come along are never imported.
INSTALL := $(PIP) install --no-compile --progress-bar off --constraint constraints.txt
MODELS := smollm2-135m-instruct minilm-l6 bert-tiny

.DELETE_ON_ERROR:
.PHONY: help venv models demo docs test check browser crash bench clean

help: ## list the targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

$(BIN)/python:
	@if ! "$(PYTHON)" -c '$(SUPPORTED)' 2>/dev/null; then \
		echo "PYTHON=$(PYTHON): Rung needs Python 3.11 or newer. Install it, or run: make PYTHON=/path/to/python3.11" >&2; \
		exit 2; fi
	@echo "Making .venv with $$($(PYTHON) --version)"
	@"$(PYTHON)" -m venv .venv >/dev/null 2>&1 || { \
		"$(PYTHON)" -m venv --clear --without-pip .venv && \
		"$(PYTHON)" -m pip -qq --disable-pip-version-check --python $(BIN)/python install --progress-bar off pip; }

.venv/.stamp: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing Rung and its dependencies into .venv (about 1 GB the first time)"
	@$(INSTALL) --editable .
	@touch $@

.venv/.stamp-dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing Rung, its dependencies and the development tools into .venv (about 1 GB the first time)"
	@$(INSTALL) --editable '.[dev]'
	@touch .venv/.stamp $@

.venv/.stamp-bench: .venv/.stamp
	@echo "Installing the peers of the benchmarks"
	@$(INSTALL) --editable '.[bench]'
	@touch $@

venv: .venv/.stamp-dev ## make .venv with Rung and the development tools

models: .venv/.stamp ## fetch the starter models into Rung's cache
	@for model in $(MODELS); do $(BIN)/rung models path $$model || exit; done

demo: models ## climb the ladder on SMS spam; the report lands in out/
	$(BIN)/rung climb examples/spam.yaml

docs: .venv/.stamp ## write the pages of docs/ that are made from code
	$(BIN)/python -m docs

check: .venv/.stamp-dev ## lint, formatting and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/basedpyright --pythonpath $(BIN)/python

browser: ## find headless Chromium, or install it (as root, with apt-get)
	@.ci/browser

# Tests share the cores; those that load real models compute with all of them and get the machine to themselves.
test: .venv/.stamp-dev ## every check and every test
	@$(MAKE) --no-print-directory -j2 check browser models
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m 'not models'
	$(BIN)/python -m pytest -m models

crash: .venv/.stamp ## disturb real runs everywhere; each must end in the same bytes (20 minutes)
	$(BIN)/python tests/crash/crash.py --json out/crash.json

# What is measured already is not measured again; a bench that was killed goes on. BENCH=name takes one of them.
bench: models .venv/.stamp-bench ## measure speed and memory against the peers (about 70 minutes; BENCH=name for one)
	$(BIN)/python -m benchmarks $(BENCH)

clean: ## remove what make built; the model cache stays
	rm -rf .venv out build dist .pytest_cache .ruff_cache .hypothesis
