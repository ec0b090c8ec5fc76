"""The logs of a slot's or of production's processes: which there are, and opening one."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from rest_framework import serializers

from host.errors import Refused
from host.files import safe_files


class LogSerializer(serializers.Serializer):
    """A log: the process that wrote it, its size in bytes, and when it was written to last."""

    name = serializers.CharField()
    size = serializers.IntegerField()
    changed_at = serializers.DateTimeField()


def describe_logs(logs: Mapping[str, Path]) -> list[dict[str, Any]]:
    """Return the fields of `LogSerializer` of each log that exists."""
    found = []
    for name, path in logs.items():
        try:
            status = path.stat()
        except OSError:
            continue
        changed_at = datetime.fromtimestamp(status.st_mtime, UTC)
        found.append({"name": name, "size": status.st_size, "changed_at": changed_at})
    return found


def open_log(logs: Mapping[str, Path], name: str) -> IO[bytes]:
    """Open the log of that name. Raises Refused `log_not_found` (404)."""
    try:
        path = logs[name]
        return safe_files.open_beneath(path.parent, path.name)
    except (KeyError, OSError, Refused):
        raise Refused("log_not_found", "There is no log of this name now.", status=404) from None
