"""A rollback plan as text. No Django: `python -m releases` prints it."""

from collections.abc import Mapping
from typing import Any


def format_rollback_plan(plan: Mapping[str, Any]) -> list[str]:
    """Return the lines of a plan, given as `RollbackPlan.as_dict` returns it."""
    return [
        f"{plan['from_release_id'] or 'nothing'} -> {plan['release_id']}",
        *(f"  takes back {commit['sha'][:12]} {commit['subject']}" for commit in plan["commits"]),
        *(f"  migration stays applied: {name}" for name in plan["migrations"]),
        *(f"  irreversible: {text}" for text in plan["irreversible"]),
    ]
