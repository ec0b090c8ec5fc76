#!/usr/bin/env bash
# Give a slot its database anew, from main's template: --slot preview-1
set -euo pipefail
cd "$(dirname "$0")/.."
exec .venv/bin/python -m slots.host reset "$@"
