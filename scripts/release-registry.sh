#!/usr/bin/env bash
# List, get, verify releases; restore a database: scripts/release-registry.sh list
set -euo pipefail
cd "$(dirname "$0")/.."
exec .venv/bin/python manage.py releases "$@"
