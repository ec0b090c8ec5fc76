#!/usr/bin/env bash
# Replace a slot's database by a new copy of main's template: --slot preview-1
set -euo pipefail
unset CDPATH PYTHONSAFEPATH  # with them this folder, or its modules, might not be found
cd "$(dirname "$0")/.."
. scripts/installed.sh
exec .venv/bin/python -m slots.runtime reset "$@"
