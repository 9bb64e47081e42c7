# Everything a newcomer needs: `make demo`, `make test`. Nothing but Python 3.11 or newer and make has to be installed.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
UV_VERSION := 0.13.9
ATHERIS_VERSION := 3.0.0

# Tests run on the Python sources by default: some replace parts of the core, which a compiled module would not notice.
CORE_OF_TESTS = ENGAGE_CORE=$(or $(CORE),pure)

.DEFAULT_GOAL := help
.PHONY: help setup compiled wheel demo test test-kafka test-kafka-short test-clients test-simulation faults overload simulate policy fuzz check format bench calendar schemas docs lock clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: compiled  ## the virtual environment with locked dependencies and .venv/bin/engage; the core compiled, where a C compiler is

compiled: .venv/.ready  ## the core compiled by mypyc, and which form runs; again after each change of engine/core
	@$(BIN)/python tools/compile_core.py $(COMPILE)

wheel: .venv/.ready  ## dist/*.whl with the compiled core, for this Python and this kind of machine
	@$(BIN)/python tools/compile_core.py --required
	@$(BIN)/python -m pip --disable-pip-version-check wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

demo: .venv/.ready  ## the engine with a simulated broker's clients, in the terminal; SECONDS=30 of it, then it ends
	@exec $(BIN)/engage demo $(if $(SECONDS),--seconds $(SECONDS))

test: .venv/.ready  ## all tests that need neither Java nor Docker; CORE=compiled on the compiled core
	$(CORE_OF_TESTS) $(BIN)/pytest --numprocesses auto --dist loadfile

test-kafka: .venv/.ready  ## all tests on real Apache Kafka, some 10 minutes (needs Java 17 and Maven; fetches Kafka once)
	$(BIN)/pytest tests/kafka tests/services -m kafka --numprocesses 2 --dist loadfile

test-kafka-short: .venv/.ready  ## of these the most telling ones of each file, some 3 minutes
	$(BIN)/pytest tests/kafka -m "kafka and short" --numprocesses 2 --dist loadfile

test-clients: .venv/.ready  ## clients generated from AsyncAPI, and rule files in an editor's language server (needs node and npm)
	@! command -v npm >/dev/null || $(MAKE) --no-print-directory .cache/clients/.ready
	$(BIN)/pytest tests/clients -m clients

faults: .venv/.ready  ## kill, pause and cut off everything on real Kafka and Redis, then audit; ROUNDS=20 SEED=7 say how
	$(BIN)/python -m tests.faults --rounds $(or $(ROUNDS),20) $(if $(SEED),--seed $(SEED))
	$(BIN)/python -m tests.faults --rounds $(or $(ROUNDS),20) $(if $(SEED),--seed $(SEED)) --redis cluster

simulate: .venv/.ready  ## the engine on a virtual clock over a Kafka and Redis in memory, with faults by seed; SEEDS=2000 CORE=compiled
	$(CORE_OF_TESTS) $(BIN)/python -m tests.simulation --seeds $(or $(SEEDS),2000)

policy: .venv/.ready  ## the contact policy against a slow model of its manual, random histories by seed; HISTORIES=100000 START=0
	$(BIN)/python -m tests.properties.policy_model --histories $(or $(HISTORIES),10000) --start $(or $(START),0)

overload: .venv/.ready  ## a backlog before a slow Redis, 64 partitions, clients all due at once, a soak; BACKLOG=2000000 HERD=50000 SOAK=600
	$(BIN)/python -m tests.faults.overload --backlog $(or $(BACKLOG),300000) --herd $(or $(HERD),20000) --soak-s $(or $(SOAK),60)

fuzz: .cache/fuzz/.ready  ## coverage-guided bytes into the decoder; RUNS=1000000 (installs atheris into .cache/fuzz, once)
	.cache/fuzz/bin/python -m tests.fuzz.decode -runs=$(or $(RUNS),1000000)

test-simulation: .venv/.ready  ## the simulation and the contact policy: deliberate bugs that auditor and model must see
	$(BIN)/pytest -m simulation --numprocesses auto

check: .venv/.ready  ## formatting, lint, types, import directions, schema drift, the rule files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -q tests/structure tests/deploy
	$(BIN)/engage schemas --check
	$(BIN)/engage check rules
	$(BIN)/engage lint rules --on 2026-06-01  # the shipped calendar ends where the exchange has published no more
	$(BIN)/engage fmt --check rules
	$(BIN)/engage test rules

format: .venv/.ready  ## format the code and repair what lint can repair
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/.ready .cache/bench/.ready  ## speed on real Kafka and Redis beside other ways to do the same (needs Java and Maven); RECORD=1 keeps it
	$(BIN)/python -m benchmarks $(if $(RECORD),--record)

