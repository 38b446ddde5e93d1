# Needs Python 3.11 or newer, make and pip; everything else goes into .venv from requirements/dev.lock.
# PYTHON=... names the interpreter to make .venv with, ARGS=... is passed on by bench and crash, TABLE=FILE keeps the
# table of crash.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup demo test lint lint-ruff lint-format lint-mypy lint-imports lint-types bench crash docs screenshots lock clean

PYTHON ?=
TABLE ?=
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check -qq
LOCK := requirements/dev.lock
TYPED := src $(wildcard benchmarks examples tests/typing)
CORE_COVERAGE := 95

# An environment knows the folder it was made in; a copy of it somewhere else is made anew.
ifneq ($(shell test -x $(PY) && cat $(VENV)/.made-in 2>/dev/null),$(CURDIR))
$(shell rm -f $(VENV)/.made-in $(VENV)/.demo $(VENV)/.dev)
endif

help: ## show this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

setup: $(VENV)/.dev ## make .venv with every tool, pinned
	@:

demo: $(VENV)/.demo ## run the licence audit example
	@$(PY) -m examples.licence_audit

test: $(VENV)/.dev ## run all tests; the core's branch coverage must reach 95 %
	@sh .ci/browser
	@$(PY) -m pytest -n 2 --dist worksteal --cov --cov-report term --cov-fail-under $(CORE_COVERAGE)

lint: lint-ruff lint-format lint-mypy lint-imports lint-types ## check style, types and import contracts

lint-ruff: $(VENV)/.dev
	@$(PY) -m ruff check .

lint-format: $(VENV)/.dev
	@$(PY) -m ruff format --check .

lint-mypy: $(VENV)/.dev
	@$(PY) -m mypy --strict $(TYPED)

lint-imports: $(VENV)/.dev
	@$(VENV)/bin/lint-imports --no-logo

lint-types: $(VENV)/.dev
	@# --verifytypes looks at the interpreter on the PATH and nowhere else.
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(PY) -m pyright --verifytypes treadle --ignoreexternal

bench: $(VENV)/.dev ## run the benchmarks (ARGS="..." to choose)
	@$(PY) -m benchmarks $(ARGS)

crash: $(VENV)/.dev ## run the crash lab's long version, and print its table
	@TREADLE_CRASH_LONG=1 TREADLE_CRASH_TABLE="$(TABLE)" $(PY) -m pytest -p no:randomly tests/crash $(ARGS)

docs: $(VENV)/.dev ## build the documentation; a warning is an error
	@$(PY) -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "built docs/_build/html/index.html"

screenshots: $(VENV)/.dev ## make the pictures of the README and the documentation
	@TREADLE_SCREENSHOTS=docs/images $(PY) -m pytest -q -n 0 --timeout 300 tests/web/test_screenshots.py

lock: $(VENV)/.made-in ## pin the newest versions that fit Python 3.11 and up
	@$(PIP) install uv
	@$(PY) -m uv pip compile --quiet --upgrade --universal --python-version 3.11 --fork-strategy fewest --no-header \
		--no-emit-index-url --no-emit-find-links --all-extras --group dev pyproject.toml --output-file $(LOCK)

clean: ## remove everything made here, .venv too
	@rm -rf $(VENV) build dist htmlcov docs/_build web/node_modules src/treadle/web/vendor .coverage .coverage.* \
		.hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find . -path ./.git -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/.made-in:
	@echo "Making $(VENV) ..."
	@sh .ci/venv $(VENV) "$(PYTHON)"
	@pwd -P > $@

# The demo needs no tools, so it does not wait for them; the full environment holds the demo's too.
$(VENV)/.demo: pyproject.toml $(LOCK) | $(VENV)/.made-in
	@echo "Installing Treadle and what its examples need ..."
	@$(PIP) install --constraint $(LOCK) hatchling
	@TREADLE_WEB_ASSETS=skip $(PIP) install --constraint $(LOCK) --no-build-isolation --editable '.[examples]'
	@touch $@

$(VENV)/.dev: pyproject.toml $(LOCK) web/package-lock.json src/treadle/web/assets.json | $(VENV)/.made-in
	@echo "Installing Treadle and the tools of $(LOCK) ..."
	@$(PIP) install --requirement $(LOCK)
	@$(PY) web/build_hook.py --dev
	@TREADLE_WEB_ASSETS=require $(PIP) install --no-deps --no-build-isolation --editable .
	@touch $(VENV)/.demo $@
