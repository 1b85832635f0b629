# Two commands are enough: `make run` and `make test`. Both set up the environment first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SNAKEMAKE_FILES := workflow/Snakefile workflow/rules

.PHONY: help plan run redraw report verify bench wheels docs test soak lint format setup lock clean

help: ## Show what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

plan: setup ## Say what the default study costs before it is run
	$(BIN)/snakemake --cores 1 plan

run: setup ## Run the default study on all cores
	$(BIN)/snakemake --cores all

redraw: setup ## Draw the comparison figures from cached results/attributions only
	$(BIN)/snakemake --cores all --workflow-profile redraw comparison_figures metrics

report: setup ## Write report.html; what is missing for it is run first
	$(BIN)/snakemake --cores all
	$(BIN)/snakemake --report report.html --report-stylesheet workflow/report/report.css

verify: setup ## Compute a random part of the default study again and compare
	$(BIN)/snakemake --cores all verify

bench: setup ## Time the engine beside its peers; writes docs/performance.md
	$(BIN)/python -m bench.propagation
	$(BIN)/python -m bench

wheels: ## Collect in .wheels what a machine with torch but without a network lacks for the benchmark of its GPU
	rm -rf .wheels
	$(PYTHON) -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --python-version 3.12 \
		--implementation cp --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 --platform manylinux_2_17_x86_64 \
		--dest .wheels --requirement bench/gpu-requirements.txt
	@test $$(du -sm .wheels | cut -f1) -lt 60 || { echo "wheels: more than 60 MiB, which is too much to carry"; exit 1; }

docs: setup ## Build the documentation site into docs/_build/html
	$(BIN)/python -m approxgrad.study.reference && $(BIN)/python docs/columns.py && $(BIN)/python docs/figures.py
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs docs/_build/html

test: setup ## Run all tests but those of soak
	$(BIN)/pytest --numprocesses 2 --dist loadfile

soak: setup ## Run the tests that take minutes: faults injected at random, large studies, a SLURM of their own
	$(BIN)/pytest -m soak

lint: setup ## Check style, types and the workflow
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check --compact-diff $(SNAKEMAKE_FILES)
	$(BIN)/mypy
	$(BIN)/snakemake --lint

format: setup ## Format all code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt $(SNAKEMAKE_FILES)

setup: $(STAMP) ## Create .venv with hash-pinned dependencies and the package

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "approxgrad needs Python 3.11 or newer, $(PYTHON) is " + sys.version.split()[0] + "; set PYTHON")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

lock: ## Pin the newest dependencies again (needs uv)
	uv pip compile pyproject.toml --extra study --extra dev --extra docs --constraint envs/constraints.txt --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links --upgrade \
		--output-file requirements.lock

clean: ## Remove everything that a run produced; keeps .venv
	find data results -mindepth 1 -maxdepth 1 ! -name README.md -exec rm -rf {} +
	rm -rf logs benchmarks .snakemake report.html docs/_build
