#!/usr/bin/env bash
# Start, stop or inspect a slot's backend: start|stop|restart|status|health|logs --slot preview-1
set -euo pipefail
unset CDPATH PYTHONSAFEPATH  # with them this folder, or its modules, might not be found
cd "$(dirname "$0")/.."
. scripts/installed.sh
exec .venv/bin/python -m slots.runtime "$@"
