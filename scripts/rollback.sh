#!/usr/bin/env bash
# Make an earlier release live again: scripts/rollback.sh <release_id>
set -euo pipefail
unset CDPATH PYTHONSAFEPATH  # with them this folder, or its modules, might not be found
cd "$(dirname "$0")/.."
. scripts/installed.sh
exec .venv/bin/python -m releases "$@"
