# nemostack: `make help` lists what there is to do. Everything below sets up what it needs.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
STACK  ?= local
# The stack that `make test` brings up beside yours: its own ports and its own state.
TEST_STACK     := test
TEST_BASE_PORT ?= 19080

LIGHT    := .venv/bin/python
EMBEDDED := .venv-embedded/bin/python
COMPILE  := .venv/bin/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
            --no-emit-index-url --no-header --quiet
LIGHT_CODE := nemostack cli operations infra workflows smoke_tests load_tests simulator tests/unit tests/local tests/cluster tests/simulator examples benchmarks/cluster_scale.py docs
CLOUDS     := gke eks aks
CLOUD_SDKS := infra/clusters/requirements
# Unit tests run the program of every cloud, under mocks.
UNIT_NEEDS := .venv/.ready $(CLOUDS:%=.venv/.cloud-%)

# What a stack needs follows from its target; a name without a stack file is a stack of this machine.
TARGET_OF_STACK := $(shell sed -nE "s/^ *nemostack:target: *['\"]?([a-z]*).*/\1/p" Pulumi.$(STACK).yaml 2>/dev/null)
STACK_NEEDS     := .venv/.ready $(if $(filter-out local,$(TARGET_OF_STACK)),,.venv-embedded/.ready) \
                   $(patsubst %,.venv/.cloud-%,$(filter $(CLOUDS),$(TARGET_OF_STACK)))
# GPUs are held to other objectives than the CPUs of this machine.
SLO ?= examples/$(if $(filter-out local,$(TARGET_OF_STACK)),slo.yaml,slo.local.yaml)
# States of the stacks of this clone, as Pulumi lays them out.
STATES := .nemostack/pulumi/.pulumi/stacks

.PHONY: help
help: ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-13s %s\n", $$1, $$2}'
	@echo; echo "  STACK=name picks another stack for up, down, smoke, load and clean (now: $(STACK))."

# --- environments -------------------------------------------------------------------------------------------------

.venv/.ready: requirements.txt pyproject.toml operations/toolchain/bootstrap.txt
	@$(PYTHON) -c 'import sys; sys.exit(f"nemostack needs Python 3.11 to 3.13, {sys.executable} is " \
	  f"{sys.version.split()[0]}: try make PYTHON=python3.12") if not (3, 11) <= sys.version_info[:2] < (3, 14) else 0'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) lacks the venv module:" \
	  "install it (Debian, Ubuntu: apt install python3-venv) and try again"; exit 1; }
	@echo "==> .venv: Pulumi, harness, load tests (about 1 min, 1 GB)"
	@rm -f $@
	@# uv comes last: a .venv without it was interrupted half-way, and may have a Python but no pip
	@[ -x .venv/bin/uv ] || { rm -rf .venv && $(PYTHON) -m venv .venv && \
	  $(LIGHT) -m pip install --quiet --disable-pip-version-check --require-hashes -r operations/toolchain/bootstrap.txt; }
	@.venv/bin/uv pip sync --quiet --python .venv --require-hashes requirements.txt
	@.venv/bin/uv pip install --quiet --python .venv --no-deps --no-build-isolation --editable .
	@touch $@

.venv-embedded/.ready: embedded/requirements.txt pyproject.toml | .venv/.ready
	@echo "==> .venv-embedded: vLLM, PyTorch, lm-eval, MLflow server (1 to 5 min, 7 GB)"
	@rm -f $@
	@[ -f .venv-embedded/pyvenv.cfg ] || { rm -rf .venv-embedded && .venv/bin/uv venv --quiet --python $(LIGHT) .venv-embedded; }
	@.venv/bin/uv pip sync --python .venv-embedded --compile-bytecode --require-hashes embedded/requirements.txt 2>&1 \
	  | grep -vE '^ [+~-] ' || exit $${PIPESTATUS[0]}
	@.venv/bin/uv pip install --quiet --python .venv-embedded --no-deps --no-build-isolation --editable .
	@touch $@

# The SDK of a cloud goes on top of what every target needs; only stacks of that cloud ask for it.
.venv/.cloud-%: $(CLOUD_SDKS)/%.txt .venv/.ready
	@echo "==> .venv: SDK of $* (about 20 s)"
	@.venv/bin/uv pip install --quiet --python .venv --require-hashes -r $<
	@touch $@

.PHONY: env embedded-env
env: $(STACK_NEEDS) ## Install what the stack needs (STACK=gke: with the SDK of that cloud)
embedded-env: .venv-embedded/.ready ## Install what the local stack needs (.venv-embedded)

.PHONY: lock
lock: .venv/.ready ## Recompile both requirements files from pyproject.toml
	$(COMPILE) --group stack --group dev --group docs -o requirements.txt
	$(COMPILE) --group embedded --group dev -o embedded/requirements.txt
	for cloud in $(CLOUDS); do $(COMPILE) --group $$cloud -c requirements.txt -o $(CLOUD_SDKS)/$$cloud.txt; done

.PHONY: lock-check
lock-check: .venv/.ready
	@tmp=$$(mktemp -d); trap 'rm -rf $$tmp' EXIT; \
	check() { locked="$$1"; shift; cp "$$locked" $$tmp/lock.txt; $(COMPILE) "$$@" -o $$tmp/lock.txt; \
	  diff -q "$$locked" $$tmp/lock.txt >/dev/null || { echo "$$locked has drifted from pyproject.toml: run make lock"; exit 1; }; }; \
	check requirements.txt --group stack --group dev --group docs; check embedded/requirements.txt --group embedded --group dev; \
	for cloud in $(CLOUDS); do check $(CLOUD_SDKS)/$$cloud.txt --group $$cloud -c requirements.txt; done

