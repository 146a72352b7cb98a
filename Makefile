# Bare `make` lists the commands.
VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin
LOWEST := $(VENV)/lowest
LOWEST_TESTS ?= tests/presence tests/redis_client tests/identity tests/api tests/metrics tests/versioned tests/server

.DEFAULT_GOAL := help

##@ Run
.PHONY: help run dev
help: ## List these commands
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/run.stamp ## Serve on http://127.0.0.1:8000 (HOST, PORT, REDIS_URL, ...)
	@exec $(BIN)/gunicorn -c python:record_presence.server.gunicorn_config wsgi:app

dev: $(VENV)/run.stamp ## The same; an edited Lua script is used on the next request
	@FLASK_DEBUG=1 exec $(BIN)/gunicorn -c python:record_presence.server.gunicorn_config --reload wsgi:app

##@ Check
.PHONY: test test-servers test-lowest test-hosts lint lint-js format format-js audit
T ?= tests
JOBS ?= 3
test: $(VENV)/dev.stamp system-packages chromium headless-shell node ## All tests: Python, client, Chromium (T=tests/lua: a part; JOBS=3)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(T)

# redis: the machine's own. SERVERS may also name the path of any other redis-server or valkey-server.
SERVERS ?= redis-6.2 redis redis-8 valkey-9
SERVERS_TESTS ?= tests/lua tests/redis_client tests/presence tests/deploy/test_redis_rights.py
test-servers: $(VENV)/dev.stamp system-packages ## All that is about Redis on each server that is promised (SERVERS=valkey-9)
	@for server in $(SERVERS); do \
	  binary=$$($(BIN)/python -m tests.redis_binary $$server) || exit 1; \
	  echo "== $$server: $$binary"; \
	  TEST_REDIS_SERVER=$$server $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(SERVERS_TESTS) || exit 1; \
	done

# -W: old versions warn of each other.
test-lowest: $(LOWEST)/test.stamp system-packages ## Domain, API and host applications on the lowest version of each dependency
	$(LOWEST)/bin/python -m pytest -n $(JOBS) -W default $(LOWEST_TESTS)

# WRITE=1 tries the same scenarios on all of them and writes tests/hosts/RESULTS.md anew.
HOSTS ?= all
test-hosts: $(VENV)/dev.stamp system-packages chromium headless-shell node host-packages ## Presence in Django, PHP, Rails, ...: all of tests/hosts (HOSTS="PHP,Rails", WRITE=1)
	TEST_HOSTS="$(HOSTS)" $(BIN)/python -m tests.hosts.install
	$(if $(WRITE),$(BIN)/python -m tests.hosts.table --write)
	TEST_HOSTS="$(HOSTS)" $(BIN)/python -m pytest tests/hosts $(if $(WRITE),--ignore tests/hosts/test_conformance.py)
	TEST_DATABASE=postgresql $(BIN)/python -m pytest tests/contrib

lint: $(VENV)/dev.stamp system-packages lint-js ## ruff, mypy, Biome, luacheck and the Lua loader's checks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m record_presence.presence.scripts --check
	luacheck --config lua/.luacheckrc lua

BIOME = $(BIN)/python -m tests.client.node tests/client node_modules/@biomejs/biome/bin/biome
JS_FOLDERS = . ../hosts/applications ../../app/recipes ../../app/static/presence ../../app/demo/client ../../app/api/static/reference.js
lint-js: $(VENV)/dev.stamp ## Biome over the JavaScript (needs Node)
	@$(BIOME) check --error-on-warnings $(JS_FOLDERS)

format-js: $(VENV)/dev.stamp ## Let Biome lay out the JavaScript
	@$(BIOME) check --write $(JS_FOLDERS)

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
.PHONY: bundle screenshots swagger-ui node-diff3 constraints
bundle: $(VENV)/dev.stamp ## Build app/static/demo/dist, after a change to the demo's or the client's scripts (needs Node)
	@$(BIN)/python -m tests.client.node app/demo/client build.js

