#!/usr/bin/env bash
# List, get and verify releases, and restore a database: scripts/release-registry.sh list
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/installed.sh
export OROBOROS_ONLY=releases
exec .venv/bin/python manage.py releases "$@"
