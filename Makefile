# `make train` and `make test` do all the set-up on a fresh clone.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: train test lint exactness bench clean

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

train: $(STAMP)  ## train the embedded default and print its results
	$(BIN)/python bin/train.py $(ARGS)

test: $(STAMP)  ## all tests, in parallel
	$(BIN)/python -m pytest -n 2 $(ARGS)

lint: $(STAMP)  ## formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

exactness: $(STAMP)  ## the exactness contract on 1 to 4 processes
	$(BIN)/python benchmarks/exactness.py $(ARGS)

bench: $(STAMP)  ## the loop's own cost
	$(BIN)/python benchmarks/overhead.py $(ARGS)

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache
