#!/usr/bin/env bash
# Give a slot its database anew, from main's template: --slot preview-1
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/installed.sh
exec .venv/bin/python -m slots.runtime reset "$@"
