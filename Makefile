# `make train` and `make test` do all the set-up on a fresh clone.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH_VENV ?= .bench-venv
BENCH_STAMP := $(BENCH_VENV)/.installed

.PHONY: train test lint exactness chaos bench clean

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

chaos: $(STAMP)  ## kills real runs at random moments and compares their ends; a few kills with ARGS=--short
	$(BIN)/python -m tests.chaos $(ARGS)

$(BENCH_STAMP): pyproject.toml constraints.txt benchmarks/requirements.txt
	$(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --quiet --constraint constraints.txt torch
	$(BENCH_VENV)/bin/python -m pip install --quiet --constraint constraints.txt --requirement benchmarks/requirements.txt \
		--editable .
	touch $(BENCH_STAMP)

bench: $(BENCH_STAMP)  ## side by side with plain PyTorch and other libraries; ARGS=--quick for a short form
	$(BENCH_VENV)/bin/python -m benchmarks $(ARGS)

clean:
	rm -rf $(VENV) $(BENCH_VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache
