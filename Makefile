# Only Python 3.11 or 3.12 and make are needed:  make run,  make test.
#
# Everything is installed into $(VENV) from the hash-locked requirements/. PYTHON=... chooses the interpreter; without
# it an environment that is already complete is kept, else the first of $(CANDIDATES) that runs and fits is taken.

SHELL := /bin/sh
PYTHON ?=
VENV ?= .venv
ARGS ?=
BIN := $(VENV)/bin
CANDIDATES := python3.11 python3.12 python3

# Prints 311 or 312; fails for an interpreter that is missing, is a dead shim, is too old or new, or lacks venv.
FITS := import ensurepip, sys, venv; v = sys.version_info; sys.exit(1) if v < (3, 11) or v >= (3, 13) else print("%d%d" % v[:2])

.DEFAULT_GOAL := help
.PHONY: help install run test fast lint types check docs lock clean

help:
	@echo 'make run      install, then run the demonstration into runs/demo (ARGS="key=value ..." adds overrides)'
	@echo 'make test     install, then run all tests (ARGS="..." goes to pytest); make fast leaves the slow ones out'
	@echo 'make check    lint, types, tests: what CI runs'
	@echo 'make install  $(VENV) with the openended command; PYTHON=python3.12 chooses the interpreter'
	@echo 'make docs     write the configuration reference; make lock: write requirements/ (needs uv; ARGS=--upgrade)'
	@echo 'make clean    remove build products and caches (runs/ and $(VENV) stay)'

run: install
	$(BIN)/openended train experiment=demo run.name=demo $(ARGS)

test: install
	$(BIN)/python -m pytest $(ARGS)

fast: install
	$(BIN)/python -m pytest -m "not slow" $(ARGS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

check: lint types test

docs: install
	$(BIN)/python -m openended.docs

# Two stamps, written last: what the environment was made of (locks, Python, place) and what was installed into it.
# An environment whose first stamp is missing or differs is never repaired: it is made anew.
install:
	@set -e; \
	fits() { "$$1" -c '$(FITS)' 2>/dev/null; }; \
	python=; tag=; \
	if [ -n "$(PYTHON)" ]; then \
	  python="$(PYTHON)"; \
	  tag=$$(fits "$$python") || { echo "error: PYTHON=$(PYTHON) is not a working Python 3.11 or 3.12 with venv." >&2; exit 2; }; \
	elif [ -f "$(VENV)/openended.lock" ] && tag=$$(fits "$(BIN)/python"); then \
	  python=$$("$(BIN)/python" -c 'import sys; print(sys._base_executable)'); \
	else \
	  for candidate in $(CANDIDATES); do \
	    if tag=$$(fits "$$candidate"); then python=$$candidate; break; fi; \
	  done; \
	  [ -n "$$python" ] || { echo "error: no working Python 3.11 or 3.12 with venv among $(CANDIDATES): install one or give PYTHON=/path/to/it." >&2; exit 2; }; \
	fi; \
	made="$$tag $$(cat requirements/build.txt requirements/py$$tag.txt | cksum) $$(pwd)"; \
	if [ "$$(cat "$(VENV)/openended.lock" 2>/dev/null)" != "$$made" ] || [ "$$(fits "$(BIN)/python")" != "$$tag" ]; then \
	  if [ -e "$(VENV)" ]; then \
	    [ -f "$(VENV)/pyvenv.cfg" ] || { echo "error: VENV=$(VENV) exists and is no Python environment; it is left alone." >&2; exit 2; }; \
	    echo "The environment in $(VENV) is incomplete, out of date or of another Python: making it anew."; \
	  fi; \
	  echo "Installing the locked packages into $(VENV) ($$("$$python" --version)); this takes some minutes."; \
	  rm -f "$(VENV)/openended.lock" "$(VENV)/openended.project"; \
	  "$$python" -m venv --clear "$(VENV)"; \
	  pip="$(BIN)/python -m pip --disable-pip-version-check install -qq"; \
	  $$pip --require-hashes -r requirements/build.txt; \
	  $$pip --require-hashes --no-build-isolation --use-pep517 -r requirements/py$$tag.txt; \
	  echo "$$made" > "$(VENV)/openended.lock"; \
	fi; \
	project=$$(cksum < pyproject.toml); \
	if [ "$$(cat "$(VENV)/openended.project" 2>/dev/null)" != "$$project" ]; then \
	  "$(BIN)/python" -m pip --disable-pip-version-check install -qq --no-deps --no-build-isolation --editable .; \
	  echo "$$project" > "$(VENV)/openended.project"; \
	fi

# The index of this machine's pip is used and never written down. Locked and tested for Linux on x86-64; the hashes of
# every wheel of a version are listed.
lock:
	@set -e; \
	uv=$$(command -v uv || { [ -x "$(BIN)/uv" ] && echo "$(BIN)/uv"; } || { echo "error: make lock needs uv (pip install uv)." >&2; exit 2; }); \
	index=$$(python3 -m pip config get global.index-url 2>/dev/null || true); \
	compile() { \
	  "$$uv" pip compile --quiet --generate-hashes --no-header --no-emit-index-url --no-emit-find-links \
	    --python-platform x86_64-manylinux_2_28 $${index:+--default-index "$$index"} $(ARGS) "$$@"; \
	}; \
	for version in 3.11 3.12; do \
	  file=requirements/py$$(echo $$version | tr -d .).txt; \
	  compile pyproject.toml --extra dev --python-version $$version --output-file $$file; \
	  echo "$$file: $$(grep -c == $$file) packages"; \
	done; \
	compile --group build --python-version 3.11 --output-file requirements/build.txt

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find openended envs tests -type d -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
