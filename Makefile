# Two commands for users: `make demo` and `make test`. Both install what they need into .venv.
PYTHON ?= python3
CORES ?= all
bin := .venv/bin
installed := .venv/installed

.PHONY: demo test test-slow lint format reference benchmarks clean

demo: $(installed)
	@$(bin)/snakemake --unlock >/dev/null 2>&1 || true
	@$(bin)/snakemake all --cores $(CORES) --rerun-incomplete --show-failed-logs --quiet host reason

test: $(installed)
	$(bin)/python -m pytest -m "not slow"

test-slow: $(installed)
	$(bin)/python -m pytest -m slow

lint: $(installed)
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/snakefmt --check --compact-diff Snakefile workflow
	$(bin)/mypy
	$(bin)/snakemake --lint
	$(bin)/python -m e2mc.config.reference --check

format: $(installed)
	$(bin)/ruff check --fix .
	$(bin)/ruff format .
	$(bin)/snakefmt Snakefile workflow

reference: $(installed)
	$(bin)/python -m e2mc.config.reference

clean:
	rm -rf results .snakemake

$(installed): pyproject.toml constraints.txt envs/install.sh
	@echo "Installing into .venv (about a minute, once)"
	@PYTHON=$(PYTHON) envs/install.sh .venv
	@touch $@
