# `make help` lists the targets. On Windows, use the plain lines of README.md instead.

PYTHON ?= python3
VENV_PYTHON = .venv/bin/python

.PHONY: lab test render slides handouts bench lint help clean set-up

# Allowing root changes nothing for anyone else; in a container it is needed.
lab: set-up
	$(VENV_PYTHON) -m jupyterlab --ServerApp.allow_root=True notebooks $(ARGS)

test: set-up
	$(VENV_PYTHON) -m pytest $(ARGS)

render: set-up
	$(VENV_PYTHON) tools/render.py $(NOTEBOOKS)

slides: set-up
	SOLUTIONS="$(SOLUTIONS)" $(VENV_PYTHON) tools/slides.py $(NOTEBOOKS)

handouts: set-up
	$(VENV_PYTHON) tools/handouts.py $(NOTEBOOKS)

bench: set-up
	$(VENV_PYTHON) benchmarks/run.py $(BENCH)

lint: set-up
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m ruff format --check .

help:
	@echo "make lab       set up, then open JupyterLab on notebooks/ (the default)"
	@echo "make test      set up, then run every test"
	@echo "make render    set up, then run notebooks and store their outputs"
	@echo "make slides    set up, then make slides of the stored outputs in build/slides/"
	@echo "make handouts  set up, then write notebooks without solutions to build/handouts/"
	@echo "make bench     set up, then measure speed and write the tables of benchmarks/README.md"
	@echo "make lint      set up, then check style and formatting"
	@echo "make clean     delete build/ and caches; .venv, data and runs stay"
	@echo ""
	@echo "ARGS=...         more arguments for JupyterLab or pytest, as in ARGS='--port 9999'"
	@echo "BENCH=...        the benchmarks to run, as in BENCH='epoch loading'; without it, all"
	@echo "NOTEBOOKS=...    the notebooks to render, show or hand out; without it, all"
	@echo "SOLUTIONS=1      slides with the solutions"
	@echo "PYTHON=...       the Python to set up with, as in PYTHON=python3.12"
	@echo "TORCH_INDEX=...  a wheel index to take torch and torchvision from"

clean:
	rm -rf build .pytest_cache .ruff_cache .hypothesis
	find . \( -name .venv -o -name data -o -name runs -o -name .git \) -prune \
	    -o -type d -name __pycache__ -prune -exec rm -rf {} +

# Silent when there is nothing to do.
set-up:
	@TORCH_INDEX="$(TORCH_INDEX)" $(PYTHON) tools/set_up.py
