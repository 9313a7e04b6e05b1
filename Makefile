# make demo: set up on a fresh machine and run the main job; make test: set up and run every test.
# make test-libraries: the tests of libraries that cannot share an environment; make test-library LIBRARY=tianshou: of one.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
TORCH := $(shell sed -n 's/^\(torch==.*\)$$/\1/p' constraints.txt)
ARGS ?=
LIBRARIES := $(patsubst tests/libraries/%/constraints.txt,%,$(wildcard tests/libraries/*/constraints.txt))

.PHONY: demo test test-libraries test-library lint format bench clean

# torch first and alone, at its pinned version, so that no other package chooses one.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("gradlab needs Python 3.11 or newer; run make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -c 'import ensurepip' || { echo "gradlab needs Python's venv; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet $(TORCH)
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(VENV)/.installed
	$(BIN)/gradlab demo $(ARGS)

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

test-libraries:
	for library in $(LIBRARIES); do $(MAKE) test-library LIBRARY=$$library || exit 1; done

test-library: .venv-$(LIBRARY)/.installed
	.venv-$(LIBRARY)/bin/python -m pytest -n auto --dist worksteal tests/libraries/$(LIBRARY) $(ARGS)

# A library whose requirements contradict constraints.txt: an extra of pyproject.toml and a folder of tests of its name.
.venv-%/.installed: pyproject.toml tests/libraries/%/constraints.txt
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip --disable-pip-version-check install --quiet $(TORCH)
	.venv-$*/bin/python -m pip --disable-pip-version-check install --quiet \
		--constraint tests/libraries/$*/constraints.txt --editable '.[$*,pytest]'
	touch $@

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed
	for file in benchmarks/bench_*.py; do $(BIN)/python $$file || exit 1; done

clean:
	rm -rf $(VENV) .venv-* build dist *.egg-info
