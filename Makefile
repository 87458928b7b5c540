# Two commands do everything on a machine with Python 3.11 (or 3.12, 3.13): make train, make test.
PYTHON ?= python3
BIN := .venv/bin
# Overrides of the training run, such as: make train ARGS="trainer.max_steps=2000 model.ema.decay=0.999"
ARGS ?=

.PHONY: train test test-kernels browser-test lint clean

train: .venv/installed
	$(BIN)/python scripts/train.py model/ema=quick $(ARGS)

# One process a core, each with whole files of tests, so that a run that several tests look at is trained once.
PARALLEL := --numprocesses auto --maxprocesses 4 --dist loadfile

test: .venv/installed
	$(BIN)/python -m pytest $(PARALLEL)

# The numeric tests with the kernels of other CPUs and with other numbers of threads: a result may depend on both.
# Threads wait passively, because those of parallel tests share the cores.
NUMERIC := tests/ema tests/diffusion tests/first_guess tests/scores tests/evaluation

test-kernels: .venv/installed
	for kernels in default avx2; do for threads in 1 2; do \
		echo "kernels: $$kernels, threads: $$threads"; \
		OMP_WAIT_POLICY=passive ATEN_CPU_CAPABILITY=$$kernels DEPTHDIF_TEST_THREADS=$$threads \
			$(BIN)/python -m pytest $(PARALLEL) -m 'not browser and not end_to_end' $(NUMERIC) || exit 1; \
	done; done

# The pages of scripts/compare.py and scripts/predict.py in a real browser: need Chromium or Chrome, and fail without.
browser-test: .venv/installed
	$(BIN)/python -m pytest -m browser tests/comparison tests/prediction

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The environment is made once, and again when what it holds has changed.
.venv/installed: pyproject.toml setup.py constraints.txt
	$(PYTHON) -c 'import sys; assert (3, 11) <= sys.version_info[:2] <= (3, 13), sys.version.split()[0] + " is not Python 3.11 to 3.13: run make PYTHON=python3.11"'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv build *.egg-info
