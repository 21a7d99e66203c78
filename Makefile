# Everything a person does with this checkout. `make help` lists it.
# Needs only Python >= 3.11 and make; the environment is made in .venv on first use.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO_HOME ?= .demo
# Tests of one file run in one process, files in as many as this.
TEST_PROCESSES ?= 2

.DEFAULT_GOAL := help
.PHONY: help install demo test lint format generate verify manifests bench lock clean \
  cluster-up cluster-down cluster-status kind-up kind-down

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

install: $(STAMP) ## Make the environment in .venv, exactly as locked

# uv installs the lock in a fraction of pip's time; its own pin and hashes come from the same lock.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Strandline needs Python 3.11 or newer: set PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "python3 -m venv failed: on Debian or Ubuntu, install python3-venv"; exit 1; }
	@awk '/^[a-z]/ {on = ($$1 ~ /^uv==/)} on' requirements.lock > $(VENV)/uv.lock
	@echo "Installing the locked environment into $(VENV) (about 6 GB; minutes on a first run) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $(VENV)/uv.lock
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip sync --quiet --compile-bytecode --require-hashes requirements.lock
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps --editable .
	@touch $@

demo: $(STAMP) ## Import real images, train, evaluate, predict: under four minutes
	@DEMO_HOME=$(DEMO_HOME) PATH="$(CURDIR)/$(BIN):$$PATH" bash tools/demo.sh

test: $(STAMP) ## Run the tests
	@$(BIN)/python -m pytest -q -n $(TEST_PROCESSES) --dist loadscope --no-loadscope-reorder

lint: $(STAMP) ## Check style, types and layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: $(STAMP) ## Format the code
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

generate: $(STAMP) ## Write what is generated: CRDs, schemas, reference pages
	@$(BIN)/python tools/generate.py

verify: $(STAMP) ## Fail when something generated is out of date
	@$(BIN)/python tools/generate.py --check

manifests: $(STAMP) ## Write the kustomize manifests from the chart (needs Helm: python -m tests.cluster.binaries helm)
	@$(BIN)/python -m tests.deploy.manifests

bench: $(STAMP) ## Run the benchmarks and print their tables
	@for each in bench/*/run.py; do echo "== $$each"; $(BIN)/python $$each || exit 1; done

lock: $(STAMP) ## Resolve requirements.lock anew (hashes, no index addresses)
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --extra dev \
	  --no-emit-index-url --no-emit-find-links --no-header pyproject.toml --output-file requirements.lock

cluster-up: $(STAMP) ## Start a real Kubernetes for the tests (root, Debian; built on first use)
	@$(BIN)/python -m tests.cluster up

cluster-down: $(STAMP) ## End it and leave nothing behind
	@$(BIN)/python -m tests.cluster down

cluster-status: $(STAMP) ## Tell what of it runs and how to reach it
	@$(BIN)/python -m tests.cluster status

# With Docker instead of root: tests/cluster/README.md tells how the tests use it.
kind-up: ## Start a Kubernetes with kind (needs Docker and kind)
	@kind create cluster --name strandline --wait 120s
	@mkdir -p build && kind get kubeconfig --name strandline > build/kind.kubeconfig
	@echo "export KUBECONFIG=$(CURDIR)/build/kind.kubeconfig"
	@echo "export STRANDLINE_TEST_LOAD_IMAGE='kind load image-archive {archive} --name strandline'"

kind-down: ## End it
	@kind delete cluster --name strandline

clean: ## Remove the environment, caches and the demo's folder
	@rm -rf $(VENV) $(DEMO_HOME) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
