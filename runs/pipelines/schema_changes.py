"""What a preview's migrations changed in its schema, from two artifacts with schema snapshots."""

from dataclasses import dataclass
from difflib import unified_diff

from django.conf import settings

from host.postgres import schema_snapshot
from host.postgres.schema_diff import Change, compare_schemas
from host.postgres.schema_snapshot import Snapshot
from runs.engine.artifacts import artifacts_folder
from runs.models import Run

BEFORE, AFTER = "schema_before", "schema_after"


@dataclass(frozen=True)
class SchemaDiff:
    """The schema before and after the branch's migrations."""

    before: Snapshot
    after: Snapshot

    @property
    def changes(self) -> list[Change]:
        """The changes, irreversible ones first."""
        return compare_schemas(self.before, self.after)

    @property
    def patch(self) -> list[str]:
        """The lines of a unified diff of both, in the manner of SQL."""
        before = schema_snapshot.render_lines(self.before)
        after = schema_snapshot.render_lines(self.after)
        return list(unified_diff(before, after, BEFORE, AFTER, lineterm=""))


def read_schema_diff(run: Run) -> SchemaDiff | None:
    """Read both schemas of the run's generation; None until its backend was started."""
    artifacts = run.artifacts.filter(generation=run.generation, name__in=(BEFORE, AFTER))
    paths = {
        artifact.name: artifacts_folder(settings.OROBOROS) / artifact.path for artifact in artifacts
    }
    try:
        before, after = (
            schema_snapshot.from_json(paths[name].read_text()) for name in (BEFORE, AFTER)
        )
    except (KeyError, FileNotFoundError, ValueError):  # ValueError: of another version
        return None
    return SchemaDiff(before, after)
