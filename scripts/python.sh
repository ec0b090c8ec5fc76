#!/usr/bin/env bash
# Print the path of a Python for this checkout: 3.11 to 3.13, and as root one that other users can execute.
# OROBOROS_PYTHON names the only candidate.
set -euo pipefail
unset CDPATH PYTHONSAFEPATH  # with them this folder, or its modules, might not be found

is_supported() {
  "$1" -I -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null
}

is_executable_by_others() {
  # Through env: setpriv's own execve may still enter folders that are closed to the user.
  local base=${OROBOROS_UID_BASE:-60800}
  # A value that is not a number is refused later, in one place with all other settings.
  [[ $base =~ ^[0-9]{1,9}$ ]] || base=60800
  local uid=$((10#$base + 1))
  [ "$(id -u)" -ne 0 ] || \
    (cd / && setpriv --reuid="$uid" --regid="$uid" --clear-groups -- env "$1" -I -c "import json") 2>/dev/null
}

candidates=(python3 python3.13 python3.12 python3.11 /usr/bin/python3 /usr/local/bin/python3)
[ -z "${OROBOROS_PYTHON:-}" ] || candidates=("$OROBOROS_PYTHON")
refused=()
for candidate in "${candidates[@]}"; do
  program=$(command -v "$candidate") || continue
  is_supported "$program" || { refused+=("$program is not Python 3.11 to 3.13"); continue; }
  program=$("$program" -I -c 'import os, sys; print(os.path.realpath(sys.executable))')
  is_executable_by_others "$program" || { refused+=("$program cannot be executed by other users"); continue; }
  printf '%s\n' "$program"
  exit 0
done

{
  echo "Not ready, nothing was started:"
  echo "- There is no Python that this checkout can use."
  printf '    %s\n' "${refused[@]:-none was found}"
  echo "  Install Python 3.11, 3.12 or 3.13 (on Debian: apt-get install python3 python3-venv),"
  echo "  or set OROBOROS_PYTHON to one."
  [ "$(id -u)" -ne 0 ] || echo "  As root, previews run as other users, who must be able to execute it: /usr/bin/python3 is suitable."
} >&2
exit 1
