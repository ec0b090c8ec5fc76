#!/usr/bin/env bash
# Run the application's migrations on a slot's database: --slot preview-1 [--dry-run]
set -euo pipefail
unset CDPATH PYTHONSAFEPATH  # with them this folder, or its modules, might not be found
cd "$(dirname "$0")/.."
. scripts/installed.sh
exec .venv/bin/python -m slots.runtime migrate "$@"
