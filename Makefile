# Everything a newcomer types. Targets that install do so once: a stamp in the virtual environment remembers.
#
#   make demo PYTHON=python3.12          another interpreter than python3
#   make demo TORCH=torch==2.13.0        the default build of PyTorch, CUDA and all, also where no GPU is
#   make test PYTEST="-k docker"         further arguments for pytest, in all of its processes

PYTHON ?= python3
TORCH ?=
PYTEST ?=

VENV := .venv
RUN := $(VENV)/bin
INPUTS := pyproject.toml constraints.txt scripts/install.py
INSTALL = $(PYTHON) scripts/install.py --venv $(VENV) --torch "$(TORCH)"
TYPED := src tests scripts benchmarks recipes

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow check cluster format constraints clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.installed-tiny ## install what the demo needs and run the whole nano3 pipeline on this machine
	$(RUN)/nemotron nano3 pipe -c tiny

test: $(VENV)/.installed-test ## install what the tests need and run all that do not take minutes
	scripts/system_packages.sh
	$(RUN)/python scripts/run_tests.py -m "not minutes" $(PYTEST)

test-slow: $(VENV)/.installed-test ## the tests that take minutes: lost nodes, frozen controllers, long random schedules
	scripts/system_packages.sh
	$(RUN)/python -m pytest -m minutes

cluster: $(VENV)/.installed-test ## run a Slurm of two nodes on this machine, for trying things on, until Ctrl-C; takes root
	scripts/system_packages.sh --strict
	$(RUN)/python -m tests.clusters.beds

check: $(VENV)/.installed-check ## lint, types and guardrails
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy $(TYPED)
	$(RUN)/python -m pytest tests/guardrails

format: $(VENV)/.installed-check ## let ruff format and fix what it can
	$(RUN)/ruff check --fix .
	$(RUN)/ruff format .

constraints: ## write constraints.txt anew, with the newest versions that pyproject.toml allows
	$(PYTHON) scripts/install.py --lock --torch "$(TORCH)"

clean: ## remove the virtual environments and what tools left behind (output/ stays)
	rm -rf .venv .venv-* .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist

# Each wider installation covers the narrower ones.
$(VENV)/.installed-tiny: $(INPUTS)
	$(INSTALL) --extras tiny
	@touch $@

$(VENV)/.installed-test: $(INPUTS)
	$(INSTALL) --extras tiny,fast,remote,test
	@touch $@ $(VENV)/.installed-tiny

$(VENV)/.installed-check: $(INPUTS)
	$(INSTALL) --extras tiny,fast,remote,test,check
	@touch $@ $(VENV)/.installed-test $(VENV)/.installed-tiny
