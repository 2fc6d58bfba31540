# Every target makes its own virtual environment in .venv and installs once per pyproject.toml.
PYTHON ?= python3
JOBS ?= 2

VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

.PHONY: demo test check-all laws bench notebooks lint clean

demo: $(VENV)/.data
	$(BIN)/symkernel demo --out out

test: lint
	$(PYTEST)

# Every test, the slow ones included, with more and fresh random draws.
check-all: $(VENV)/.dev
	SYMKERNEL_PROFILE=thorough $(PYTEST) -m ""

# The ladder of every law, its record in the package, and the table in the README.
laws: $(VENV)/.dev
	$(BIN)/symkernel check --all --json symkernel/theory/checks.json
	$(BIN)/symkernel list --into README.md

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks

notebooks: $(VENV)/.dev
	$(BIN)/jupyter-execute --inplace notebooks/*.ipynb

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist out .hypothesis .mypy_cache .pytest_cache .ruff_cache .symkernel_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --clear: an environment whose making was interrupted is made again.
$(VENV)/.made:
	$(PYTHON) -m venv --clear $(VENV)
	touch $@

$(VENV)/.data $(VENV)/.dev $(VENV)/.bench: $(VENV)/.%: pyproject.toml $(VENV)/.made
	$(BIN)/python -m pip install --quiet --editable ".[$*]"
	touch $@
