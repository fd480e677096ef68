PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help install browser demo docs test lowest milvus lint format clean

help:
	@echo "make demo      install into .venv and run the whole job on generated images, offline"
	@echo "make test      install, Chromium for the pages included, lint, type-check and run every test"
	@echo "make lowest    tests of all parsers with the lowest versions that pyproject.toml allows"
	@echo "make milvus    tests of the index in Milvus on a real server, which it installs, and its speed"
	@echo "make lint      ruff, mypy, import-linter"
	@echo "make docs      regenerate docs/cli.md and the table of docs/methods.md"
	@echo "make format    let ruff rewrite what it can"
	@echo "make clean     remove .venv, caches and the demo's output"

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[all,dev]"
	@touch $@

demo: install
	$(BIN)/proxyhash demo

# Not part of the stamp: whoever ran `make demo` first still gets a browser for `make test`.
browser:
	@.ci/browser

docs: install
	$(BIN)/python docs/generate_cli.py
	$(BIN)/python docs/generate_methods.py

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: lint browser
	$(BIN)/coverage erase
	$(BIN)/pytest -n 2 --dist worksteal --cov --cov-report=term:skip-covered --cov-fail-under=90

# Not part of `make test`, which takes the newest versions: run it when a floor in pyproject.toml changes.
lowest: install
	@.ci/lowest

# Not part of `make test`, as a server waits: once a week, and when src/proxyhash/index/milvus/ changes.
milvus: install
	PROXYHASH_MILVUS_SERVER=1 $(BIN)/pytest -m milvus_server tests/index
	$(BIN)/python benchmarks/milvus.py server --items 1000000

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .coverage .coverage.* proxyhash-demo
