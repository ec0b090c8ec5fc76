#!/usr/bin/env bash
# Push the target branch with the configured credentials; --dry-run only asks the remote, also about --commit <id>.
set -euo pipefail
unset CDPATH PYTHONSAFEPATH  # with them this folder, or its modules, might not be found
cd "$(dirname "$0")/.."
. scripts/installed.sh
exec .venv/bin/python manage.py push "$@"
