#!/usr/bin/env bash
# Make changed settings take effect: says what differs and restarts only that; --dry-run only says it.
set -euo pipefail
unset CDPATH PYTHONSAFEPATH  # with them this folder, or its modules, might not be found
cd "$(dirname "$0")/.."
[ -x .venv/bin/python ] || { echo "Nothing is installed here yet: run ./scripts/quickstart.sh first." >&2; exit 1; }
exec .venv/bin/python -m ops apply "$@"
