# `make` alone lists the targets. Everything needs Python ≥ 3.11 and installs into .venv.
PYTHON ?= python3
BIN := .venv/bin
DEVICE ?= auto
# Of `make leaderboard`. The committed results/ and reports/ were made with RESULTS=results REPORTS=reports.
RESULTS ?= build/leaderboard/results
REPORTS ?= build/leaderboard/reports
GPU := $(wildcard /dev/nvidia0)
# On a machine without a GPU the pinned CPU builds; on a GPU box the ranges of pyproject.toml.
CONSTRAINTS := $(if $(GPU),,--constraint constraints/cpu.txt)
comma := ,
EXTRAS := torch$(comma)jax$(comma)deploy$(comma)$(if $(GPU),keras$(comma)gpu,keras-cpu)

.DEFAULT_GOAL := help
.PHONY: help leaderboard test test-all smoke lint format reproduce schema clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

.venv/installed: pyproject.toml constraints/cpu.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade-strategy only-if-needed $(CONSTRAINTS) --editable '.[$(EXTRAS)]'
	@touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install --quiet --upgrade-strategy only-if-needed $(CONSTRAINTS) --editable '.[$(EXTRAS),dev]'
	@touch $@

data/tiny/dataset.json: .venv/installed
	$(BIN)/fetalbench data phantom --preset tiny --out data/tiny --force

leaderboard: data/tiny/dataset.json ## install, make the embedded data, run every network, write the page
	$(BIN)/fetalbench run --protocol tiny --data data/tiny --results $(RESULTS); status=$$?; test $$status -le 1 || exit $$status
	$(BIN)/fetalbench report --results $(RESULTS) --out $(REPORTS)

smoke: data/tiny/dataset.json ## the shortest way from data to page, for CI
	$(BIN)/fetalbench run --protocol smoke --data data/tiny --results build/smoke/results
	$(BIN)/fetalbench report --results build/smoke/results --out build/smoke/reports

test: .venv/installed-dev ## install and run the tests
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not alone"
	$(BIN)/python -m pytest -m "alone and not slow"

test-all: .venv/installed-dev ## the tests that take minutes, too
	$(BIN)/python -m pytest

lint: .venv/installed-dev ## ruff and pyright
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/pyright

format: .venv/installed-dev ## format the code
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

reproduce: .venv/installed ## the paper's protocol, on a GPU (DEVICE=cpu forces it elsewhere)
	@test "$(DEVICE)" = cpu || $(BIN)/fetalbench doctor --gpu
	test -d data/paper || $(BIN)/fetalbench data phantom --preset paper --out data/paper
	$(BIN)/fetalbench run --protocol paper --data data/paper --device $(DEVICE); status=$$?; test $$status -le 1 || exit $$status
	$(BIN)/fetalbench report

schema: .venv/installed ## write the JSON Schemas of records and of leaderboard.json to docs/
	$(BIN)/python -m harness.records.schema > docs/record.schema.json
	$(BIN)/python -m harness.leaderboard.schema > docs/leaderboard.schema.json

clean: ## remove the environment and all that is generated
	rm -rf .venv build data results/.work
