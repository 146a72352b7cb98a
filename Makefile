# Bare `make` lists the commands.
VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin

.DEFAULT_GOAL := help

##@ Run
.PHONY: help run dev
help: ## List these commands
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/run.stamp ## Serve on http://127.0.0.1:8000 (HOST, PORT, REDIS_URL, ...)
	@exec $(BIN)/gunicorn -c python:app.gunicorn wsgi:app

dev: $(VENV)/run.stamp ## The same; an edited Lua script is used on the next request
	@FLASK_DEBUG=1 exec $(BIN)/gunicorn -c python:app.gunicorn --reload wsgi:app

##@ Check
.PHONY: test lint format audit
T ?= tests
JOBS ?= 3
test: $(VENV)/dev.stamp system-packages chromium node ## All tests: Python, client, Chromium (T=tests/lua: a part; JOBS=3)
	$(BIN)/python -m pytest -n $(JOBS) $(T)

lint: $(VENV)/dev.stamp system-packages ## ruff and luacheck
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	luacheck --config lua/.luacheckrc lua

format: $(VENV)/dev.stamp ## Let ruff lay out the Python files
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# In a place of its own, so that it finds what we use and not what it uses itself. --strict: where the
# advisories can't be had, that is a failure and no clean bill.
audit: $(VENV)/dev.stamp $(VENV)/audit/bin/pip-audit ## Known vulnerabilities of what is installed (needs the internet)
	$(BIN)/pip freeze --exclude-editable > $(VENV)/audit/installed.txt
	$(VENV)/audit/bin/pip-audit --strict --no-deps --disable-pip --requirement $(VENV)/audit/installed.txt

$(VENV)/audit/bin/pip-audit: | $(VENV)/bin/pip
	@echo "Installing pip-audit (once) ..."
	@$(BIN)/python -m venv --clear $(VENV)/audit
	@$(VENV)/audit/bin/pip install --quiet --disable-pip-version-check pip-audit

##@ Build
.PHONY: bundle screenshots
bundle: $(VENV)/dev.stamp ## app/static/demo/dist from its sources, after a change to them (needs Node)
	@$(BIN)/python -m tests.client.node build.js

screenshots: $(VENV)/dev.stamp system-packages chromium ## Pictures of the demo, as the documents show it
	@$(BIN)/python -m tests.e2e.screenshots

##@ Measure
.PHONY: bench bench-million faults soak
bench: $(VENV)/dev.stamp bench-packages ## Time and memory, the floor beside each figure (PARTS="redis http")
	$(BIN)/python -m tests.load.bench $(PARTS)

bench-million: $(VENV)/dev.stamp bench-packages ## A million open tabs in one Redis: five minutes, 2 GB
	$(BIN)/python -m tests.load.bench million

faults: $(VENV)/dev.stamp fault-packages ## Twenty faults while people come and go, 15 minutes (FAULTS="restart stop")
	$(BIN)/python -m tests.faults.matrix $(FAULTS)

soak: $(VENV)/dev.stamp fault-packages ## Ten minutes of people who come and go, and what is left of them (MINUTES=1)
	$(BIN)/python -m tests.faults.soak $(MINUTES)

.PHONY: model
model: $(VENV)/dev.stamp system-packages ## A million steps of random histories against a plain model, half an hour (STEPS=10000)
	$(BIN)/python -m tests.presence.long_model $(STEPS)

# What is not in here is installed by nothing else.
# Debian has venv in a package of its own. `--clear`: what an interrupted start has left is no use.
$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	@$(PYTHON) -m ensurepip --version >/dev/null 2>&1 || { missing=python3-venv; $(INSTALL_MISSING); }
	@$(PYTHON) -m venv --clear $(VENV)

$(VENV)/run.stamp: setup.cfg pyproject.toml | $(VENV)/bin/pip
	@echo "Installing into $(VENV) (once) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/dev.stamp: setup.cfg pyproject.toml | $(VENV)/bin/pip
	@echo "Installing into $(VENV) (once) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/run.stamp

# apt-get install $$missing, where it may.
OR_ELSE = echo "This needs $$missing: apt-get install $$missing" >&2; exit 1
define INSTALL_MISSING
if [ "$$(id -u)" = 0 ]; then sudo=; else sudo="sudo -n"; fi; \
echo "Installing $$missing (once) ..."; \
{ $$sudo apt-get update -qq && \
  DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -qq -y --no-install-recommends $$missing; } \
  >/dev/null 2>&1 || { $(OR_ELSE); }
endef

# Debian packages that the checks and the bench use, by the command that each brings.
.PHONY: system-packages bench-packages fault-packages chromium node
system-packages: PACKAGES := redis-server:redis-server gcc:gcc redis-sentinel:redis-sentinel luacheck:lua-check nginx:nginx-light wrk:wrk
bench-packages: PACKAGES := redis-server:redis-server wrk:wrk
fault-packages: PACKAGES := redis-server:redis-server gcc:gcc
chromium: PACKAGES := chromium:chromium
chromium: OR_ELSE = echo "The end-to-end tests are left out. Chromium is missing: apt-get install chromium" >&2
system-packages bench-packages fault-packages chromium:
	@missing=; \
	for pair in $(PACKAGES); do \
	  PATH="$$PATH:/usr/sbin" command -v $${pair%%:*} >/dev/null || missing="$${missing:+$$missing }$${pair#*:}"; \
	done; \
	[ -z "$$missing" ] || { $(INSTALL_MISSING); }

# Node, and the packages of the client's tests. Says so where they can't be had.
node: $(VENV)/dev.stamp
	@$(BIN)/python -m tests.client.node
