#!/bin/sh
# Snakemake runs this in the environment that it made from e2mc.yaml, in the folder it was started in:
# in a clone, the environment gets e2mc itself. Elsewhere (docs/module.md) jobs call the `e2mc` that is
# installed beside snakemake.
set -eu
if grep -qs '^name = "e2mc"$' pyproject.toml; then
    python -m pip install --quiet --no-deps --editable .
fi
