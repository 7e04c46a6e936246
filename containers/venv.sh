#!/bin/sh
# Build one virtual environment from pinned requirement files:
#   sh containers/venv.sh PYTHON TARGET REQUIREMENTS…
# It is complete when TARGET/.ready exists; an interrupted build is started anew.
set -eu
python=$1 target=$2
shift 2
command -v "$python" >/dev/null || python=python3
"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || {
    echo "micserve needs Python 3.11, and '$python' is $("$python" --version 2>&1)." >&2
    echo "Install Python 3.11 or name it: make … PYTHON=/path/to/python3.11" >&2
    exit 2
}
echo "Setting up $target (once; a few minutes, 1 to 2 GB) …"
rm -f "$target/.ready"
[ -x "$target/bin/python" ] || "$python" -m venv --clear "$target"
files=""
for file in "$@"; do files="$files -r $file"; done
"$target/bin/python" -m pip install --quiet --disable-pip-version-check $files
"$target/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
    --no-build-isolation --editable .
touch "$target/.ready"
