# setup demo up test check bench: the only commands to remember. Needs Python 3.11-3.14, pip and a package index.
PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
WORKERS ?= 2

# Real market data, where a folder of it lies beside the project; else demo and tests generate their own.
ifneq ($(wildcard ../shared/data/README.md),)
export ALPHAPULSE_DATA ?= $(abspath ../shared/data)
endif

# Every program we start imports a few hundred modules of ours: compiled once and kept, not each time anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup compiled demo up test test-feast test-long simulate check format bench lock clean help

help:  ## what each target does
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.installed $(VENV)/.assets  ## install everything, pinned by hash, into .venv

# --without-pip: a bare Debian has pip but no ensurepip; the outer pip installs into the environment.
$(VENV)/bin/python:
	$(PYTHON) -m venv --without-pip $(VENV)

$(VENV)/.installed: requirements.lock pyproject.toml | $(VENV)/bin/python
	$(PYTHON) -m pip --python $(PY) install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(PYTHON) -m pip --python $(PY) install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# The browser page; a machine that cannot reach npm packages gets a plain page, and everything else works.
$(VENV)/.assets: web/build.py web/package-lock.json $(wildcard web/src/* web/src/*/*) | $(VENV)/.installed
	$(PY) web/build.py
	@test ! -e alphapulse/graphql/assets/.built-from || touch $@

# Two workers of the tests would compile everything twice.
$(VENV)/.compiled: $(wildcard alphapulse/domain/analysis/*.py alphapulse/domain/analysis/*/*.py) | setup
	$(PY) -m alphapulse compile
	@touch $@

compiled: $(VENV)/.compiled  ## compile the kernels ahead of their first use

demo: setup $(VENV)/.compiled  ## a million trades through the store, NATS and the candles, then GraphQL over them
	$(PY) -m alphapulse demo $(ARGS)

up: setup  ## run the whole stack until Ctrl-C
	$(PY) -m alphapulse up $(ARGS)

test: setup $(VENV)/.compiled  ## every test but the long ones
	$(PY) -m pytest -n $(WORKERS) --dist worksteal -m "not long" $(ARGS)

simulate: setup  ## seeded schedules of faults: make simulate SEEDS=1000 FROM=0 [TRACE=1] [RECORD=1]
	$(PY) -m tests.simulation $(or $(SEEDS),200) $(or $(FROM),0) $(if $(TRACE),--trace) $(if $(RECORD),--record)

# Feast wants an older pandas: an environment of its own, used by one test through a subprocess.
.venv-feast/.installed: requirements-feast.lock
	$(PYTHON) -m venv --without-pip .venv-feast
	$(PYTHON) -m pip --python .venv-feast/bin/python install --quiet --disable-pip-version-check --require-hashes -r requirements-feast.lock
	@touch $@

test-feast: setup .venv-feast/.installed  ## our features through Feast: make test-feast
	$(PY) -m pytest -n0 tests/adapters/test_feast.py $(ARGS)

test-long: setup $(VENV)/.compiled  ## the long tests too
	$(PY) -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

RUNS ?= 100000

fuzz: setup $(VENV)/.compiled  ## inputs nobody thought of, added up: make fuzz TARGET=files RUNS=100000
	$(PY) -m tests.fuzz $(TARGET) --runs $(RUNS) $(ARGS)

check: setup  ## format, lint, types, boundaries
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

format: setup  ## put the code into shape
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

# The peers live in an environment of their own; none is a dependency of the product.
.venv-bench/.installed: requirements-bench.lock requirements.lock pyproject.toml
	$(PYTHON) -m venv --without-pip .venv-bench
	$(PYTHON) -m pip --python .venv-bench/bin/python install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.lock
	$(PYTHON) -m pip --python .venv-bench/bin/python install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# NautilusTrader wants an older pandas: its indicators run in an environment of its own, in a process of its own.
.venv-nautilus/.installed: requirements-nautilus.lock
	$(PYTHON) -m venv --without-pip .venv-nautilus
	$(PYTHON) -m pip --python .venv-nautilus/bin/python install --quiet --disable-pip-version-check --require-hashes -r requirements-nautilus.lock || echo "without NautilusTrader: the benchmark leaves out its row"
	@touch $@

bench: setup .venv-bench/.installed .venv-nautilus/.installed  ## measure against the peers: make bench ONLY=store JSON=out.jsonl
	.venv-bench/bin/python -m benchmarks $(if $(ONLY),--only $(ONLY)) $(if $(JSON),--json $(JSON))

lock: setup  ## pin anew: names, versions and hashes, no addresses
	$(VENV)/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --extra dev --extra train pyproject.toml -o requirements.lock
	$(VENV)/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate -c requirements.lock --extra dev --extra train --extra bench pyproject.toml -o requirements-bench.lock
	$(VENV)/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --extra feast pyproject.toml -o requirements-feast.lock
	echo "nautilus-trader==1.221.0" | $(VENV)/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate - -o requirements-nautilus.lock

clean:  ## remove what was installed and built
	rm -rf $(VENV) .venv-bench .venv-feast .venv-nautilus build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache var
