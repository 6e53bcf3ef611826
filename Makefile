# Needs Python >= 3.11 with its venv module, make, and a Python package index.
#   make demo              the whole way on synthetic clips: zero-shot, with knowledge, fine-tuning; a table and a page
#   make knowledge_grid    whether knowledge helps there: zero-shot and fine-tuned, with a control, over three seeds
#   make methods           traditional methods beside the language model, over three seeds; with DATA=/data on RAVDESS too
#   make test              the tests
#   make gpu_check         what only a GPU can show, on one of them, in at most eight minutes
#   make lint              style
#   make wheel             builds the wheel, and tries the command `affect` from another folder
#   make screenshots       pictures of the newest demo's page, for the documentation; needs Chromium
#   make docs              builds docs/ into build/docs
# Another Python: make demo PYTHON=python3.12. Another place for the environment: make demo VENV=/big/disk/venv.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
# Every demo has a folder of its own, so that its table is about that demo alone.
NOW := $(shell date +%Y-%m-%d_%H-%M-%S)
DEMO := outputs/demo/$(NOW)
GRID := outputs/knowledge_grid/$(NOW)
METHODS := outputs/methods/$(NOW)
# The encoders for sound and picture are new, so that an untrained model can only be told in words what is heard and seen.
IN_WORDS := modalities=t prompting.descriptions_without_media=true

.DELETE_ON_ERROR:
.PHONY: environment demo knowledge_grid methods test gpu_check lint wheel screenshots docs clean

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
	@echo "Four steps on 204 synthetic clips: about two minutes on two fast cores, five on slow ones; the first time, model and"
	@echo "clips are made too, about a minute."
	@echo "1 of 4: the model as it comes, from the transcript alone"
	$(BIN)/python evaluate.py experiment=quick modalities=t output_root=$(DEMO)
	@echo "2 of 4: the same, told in words how it sounds and what is seen, as measured"
	$(BIN)/python evaluate.py experiment=[quick,cues] $(IN_WORDS) output_root=$(DEMO)
	@echo "3 of 4: fine-tuning on text, audio and video, then the same test clips"
	$(BIN)/python train.py experiment=quick output_root=$(DEMO)
	@echo "4 of 4: all of them, and a page to look at"
	$(BIN)/affect report $(DEMO) --against prompting=plain
	$(BIN)/affect report $(DEMO) --against prompting=plain --format html

# A job that was killed is continued with train.py resume=FOLDER, and the last line again has the table with it.
knowledge_grid: environment
	@echo "1 of 3: the model as it comes, from the transcript and from descriptions in words"
	$(BIN)/python evaluate.py -m sweep=knowledge_grid seed=1 $(IN_WORDS) output_root=$(GRID)
	@echo "2 of 3: fine-tuning on text, audio and video, nine times"
	$(BIN)/python train.py -m sweep=knowledge_grid output_root=$(GRID)
	@echo "3 of 3: the differences that descriptions make"
	$(BIN)/affect report $(GRID) --against prompting=plain

# Networks on features need more epochs than a pretrained language model; the best one is chosen by validation.
FEATURES := sweep=baselines trainer.max_epochs=30 trainer.batch_size=16
RAVDESS := dataset=[ravdess] modalities=a data_root=$(DATA) output_root=$(METHODS)

methods: environment
	@echo "On the clips of make demo: the transcript alone, features of text, audio and video, and the language model"
	$(BIN)/python train.py experiment=quick model=tfidf modalities=t output_root=$(METHODS)
	$(BIN)/python train.py -m experiment=quick $(FEATURES) output_root=$(METHODS)
	$(BIN)/python train.py -m experiment=[quick,plain],[quick,cues] seed=1,2,3 output_root=$(METHODS)
ifdef DATA
	@echo "On RAVDESS, from the sound: log-mel and prosody, the states of Whisper, and the language model that hears with it"
	$(BIN)/python train.py -m $(FEATURES) $(RAVDESS)
	$(BIN)/python train.py -m $(FEATURES) features.audio=whisper-base-wheel features.audio_layer=3 $(RAVDESS)
	$(BIN)/python train.py -m experiment=[ravdess_audio,plain],[ravdess_audio,cues] seed=1,2,3 $(RAVDESS)
endif
	$(BIN)/affect report $(METHODS)

test: environment
	$(BIN)/python -m pytest

gpu_check: environment
	$(BIN)/python benchmarks/gpu_check.py

lint: environment
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The wheel is put beside the libraries of the environment, which are not installed a second time. There is an editable installation
# of affect too, which would lend the wheel every package that it lacks: it is taken out of Python's way.
ALONE := import runpy, sys; sys.meta_path[:] = [finder for finder in sys.meta_path if 'editable' not in getattr(finder, '__module__', '')]

wheel: environment
	rm -rf build
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir build/wheel .
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target build/installed build/wheel/affect-*.whl
	cd build/wheel && export PYTHONPATH=$(CURDIR)/build/installed && for words in "--version" "train experiment=demo dry_run=true" \
		"train model=mult dry_run=true" "evaluate --help" "report --help" "doctor --help" "config finetuning"; do \
		$(abspath $(BIN))/python -c "$(ALONE); runpy.run_module('affect', run_name='__main__', alter_sys=True)" $$words > said.txt || { cat said.txt; exit 1; }; done
	cd build/wheel && PYTHONPATH=$(CURDIR)/build/installed $(abspath $(BIN))/python -c \
		"$(ALONE); import affect; sys.exit('build/installed' not in affect.__file__)"

# Another page: make screenshots PAGE=outputs/…/affect_report.html
PAGE = $(lastword $(sort $(wildcard outputs/demo/*/affect_report.html)))

screenshots: environment
	@test -n "$(PAGE)" || { echo "There is no page of a demo in outputs/demo: make demo"; exit 1; }
	$(BIN)/python benchmarks/screenshots.py $(PAGE)

# mkdocs has an environment of its own: none of the library needs it.
docs:
	test -x $(VENV)-docs/bin/mkdocs || { $(PYTHON) -m venv $(VENV)-docs \
		&& $(VENV)-docs/bin/python -m pip install --quiet --disable-pip-version-check "mkdocs-material>=9.8,<10"; }
	NO_MKDOCS_2_WARNING=1 $(VENV)-docs/bin/mkdocs build --strict --quiet --config-file .ci/mkdocs.yml

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
