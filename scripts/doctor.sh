#!/usr/bin/env bash
# Check this host for all that Oroboros needs; says how to mend what is wrong, exit 0 only if nothing is.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -x .venv/bin/python ] || { echo "Nothing is installed here yet: run ./scripts/quickstart.sh first." >&2; exit 1; }
exec .venv/bin/python manage.py doctor "$@"
