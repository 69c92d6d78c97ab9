# The only task runner. Everything happens in .venv; nothing needs root or a package of the system.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench soak fix clean

help: ## Say what there is to run
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-8s %s\n", $$1, $$2}'

demo: $(READY) ## Run the bundled conversations through memory on embedded storage
	$(BIN)/luni demo

test: $(READY) lint ## Check style and types, then run every test (on the servers that are here), WORKERS=2 at a time
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy tests/typing examples

bench: $(READY) ## Measure a turn against the floor and the peers that are installed
	$(BIN)/python bench/turn.py $(ARGS)

soak: $(READY) ## Run the fault tests ten times as long as CI does (LUNI_SOAK=10)
	LUNI_SOAK=$${LUNI_SOAK:-10} $(BIN)/python -m pytest tests/faults -s -o timeout=7200 $(ARGS)

fix: $(READY) ## Mend what the linter can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove the virtual environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("luni needs Python 3.11 or newer; this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(READY)
