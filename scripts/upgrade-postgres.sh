#!/usr/bin/env bash
# Move the embedded PostgreSQL to the newer version that this host has. Stop the stack first.
set -euo pipefail
unset CDPATH PYTHONSAFEPATH  # with them this folder, or its modules, might not be found
cd "$(dirname "$0")/.."
[ -x .venv/bin/python ] || { echo "Nothing is installed here yet: run ./scripts/quickstart.sh first." >&2; exit 1; }
exec .venv/bin/python -m ops upgrade-postgres "$@"
