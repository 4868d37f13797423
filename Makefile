# Needs Python 3.10 or newer, and nothing else. From another folder: make -C DIR run
PYTHON ?= python3
DATABASE ?= cronwatch.db
LISTEN ?= 127.0.0.1:8080
# More for pytest: make test ARGS="-x -k outage"
ARGS ?=

PIP = .venv/bin/python -m pip --disable-pip-version-check --quiet

.PHONY: run test coverage lint clean
.DELETE_ON_ERROR:

run: .venv/run.stamp
	.venv/bin/cronwatch serve --database "$(DATABASE)" --listen "$(LISTEN)"

# Everything: what plain pytest runs, then the proofs (5: ARGS selects none of them).
test: .venv/test.stamp
	.venv/bin/python -m pytest $(COVER) $(ARGS)
	.venv/bin/python -m pytest -m proof $(ARGS) || [ $$? = 5 ]

# The same, then the gate of tests/check_coverage.py over what plain pytest runs.
coverage:
	$(MAKE) test COVER="--cov --cov-report=term-missing --cov-report=json"
	.venv/bin/python tests/check_coverage.py coverage.json

lint: .venv/test.stamp
	.venv/bin/python -m ruff check .
	.venv/bin/python -m mypy

# Leaves the database alone.
clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage* coverage.json
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps are newer than pyproject.toml while what it asks for is installed. Debian has the
# parts of `venv` in a package of their own, and its own message for that is a page long.
.venv/bin/python:
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "$(PYTHON) cannot make a virtual environment: install Python 3.10 or newer with" \
	        "its venv module (on Debian and Ubuntu: apt install python3-venv)." >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/run.stamp: pyproject.toml | .venv/bin/python
	$(PIP) install --editable .
	@touch $@

.venv/test.stamp: pyproject.toml | .venv/bin/python
	$(PIP) install --editable '.[test]'
	@touch $@ .venv/run.stamp
