#!/usr/bin/env bash
# All checks and tests; --full adds the long matrices; what else is given goes to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
exec "$(scripts/python.sh)" -m ops test "$@"
