#!/usr/bin/env bash
# Print a Python this checkout can run on: 3.11 to 3.13, and as root one that other users can execute.
# OROBOROS_PYTHON names the one to take.
set -euo pipefail

fits() {
  "$1" -I -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null
}

reachable() {
  # env in between: setpriv itself may still enter folders that the user may not
  local uid=$((${OROBOROS_UID_BASE:-60800} + 1))
  [ "$(id -u)" -ne 0 ] || \
    (cd / && setpriv --reuid="$uid" --regid="$uid" --clear-groups -- env "$1" -I -c "import json") 2>/dev/null
}

found=()
for candidate in ${OROBOROS_PYTHON:-python3 python3.13 python3.12 python3.11 /usr/bin/python3 /usr/local/bin/python3}; do
  program=$(command -v "$candidate") || continue
  fits "$program" || { found+=("$program is not Python 3.11 to 3.13"); continue; }
  program=$("$program" -I -c 'import os, sys; print(os.path.realpath(sys.executable))')
  reachable "$program" || { found+=("$program cannot be executed by other users"); continue; }
  printf '%s\n' "$program"
  exit 0
done

{
  echo "Not ready, nothing was started:"
  echo "- No Python that can be used here."
  printf '    %s\n' "${found[@]:-none was found}"
  echo "  Install Python 3.11, 3.12 or 3.13 (on Debian: apt-get install python3 python3-venv),"
  echo "  or set OROBOROS_PYTHON to one."
  [ "$(id -u)" -ne 0 ] || echo "  As root, previews run as users of their own, who must be able to execute it: /usr/bin/python3 will do."
} >&2
exit 1
