# Needs Python >= 3.11 with its venv module, make, and a Python package index.
#   make demo    the whole way on synthetic clips: zero-shot, fine-tuning, one table of both
#   make test    the tests
#   make lint    style
# Another Python: make demo PYTHON=python3.12. Another place for the environment: make demo VENV=/big/disk/venv.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
# Every demo has a folder of its own, so that its table is about that demo alone.
DEMO := outputs/demo/$(shell date +%Y-%m-%d_%H-%M-%S)

.DELETE_ON_ERROR:
.PHONY: environment demo test lint clean

environment: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@command -v $(PYTHON) > /dev/null || { echo "There is no $(PYTHON): install Python 3.11 or newer, or name yours, make PYTHON=…"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is too old: affect needs Python 3.11 or newer; name one, make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null \
		|| { echo "$(PYTHON) cannot make environments: install its venv module (Debian and Ubuntu: apt install python3-venv)"; exit 1; }
	@echo "Making the environment in $(VENV): torch and its libraries are about 6 GB, and take a few minutes."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $(INSTALLED)

demo: environment
	@echo "1 of 3: the model as it comes, from the transcript alone (the first time, model and corpus are made too)"
	$(BIN)/python evaluate.py experiment=demo modalities=t output_root=$(DEMO)
	@echo "2 of 3: fine-tuning on text, audio and video, then the same test clips"
	$(BIN)/python train.py experiment=demo output_root=$(DEMO)
	@echo "3 of 3: both"
	$(BIN)/python -m affect.report $(DEMO)

test: environment
	$(BIN)/python -m pytest

lint: environment
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
