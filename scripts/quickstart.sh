#!/usr/bin/env bash
# Set up and start the stack and prepare the preview of a branch; --ship also merges it. May be run again.
set -euo pipefail
unset CDPATH PYTHONSAFEPATH  # with them this folder, or its modules, might not be found
cd "$(dirname "$0")/.."
python=$(scripts/python.sh)
"$python" -m ops preflight
"$python" -m ops install embedded
exec .venv/bin/python -m ops quickstart "$@"
