#!/usr/bin/env bash
# Check this host for all that Oroboros needs; prints a remedy for each fault, exits 0 only without faults.
set -euo pipefail
unset CDPATH PYTHONSAFEPATH  # with them this folder, or its modules, might not be found
cd "$(dirname "$0")/.."
[ -x .venv/bin/python ] || { echo "Nothing is installed here yet: run ./scripts/quickstart.sh first." >&2; exit 1; }
exec .venv/bin/python manage.py doctor "$@"
