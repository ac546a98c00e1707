# `make` alone lists the targets. Everything needs Python ≥ 3.11 and installs into .venv, on a GPU
# box also into .venv-torch, .venv-keras and .venv-jax: CUDA libraries of one framework each.
PYTHON ?= python3
BIN := .venv/bin
DEVICE ?= auto
# Of `make leaderboard`. The committed results/ and reports/ were made with RESULTS=results REPORTS=reports.
RESULTS ?= build/leaderboard/results
REPORTS ?= build/leaderboard/reports
# Where there is a GPU. GPU=1 says so where none shows (docker build), GPU=0 leaves it alone.
GPU ?= $(if $(wildcard /dev/nvidia[0-9]* /dev/dxg /proc/driver/nvidia/gpus/*),1,0)
WORLD := $(if $(filter-out 0,$(GPU)),gpu,cpu)
# The stamp names what .venv was made for: on a GPU box that of a CPU is not enough.
INSTALLED := .venv/installed-$(WORLD)
# An index of PyTorch's CPU builds, which the plain index lacks for Linux; see the README.
TORCH_INDEX ?=
PIP := -m pip install --quiet --upgrade-strategy only-if-needed $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
comma := ,
CPU := torch$(comma)keras-cpu$(comma)jax$(comma)deploy
# Of `make reproduce`: PRESET names data and protocol, OUT is where data/, results/ and reports/ go,
# TUNE=1 has every network's learning rate chosen first.
PRESET ?= paper
OUT ?= $(if $(filter paper,$(PRESET)),.,build/$(PRESET))
DATA ?= $(OUT)/data/$(PRESET)
# A plan does not compute the phantom that it is about.
NOT_MADE = $(if $(wildcard $(DATA)/dataset.json),,--phantom $(PRESET))
TUNED = $(OUT)/$(PRESET)_tuned.toml
CELLS = --data $(DATA) --results $(OUT)/results --device $(DEVICE) $(if $(BACKENDS),--backends $(BACKENDS)) $(if $(NETWORKS),--networks $(NETWORKS)) $(if $(SEEDS),--seeds $(SEEDS))

.DEFAULT_GOAL := help
.PHONY: help install leaderboard test test-all smoke lint format reproduce docs schema clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

install: $(INSTALLED) ## make the environment, on a GPU box one for each framework (GPU=1 or 0 decides)

.venv/installed-cpu: pyproject.toml constraints/cpu.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python $(PIP) --constraint constraints/cpu.txt --editable '.[$(CPU)]'
	@touch $@

.venv/installed-gpu: .venv-torch/installed .venv-keras/installed .venv-jax/installed
	$(PYTHON) -m venv .venv
	$(BIN)/python $(PIP) --constraint constraints/cpu.txt --editable .
	$(BIN)/python -m harness.jobs.interpreters torch=.venv-torch keras=.venv-keras flax=.venv-jax
	@touch $@

.venv-%/installed: pyproject.toml constraints/gpu-%.txt
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python $(PIP) --constraint constraints/gpu-$*.txt --editable '.[gpu-$*]'
	@touch $@

# Tests run with the CPU builds everywhere.
.venv/installed-dev: .venv/installed-cpu
	$(BIN)/python $(PIP) --constraint constraints/cpu.txt --editable '.[$(CPU),dev]'
	@touch $@

data/tiny/dataset.json: $(INSTALLED)
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

reproduce: $(INSTALLED) ## the paper's protocol on a GPU; PLAN=1 only says what it would do (docs/reproduction.md)
	@test "$(DEVICE)" = cpu || $(BIN)/fetalbench doctor --gpu $(if $(BACKENDS),--backends $(BACKENDS))
ifndef PLAN
	test -f $(DATA)/dataset.json || $(BIN)/fetalbench data phantom --preset $(PRESET) --out $(DATA)
endif
	$(BIN)/fetalbench plan $(if $(PLAN),$(NOT_MADE)) --protocol $(or $(if $(TUNE),$(wildcard $(TUNED))),$(PRESET)) $(CELLS)
ifndef PLAN
ifdef TUNE
	$(BIN)/fetalbench tune $(PRESET) --data $(DATA) --out $(TUNED) --device $(DEVICE) $(if $(NETWORKS),--networks $(NETWORKS)); status=$$?; test $$status -le 1 || exit $$status
endif
	$(BIN)/fetalbench run --protocol $(if $(TUNE),$(TUNED),$(PRESET)) $(CELLS); status=$$?; test $$status -le 1 || exit $$status
	$(BIN)/fetalbench report --results $(OUT)/results --out $(OUT)/reports
endif

docs: .venv/installed-dev ## the documentation as a site in build/site; every link is checked
	$(BIN)/mkdocs build --strict

schema: $(INSTALLED) ## write what docs/ holds of the code: JSON Schemas and the protocols' keys
	$(BIN)/python -m harness.records.schema > docs/record.schema.json
	$(BIN)/python -m harness.leaderboard.schema > docs/leaderboard.schema.json
	$(BIN)/fetalbench protocols --markdown > docs/protocol-keys.md

clean: ## remove the environments and all that is generated
	rm -rf .venv .venv-torch .venv-keras .venv-jax build data results/.work
