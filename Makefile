# make install   the environment, in .venv
# make demo      a real study on this machine: jobs/local.yaml
# make test      all tests        make lint   style, types and import layers
# make faults    sixty kills of whatever runs; `make faults ARGS="--fault-seed N"`: those again

PYTHON ?= python3
BIN := .venv/bin

# The CPU build of torch comes from a folder of wheels where pip is told of one that holds it, and
# else from PyTorch's own index, which uv knows by name.
WHEEL := $(firstword $(foreach folder,$(PIP_FIND_LINKS),$(wildcard $(folder)/torch-*+cpu-*.whl)))
TORCH := $(if $(WHEEL),--find-links $(dir $(WHEEL)),--torch-backend cpu)

.PHONY: install demo test faults lint

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt uv
	$(BIN)/uv pip install --quiet --python .venv --constraint constraints.txt $(TORCH) --editable '.[cpu,dev]'
	touch $@

demo: install
	$(BIN)/weirdgen run jobs/local.yaml

test: install
	$(BIN)/pytest

faults: install
	$(BIN)/pytest tests/chaos/faults --faults 60 $(ARGS)

lint: install
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/pyright
	$(BIN)/lint-imports --no-logo
