.DEFAULT_GOAL := help
VENV ?= .venv
BIN := $(VENV)/bin
export PATH := $(abspath $(BIN)):$(PATH)

.PHONY: help install up down test validate models bench format clean

help:           ## Show what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

install:        ## Make the environment that everything below uses
	@VENV=$(VENV) scripts/bootstrap

up: install     ## Bring up the whole lab on this machine (Ctrl-C stops it)
	lab up

down: install   ## Stop a lab that runs in the background
	lab down

test: install   ## Run every test: unit, integration, notebooks, browser
	scripts/test

validate: install ## Check format, lint, types, layers, generated files and notebooks
	scripts/check

models: install ## Generate lab/schemas and clients/typescript from schemas/
	scripts/generate-schemas
	scripts/generate-typescript
	python scripts/generate_docs.py

bench: install  ## Measure against the named peers; results go to docs/benchmarks.md
	scripts/bench

format: install ## Format the code and clean the notebooks
	ruff format .
	ruff check --fix .
	scripts/clean-notebooks notebooks/*.ipynb notebooks/*/*.ipynb

clean:          ## Remove the environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build dist
