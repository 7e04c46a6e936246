# micserve: what a person types. Everything is set up on first use, nothing outside this folder.
#
#   make demo       everything once, end to end        make up / down   start, stop
#   make train-n2v DATA=folder NAME=n2v-mine           make test / lint / bench
#   (also train-care, train-stardist, train-unet, train-fnet)
#   make reproduce-spots                               the experiment of the N2V slides, all figures (EPOCHS=10: shorter)
#
# Settings: PRESET, NDIM, RESUME, FROM (name@version or package), ARGS (more trainer flags), MICSERVE_HOME (default ./var).

PYTHON ?= python3.11
FAMILIES := n2v care stardist unet fnet
STACKS := n2v tf torch
STACK_n2v := n2v
STACK_care := tf
STACK_stardist := tf
STACK_unet := torch
STACK_fnet := torch

export MICSERVE_HOME ?= $(CURDIR)/var
export MICSERVE_REGISTRY_PORT ?= 8010
export MICSERVE_GATEWAY_PORT ?= 8000
export MICSERVE_REGISTRY ?= http://127.0.0.1:$(MICSERVE_REGISTRY_PORT)
export MICSERVE_URL ?= http://127.0.0.1:$(MICSERVE_GATEWAY_PORT)
export MLFLOW_DISABLE_TELEMETRY := true
export BENTOML_DO_NOT_TRACK := true

SERVE := .venvs/serve

.PHONY: help demo up down status test test-quick test-cluster backup restore lint bench accuracy trust-study reproduce-spots screenshots screenshots-fiji clean setup images test-images locks \
    $(FAMILIES:%=train-%) $(STACKS:%=setup-%)

help:
	@sed -n '3,9s/^# \{0,1\}//p' Makefile

# --- environments: one for serving and tests, one per training stack --------------------------
setup: $(SERVE)/.ready
$(STACKS:%=setup-%): setup-%: .venvs/%/.ready

$(SERVE)/.ready: containers/requirements/serve.txt containers/requirements/dev.txt pyproject.toml
	@sh containers/venv.sh $(PYTHON) $(SERVE) containers/requirements/serve.txt containers/requirements/dev.txt

$(STACKS:%=.venvs/%/.ready): .venvs/%/.ready: training/requirements-%.txt pyproject.toml
	@sh containers/venv.sh $(PYTHON) .venvs/$* training/requirements-$*.txt

# --- running ------------------------------------------------------------------------------------
ifeq ($(ENGINE),compose)
# WITH: some of gpu, postgres, s3, monitoring.
up:
	@sh containers/compose.sh "$(WITH)" up --detach --wait

down:
	@sh containers/compose.sh "$(WITH)" down

status:
	@sh containers/compose.sh "$(WITH)" ps
else
up: $(SERVE)/.ready
	@$(SERVE)/bin/python -m services.local up

down:
	@if [ -e $(SERVE)/.ready ]; then $(SERVE)/bin/python -m services.local down; fi

status: $(SERVE)/.ready
	@$(SERVE)/bin/python -m services.local status
endif

# Where a training runs: ENGINE, or a container where an engine has the image, or this machine.
engine = $(or $(ENGINE),$(shell $(PYTHON) containers/train.py $(1) --which))
here = $(if $(filter local slurm,$(call engine,$(1))),.venvs/$(STACK_$(1))/.ready)

# Registry and accounts in one file, while all runs: make backup [FILE=…]; make restore FILE=…
FILE ?=
backup: $(SERVE)/.ready
	@$(SERVE)/bin/python -m services.registry.backup save \
	    "$(or $(FILE),$(MICSERVE_HOME)/backups/micserve-$(shell date +%Y%m%d-%H%M%S).tar)"

restore: $(SERVE)/.ready
	@[ -n "$(FILE)" ] || { echo "Which backup? make restore FILE=…" >&2; exit 2; }
	@$(SERVE)/bin/python -m services.local down
	@$(SERVE)/bin/python -m services.registry.backup restore "$(FILE)"
	@echo "make up starts micserve again."