screenshots: $(VENV)/dev.stamp system-packages chromium ## Pictures of the demo, as the documents show it
	@$(BIN)/python -m tests.e2e.screenshots

swagger-ui: $(VENV)/dev.stamp ## The files behind /api/docs, from npm in the pinned version (needs Node)
	@$(BIN)/python -m tests.client.swagger_ui

node-diff3: $(VENV)/dev.stamp ## The file that the client merges texts with, from npm in the pinned version (needs Node)
	@$(BIN)/python -m tests.client.node_diff3

constraints: $(VENV)/dev.stamp ## Pin in .ci/constraints.txt what is installed now
	@$(BIN)/python -m tests.packaging.requirements installed > $(VENV)/constraints.txt
	@mv $(VENV)/constraints.txt .ci/constraints.txt
	@touch $(VENV)/dev.stamp $(VENV)/run.stamp

##@ Measure
.PHONY: bench bench-quick bench-million bench-compare faults soak renewal abuse
bench: $(VENV)/dev.stamp bench-packages ## Time and memory, the floor beside each figure (PARTS="redis http", WRITE=1)
	$(BIN)/python -m tests.load.bench $(if $(WRITE),--write) $(PARTS)

bench-quick: $(VENV)/dev.stamp bench-packages ## Less of all of it, three minutes
	$(BIN)/python -m tests.load.bench --quick $(PARTS)

bench-million: $(VENV)/dev.stamp bench-packages ## A million open tabs in one Redis: five minutes, 2 GB (WRITE=1)
	$(BIN)/python -m tests.load.bench $(if $(WRITE),--write) million

B ?= HEAD
bench-compare: $(VENV)/dev.stamp bench-packages ## Two commits in turns, and which is better in what (A=v0.1.0 B=HEAD)
	@[ -n "$(A)" ] || { echo "Which commits? make bench-compare A=HEAD~1 B=HEAD; . is the files as they lie here" >&2; exit 1; }
	$(BIN)/python -m tests.load.compare $(A) $(B)

faults: $(VENV)/dev.stamp fault-packages ## Twenty-three faults while people come and go, 15 minutes (FAULTS="restart stop")
	$(BIN)/python -m tests.faults.matrix $(FAULTS)

soak: $(VENV)/dev.stamp fault-packages ## Ten minutes of people who come and go, and what is left of them (MINUTES=1)
	$(BIN)/python -m tests.faults.soak $(MINUTES)

renewal: $(VENV)/dev.stamp fault-packages chromium ## Ten minutes in Chromium with tokens of one minute, and nobody may notice (MINUTES=2)
	$(BIN)/python -m tests.e2e.renewal $(MINUTES)
abuse: $(VENV)/dev.stamp fault-packages ## Sixty attacks beside honest users, 12 minutes (PARTS="zeros held-streams", WRITE=1)
	$(BIN)/python -m tests.abuse.run $(if $(WRITE),--write) $(PARTS)

.PHONY: mutants
mutants: $(VENV)/dev.stamp system-packages node ## Put one small fault after the other into the code: a test must fail (MUTANTS="bearer claim")
	$(BIN)/python -m tests.mutants.run $(MUTANTS)

.PHONY: new-script lua-mistakes
new-script: $(VENV)/dev.stamp ## A Lua command to begin with, its test and its line in the handbook (NAME=count)
	@$(BIN)/python -m tests.lua.new_script $(NAME)

lua-mistakes: $(VENV)/dev.stamp system-packages ## Mistakes in Lua and what says so, half a minute (WRITE=1: into lua/MISTAKES.md)
	$(BIN)/python -m tests.lua.mistakes $(if $(WRITE),--write)

.PHONY: model
model: $(VENV)/dev.stamp system-packages ## A million steps of random histories against a plain model, half an hour (STEPS=10000)
	$(BIN)/python -m tests.presence.long_model $(STEPS)

