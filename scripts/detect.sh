#!/usr/bin/env bash
# Print how the application in a folder would be installed, built and started, and why; runs none of it.
# Usage: scripts/detect.sh PATH [--json]
set -euo pipefail
unset CDPATH PYTHONSAFEPATH  # with them this folder, or its modules, might not be found
started_in=$PWD
cd "$(dirname "$0")/.."
[ -x .venv/bin/python ] || { echo "Nothing is installed here yet: run ./scripts/quickstart.sh first." >&2; exit 1; }
exec .venv/bin/python -m ops detect --from "$started_in" "$@"