.SECONDEXPANSION:
$(FAMILIES:%=train-%): train-%: $$(SERVE)/.ready $$(call here,$$*)
	@$(PYTHON) -c 'import urllib.request as u; u.urlopen("$(MICSERVE_REGISTRY)/health", timeout=5)' \
	    2> /dev/null || $(SERVE)/bin/python -m services.local up --quiet
	@$(PYTHON) containers/train.py $* --engine "$(ENGINE)" --device "$(DEVICE)" -- \
	    $(if $(DATA),--data "$(DATA)") $(if $(NAME),--name "$(NAME)") \
	    $(if $(NDIM),--ndim $(NDIM)) $(if $(PRESET),--preset $(PRESET)) $(if $(RESUME),--resume $(RESUME)) \
	    $(if $(FROM),--from_model "$(FROM)") $(ARGS)

demo:
	@$(MAKE) --no-print-directory -j2 setup setup-n2v
	@sh services/local/demo.sh

# --- checks -------------------------------------------------------------------------------------
test: $(SERVE)/.ready $(STACKS:%=.venvs/%/.ready)
	@$(SERVE)/bin/python -m pytest $(ARGS)

test-quick: $(SERVE)/.ready
	@$(SERVE)/bin/python -m pytest -m "not slow" $(ARGS)

lint: $(SERVE)/.ready
	@$(SERVE)/bin/ruff check .
	@$(SERVE)/bin/ruff format --check .
	@$(SERVE)/bin/mypy
	@$(SERVE)/bin/lint-imports --no-cache

# --- containers ---------------------------------------------------------------------------------
# IMAGES: some of containers/images.toml; DEVICE=cpu|gpu; ENGINE=docker|podman|buildah.
images:
	@$(PYTHON) containers/build.py $(IMAGES) $(if $(DEVICE),--device $(DEVICE)) \
	    $(if $(ENGINE),--engine $(ENGINE)) $(ARGS)

# Our images on a real Kubernetes of one node; says what is missing where it cannot run.
test-cluster: $(SERVE)/.ready
	@bash tests/cluster/run.sh

# Builds and runs them as root with podman, on a base made here; TEST_IMAGES: some of them.
TEST_IMAGES ?= all
test-images: $(SERVE)/.ready
	@MICSERVE_TEST_IMAGES=$(TEST_IMAGES) $(SERVE)/bin/python -m pytest -q tests/containers $(ARGS)

locks: .venvs/locks/.ready
	@.venvs/locks/bin/python containers/lock.py

.venvs/locks/.ready: containers/requirements/locks.txt
	@$(PYTHON) -m venv .venvs/locks
	@.venvs/locks/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

bench: $(SERVE)/.ready .venvs/n2v/.ready
	@$(SERVE)/bin/python -m tests.bench $(ARGS)

trust-study: $(SERVE)/.ready .venvs/tf/.ready
	@$(SERVE)/bin/python -m tests.bench.trust --write docs/trust.md $(ARGS)

accuracy: $(SERVE)/.ready $(STACKS:%=.venvs/%/.ready)
	@$(SERVE)/bin/python -m tests.bench.accuracy $(ARGS)

screenshots: $(SERVE)/.ready
	@$(SERVE)/bin/python -m tests.services.screenshots $(MICSERVE_URL) $(MICSERVE_HOME)/screenshots $(ARGS)

# The slides' own images where they are, and ours, made with a seed, everywhere.
SPOTS ?= ../shared/data/mri_spots
EPOCHS ?= 150
REPRODUCTION := $(MICSERVE_HOME)/reproduction
SPOTS_TRAINING = .venvs/n2v/bin/python -m training.n2v.spots_training --epochs $(EPOCHS) $(ARGS)

reproduce-spots: $(SERVE)/.ready .venvs/n2v/.ready
	@if [ -d "$(SPOTS)" ]; then $(SPOTS_TRAINING) --images "$(SPOTS)" --out "$(REPRODUCTION)/slides"; \
	 else echo "There is no folder $(SPOTS) with the images of the slides: only ours are used."; fi
	@$(SPOTS_TRAINING) --out "$(REPRODUCTION)/ours"
	@$(SERVE)/bin/python -m training.n2v.spots_report --out "$(REPRODUCTION)" \
	    $(if $(wildcard $(SPOTS)),"$(REPRODUCTION)/slides") "$(REPRODUCTION)/ours"

screenshots-fiji: $(SERVE)/.ready
	@$(SERVE)/bin/python -m tests.fiji.screenshots $(ARGS)

clean:
	rm -rf .venvs var
