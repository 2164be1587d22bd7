# `make quickstart` and `make test` need Python 3.11 or newer and pip, nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: quickstart test test-fast test-exhaustive lint clean

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	@echo "installing; PyTorch is a few gigabytes, this takes some minutes ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

quickstart: $(VENV)/installed
	$(BIN)/automl search --space quickstart.yaml --out results/quickstart
	$(BIN)/automl bundle verify results/quickstart/bundles/best
	$(BIN)/automl bundle verify results/quickstart/bundles/smallest

# Two at a time, each on one core; a Ray of its own for every test that needs one.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

test: $(VENV)/installed
	$(PYTEST) -m "not exhaustive"

# The long matrices, which change rarely.
test-exhaustive: $(VENV)/installed
	$(PYTEST) -m exhaustive

# Without the tests that take more than a few seconds each.
test-fast: $(VENV)/installed
	$(PYTEST) -m "not slow and not exhaustive"

# Benchmarks use names and signatures that are there; how values flow through them is not checked.
LOOSELY = arg-type assignment import-untyped index misc no-any-return return-value var-annotated

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	MYPYPATH=benchmarks $(BIN)/mypy --explicit-package-bases $(LOOSELY:%=--disable-error-code %) benchmarks
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
