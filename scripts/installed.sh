#!/usr/bin/env bash
# Sourced by the commands whose answer is one JSON object: what they say where nothing is installed.
[ -x .venv/bin/python ] || {
  said="Nothing is installed here yet: run ./scripts/quickstart.sh first."
  echo "{\"ok\": false, \"command\": null, \"slot_id\": null, \"error\": \"not_installed\", \"detail\": \"$said\"}"
  echo "$said" >&2
  exit 1
}
