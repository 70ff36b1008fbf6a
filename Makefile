# Every target sets up what it needs: Python 3.11, 3.12 or 3.13 is all that must be there.
# The environment lies in .venv; it is brought up to date when pyproject.toml or constraints.txt has changed.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	if $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1; then echo $$p; break; fi; done)
VENV ?= .venv
JOBS ?= 2
OUT ?= demo_output
MINUTES ?= 60
ARGS ?=

BIN := $(VENV)/bin
# one thread a worker: more would only compete with the other workers
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 NUMBA_NUM_THREADS=1
# compiled code is kept, whatever the shell says: each worker and each process that a test starts would compile it again
KEPT := PYTHONDONTWRITEBYTECODE=

.DEFAULT_GOAL := help
.PHONY: help demo browser test test-slow fuzz docs tutorials lint stubs bench mutants constraints clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.stamp-test ## images to survival on the built-in cohort; results in demo_output/
	$(BIN)/spatialfm demo --out $(OUT) $(ARGS)

test: $(VENV)/.stamp-test ## the tests
	$(ONE_THREAD) $(KEPT) $(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

browser: ## install Chromium where apt can, for the tests that open a report; without it they are skipped
	@command -v chromium >/dev/null || { timeout 300 sh -c "apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium" >/dev/null 2>&1 \
		&& command -v chromium || echo "No Chromium here: the tests that open a report in a browser are skipped."; }

test-slow: $(VENV)/.stamp-test ## the tests that take longer
	$(ONE_THREAD) $(KEPT) $(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m slow $(ARGS)

fuzz: $(VENV)/.stamp-test ## damaged files against the readers, for MINUTES=60
	$(ONE_THREAD) $(BIN)/python tests/fuzz/fuzz.py --minutes $(MINUTES) $(ARGS)

mutants: $(VENV)/.stamp-test ## planted one-line bugs, and which of them the tests do not notice
	$(ONE_THREAD) $(BIN)/python tests/mutants/mutants.py $(ARGS)

tutorials: $(VENV)/.stamp-docs ## execute the tutorials into docs/tutorials/
	$(ONE_THREAD) $(BIN)/python docs/execute_tutorials.py --jobs $(JOBS) $(ARGS)

docs: $(VENV)/.stamp-docs ## build the documentation into docs/_build/html/; executes tutorials and figures that are out of date
	rm -rf docs/generated  # pages of functions that are gone would stay
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html $(ARGS)

lint: $(VENV)/.stamp-dev ## check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

stubs: $(VENV)/.stamp-dev ## write the types of what copy= and return_fig= return anew, from the signatures
	$(BIN)/python tools/write_stubs.py $(ARGS)

bench: $(VENV)/.stamp-test ## run every benchmark
	@set -e; for script in benchmarks/[!_]*.py; do echo "== $$script"; $(BIN)/python $$script $(ARGS); done

# scanpy 1.11 cannot read what pynndescent 0.7 returns: see docs/dependencies.md
constraints: ## write constraints.txt anew, from the newest versions that fit pyproject.toml
	@$(MAKE) --no-print-directory .check-python
	rm -rf $(VENV)-constraints
	$(PYTHON) -m venv $(VENV)-constraints
	$(VENV)-constraints/bin/python -m pip install --quiet "pynndescent<0.7" -e ".[all,test,docs,dev]"
	sed -n '/^#/p' constraints.txt > constraints.txt.new
	$(VENV)-constraints/bin/python -m pip freeze --exclude-editable | grep -v ' @ ' | sed 's/+.*//' | LC_ALL=C sort -f >> constraints.txt.new
	mv constraints.txt.new constraints.txt
	rm -rf $(VENV)-constraints

clean: ## remove the environment and everything that was built
	rm -rf $(VENV) $(VENV)-constraints docs/_build docs/_figures docs/_names docs/generated docs/tutorials/*.ipynb demo_output

.PHONY: .check-python
.check-python:
	@test -n "$(PYTHON)" || { echo "No Python 3.11, 3.12 or 3.13 found. Install one, or name it: make PYTHON=/path/to/python"; exit 1; }

$(BIN)/python:
	@$(MAKE) --no-print-directory .check-python
	$(PYTHON) -m venv $(VENV)

$(VENV)/.stamp-%: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing spatialfm[$*] into $(VENV); the first time takes some minutes."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$*]"
	@touch $@
