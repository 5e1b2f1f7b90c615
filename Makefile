# Everything installs what it needs by itself, into .venv and the cache folder (IMAGE_UPDATER_CACHE).
SHELL := /bin/bash
VENV := $(or $(IMAGE_UPDATER_VENV),.venv)

.PHONY: help demo test check unit integration bench generate tools clean

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

demo:  ## the whole loop on embedded parts, under a minute; needs only Python
	@.ci/demo.sh

test:  ## everything: installs what is missing, lint, types, contracts, unit and integration suites
	@.ci/test.sh

check:  ## lint, types, import contracts, generated files
	@.ci/check.sh

unit:  ## the unit suite
	@.ci/suite.sh unit

integration:  ## the suites on real parts
	@.ci/suite.sh integration

bench:  ## the budgets with measured figures (ARGS='hint --notes', ARGS=--save)
	@.ci/bench.sh $(ARGS)

generate:  ## write the generated files anew
	@.ci/venv.sh dev && $(VENV)/bin/python docs/generate.py && $(VENV)/bin/python charts/generate.py

tools:  ## programs and packages for the integration suites
	@.ci/venv.sh dev && .ci/apt.sh && .ci/tools.sh

clean:  ## what was generated or installed in the tree
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
