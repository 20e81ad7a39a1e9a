# Every target sets up what it needs in .venv; a second call installs nothing.
#   make test PYTHON=python3.13 VENV=.venv-3.13     another interpreter, beside the first
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check
RECIPE ?= quick
WORKERS ?= auto

.PHONY: help mnist test check bench oracle long equal clean
.NOTPARALLEL:
.DELETE_ON_ERROR:

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

mnist: $(VENV)/.stamp-default ## train on MNIST (RECIPE=quick|lecture|best|invariant)
	@$(BIN)/chainrule train mnist --recipe $(RECIPE)

# One BLAS thread per worker: threads that wait for each other on two busy cores are ten times slower.
test: $(VENV)/.stamp-test ## the tests and the docstrings' examples (no PyTorch, no JAX)
	@OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS)

check: $(VENV)/.stamp-dev ## ruff, mypy, layering of the imports
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

bench: $(VENV)/.stamp-bench ## speed beside the other libraries (QUICK=1: three minutes)
	@$(BIN)/python -m bench

oracle: $(VENV)/.stamp-test $(VENV)/.stamp-oracle ## agreement with PyTorch, JAX and scikit-learn; a skip is a failure
	@OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) tests/oracle

long: $(VENV)/.stamp-test ## the tests that take minutes: killed runs, full disks, whole recipes
	@$(BIN)/python -m pytest -m long

equal: $(VENV)/.stamp-test ## 500 random networks: every executor trains as the reference does
	@OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) -m long tests/test_equality.py

clean: ## remove .venv and every cache
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests -name __pycache__ -type d -exec rm -rf {} +

# One stamp for each set of extras: newer than pyproject.toml means installed.
EXTRAS_default :=
EXTRAS_test := [test]
EXTRAS_dev := [dev]
EXTRAS_oracle := [oracle]
EXTRAS_bench := [bench]

$(VENV)/.stamp-%: pyproject.toml $(BIN)/python
	@echo "chainrule: installing into $(VENV) ($*)"
	@$(PIP) -e '.$(EXTRAS_$*)'
	@touch $@

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "chainrule: no $(PYTHON) here. Name yours: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "chainrule: needs Python 3.11 or newer, $(PYTHON) is $$($(PYTHON) -V 2>&1). Name another: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null \
	  || { echo "chainrule: $(PYTHON) cannot make virtual environments. On Debian or Ubuntu: sudo apt install python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV)