calendar: .cache/calendar/.ready  ## write rules/calendar.yaml anew, as far as the exchange has published its holidays
	.cache/calendar/bin/python tools/shanghai_calendar.py >.cache/calendar/new.yaml
	mv .cache/calendar/new.yaml rules/calendar.yaml

schemas: .venv/.ready  ## write schemas/ and docs/rules-reference.md anew from the models
	$(BIN)/engage schemas
	$(BIN)/python -m engine.publish.reference >docs/rules-reference.md

docs: .cache/docs/.ready  ## the documentation as a site, .cache/site/html/index.html; a broken link fails
	@rm -rf .cache/site && mkdir -p .cache/site/source
	@tar cf - *.md LICENSE docs schemas tests/clients examples benchmarks/results.md | tar xf - -C .cache/site/source
	@NO_MKDOCS_2_WARNING=1 .cache/docs/bin/mkdocs build --strict
	@echo "the site is in .cache/site/html"

lock: .cache/uv/bin/uv  ## choose the newest allowed versions anew and write all lock files
	rm -f requirements.lock requirements-runtime.lock requirements-bench.lock requirements-calendar.lock requirements-parquet.lock requirements-clients.lock requirements-docs.lock
	$(LOCK) --extra demo --extra dev --output-file requirements.lock
	$(LOCK) --constraint requirements.lock --output-file requirements-runtime.lock
	$(LOCK) --extra parquet --constraint requirements.lock --output-file requirements-parquet.lock
	$(LOCK) --extra bench --output-file requirements-bench.lock
	$(LOCK) --extra calendar --output-file requirements-calendar.lock
	$(LOCK) --extra clients --output-file requirements-clients.lock
	$(LOCK) --extra docs --output-file requirements-docs.lock

clean:  ## remove the virtual environment and every cache
	rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One set of versions for Linux and macOS on x86-64 and ARM, Python 3.11 and newer.
LOCK = .cache/uv/bin/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --quiet \
	--no-emit-index-url --no-annotate --custom-compile-command "make lock"

.cache/uv/bin/uv: Makefile
	$(PYTHON) -m venv .cache/uv
	.cache/uv/bin/python -m pip --disable-pip-version-check install --quiet "uv==$(UV_VERSION)"
	touch $@

.cache/fuzz/.ready: requirements-runtime.lock Makefile
	$(PYTHON) -m venv --clear .cache/fuzz
	.cache/fuzz/bin/python -m pip --disable-pip-version-check install --quiet --requirement requirements-runtime.lock
	.cache/fuzz/bin/python -m pip --disable-pip-version-check install --quiet "atheris==$(ATHERIS_VERSION)"
	touch $@

.cache/bench/.ready: requirements-bench.lock
	@echo "installing the peers of the benchmark into .cache/bench (once)"
	@$(PYTHON) -m venv --clear .cache/bench
	@.cache/bench/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes --requirement requirements-bench.lock
	@touch $@

.cache/calendar/.ready: requirements-calendar.lock
	@$(PYTHON) -m venv --clear .cache/calendar
	@.cache/calendar/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes --requirement requirements-calendar.lock
	@touch $@

.cache/docs/.ready: requirements-docs.lock
	@echo "installing what builds the site into .cache/docs (once)"
	@$(PYTHON) -m venv --clear .cache/docs
	@.cache/docs/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes --requirement requirements-docs.lock
	@touch $@

.cache/clients/.ready: requirements-clients.lock tests/clients/package.json tests/clients/package-lock.json
	@echo "installing the generators of clients into .cache/clients (once)"
	@$(PYTHON) -m venv --clear .cache/clients
	@.cache/clients/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes --requirement requirements-clients.lock
	@cp tests/clients/package.json tests/clients/package-lock.json .cache/clients
	@npm ci --prefix .cache/clients --ignore-scripts --no-audit --no-fund --loglevel error
	@touch $@

# How far pip is, in a line for every ten packages.
FETCHED = awk -v of="$$(grep -c == requirements.lock)" '\
	/^Collecting/ && ++n % 10 == 0 { print "  " n " of some " of " packages fetched"; fflush() } \
	/^Installing/ { print "  all fetched: unpacking them"; fflush() }'

.venv/.locked: SHELL := bash
.venv/.locked: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: install it, or name it: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "installing the locked dependencies into .venv (once, one to two minutes)"
	@$(PYTHON) -m venv --clear .venv || { echo "Python's venv module is missing: apt-get install python3-venv"; exit 1; }
	@set -o pipefail; $(PIP) install --require-hashes --requirement requirements.lock | $(FETCHED)
	@touch $@

.venv/.ready: .venv/.locked pyproject.toml
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q engine  # else each command compiles it anew where Python may not write
	@touch $@
