#!/usr/bin/env bash
# Start all that runs, as services or in the background, and wait until it is well.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -x .venv/bin/python ] || { echo "Nothing is installed here yet: run ./scripts/quickstart.sh first." >&2; exit 1; }
exec .venv/bin/python -m ops up "$@"
