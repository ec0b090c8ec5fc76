#!/usr/bin/env bash
# Sourced by the scripts that print one JSON object: ends them with an error if nothing is installed.
[ -x .venv/bin/python ] || {
  detail="Nothing is installed here yet: run ./scripts/quickstart.sh first."
  echo "{\"ok\": false, \"command\": null, \"slot_id\": null, \"error\": \"not_installed\", \"detail\": \"$detail\"}"
  echo "$detail" >&2
  exit 1
}
