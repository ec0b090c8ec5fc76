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
class ShortFact:
    """A fact in a few words; `state` chooses the colour of its label, "" has none."""

    name: str
    text: str
    state: str = ""


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

    def summarize(self) -> list[ShortFact]:
        """Return the facts that fit in one line, as "Merge: clean" and "Checks: 2 passed"."""
        known = "succeeded" if self.can_merge else "failed"
        migration, state = self.migration or "not run yet", "failed" if self.is_irreversible else ""
        return [
            ShortFact("Merge", self.merge, known if self.merge_outcome else ""),
            summarize_precheck(self.precheck),
            ShortFact("Migration", f"{migration}{', irreversible' if state else ''}", state),
        ]


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


def summarize_precheck(precheck: PrecheckFacts | None) -> ShortFact:
    """Return the result of the check before the approval. A stale one does not count as passed."""
    if precheck is None:
        return ShortFact("Checks", "after approval")
    if precheck.row.is_open:
        return ShortFact("Checks", precheck.row.get_status_display().lower(), "running")
    stale = ", stale" if precheck.is_stale else ""
    if precheck.has_passed:
        count = f"{len(precheck.checks)} passed{stale}"
        return ShortFact("Checks", count, "warning" if stale else "succeeded")
    if precheck.has_failed:
        return ShortFact("Checks", f"{precheck.row.code}{stale}", "warning" if stale else "failed")
    return ShortFact("Checks", "canceled", "canceled")


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
