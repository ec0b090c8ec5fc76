#!/usr/bin/env bash
# Run a command in a preview or in production, on this terminal:
# --slot preview-1 -- python manage.py shell, or --production --reason '...' -- python manage.py shell
set -euo pipefail
unset CDPATH PYTHONSAFEPATH  # with them this folder, or its modules, might not be found
cd "$(dirname "$0")/.."
[ -x .venv/bin/python ] || { echo "Nothing is installed here yet: run ./scripts/quickstart.sh first." >&2; exit 125; }
exec .venv/bin/python manage.py run_command "$@"
