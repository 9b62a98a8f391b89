# Every target sets up what it needs in .venv; `make demo` needs Python and nothing else.

PYTHON ?= python3
SPEECH ?= $(or $(RILL_SPEECH),../shared/speech)
MODEL ?= models/en-small
TORCH := torch==2.11.0 torchaudio==2.11.0
BIN := .venv/bin
COMPILED := $(wildcard asr/*/*.[ch])
KENLM := .venv/kenlm
OLD_SHERPA := .venv/sherpa-onnx-1.12
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test lint bench system clean
.DELETE_ON_ERROR:

demo: .venv/runtime  ## Show the words of a clip as they are spoken.
	@$(BIN)/asr demo

test: system .venv/dev $(BIN)/lmplz $(OLD_SHERPA) lint  ## Everything that has to hold.
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy scripts

bench: .venv/dev  ## The figures of BENCHMARKS.md.
	$(BIN)/asr prepare shards $(SPEECH) -o data
	$(BIN)/asr bench $(MODEL) data/dev.jsonl.gz --clips 75 --beside sherpa-onnx,pocketsphinx
	$(BIN)/asr eval $(MODEL) data/dev.jsonl.gz --jobs 2

system:
	@scripts/system_packages.sh

clean:
	rm -rf .venv

.venv/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and \
	"Rill needs Python 3.10 or later; name one: make PYTHON=python3.12 ...")'
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	echo "this Python cannot make environments; install its venv package (python3-venv)"; exit 1; }
	@$(PYTHON) -m venv .venv
	@touch $@

.venv/runtime: .venv/python pyproject.toml setup.py $(COMPILED)
	@echo "installing Rill into .venv, about 300 MB"
	@$(PIP) --editable .
	@touch $@

.venv/dev: .venv/python pyproject.toml setup.py $(COMPILED) | system
	@echo "installing what the tests need into .venv, about 5 GB"
	@$(PIP) --editable ".[dev]" $(TORCH)
	@touch $@ .venv/runtime

# What is exported has to run in an older sherpa-onnx as well.
$(OLD_SHERPA): .venv/python
	@$(PIP) --no-deps --target $@ sherpa-onnx==1.12.26 sherpa-onnx-core==1.12.26

# KenLM's estimator of language models, from the sources in its Python package.
$(BIN)/lmplz: .venv/python | system
	@echo "building KenLM's lmplz"
	@rm -rf $(KENLM) && mkdir $(KENLM)
	@$(BIN)/python -m pip download --quiet --no-deps --no-binary kenlm --dest $(KENLM) kenlm==0.3.0
	@tar -xzf $(KENLM)/kenlm-*.tar.gz -C $(KENLM) --strip-components=1
	@cmake -S $(KENLM) -B $(KENLM)/build -DCMAKE_BUILD_TYPE=Release > $(KENLM)/log 2>&1
	@cmake --build $(KENLM)/build --target lmplz --parallel 2 >> $(KENLM)/log 2>&1
	@cp $(KENLM)/build/bin/lmplz $@
