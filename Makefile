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
LIGHT_CODE := infra workflows smoke_tests load_tests tools tests/unit tests/local benchmarks examples

.PHONY: help
help: ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-10s %s\n", $$1, $$2}'
	@echo; echo "  STACK=name picks another stack for up, down, smoke and load (now: $(STACK))."

# --- environments -------------------------------------------------------------------------------------------------

.venv/.ready: requirements.txt tools/bootstrap.txt
	@$(PYTHON) -c 'import sys; sys.exit(f"nemostack needs Python 3.11 to 3.13, {sys.executable} is " \
	  f"{sys.version.split()[0]}: try make PYTHON=python3.12") if not (3, 11) <= sys.version_info[:2] < (3, 14) else 0'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) lacks the venv module:" \
	  "install it (Debian, Ubuntu: apt install python3-venv) and try again"; exit 1; }
	@echo "==> .venv: Pulumi, harness, load tests (about 1 min, 1 GB)"
	@[ -x $(LIGHT) ] || $(PYTHON) -m venv .venv
	@[ -x .venv/bin/uv ] || $(LIGHT) -m pip install --quiet --disable-pip-version-check --require-hashes -r tools/bootstrap.txt
	@.venv/bin/uv pip sync --quiet --python .venv --require-hashes requirements.txt
	@.venv/bin/uv pip install --quiet --python .venv --no-deps --no-build-isolation --editable .
	@touch $@

.venv-embedded/.ready: embedded/requirements.txt | .venv/.ready
	@echo "==> .venv-embedded: vLLM, PyTorch, lm-eval, MLflow server (1 to 5 min, 7 GB)"
	@[ -x $(EMBEDDED) ] || .venv/bin/uv venv --quiet --python $(LIGHT) .venv-embedded
	@.venv/bin/uv pip sync --python .venv-embedded --compile-bytecode --require-hashes embedded/requirements.txt 2>&1 \
	  | grep -vE '^ [+~-] ' || exit $${PIPESTATUS[0]}
	@.venv/bin/uv pip install --quiet --python .venv-embedded --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: env embedded-env
env: .venv/.ready ## Install what every target needs (.venv)
embedded-env: .venv-embedded/.ready ## Install what the local stack needs (.venv-embedded)

.PHONY: lock
lock: .venv/.ready ## Recompile both requirements files from pyproject.toml
	$(COMPILE) --group stack --group dev -o requirements.txt
	$(COMPILE) --group embedded --group dev -o embedded/requirements.txt
