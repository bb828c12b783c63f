#!/bin/sh
# Runs on the machine with the GPU, in the folder that `python -m benchmarks.gpu.prepare` made. Nothing is downloaded,
# and nothing is left but results/. Arguments go to the benchmark: --seconds 450, --backend cpu (a dry run), --only PART.
# PYTHON names the interpreter, which may bring its own torch and CUDA libraries.
set -eu
cd "$(dirname "$0")"
PYTHON=${PYTHON:-python3}
here=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
wanted=$(cat python-version)
if [ "$here" != "$wanted" ]; then
    echo "run.sh: the wheels are for Python $wanted, $PYTHON is $here: set PYTHON, or prepare the folder for $here" >&2
    exit 2
fi
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT INT TERM
"$PYTHON" -m pip install -q --disable-pip-version-check --no-index --no-deps --no-compile --target "$site" wheels/*.whl
PYTHONPATH=$site:$PWD${PYTHONPATH:+:$PYTHONPATH}
# ONNX Runtime looks for CUDA's libraries where the linker does, and pip puts them into packages.
libraries=$("$PYTHON" - <<'EOF'
import glob, sys
print(":".join(sorted({path for place in sys.path for path in glob.glob(f"{place}/nvidia/*/lib")})))
EOF
)
LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export PYTHONPATH LD_LIBRARY_PATH
status=0
"$PYTHON" -m benchmarks.gpu --engines engines --out results "$@" || status=$?
exit $status
