#!/usr/bin/env bash
# List, get and verify releases, and restore a database: scripts/release-registry.sh list
set -euo pipefail
unset CDPATH PYTHONSAFEPATH  # with them this folder, or its modules, might not be found
cd "$(dirname "$0")/.."
. scripts/installed.sh
export OROBOROS_ONLY=releases
exec .venv/bin/python manage.py releases "$@"
