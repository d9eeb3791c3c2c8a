# make install      the environment, in .venv
# make demo         a real study on this machine: jobs/local.yaml
# make lint         style, types and import layers
# make test         tests of single modules and of modules together, some ten minutes with the installation
# make test-e2e     tests that need a cluster, a browser, vLLM or the real model
# make test-chaos   tests that kill, cut off or fill up what a study runs on
# make faults       sixty kills of whatever runs; `make faults ARGS="--fault-seed N"`: those again
#
# ARGS go to pytest: `make test ARGS="-k lease"`.

PYTHON ?= python3
BIN := .venv/bin

# The CPU build of torch comes from a folder of wheels where pip is told of one that holds it, and
# else from PyTorch's own index, which uv knows by name.
WHEEL := $(firstword $(foreach folder,$(PIP_FIND_LINKS),$(wildcard $(folder)/torch-*+cpu-*.whl)))
TORCH := $(if $(WHEEL),--find-links $(dir $(WHEEL)),--torch-backend cpu)

# Ray and the commands start many processes: each would compile every module again.
export PYTHONDONTWRITEBYTECODE :=

# Files of tests go to two processes; each has one Ray, one browser and one S3 server at most.
PYTEST := $(BIN)/pytest --numprocesses 2 --dist loadfile

.PHONY: install demo lint test test-e2e test-chaos faults

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt uv
	$(BIN)/uv pip install --quiet --python .venv --constraint constraints.txt $(TORCH) --editable '.[cpu,dev]'
	touch $@

demo: install
	$(BIN)/weirdgen run jobs/local.yaml

test: install
	$(PYTEST) tests/unit tests/integration --timeout 300 $(ARGS)

test-e2e: install
	$(PYTEST) tests/e2e $(ARGS)

test-chaos: install
	$(PYTEST) tests/chaos $(ARGS)

faults: install
	$(BIN)/pytest tests/chaos/faults --faults 60 $(ARGS)

lint: install
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/pyright
	$(BIN)/lint-imports --no-logo
