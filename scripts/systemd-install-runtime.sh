#!/usr/bin/env bash
# As root, install the systemd units of this checkout; --dry-run changes nothing, --uninstall removes them.
set -euo pipefail
unset CDPATH PYTHONSAFEPATH  # with them this folder, or its modules, might not be found
cd "$(dirname "$0")/.."
python=$(scripts/python.sh)
exec "$python" -m ops systemd "$@"
