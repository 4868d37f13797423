# Needs Python 3.11 or newer, and nothing else. From another folder: make -C DIR run
PYTHON ?= python3
DATABASE ?= cronwatch.db
LISTEN ?= 127.0.0.1:8080
# More for pytest: make test ARGS="-x -k outage"
ARGS ?=

PIP = .venv/bin/python -m pip --disable-pip-version-check --quiet

.PHONY: run demo screenshots test slow proofs coverage lint dist clean
.DELETE_ON_ERROR:

run: .venv/run.stamp
	.venv/bin/cronwatch serve --database "$(DATABASE)" --listen "$(LISTEN)"

# Examples to look at first, on a file that is gone at the end.
demo: .venv/test.stamp
	.venv/bin/python tests/demo.py --listen "$(LISTEN)"

# The pictures of the README, made anew from the examples.
screenshots: .venv/test.stamp
	.venv/bin/python tests/make_screenshots.py

# What has to pass before anything is merged: plain pytest, and what starts browsers and servers.
test: .venv/test.stamp
	.venv/bin/python -m pytest -m "not proof" $(ARGS)

# What plain pytest leaves out of it. A third process for two processors: browsers mostly wait.
slow: .venv/test.stamp
	.venv/bin/python -m pytest -m "slow and not proof" -n 3 $(ARGS)

# What takes minutes: hundreds of kills, full years, hostile requests, ways to install, machines.
# One after the other: they share what takes long to start. 5: ARGS selects none of them.
proofs: .venv/test.stamp
	.venv/bin/python -m pytest -n 0 -m proof $(ARGS) || [ $$? = 5 ]

# Plain pytest with the gate of tests/check_coverage.py over it. What is slow covers no more, and
# takes twice as long where each step is counted.
coverage: .venv/test.stamp
	.venv/bin/python -m pytest --cov --cov-report=term-missing --cov-report=json $(ARGS)
	.venv/bin/python tests/check_coverage.py coverage.json

lint: .venv/test.stamp
	.venv/bin/python -m ruff format --check .
	.venv/bin/python -m ruff check .
	.venv/bin/python -m mypy

# Four ways to take cronwatch along, in dist/: the wheel, the sdist, cronwatch.pyz (all that it
# needs but Python, made by shiv) and the executable cronwatch (with Python in it, by PyInstaller).
# The last two are made from the wheel, so all four hold the same.
dist: build/dist.stamp

# Leaves the database alone.
clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage* coverage.json
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps are newer than pyproject.toml while what it asks for is installed. Debian has the
# parts of `venv` in a package of their own, and its own message for that is a page long.
.venv/bin/python:
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "$(PYTHON) cannot make a virtual environment: install Python 3.11 or newer with" \
	        "its venv module (on Debian and Ubuntu: apt install python3-venv)." >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/run.stamp: pyproject.toml | .venv/bin/python
	$(PIP) install --editable .
	@touch $@

.venv/test.stamp: pyproject.toml | .venv/bin/python
	$(PIP) install --editable '.[test]'
	@touch $@ .venv/run.stamp

# The tools have a virtual environment of their own; pyproject.toml says why. What PyInstaller would
# not find by itself is named: cronwatch_data (DATA in cronwatch.py), the zones and the words for
# schedules. `cronwatch.pyz` has no extension module in it, so any Python from 3.11 on runs it.
TOOLS = build/venv/bin
SOURCES = cronwatch.py schema.sql pyproject.toml README.md CHANGELOG.md LICENSE Makefile \
    $(shell find static systemd tests -type f -not -name '*.pyc')

build/venv.stamp: pyproject.toml
	$(PYTHON) -m venv --clear build/venv
	$(TOOLS)/pip --disable-pip-version-check --quiet install '.[dist]'
	@touch $@

build/dist.stamp: build/venv.stamp $(SOURCES)
	rm -rf dist
	$(TOOLS)/python -m build --outdir dist . >build/build.log || { cat build/build.log; exit 1; }
	$(TOOLS)/pip --disable-pip-version-check --quiet install --force-reinstall --no-deps dist/*.whl
	$(TOOLS)/shiv --python '/usr/bin/env python3' --console-script cronwatch --reproducible \
	    --output-file dist/cronwatch.pyz dist/*.whl --quiet --disable-pip-version-check
	site=$$($(TOOLS)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') && \
	$(TOOLS)/pyinstaller --log-level WARN --noconfirm --onefile --name cronwatch \
	    --workpath build/pyinstaller --specpath build/pyinstaller --distpath dist \
	    --add-data "$$site/cronwatch_data:cronwatch_data" --collect-data tzdata \
	    --collect-data cron_descriptor "$$site/cronwatch.py"
	@touch $@
