#!/usr/bin/env bash
# Build a commit or branch and make it live: scripts/deploy.sh <commit>
set -euo pipefail
unset CDPATH PYTHONSAFEPATH  # with them this folder, or its modules, might not be found
cd "$(dirname "$0")/.."
. scripts/installed.sh
export OROBOROS_ONLY=releases
exec .venv/bin/python manage.py deploy "$@"
