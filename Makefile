# Everything a checkout needs, in .venv; `make help` lists it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
export PIP_PROGRESS_BAR := off
# For demo, up and bulk; handed on by the environment, so that a folder's name may hold anything.
export PHOTOS DATA PORT ONCE FILES

BIN := .venv/bin

help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/.retint ## install what Retint needs to run; the command is then .venv/bin/retint

demo: setup ## restore photographs and serve the portal [ONCE=1] [PHOTOS=folder] [DATA=folder] [PORT=n]
	@$(BIN)/retint demo $${ONCE:+--once} $${PHOTOS:+--photos "$$PHOTOS"} $${DATA:+--data "$$DATA"} $${PORT:+--port "$$PORT"}

up: setup ## run the whole platform on this machine [DATA=folder] [PORT=n]
	@$(BIN)/retint up $${DATA:+--data "$$DATA"} $${PORT:+--port "$$PORT"}

# Platforms that are killed and must be back in time want the machine for themselves; the rest shares it. What takes
# longest comes first, so that neither of two processes is left alone with it. A process that has driven a browser runs
# no other tests: an event loop stays in it.
SHARED := -n 2 --dist loadfile --no-loadscope-reorder --durations 20
test: .venv/.dev system tests/provider/node_modules ## run all tests, with real servers and a browser [TESTS=path]
ifdef TESTS
	$(BIN)/pytest --no-skips $(TESTS)
else
	OMP_NUM_THREADS=1 $(BIN)/pytest --no-skips $(SHARED) tests/acceptance/test_installed.py tests/integration tests/cases tests/unit
	$(BIN)/pytest --no-skips $(SHARED) tests/browser
	$(BIN)/pytest --no-skips --durations 10 tests/acceptance/test_nothing_is_lost.py tests/faults
endif

faults: .venv/.dev system ## make every kind of fault, and write docs/faults.md from what is seen
	$(BIN)/pytest --no-skips -m fault --durations 10 --faults-report docs/faults.md tests/faults

drill: .venv/.dev system ## back up while people work, destroy everything, restore, and verify that everything is there
	$(BIN)/pytest --no-skips -s -m long --show-capture=no tests/faults/test_drill.py

cases: .venv/.dev system ## try the files of public bug reports, and write docs/cases.md from what becomes of them
	$(BIN)/python -m tests.cases docs/cases.md

hostile: .venv/.dev ## try thousands of hostile files: changed ones, bombs, and those of image libraries
	$(BIN)/pytest -m "hostile or not hostile" --durations 10 tests/integration/workers/hostile tests/integration/workers/sandbox

contract: .venv/.dev ## ask the API thousands of times whether it answers as its OpenAPI document says
	$(BIN)/pytest -m "contract or not contract" --timeout 3600 --durations 5 tests/integration/web/api/test_schemathesis.py

bulk: .venv/.dev system ## deposit a folder from a browser while everything is killed once [FILES=50000]
	$(BIN)/python -m tests.bulk $${FILES:+--files "$$FILES"}

bench: .venv/.dev system ## run the benchmarks, one after the other
	@for script in tests/benchmarks/bench_*.py; do \
		name=$${script%.py}; echo "== $$name"; $(BIN)/python -m $${name//\//.} || exit 1; \
	done

lint: .venv/.dev ## check style, types and layering
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy core models workers web migrations tests
	$(BIN)/lint-imports

sbom: .venv/.dev ## write a bill of materials with licences for each image [OUT=build/sbom]
	$(BIN)/python infra/sbom.py "$${OUT:-build/sbom}"

lock: ## pin the newest dependencies in requirements/ (needs uv)
	requirements/lock --upgrade

.PHONY: help setup demo up test faults drill cases hostile contract bulk bench lint sbom lock system

.venv/bin/python:
	@for python in python3.11 python3.12 python3.13 python3.14 python3; do \
		if $$python -c 'import sys, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null; then \
			echo "Making .venv with $$($$python --version)"; \
			exec $$python -m venv .venv; \
		fi; \
	done; \
	echo "Retint needs Python 3.11 to 3.14 with venv (Debian: apt-get install python3-venv)." >&2; exit 1

.venv/.local: requirements/install $(addprefix requirements/,build.txt local.txt torch-cpu.txt torch-cuda.txt torchvision.txt) | .venv/bin/python
	@echo "Installing what Retint needs to run"
	@requirements/install $(abspath $(BIN)/python) local
	@touch $@

.venv/.retint: .venv/.local pyproject.toml
	@$(BIN)/pip install -qq --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.dev: requirements/dev.txt requirements/kubernetes.txt .venv/.retint
	@echo "Installing what the tests need"
	@requirements/install $(abspath $(BIN)/python) dev
	@touch $@

# The OpenID provider that the tests sign in by, as its lock file pins it.
tests/provider/node_modules: tests/provider/package-lock.json | system
	@echo "Installing the OpenID provider of the tests"
	@npm ci --silent --no-audit --no-fund --prefix tests/provider
	@touch $@

# The servers, the browser and the judge of metadata that the tests need and no wheel brings.
system:
	@missing=; \
	compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || missing+=' postgresql'; \
	command -v redis-server >/dev/null || missing+=' redis-server'; \
	PATH=$$PATH:/usr/sbin command -v pgbouncer >/dev/null || missing+=' pgbouncer'; \
	PATH=$$PATH:/usr/sbin command -v nginx >/dev/null || missing+=' nginx-light'; \
	command -v chromium >/dev/null || missing+=' chromium'; \
	command -v node >/dev/null || missing+=' nodejs'; \
	command -v npm >/dev/null || missing+=' npm'; \
	command -v exiftool >/dev/null || missing+=' libimage-exiftool-perl'; \
	if ! command -v prometheus >/dev/null && [ ! -e .venv/prometheus/usr/bin/prometheus ]; then \
		if command -v apt-get >/dev/null && command -v dpkg >/dev/null; then \
			echo "Unpacking Debian's prometheus into .venv/prometheus: 19 MB"; \
			(cd .venv && { apt-get download -qq prometheus || { apt-get update -qq && apt-get download -qq prometheus; }; } \
				&& dpkg -x prometheus_*.deb prometheus && rm prometheus_*.deb) || exit 1; \
		else missing+=' prometheus'; fi; \
	fi; \
	[ -z "$$missing" ] && exit 0; \
	if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
		echo "The tests need$$missing. On Debian, as root: apt-get install --no-install-recommends$$missing" >&2; exit 1; \
	fi; \
	echo "Installing$$missing"; \
	apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $$missing >/dev/null
