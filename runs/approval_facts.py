"""What a person should know before approving: what the merge gives, and what the migration does.

A forecast, never a substitute for the merge gate, which runs on the exact commit that ships.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from host.git.checkout_notes import name_files
from host.postgres.schema_diff import Change
from runs.models import Run
from runs.pipelines.changed_parts import OTHER
from runs.pipelines.merge_forecast import MergeOutcome
from runs.pipelines.schema_changes import read_schema_diff
from runs.prechecks.facts import PrecheckFacts, read_precheck

# Of a table or a column; anything else is one other change.
COUNTED = {"adds": "+", "drops": "−"}


@dataclass(frozen=True)
class ApprovalFacts:
    """`merge_outcome` is None until it is known for the run's commit; `base_sha` is the target's.

    `migration` sums up what the preview's migrations did to the schema, "" until they ran.
    `changed_parts` are those of `changed_parts.list_parts`, none until they are known. `precheck`
    is the newest check before the approval, also of an earlier commit: `is_stale` says so.
    """

    merge_outcome: MergeOutcome | None = None
    base_sha: str = ""
    conflicts: Sequence[str] = field(default_factory=tuple)
    migration: str = ""
    is_irreversible: bool = False
    changed_parts: Sequence[str] = ()
    precheck: PrecheckFacts | None = None

    @property
    def changes(self) -> str:
        """Which parts of the application the commit changes, in a few words."""
        words = {OTHER: "other files"}
        *first, last = [words.get(part, part) for part in self.changed_parts] or [""]
        return f"{', '.join(first)} and {last}" if first else f"only {last}" if last else ""

    @property
    def merge(self) -> str:
        """What the merge gives, in a few words."""
        words = {
            None: "not known yet",
            MergeOutcome.MERGES: "clean",
            MergeOutcome.CONFLICTS: f"conflicts in {name_files(self.conflicts)}",
            MergeOutcome.CONTAINED: "nothing to ship",
            MergeOutcome.UNCHANGED: "nothing to ship",
            MergeOutcome.UNRELATED: "no common history",
        }
        return words[self.merge_outcome]

    @property
    def can_merge(self) -> bool:
        """Whether the merge is known to give something that can ship."""
        return self.merge_outcome == MergeOutcome.MERGES


def read_approval_facts(run: Run) -> ApprovalFacts:
    """Return what is known of the run's present commit. Reads artifacts; runs no git."""
    forecast = run.merge_forecast if run.merge_forecast.get("commit") == run.commit_sha else {}
    diff = read_schema_diff(run)
    changes = diff.changes if diff is not None else []
    return ApprovalFacts(
        merge_outcome=MergeOutcome(forecast["outcome"]) if forecast else None,
        base_sha=forecast.get("base", ""),
        conflicts=tuple(forecast.get("conflicts", ())),
        migration=summarize_changes(changes) if diff is not None else "",
        is_irreversible=any(change.is_irreversible for change in changes),
        changed_parts=tuple(forecast.get("changed_parts", ())),
        precheck=read_precheck(run, forecast.get("base", "")),
    )


def summarize_changes(changes: Sequence[Change]) -> str:
    """Return the changes of a schema by kind, such as "+1 column, 2 other changes"."""
    counts: Counter[str] = Counter()
    for change in changes:
        word, _, rest = change.text.partition(" ")
        noun = rest.partition(" ")[0]
        is_counted = word in COUNTED and noun in ("table", "column")
        counts[f"{COUNTED[word]} {noun}" if is_counted else ""] += 1
    others = counts.pop("", 0)
    parts = [_count(count, *key.split(" ")) for key, count in sorted(counts.items())]
    if others:
        parts.append(f"{others} other change{'s' if others > 1 else ''}" if parts else
                     f"{others} change{'s' if others > 1 else ''}")  # fmt: skip
    return ", ".join(parts) or "no change"


def _count(count: int, sign: str, noun: str) -> str:
    return f"{sign}{count} {noun}{'s' if count > 1 else ''}"
