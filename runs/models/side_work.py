"""Work beside a run's pipeline, which neither waits for it nor fails with it: rows with a claim."""

from typing import Any, ClassVar, Self

from django.conf import settings
from django.db import IntegrityError, models, transaction

from core.claims import Claim, Claimable, ClaimableQuerySet, ClaimLost, Row
from core.clock import ClockTimestamp
from host.masking.known_secrets import read_masks
from runs.models.run import Run

# The states that all of it begins with.
WAITING, RUNNING = "waiting", "running"


class SideWorkQuerySet(ClaimableQuerySet[Row]):
    """Such rows by their state and their host."""

    def open(self) -> Self:
        return self.filter(status__in=self.model.OPEN)  # type: ignore[attr-defined]

    def on_host(self, host: str) -> Self:
        """The rows of the runs that the workers of `host` work on."""
        return self.filter(run__in=Run.objects.on_host(host))

    def request(self, run: Run, **fields: Any) -> tuple[Row, bool]:
        """Return the open row of the run, else a new one, and whether it is new."""
        fields |= {"generation": run.generation, "commit_sha": run.commit_sha}
        try:
            # A savepoint: the partial unique index decides between two requests.
            with transaction.atomic():
                return self.create(run=run, requested_at=ClockTimestamp(), **fields), True
        except IntegrityError:
            found = self.open().filter(run=run).first()
            if found is None:
                raise
            return found, False


class SideWork(Claimable):
    """What all of it has: the generation and the commit that it is about, its state and times."""

    OPEN: ClassVar[tuple[str, ...]]
    status: str

    generation = models.PositiveIntegerField()
    commit_sha = models.CharField(max_length=40)
    # Why it waits, failed or was canceled.
    detail = models.TextField(blank=True)
    requested_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    # When a task was last enqueued for it.
    enqueued_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True

    @property
    def is_open(self) -> bool:
        return self.status in self.OPEN

    def update(self, claim: Claim, **fields: Any) -> None:
        """Write the fields while the claim is valid, secrets masked. Raises ClaimLost otherwise."""
        masks = read_masks(settings.OROBOROS)
        masked = {name: masks.mask_data(value) for name, value in fields.items()}
        rows: ClaimableQuerySet[Any] = type(self)._default_manager.all()  # type: ignore[assignment]
        if rows.with_valid_claim(claim).update(**masked) != 1:
            claim.lost.set()
            raise ClaimLost
        self.refresh_from_db(fields=list(fields))
