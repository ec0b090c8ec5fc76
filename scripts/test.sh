#!/usr/bin/env bash
# Run all checks and tests; --full adds the long tests; other arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
exec "$(scripts/python.sh)" -m ops test "$@"
