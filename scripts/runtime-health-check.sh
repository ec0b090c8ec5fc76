#!/usr/bin/env bash
# Print a line for each row of the startup matrix; exit 0 only if all are healthy.
set -euo pipefail
unset CDPATH PYTHONSAFEPATH  # with them this folder, or its modules, might not be found
cd "$(dirname "$0")/.."
[ -x .venv/bin/python ] || { echo "Nothing is installed here yet: run ./scripts/quickstart.sh first." >&2; exit 1; }
exec .venv/bin/python -m ops health "$@"
