"""What a rollback takes back, in words: said by the shell before there is Django."""

from collections.abc import Mapping
from typing import Any


def sentences(way: Mapping[str, Any]) -> list[str]:
    """Return a line for each thing that a way back (`WayBack.as_dict`) takes or crosses."""
    return [
        f"{way['from_release_id'] or 'nothing'} -> {way['release_id']}",
        *(f"  takes back {one['sha'][:12]} {one['subject']}" for one in way["commits"]),
        *(f"  crosses {name}" for name in way["migrations"]),
        *(f"  irreversible: {text}" for text in way["irreversible"]),
    ]
