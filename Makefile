# Everything a newcomer needs: `make run` and `make test`. Both make their own virtual environment first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
HOST ?= 127.0.0.1
PORT ?= 8000
SERVER ?= daphne
# Two cores run the suite in three workers, a larger machine in more (tests/environment.py).
WORKERS ?= auto
# Each worker of each of the runs would rewrite the assertions of all test modules again.
unexport PYTHONDONTWRITEBYTECODE
# Who has run out of tests takes over half of what another has left: some take a minute, most a few milliseconds.
SUITE := $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

# The servers that the tests marked `topology` run against again; one that is not installed is passed over, except
# with REQUIRE_REDIS=1. The first four run all of them, the others what shows that clients get through.
TOPOLOGIES ?= cluster sentinel redis7 redis8
DOORS ?= tls acl

.PHONY: run test test-all topologies check format lock bench clean

run: $(VENV)/.run
	@exec $(BIN)/python manage.py serve --host "$(HOST)" --port "$(PORT)" --server "$(SERVER)"

test: $(VENV)/.dev
	$(SUITE) -m "not slow"
	TEST_DATABASE=postgres $(SUITE) -m "database and not slow"

test-all: $(VENV)/.dev
	$(SUITE) -m slow
	TEST_DATABASE=postgres $(SUITE) -m "database and slow"
	@$(MAKE) --no-print-directory topologies

topologies: $(VENV)/.dev
	@set -e; for name in $(TOPOLOGIES); do echo "TEST_REDIS=$$name"; \
		TEST_REDIS=$$name $(SUITE) -q -m "topology and not slow"; done
	@set -e; for name in $(DOORS); do echo "TEST_REDIS=$$name"; \
		TEST_REDIS=$$name $(SUITE) -q -m "topology and not slow" tests/test_django_client.py \
			tests/test_layers.py tests/test_redis_parts.py tests/test_sessions.py; done

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .
	SECRET_KEY=$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(50))') \
		PUBLIC_URL=https://chat.example.org TRUSTED_PROXIES=127.0.0.1 \
		$(BIN)/python -W error manage.py check --deploy --fail-level WARNING
	$(BIN)/python manage.py makemigrations --check --dry-run

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Rewrites both requirement files from pyproject.toml, every transitive version pinned.
lock: $(VENV)/.dev
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --custom-compile-command "make lock" \
		pyproject.toml -o requirements.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --custom-compile-command "make lock" \
		--extra dev -c requirements.txt pyproject.toml -o requirements-dev.txt

bench: $(VENV)/.dev
	$(BIN)/python -m bench $(NAME)

clean:
	rm -rf $(VENV)

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "IntelliColab needs Python 3.11 or newer; this is %d.%d. Name another with: make PYTHON=python3.11" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.run: $(VENV)/.made requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.made requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@ $(VENV)/.run
