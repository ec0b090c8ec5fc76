"""What the migrations of a preview did to its schema: two artifacts, as pg_dump writes them."""

from dataclasses import dataclass
from difflib import unified_diff

from django.conf import settings

from host.postgres.schema_diff import Change, schema_changes
from runs.engine.journal import artifacts_folder
from runs.models import Run

BEFORE, AFTER = "schema_before", "schema_after"


@dataclass(frozen=True)
class Migrated:
    """The schema before and after the branch's migrations."""

    before: str
    after: str

    @property
    def changes(self) -> list[Change]:
        """What they changed; what cannot be taken back comes first."""
        return schema_changes(self.before, self.after)

    @property
    def patch(self) -> list[str]:
        """The lines of a unified diff."""
        lines = self.before.splitlines(), self.after.splitlines()
        return list(unified_diff(*lines, BEFORE, AFTER, lineterm=""))


def schema(run: Run) -> Migrated | None:
    """Read both for the run's generation; None until its backend was started."""
    kept = run.artifacts.filter(generation=run.generation, name__in=(BEFORE, AFTER))
    paths = {one.name: artifacts_folder(settings.OROBOROS) / one.path for one in kept}
    try:
        return Migrated(paths[BEFORE].read_text(), paths[AFTER].read_text())
    except (KeyError, FileNotFoundError):
        return None
