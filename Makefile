# nemostack: `make help` lists what there is to do. Everything below sets up what it needs.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
export PYTHONDONTWRITEBYTECODE := # each start of Python would compile the code of this clone again
.DEFAULT_GOAL := help
.PHONY: $(shell grep -oE "^[a-z-]+:" Makefile | tr -d :)

PYTHON ?= python3
STACK  ?= local
SLO    ?= examples/slo$(if $(shell grep -s "nemostack:target:" Pulumi.$(STACK).yaml | grep -v local),,.local).yaml
TEST_BASE_PORT ?= 19080
# a model of five million parameters, with which the same tests take minutes instead of a quarter of an hour
TEST_MODEL := --config local.base_model.id=nemostack/tiny-instruct --config local.base_model.path=tests/base_model/weights --config local.nim.threads=1
NEMOSTACK := .venv/bin/python -m cli
LIGHT     := .venv/bin/python
EMBEDDED  := .venv-embedded/bin/python
LIGHT_CODE := nemostack cli operations infra workflows smoke_tests load_tests simulator tests/unit tests/local tests/cluster tests/contract_suite tests/simulator benchmarks/cluster_scale.py docs

help: ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-13s %s\n", $$1, $$2}'
	@echo; echo "  STACK=name picks another stack for env, up, down, smoke, load and clean (now: $(STACK))."

.venv/.ready: requirements.txt pyproject.toml operations/toolchain/bootstrap.txt operations/toolchain/bootstrap.py; @$(PYTHON) operations/toolchain/bootstrap.py
env: .venv/.ready ## Install what the stack needs (STACK=gke: with the SDK of that cloud)
	@$(NEMOSTACK) toolchain packages --stack $(STACK)
embedded-env: .venv/.ready ## Install what the local stack needs (.venv-embedded)
	@$(NEMOSTACK) toolchain packages local
all-env: .venv/.ready # unit tests run the program of every cloud, under mocks
	@$(NEMOSTACK) toolchain packages local gke eks aks
lock: .venv/.ready ## Recompile the lock files from pyproject.toml
	$(LIGHT) -m operations.toolchain.lock_files
lock-check: .venv/.ready; $(LIGHT) -m operations.toolchain.lock_files --check

demo: up ## Bring the local stack up, run the whole pipeline and a load test, write the report
	@$(NEMOSTACK) run --stack $(STACK) --load-slo $(SLO)
	@echo; of="$(if $(filter-out local,$(STACK)), STACK=$(STACK))"; echo "The stack is still up. Stop it with 'make down$$of', run again with 'make demo$$of'."
up: .venv/.ready ## Bring the stack up (pulumi up); MODEL=org/name: a base model of the Hugging Face Hub; PRODUCT=platform: the NeMo Platform
	@$(NEMOSTACK) up --stack $(STACK) $(if $(MODEL),--config local.base_model=$(MODEL)) $(if $(PRODUCT),--config product=$(PRODUCT))
down: .venv/.ready ## Stop the stack; data and reports stay
	@$(NEMOSTACK) teardown --stack $(STACK)
smoke: .venv/.ready ## Prove a running stack end to end
	@$(NEMOSTACK) smoke --stack $(STACK)
load: .venv/.ready ## Load-test NIM of a running stack, base model and adapters mixed (SLO=file: your objectives)
	@$(NEMOSTACK) load --stack $(STACK) --slo $(SLO)
clean: ## Destroy the local stack with its data; remove environments and caches of this clone
	@[ ! -e .nemostack ] || { $(MAKE) .venv/.ready && $(NEMOSTACK) down --stack $(STACK) --purge; }
	rm -rf .venv .venv-embedded .venv-embedded-cuda .venv-platform .mypy_cache .ruff_cache .pytest_cache

check: all-env ## Format, lint, types, locks, docs, unit tests
	@$(MAKE) -j 3 --output-sync=line lint unit types-stack types-embedded lock-check docs
unit: all-env; $(LIGHT) -m pytest tests/unit -n 3 --dist loadgroup -m "not slow"
lint: .venv/.ready
	.venv/bin/ruff format --check . && .venv/bin/ruff check . && { .venv/bin/lint-imports >/dev/null || .venv/bin/lint-imports; }
types-stack: all-env; $(LIGHT) -m mypy $(LIGHT_CODE)
types-embedded: all-env # a cache of its own: two runs at a time on one break it
	$(EMBEDDED) -m mypy --cache-dir .mypy_cache/embedded --exclude benchmarks/cluster_scale.py embedded tests/contract tests/platform benchmarks
docs: .venv/.ready ## Build the documentation site into build/site
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict --quiet
contract: embedded-env ## Official clients against the embedded services (the sandbox's tests need bubblewrap; CI, as root, installs it)
	@[ -z "$${CI:-}" ] || [ $$(id -u) != 0 ] || command -v bwrap >/dev/null || { apt-get update -qq && apt-get install -qq bubblewrap; }
	$(EMBEDDED) -m pytest tests/contract tests/unit/base_model -n 3 --dist loadfile --no-loadscope-reorder -m "not downloads"
platform: embedded-env ## Our code beside that of NVIDIA's open platform: metrics, and training under its job service
	@$(NEMOSTACK) toolchain packages platform && .venv-platform/bin/python -m pytest tests/platform
engine: all-env ## The slow ones: real Pulumi engine and processes on a small stack, the load test's client
	@$(NEMOSTACK) toolchain ensure pulumi >/dev/null && $(NEMOSTACK) toolchain packages platform
	$(LIGHT) -m pytest tests/unit tests/local -n 4 --dist loadgroup -m slow
cluster: .venv/.ready ## Targets on Kubernetes: real control plane and Pulumi engine, simulated GPU nodes (first time: 15 min more)
	@$(NEMOSTACK) toolchain ensure pulumi kubernetes etcd kwok helm >/dev/null
	$(LIGHT) -m pytest tests/simulator tests/cluster -n 3 --dist loadgroup --no-loadscope-reorder
test: check contract platform engine cluster ## Run everything CI runs: the five above, then smoke tests, README's commands, notebooks and a load test on a stack of their own
	@trap '$(NEMOSTACK) down --stack test --purge' EXIT; $(NEMOSTACK) up --stack test --config local.base_port=$(TEST_BASE_PORT) $(TEST_MODEL); \
	$(NEMOSTACK) smoke --stack test; $(LIGHT) -m tests.readme_commands --stack test --without smoke --without load --without customize; $(LIGHT) -m tests.notebooks --stack test; \
	$(NEMOSTACK) load --stack test --slo examples/slo.local.yaml --users 4 --duration 10s
bench: embedded-env ## Ratios, each measured within one run (about 25 min, on a quiet machine)
	$(LIGHT) -m benchmarks.load_client --others && $(LIGHT) -m benchmarks.cluster_scale --rounds 1 --skip-checkpoints
	$(EMBEDDED) -m benchmarks.customizer && $(EMBEDDED) -m benchmarks.nim
bench-gpu: embedded-env ## The same on an NVIDIA GPU: checks, pipeline, training, serving (20 min)
	@$(LIGHT) -m operations.toolchain.environments && .venv-embedded-cuda/bin/python -m benchmarks.gpu
