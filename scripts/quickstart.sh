#!/usr/bin/env bash
# From a clean checkout to a preview of a real branch; with --ship on to merged. May be run again.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$(scripts/python.sh)
"$python" -m ops preflight
"$python" -m ops install embedded
exec .venv/bin/python -m ops quickstart "$@"
