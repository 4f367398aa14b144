#!/bin/sh
# Usage: envs/install.sh FOLDER
# Creates a virtual environment in FOLDER with everything that the pipeline and its tests need,
# at the versions of constraints.txt.
set -eu
python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "e2mc needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 ..." >&2
    exit 1
}
"$python" -m venv "$1"
pip="$1/bin/python -m pip --quiet --disable-pip-version-check"

# Without an NVIDIA driver the CPU build of torch is enough and saves gigabytes. uv knows where it
# is kept; where that place cannot be reached, pip below takes what it is configured to find.
if ! command -v nvidia-smi >/dev/null 2>&1 && $pip install uv; then
    "$1/bin/uv" --quiet pip install --compile-bytecode --python "$1/bin/python" --torch-backend=cpu \
        $(grep -E '^torch(vision)?==' constraints.txt) 2>/dev/null ||
        echo "PyTorch's CPU builds cannot be reached from here: taking torch from pip's own sources"
fi
$pip install --constraint constraints.txt --editable ".[pipeline,dev]"
