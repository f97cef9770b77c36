# Everything a newcomer needs: make demo, make test. The rest is for developers.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt

.PHONY: demo test check docs bench clean

demo: $(VENV)/.run
	$(BIN)/safelight demo

test: $(VENV)/.dev
	sh scripts/chromium.sh $(BIN)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python scripts/write_docs.py --check

docs: $(VENV)/.dev
	$(BIN)/python scripts/write_docs.py

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/likelihood_speed.py

clean:
	rm -rf $(VENV) build dist

$(VENV)/.run: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.run
	$(PIP) --editable '.[dev]'
	touch $@
