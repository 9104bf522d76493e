# Needs Python 3.10 to 3.13 with pip, and make. Everything else goes into .venv, which no target needs activated.

PYTHON ?= python3
SPEC ?= specs/digits.yaml
ARGS ?=

VENV := .venv
STAMP := $(VENV)/.installed
BENCH_VENV := .venv-bench
PEERS_VENV := .venv-peers
RUN := $(VENV)/bin/python -m
PIP := $(RUN) pip --disable-pip-version-check --no-input

# An interpreter given by hand is used or refused; the default gives way to another that fits.
ifeq ($(origin PYTHON),file)
CANDIDATES := $(PYTHON) python3.13 python3.12 python3.11 python3.10 python
else
CANDIDATES := $(PYTHON)
endif

# The stamp holds the checkout's path: a moved, copied or half-made .venv, or one whose Python is gone, is made again.
ifneq ($(shell $(VENV)/bin/python -c 'print(open("$(STAMP)").read().strip())' 2>/dev/null),$(CURDIR))
BROKEN := broken
endif

.DEFAULT_GOAL := help
.PHONY: help setup train summarize test test-all check format docs bench bench-peers lock clean broken

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

setup: $(STAMP) ## make .venv with kbuild in it, unless it is there

train: $(STAMP) ## train SPEC (specs/digits.yaml); ARGS="--epochs 3" adds options
	$(VENV)/bin/kbuild train "$(SPEC)" $(ARGS)

summarize: $(STAMP) ## print the resolved layer order of SPEC
	@$(VENV)/bin/kbuild summarize "$(SPEC)" $(ARGS)

test: $(STAMP) ## the fast tests; ARGS="-k name" adds options
	$(RUN) pytest $(ARGS)

test-all: $(STAMP) ## all tests, the slow ones too
	$(RUN) pytest -m "slow or not slow" $(ARGS)

check: $(STAMP) ## formatting, lint, types, import contracts
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) mypy
	$(VENV)/bin/lint-imports

format: $(STAMP) ## rewrite the code the way `make check` wants it
	$(RUN) ruff format .
	$(RUN) ruff check --fix .

docs: $(STAMP) ## build the manual into build/docs; a warning is an error
	$(RUN) sphinx -E -W --keep-going -n -q -d build/doctrees docs build/docs
	@echo "build/docs/index.html"

bench: $(STAMP) $(BENCH_VENV)/.tried ## measure speed and write docs/benchmarks.md
	$(RUN) benchmarks $(ARGS)

bench-peers: $(STAMP) $(PEERS_VENV)/.installed ## measure other tools at the same job and write docs/comparison.md
	$(RUN) benchmarks.peers.facts Keras
	$(PEERS_VENV)/bin/python benchmarks/peers/facts.py Ludwig MONAI mmcv fastai timm
	$(RUN) benchmarks.comparison $(ARGS)

lock: $(STAMP) ## resolve requirements.lock anew, for every supported Python
	$(RUN) uv pip compile pyproject.toml --all-extras --group dev --group docs --universal --python-version 3.10 \
	  --upgrade --quiet --no-header --no-annotate --no-emit-index-url --no-emit-find-links -o requirements.lock

clean: ## remove .venv and everything built (runs/ stays)
	rm -rf $(VENV) $(BENCH_VENV) $(PEERS_VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find kbuild tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): requirements.lock pyproject.toml $(BROKEN)
	@set -eu; \
	rm -f $(STAMP); \
	if [ -n "$(BROKEN)" ]; then \
	  rm -rf $(VENV); \
	  for python in $(CANDIDATES); do \
	    if "$$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null; \
	    then found="$$python"; break; fi; \
	  done; \
	  if [ -z "$${found:-}" ]; then \
	    echo "kbuild needs Python 3.10 to 3.13. Tried: $(CANDIDATES)." >&2; \
	    echo "$(firstword $(CANDIDATES)) is: $$($(firstword $(CANDIDATES)) --version 2>&1)" >&2; \
	    echo "Name one that fits: make setup PYTHON=/path/to/python3.12" >&2; \
	    exit 1; \
	  fi; \
	  echo "Making $(VENV) with $$("$$found" --version)"; \
	  "$$found" -m venv $(VENV) >/dev/null 2>&1 || { \
	    rm -rf $(VENV); \
	    "$$found" -m venv --without-pip $(VENV); \
	    "$$found" -m pip --python $(VENV)/bin/python --no-input install -qq pip; \
	  }; \
	fi; \
	echo "Installing requirements.lock (TensorFlow is large; this takes a few minutes the first time)"; \
	$(PIP) install -qq -r requirements.lock; \
	$(PIP) install -qq --no-deps --no-build-isolation -e .; \
	printf '%s\n' "$(CURDIR)" > $(STAMP)

# PyTorch is a peer to measure against and nothing that kbuild needs: without it `make bench` leaves that row out.
$(BENCH_VENV)/.tried: benchmarks/requirements.txt | $(STAMP)
	@rm -rf $(BENCH_VENV); $(RUN) venv $(BENCH_VENV); \
	echo "Installing PyTorch into $(BENCH_VENV)"; \
	$(BENCH_VENV)/bin/python -m pip --disable-pip-version-check install -qq -r benchmarks/requirements.txt || \
	  { echo "PyTorch could not be installed; its row is left out" >&2; rm -f $(BENCH_VENV)/bin/python; }; \
	touch $@

$(PEERS_VENV)/.installed: benchmarks/peers/requirements.txt | $(STAMP)
	@rm -rf $(PEERS_VENV); $(RUN) venv $(PEERS_VENV)
	@echo "Installing the tools of benchmarks/peers into $(PEERS_VENV) (6.5 GB)"
	@$(PEERS_VENV)/bin/python -m pip --disable-pip-version-check install -qq -r benchmarks/peers/requirements.txt
	@touch $@

broken:
