#!/usr/bin/env bash
# Have systemd keep this checkout, as root: installs; with --dry-run only says what; --uninstall takes it away.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$(scripts/python.sh)
exec "$python" -m ops systemd "$@"
