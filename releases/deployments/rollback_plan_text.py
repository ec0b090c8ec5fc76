"""A rollback plan as text. No Django: `python -m releases` prints it."""

from collections.abc import Mapping
from typing import Any

from host.visible_text import make_visible


def format_rollback_plan(plan: Mapping[str, Any]) -> list[str]:
    """Return the lines of a plan, given as `RollbackPlan.as_dict` returns it."""
    more = plan.get("commit_count", 0) - len(plan["commits"])
    return [
        f"{plan['from_release_id'] or 'nothing'} -> {plan['release_id']}",
        *(
            f"  takes back {commit['sha'][:12]} {make_visible(commit['subject'])}"
            for commit in plan["commits"]
        ),
        *([f"  takes back {more} older commits"] if more > 0 else []),
        *(f"  migration stays applied: {name}" for name in plan["migrations"]),
        *(f"  irreversible: {text}" for text in plan["irreversible"]),
    ]
