# Everything a newcomer runs. `make` alone lists the targets.
#
# Each target makes what it needs: the only things that must be there before are
# Python 3.11 or newer, pip and make.

VENV := .venv
PYTHON := $(VENV)/bin/python
MANAGE := $(PYTHON) manage.py
PYTEST := $(PYTHON) -m coverage run -m pytest
# More words for pytest: make test-sqlite ARGS="-k retry"
ARGS :=

EXAMPLE := $(VENV)/.example
TEST := $(VENV)/.test
BROWSER := $(VENV)/.browser
MARIADB := $(VENV)/.mariadb
LINT := $(VENV)/.lint
TYPES := $(VENV)/.types
PACKAGE := $(VENV)/.package
DEV := $(VENV)/.dev

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help

##@ Try it

.PHONY: demo
demo: $(EXAMPLE) .env ## Example site with sample data and a worker, until Ctrl+C
	@$(PYTHON) -m example_project.demo

.PHONY: serve
serve: migrate ## Example site and its worker on the data that is there, until Ctrl+C
	@$(MAKE) --no-print-directory --jobs 2 web worker

.PHONY: web
web: $(EXAMPLE) .env ## Example site alone
	@$(MANAGE) runserver

.PHONY: worker
worker: $(EXAMPLE) .env ## Worker of the example site alone
	@$(MANAGE) runworkers

.PHONY: migrate
migrate: $(EXAMPLE) .env ## Bring the example site's database up to date
	@$(MANAGE) migrate --verbosity 0

.PHONY: dashboard
dashboard: ## Print the address of the task dashboard
	@echo "http://127.0.0.1:8000/admin/django_workers/"

##@ Test it

.PHONY: test
test: $(TEST) ## All tests on SQLite, then on PostgreSQL, with the coverage of both
	@$(PYTHON) -m coverage erase
	$(PYTHON) -m tests.databases sqlite -- $(PYTEST) $(ARGS)
	$(PYTHON) -m tests.databases postgresql -- $(PYTEST) $(ARGS)
	@# A process that a test has killed leaves half a data file, which is no news.
	@$(PYTHON) -W ignore -m coverage combine --quiet
	@rm -f .coverage.*
	$(PYTHON) -m coverage report

.PHONY: test-sqlite
test-sqlite: $(TEST) ## Tests on SQLite
	$(PYTHON) -m tests.databases sqlite -- $(PYTHON) -m pytest $(ARGS)

.PHONY: test-postgresql
test-postgresql: $(TEST) ## Tests on the PostgreSQL of DATABASE_URL, or one of their own
	$(PYTHON) -m tests.databases postgresql -- $(PYTHON) -m pytest $(ARGS)

.PHONY: test-mariadb
test-mariadb: $(MARIADB) ## Tests on MariaDB (Debian: mariadb-server libmariadb-dev)
	$(PYTHON) -m tests.databases mariadb -- $(PYTHON) -m pytest $(ARGS)

.PHONY: test-spawn
test-spawn: $(TEST) ## Tests with real workers, started as on macOS: spawned, not forked
	DJANGO_WORKERS_START_METHOD=spawn $(PYTHON) -m tests.databases sqlite -- \
		$(PYTHON) -m pytest -m worker $(ARGS)

.PHONY: test-browser
test-browser: $(BROWSER) ## Tests of the admin in a real Chromium (Debian: chromium)
	$(PYTHON) -m tests.databases sqlite -- $(PYTHON) -m pytest -m browser $(ARGS)

.PHONY: test-django
test-django: $(TEST) ## Django's own tests for tasks on SQLite and PostgreSQL
	$(PYTHON) -m tests.databases sqlite -- \
		$(PYTHON) -m pytest tests/django_suite/contract.py $(ARGS)
	$(PYTHON) -m tests.databases postgresql -- \
		$(PYTHON) -m pytest tests/django_suite/contract.py $(ARGS)

.PHONY: lint
lint: $(LINT) ## Style, formatting, and who may import whom
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	$(VENV)/bin/lint-imports

.PHONY: format
format: $(LINT) ## Put the code into the house style
	$(PYTHON) -m ruff check --fix
	$(PYTHON) -m ruff format

.PHONY: types
types: $(TYPES) ## Types, strictly
	$(PYTHON) -m mypy

.PHONY: migrations
migrations: $(TEST) ## Fail if a model changed without its migration
	$(PYTHON) -m django makemigrations --check --dry-run --settings tests.settings

.PHONY: package
package: $(PACKAGE) ## Build the release, install it into an empty place, check it
	rm -rf dist
	$(PYTHON) -m build --quiet
	$(PYTHON) .ci/check_wheel.py dist

##@ This file

.PHONY: dev
dev: $(DEV) ## Everything a developer needs, in .venv

.PHONY: clean
clean: ## Remove all that these targets have made
	rm -rf $(VENV) .tox .cache .coverage .coverage.* htmlcov dist build *.egg-info
	rm -rf .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help
help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@/ { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# What the targets need: the example site's settings, and an environment that grows with
# them. One empty file per dependency group says that it is installed; a change of
# pyproject.toml installs it again.

.env:
	@echo "Copying .env.example to .env: change there what you need"
	@cp .env.example .env

$(PYTHON):
	@echo "Making $(VENV)"
	@sh .ci/venv $(VENV)

$(EXAMPLE) $(TEST) $(BROWSER) $(MARIADB) $(LINT) $(TYPES) $(PACKAGE) $(DEV): \
		$(VENV)/.%: pyproject.toml | $(PYTHON)
	@echo "Installing the package with its group '$*'"
	@$(PYTHON) -m pip install --quiet --editable . --group $*
	@touch $@
