PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help install demo docs test lint format clean

help:
	@echo "make demo      install into .venv and run the whole job on a generated picture set, offline"
	@echo "make test      install, lint, type-check and run every test"
	@echo "make lint      ruff, mypy, import-linter"
	@echo "make docs      write docs/cli.md anew from the commands' help"
	@echo "make format    let ruff rewrite what it can"
	@echo "make clean     remove .venv, caches and the demo's output"

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[all,dev]"
	@touch $@

demo: install
	$(BIN)/proxyhash demo

docs: install
	$(BIN)/python docs/generate_cli.py

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: lint
	$(BIN)/coverage erase
	$(BIN)/pytest -n 2 --cov --cov-report=term:skip-covered --cov-fail-under=90

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .coverage .coverage.* proxyhash-demo
