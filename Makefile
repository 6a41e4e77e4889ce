# From a fresh clone, with Python >= 3.11 and make: `make test`. `make help` lists the rest.
# ARGS passes arguments on: make test ARGS="-k budget", make demo ARGS="--live".

VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
LOCK := requirements-dev.lock
PEERS := .venv-peers
ARGS ?=
# Test processes at once: one more than the two cores of a small machine, for many tests wait. WORKERS=0 runs them in one.
WORKERS ?= 3

# The tests start many Python processes: without bytecode on disk each of them would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

# uv where it is on the PATH, else the standard library's venv and pip. PYTHON=... chooses the interpreter.
UV := $(shell command -v uv 2>/dev/null)
AT_LEAST := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
  $$p -c '$(AT_LEAST)' 2>/dev/null && echo $$p && break; done)
ifneq ($(UV),)
NEW_VENV := uv venv --quiet --seed --python $(or $(PYTHON),'>=3.11') $(VENV)
INSTALL := uv pip install --quiet --python $(PY)
else
# The lock's own pip takes half the time of the one that came with Python 3.11; what is never imported needs no bytecode.
NEW_VENV = $(or $(PYTHON),no-python-3.11-found) -m venv $(VENV) && $(INSTALL) $$(grep '^pip==' $(LOCK))
INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check --no-compile
endif

.PHONY: test lint format demo bench bench-peers fresh soak reliability fuzz audit weather cassettes cassettes-live compat frameworks lock clean help
.DEFAULT_GOAL := test

test: $(READY) ## run the whole test suite (sets everything up first)
	$(PY) -m pytest -q -n $(WORKERS) --dist worksteal $(ARGS)

lint: $(READY) ## ruff, the formatter, mypy --strict and the rules of the house
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy --strict
	$(PY) -m pytest -q tests/test_house.py

format: $(READY) ## let ruff mend and format what it can
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

demo: $(READY) ## a bad hour on the simulated service; ARGS="--live" asks the real one
	$(PY) -m langchain_openrouter_free demo $(ARGS)

bench: $(READY) ## time the router beside a bare ChatOpenAI, its decisions, its import, the simulator, the store
	for bench in happy_path serve decision import simulator store; do $(PY) tests/benchmarks/bench_$$bench.py || exit 1; done
	$(PY) -m pytest tests/benchmarks/test_bench_quota.py -o addopts= --benchmark-columns=median,iqr,ops,rounds
	$(PY) -m pytest tests/benchmarks/test_bench_money.py -o addopts= -s -q
	$(PY) -m pytest tests/benchmarks/test_bench_catalogue.py -o addopts= --benchmark-columns=median,iqr,ops,rounds

bench-peers: $(PEERS)/.ready ## the same beside other packages' models, in an environment of its own (.venv-peers)
	$(PEERS)/bin/python tests/benchmarks/peers.py $(ARGS)

fresh: $(READY) ## install the wheel into new environments, and time each command with no key and no network
	$(PY) tests/fresh.py $(ARGS)

soak: $(READY) ## random calls, faults and killed processes: the money against the bill, then the traffic (half an hour)
	$(PY) tests/soak/money.py
	$(PY) tests/soak/serve.py
	$(PY) tests/soak/traffic.py $(ARGS)

fuzz: $(READY) ## 100,000 damaged replies, lists, pages, settings, and each recording cut at each byte (ARGS=1000: fewer)
	$(PY) tests/fuzzing.py $(ARGS)

audit: $(READY) ## look the lock's packages up among the known vulnerabilities (asks pypi.org, else osv.dev)
	$(PY) tests/audit.py $(ARGS)

weather: $(READY) ## replay the free tier's real statistics of five days: answers, requests per answer, seconds to the answer
	$(PY) tests/weather/replay.py $(ARGS)

reliability: $(READY) ## play every simulated fault to every way of calling; its table goes into the README
	$(PY) tests/reliability.py

cassettes: $(READY) ## record the cassettes anew, from the simulator
	$(PY) tests/record_cassettes.py $(ARGS)

cassettes-live: $(READY) ## record them from the real service (needs OPENROUTER_API_KEY; uses a few free requests)
	$(PY) tests/record_cassettes.py --live $(ARGS)

compat: $(READY) ## the tests on the lowest versions, langchain-core 1.6 and 1.7, and each Python from 3.11 on (an hour; COMPAT=lowest: one)
	WORKERS=$(WORKERS) $(PY) tests/compat.py $(ARGS)

frameworks: $(READY) ## agents of CrewAI, pydantic-ai, smolagents, AutoGen and OpenAI's SDK through the endpoint
	$(PY) tests/frameworks/run.py $(ARGS)

lock: | $(PY) ## find the newest versions that fit pyproject.toml and write them down
	$(or $(UV),$(PY) -m pip install --quiet uv && $(PY) -m uv) pip compile pyproject.toml --group dev --universal \
	  --python-version 3.11 --no-annotate --no-header --no-emit-index-url --no-emit-find-links --upgrade --quiet \
	  --output-file $(LOCK).new
	(echo "# Exact versions of everything that tests, lint and examples need. Written by 'make lock'; not to be edited."; \
	  cat $(LOCK).new) > $(LOCK)
	rm $(LOCK).new

clean: ## remove the environment and everything generated
	rm -rf $(VENV) .venv-* .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' Makefile

# The environment: made once, refreshed when the lock or the project's own needs change.
$(PY):
	rm -rf $(VENV)
	$(NEW_VENV)

$(READY): $(LOCK) pyproject.toml | $(PY)
	$(INSTALL) -r $(LOCK)
	$(INSTALL) --no-deps -e .
	touch $@

# The environment of the peers, beside whom we are measured; made once.
$(PEERS)/.ready: tests/benchmarks/requirements-peers.txt pyproject.toml | $(PY)
	rm -rf $(PEERS)
	$(PY) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@