# What is not in here is installed by nothing else.
# setuptools makes an editable install of a mapped folder an import hook, which mypy and editors can't follow.
link_package = ln -sfn "$(CURDIR)/app" "$$($(1)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/record_presence"
# Debian has venv in a package of its own. `--clear`: what an interrupted start has left is no use.
$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	@$(PYTHON) -m ensurepip --version >/dev/null 2>&1 || { missing=python3-venv; $(INSTALL_MISSING); }
	@$(PYTHON) -m venv --clear $(VENV)

# Pinned, so that a new machine gets what was tested.
PIP_INSTALL = pip install --quiet --disable-pip-version-check
INPUTS = setup.cfg pyproject.toml .ci/constraints.txt

$(VENV)/run.stamp: $(INPUTS) | $(VENV)/bin/pip
	@echo "Installing into $(VENV) (once) ..."
	@$(BIN)/$(PIP_INSTALL) --constraint .ci/constraints.txt --editable '.[server,embedded,versioned,cli,jwks]'
	@$(call link_package,$(BIN))
	@touch $@

$(VENV)/dev.stamp: $(INPUTS) | $(VENV)/bin/pip
	@echo "Installing into $(VENV) (once) ..."
	@$(BIN)/$(PIP_INSTALL) --constraint .ci/constraints.txt --editable '.[dev]'
	@$(call link_package,$(BIN))
	@touch $@ $(VENV)/run.stamp

$(LOWEST)/test.stamp: $(INPUTS) tests/packaging/requirements.py | $(VENV)/dev.stamp
	@echo "Installing the lowest versions into $(LOWEST) (once) ..."
	@$(BIN)/python -m venv --clear $(LOWEST)
	@$(BIN)/python -m tests.packaging.requirements lowest > $(LOWEST)/constraints.txt
	@$(LOWEST)/bin/$(PIP_INSTALL) --constraint $(LOWEST)/constraints.txt --editable '.[test]'
	@$(call link_package,$(LOWEST)/bin)
	@touch $@

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
.PHONY: system-packages bench-packages fault-packages host-packages chromium headless-shell node
system-packages: PACKAGES := redis-server:redis-server gcc:gcc redis-sentinel:redis-sentinel luacheck:lua-check nginx:nginx-light wrk:wrk
bench-packages: PACKAGES := redis-server:redis-server wrk:wrk
fault-packages: PACKAGES := redis-server:redis-server gcc:gcc
# What brings no command is found by a file.
host-packages: PACKAGES := php:php-cli /usr/share/php/Illuminate/autoload.php:php-laravel-framework \
  ruby:ruby rackup:ruby-rack rails:ruby-railties /usr/share/doc/ruby-webrick:ruby-webrick \
  /usr/lib/postgresql:postgresql
chromium: PACKAGES := chromium:chromium
chromium: OR_ELSE = echo "The end-to-end tests are left out. Chromium is missing: apt-get install chromium" >&2
# Chromium without windows. Where there is none, the tests take Chromium itself, and several minutes more.
headless-shell: PACKAGES = $(if $(shell apt-cache show chromium-headless-shell 2>/dev/null),chromium-headless-shell:chromium-headless-shell)
headless-shell: OR_ELSE = echo "The tests take longer without chromium-headless-shell: apt-get install it" >&2
system-packages bench-packages fault-packages host-packages chromium headless-shell:
	@missing=; \
	for pair in $(PACKAGES); do \
	  PATH="$$PATH:/usr/sbin" command -v $${pair%%:*} >/dev/null || [ -e "$${pair%%:*}" ] || missing="$${missing:+$$missing }$${pair#*:}"; \
	done; \
	[ -z "$$missing" ] || { $(INSTALL_MISSING); }

# Node, and the packages of the client's tests. Says so where they can't be had.
node: $(VENV)/dev.stamp
	@$(BIN)/python -m tests.client.node