# --- the local stack and the main job -----------------------------------------------------------------------------

.PHONY: demo
demo: $(STACK_NEEDS) ## Bring the local stack up, run the whole pipeline and a load test, write the report
	@$(LIGHT) -m cli up --stack $(STACK)
	@.venv/bin/nemostack run --stack $(STACK) --load-slo $(SLO)
	@echo; echo "The stack is still up. Stop it with 'make down', run again with 'make demo'."

.PHONY: up
up: $(STACK_NEEDS) ## Bring the stack up (pulumi up)
	@$(LIGHT) -m cli up --stack $(STACK)

.PHONY: down
down: $(STACK_NEEDS) ## Stop the stack (pulumi destroy); data and reports stay
	@# on a cluster plain `pulumi destroy` takes the volumes along with their namespaces; teardown keeps them and tells
	@$(if $(filter-out local,$(TARGET_OF_STACK)),.venv/bin/nemostack teardown,$(LIGHT) -m cli down) --stack $(STACK)

.PHONY: smoke
smoke: .venv/.ready ## Prove a running stack end to end
	$(LIGHT) -m pytest smoke_tests --stack $(STACK) --require-stack -n 4

.PHONY: load
load: .venv/.ready ## Load-test NIM of a running stack, base model and adapters mixed
	$(LIGHT) -m load_tests --stack $(STACK) --slo $(SLO)

.PHONY: clean
clean: ## Destroy the local stack with its data; remove environments and caches of this clone
	@[ -z "$(filter-out local,$(TARGET_OF_STACK))" ] || { echo "make clean is for local stacks, and the target" \
	  "of $(STACK) is $(TARGET_OF_STACK): use .venv/bin/nemostack teardown --stack $(STACK)" >&2; exit 1; }
	@[ ! -e $(STATES)/nemostack/$(STACK).json ] || $(MAKE) .venv/.ready
	@[ ! -e .venv/.ready ] || $(LIGHT) -m cli down --stack $(STACK) --purge
	@# without state and passphrase nobody could destroy another stack, or read its secrets
	@shopt -s nullglob; left=$$(for kept in $(STATES)/{,*/}*.json{,.gz} .nemostack/*/; do basename "$$kept"; done \
	  | sed -E '/^pulumi$$/d; s/\.json(\.gz)?$$//' | sort -u | xargs); \
	if [ -z "$$left" ]; then rm -rf .nemostack; \
	else echo "==> kept .nemostack, which has the state or the data of other stacks: $$left"; fi
	rm -rf .venv .venv-embedded .mypy_cache .ruff_cache .pytest_cache

# --- proof --------------------------------------------------------------------------------------------------------

.PHONY: check
check: $(UNIT_NEEDS) .venv-embedded/.ready ## Format, lint, types, lock, docs, unit tests (about 2.5 min)
	@$(MAKE) -j 2 --output-sync=target lint types-stack types-embedded lock-check docs
	$(LIGHT) -m pytest tests/unit -n 2 -m "not slow"

.PHONY: lint types-stack types-embedded
lint: .venv/.ready
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/lint-imports >/dev/null || .venv/bin/lint-imports
types-stack: $(UNIT_NEEDS)
	$(LIGHT) -m mypy $(LIGHT_CODE)
types-embedded: .venv-embedded/.ready
	@# a cache of its own: two runs at a time on one break it
	$(EMBEDDED) -m mypy --cache-dir .mypy_cache/embedded --exclude benchmarks/cluster_scale.py embedded tests/contract benchmarks

.PHONY: docs
docs: .venv/.ready ## Build the documentation site into build/site
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict --quiet

.PHONY: contract
contract: .venv-embedded/.ready ## Official clients against the embedded services
	$(EMBEDDED) -m pytest tests/contract tests/unit/base_model -m "not downloads"

.PHONY: engine
engine: $(UNIT_NEEDS) ## The slow ones: real Pulumi engine and processes on a small stack, the load test's client
	@$(LIGHT) -m cli toolchain ensure pulumi >/dev/null
	$(LIGHT) -m pytest tests/unit tests/local -n 2 -m slow

.PHONY: cluster
cluster: .venv/.ready ## Targets on Kubernetes: real control plane with simulated GPU nodes, real Pulumi engine (first time builds it, 15 min)
	@$(LIGHT) -m cli toolchain ensure pulumi kubernetes etcd kwok helm >/dev/null
	$(LIGHT) -m pytest tests/simulator tests/cluster -n 2 --dist loadfile

.PHONY: test
# The smoke tests load base model and adapter; the load test after them proves the command on a stack without adapters.
test: check contract engine cluster ## Run everything CI runs: check to cluster, then smoke and load tests on a throw-away stack
	@trap '$(LIGHT) -m cli down --stack $(TEST_STACK) --purge' EXIT; \
	$(LIGHT) -m cli up --stack $(TEST_STACK) --config local.base_port=$(TEST_BASE_PORT); \
	$(LIGHT) -m pytest smoke_tests --stack $(TEST_STACK) --require-stack -n 4; \
	$(LIGHT) -m load_tests --stack $(TEST_STACK) --slo examples/slo.local.yaml --users 4 --duration 10s

.PHONY: bench
bench: .venv/.ready .venv-embedded/.ready ## Ratios, each measured within one run (about 25 min, on a quiet machine)
	$(LIGHT) -m benchmarks.load_client --others
	$(LIGHT) -m benchmarks.cluster_scale --rounds 1 --skip-checkpoints
	$(EMBEDDED) -m benchmarks.customizer
	$(EMBEDDED) -m benchmarks.nim
