# Millwright. `make up` runs the main job, `make test` checks everything.
PY := .venv/bin/python

.PHONY: help up down status doctor test test-full lint bench lock docs release

help:
	@echo "make up [POOL=qemu:///system]   set up everything and run the main job"
	@echo "make status                     what runs, as JSON"
	@echo "make down [POOL=… YES=1]        take everything away"
	@echo "make doctor                     what this machine lacks, and how to mend it"
	@echo "make test                       lint, types, import contracts, all tests that fit CI"
	@echo "make test-full                  the long tests too"
	@echo "make lint                       ruff, mypy, import-linter"
	@echo "make bench [PEERS=…]            the figures of docs/SPECIFICATION.md"
	@echo "make lock                       renew the lock files"
	@echo "make docs                       tables of settings, metrics and commands, and Prometheus' rules, from the code"
	@echo "make release                    wheel, sdist and their hashes in dist/, after all tests"

up:
	@scripts/bootstrap up
	@.venv/bin/millwright up $(if $(POOL),--pool "$(POOL)")

down:
	@scripts/bootstrap up
	@.venv/bin/millwright down $(if $(POOL),--pool "$(POOL)") $(if $(YES),--yes)

status:
	@.venv/bin/millwright status --format json

doctor:
	@scripts/bootstrap up
	@.venv/bin/millwright doctor

lint:
	@scripts/bootstrap test
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

test: lint
	$(PY) scripts/run_tests -m "not full"

test-full: lint
	$(PY) scripts/run_tests

bench:
	@scripts/bootstrap test
	$(PY) -m tests.bench $(if $(PEERS),--peers "$(PEERS)")

lock:
	uv pip compile pyproject.toml --extra dev --generate-hashes --python-version 3.11 --no-header -q -o requirements/dev.lock
	uv pip compile pyproject.toml --extra portal --generate-hashes --python-version 3.11 --no-header -q -o requirements/portal.lock
	uv pip compile pyproject.toml --extra plc --generate-hashes --python-version 3.11 --no-header -q -o requirements/plc.lock

docs:
	$(PY) scripts/reference.py
	$(PY) -m monitoring.rules

# The same sources give the same bytes: dates in the archives are the last commit's.
release: test-full
	$(PY) scripts/release
