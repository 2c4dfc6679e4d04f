# `make train` and `make test` do all the set-up of a fresh clone; `make` alone lists the targets.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH_VENV ?= .bench-venv
BENCH_STAMP := $(BENCH_VENV)/.installed
DOCS_STAMP := $(VENV)/.docs-installed
AUDIT_VENV ?= .audit-venv
TRACKERS_VENV ?= .trackers-venv
TRACKERS_STAMP := $(TRACKERS_VENV)/.installed

.PHONY: help train test lint exactness fuzz chaos slurm cluster own-models trackers docs docs-run bench scripts audit clean

help:  ## list what make can do
	@awk -F ':.*  ## ' '/^[a-z-]+:.*  ## / { printf "make %-11s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "ARGS=... is passed on, as in: make train ARGS='--quick-test --seed 1'"

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

train: $(STAMP)  ## train the embedded example and print its results
	$(BIN)/python bin/train.py $(ARGS)

# Three on two cores: a test often waits for what it started.
test: $(STAMP)  ## run all tests
	OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -n 3 --dist worksteal $(ARGS)

lint: $(STAMP)  ## check formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

exactness: $(STAMP)  ## compare the weights of 1 to 4 processes with those of a plain PyTorch loop
	$(BIN)/python -m benchmarks.exactness $(ARGS)

fuzz: $(STAMP)  ## open every reader of files on damaged ones; ARGS=--short: a few
	$(BIN)/python -m tests.fuzz $(ARGS)

chaos: $(STAMP)  ## kill real runs, train in hostile places, and compare the ends; ARGS=--short: a few of both
	$(BIN)/python -m tests.chaos $(ARGS)

slurm: $(STAMP)  ## start a SLURM of two nodes here, if it is installed, and train in its jobs; ARGS=--short: the first checks
	OMP_WAIT_POLICY=passive $(BIN)/python -m tests.slurm $(ARGS)

cluster: $(STAMP)  ## train on hosts that are namespaces of this machine, and make every mistake there (root); ARGS=--short: a few
	$(BIN)/python -m tests.cluster $(ARGS)

own-models: $(STAMP)  ## train programs as people write them, killed and resumed too, against loops by hand; ARGS=gpt2: one of them
	$(BIN)/python -m tests.own_models $(ARGS)

# Only torch is pinned: MLflow takes no pyarrow as new as that of constraints.txt.
$(TRACKERS_STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(TRACKERS_VENV)
	$(TRACKERS_VENV)/bin/python -m pip install --quiet --constraint constraints.txt torch
	$(TRACKERS_VENV)/bin/python -m pip install --quiet --editable '.[tensorboard,mlflow,trackio]' \
		pytest pytest-timeout pytest-xdist
	touch $(TRACKERS_STAMP)

trackers: $(TRACKERS_STAMP)  ## compare what MLflow's server and trackio's database hold with a run's journal
	$(TRACKERS_VENV)/bin/python -m pytest -n 0 tests/results/track $(ARGS)

$(DOCS_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $(DOCS_STAMP)

docs: $(DOCS_STAMP)  ## build the documentation as a site that opens offline, build/site/index.html
	$(BIN)/python -m docs.site

docs-run: $(STAMP)  ## run every block of the documentation as a reader would; ARGS=docs/tasks.md: of one page
	$(BIN)/python -m tests.docs $(ARGS)

$(BENCH_STAMP): pyproject.toml constraints.txt benchmarks/requirements.txt
	$(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --quiet --constraint constraints.txt torch
	$(BENCH_VENV)/bin/python -m pip install --quiet --constraint constraints.txt --requirement benchmarks/requirements.txt \
		--editable .
	touch $(BENCH_STAMP)

bench: $(BENCH_STAMP)  ## measure side by side with plain PyTorch and other libraries; ARGS=--quick: a short form
	$(BENCH_VENV)/bin/python -m benchmarks $(ARGS)

scripts: $(STAMP)  ## run Accelerate's own test scripts under both launchers, to end alike; ARGS=--quick: two of them
	$(BIN)/python -m benchmarks.accelerate_scripts $(ARGS)

audit: $(STAMP)  ## list what is installed as sbom.json (CycloneDX), and ask the package index for known weaknesses of it
	$(PYTHON) -m venv $(AUDIT_VENV)
	$(AUDIT_VENV)/bin/python -m pip install --quiet pip-audit cyclonedx-bom
	$(AUDIT_VENV)/bin/cyclonedx-py environment --output-file sbom.json $(BIN)/python
	$(AUDIT_VENV)/bin/pip-audit --path $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') $(ARGS)

clean:  ## remove the environments and what tools left
	rm -rf $(VENV) $(BENCH_VENV) $(AUDIT_VENV) $(TRACKERS_VENV) sbom.json build *.egg-info .mypy_cache .ruff_cache .pytest_cache
