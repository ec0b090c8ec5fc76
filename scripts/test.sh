#!/usr/bin/env bash
# Run all checks and tests; --full adds the long tests; other arguments go to pytest.
set -euo pipefail
unset CDPATH PYTHONSAFEPATH  # with them this folder, or its modules, might not be found
cd "$(dirname "$0")/.."
exec "$(scripts/python.sh)" -m ops test "$@"
