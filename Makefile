# For users: `make demo`, `make report`, `make test`. Each installs what it needs into .venv.
PYTHON ?= python3
CORES ?= all
EXPERIMENT ?= demo
# A seventh of a small training's time is glibc handing memory back to the kernel and taking it again.
export MALLOC_MMAP_MAX_ := 0
export MALLOC_TRIM_THRESHOLD_ := 4294967296
# Jobs start as copies of one process that has imported PyTorch once (e2mc/warm.py).
export E2MC_WARM ?= 1
# The two hundred processes of a demo start in a third less time from compiled modules.
unexport PYTHONDONTWRITEBYTECODE
# One line of progress, or all that Snakemake says: `make demo VERBOSE=1`.
shown := $(if $(VERBOSE),--quiet host reason,--logger progress --quiet host)
bin := .venv/bin
installed := .venv/installed

.PHONY: demo report test test-slow test-gpu test-cluster test-cluster-slow lint format reference docs clean

demo: $(installed)
	@[ -z "$$(ls .snakemake/locks 2>/dev/null)" ] || $(bin)/snakemake --unlock >/dev/null 2>&1
	@$(bin)/snakemake all --cores $(CORES) --scheduler greedy --rerun-incomplete \
	  --show-failed-logs $(shown)

report: $(installed)
	@$(bin)/snakemake report --configfile config/$(EXPERIMENT).yaml --cores $(CORES) \
	  --rerun-incomplete --show-failed-logs --quiet host reason
	@$(bin)/snakemake report --configfile config/$(EXPERIMENT).yaml --quiet host \
	  --report-stylesheet workflow/report/report.css --report results/$(EXPERIMENT)/.report.part.html
	@mv results/$(EXPERIMENT)/.report.part.html results/$(EXPERIMENT)/report.html
	@echo "results/$(EXPERIMENT)/report.html is complete in itself: open it in a browser."

test: $(installed)
	$(bin)/python -m pytest -m "not slow and not cluster and not gpu" -n 2 --dist loadfile

test-slow: $(installed)
	$(bin)/python -m pytest -m "slow and not cluster and not gpu"

# What a GPU computes against a CPU, and two GPUs against one; without any, a pretended accelerator,
# and the checks themselves rehearsed in small. Then what it takes: `benchmarks/results`.
test-gpu: $(installed)
	@if $(bin)/python -c "import sys, torch; sys.exit(not torch.cuda.is_available())"; then \
	  $(bin)/python -m pytest tests/gpu -rs && $(bin)/python benchmarks/resnet50.py --device cuda \
	    --batch 64 --steps 10 --csv "benchmarks/results/$$(hostname -s).csv"; \
	else \
	  echo "No GPU here: a pretended accelerator stands in, and the checks are rehearsed on the CPU."; \
	  E2MC_REHEARSE=1 $(bin)/python -m pytest tests/gpu -rs; \
	fi

# A real Slurm on this machine: needs root and Debian or Ubuntu, and is skipped elsewhere.
test-cluster: $(installed)
	$(bin)/python -m pytest -m "cluster and not slow" -rs tests/slurm

test-cluster-slow: $(installed)
	$(bin)/python -m pytest -m "cluster and slow" -rs tests/slurm

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

docs: $(installed)
	$(bin)/pdoc --docformat google --no-show-source --output-directory build/docs e2mc
	@echo "build/docs/index.html: API pages from the docstrings"

clean:
	rm -rf results .snakemake

$(installed): pyproject.toml constraints.txt envs/install.sh
	@echo "Installing into .venv (about a minute, once)"
	@PYTHON=$(PYTHON) envs/install.sh .venv
	@touch $@
