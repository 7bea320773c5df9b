# `make quickstart` and `make test` make the environment themselves. `make help` lists the rest.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup quickstart test test-all docs-test chaos lint format lock doctor clean

BIN := $(CURDIR)/.venv/bin
export PATH := $(BIN):$(PATH)

# The first interpreter of these that is Python 3.11 or newer; only asked for when needed.
PYTHON ?= $(shell for name in python3.11 python3 python3.12 python; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)

SEED ?= 0
ARGS ?=

help:  ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*##/  make \1\t/' | expand -t 24

setup:  ## the environment in .venv; at once where nothing changed
	@interpreter="$(PYTHON)"; test -n "$$interpreter" || { echo "set-up: no Python 3.11 or newer found:" \
		"sudo apt-get install python3.11 python3.11-venv python3.11-dev" >&2; exit 1; }; \
	"$$interpreter" requirements/install.py

quickstart: setup  ## train, align and score a tiny model stage by stage (SEED=1 for another seed)
	@test -e models/quickstart-base/config.json || plumbline tiny --size small models/quickstart-base
	@test -e data/rl.jsonl || plumbline scenes data
	@plumbline run recipes/configs/quickstart.yaml --resume run.seed=$(SEED) run.name=quickstart-$(SEED)

test: setup  ## every test but the slow ones and those for a GPU (ARGS="-k word" to choose)
	@OMP_NUM_THREADS=2 HF_HUB_OFFLINE=1 pytest -m "not slow and not gpu" $(ARGS)

test-all: setup  ## every test that this machine can run
	@OMP_NUM_THREADS=2 HF_HUB_OFFLINE=1 pytest --hypothesis-profile=default $(ARGS)

docs-test: setup  ## run every command and snippet of README.md and docs/
	@OMP_NUM_THREADS=2 HF_HUB_OFFLINE=1 pytest tests/docs $(ARGS)

chaos: setup  ## kill actors and the driver at random moments (REPEATS=10 times each)
	@OMP_NUM_THREADS=2 HF_HUB_OFFLINE=1 pytest -m chaos --repeats $(or $(REPEATS),10) $(ARGS)

lint: setup  ## ruff and mypy
	ruff check .
	ruff format --check .
	mypy

format: setup  ## format the code and fix what can be fixed
	ruff check --fix .
	ruff format .

lock: setup  ## resolve requirements/cpu.in into requirements/cpu.lock again
	@python requirements/lock.py

doctor: setup  ## check this machine and say what to do about each problem
	@plumbline doctor

clean:  ## remove the environment and all caches; runs, models and data stay
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
