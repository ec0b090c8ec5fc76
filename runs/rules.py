"""What runs may do and what a failure means: values in, values out."""

from dataclasses import dataclass

from django.db.models import TextChoices


class Status(TextChoices):
    """Where a run is on its way."""

    QUEUED = "queued"
    HOLDING = "holding"
    PREPARING = "preparing"
    PREVIEW_READY = "preview_ready"
    APPROVED = "approved"
    MERGING = "merging"
    DEPLOYING = "deploying"
    MERGED = "merged"
    REJECTED = "rejected"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"


MOVES: dict[str, set[Status]] = {
    Status.QUEUED: {
        Status.PREPARING,
        Status.HOLDING,
        Status.FAILED,
        Status.REJECTED,
        Status.CANCELED,
        Status.EXPIRED,
    },
    Status.HOLDING: {Status.QUEUED, Status.CANCELED, Status.EXPIRED},
    Status.PREPARING: {
        Status.PREVIEW_READY,
        Status.FAILED,
        Status.REJECTED,
        Status.CANCELED,
        Status.EXPIRED,
    },
    # A new commit on the branch prepares the preview anew.
    Status.PREVIEW_READY: {
        Status.APPROVED,
        Status.PREPARING,
        Status.FAILED,
        Status.REJECTED,
        Status.CANCELED,
        Status.EXPIRED,
    },
    Status.APPROVED: {
        Status.MERGING,
        Status.PREPARING,
        Status.FAILED,
        Status.REJECTED,
        Status.CANCELED,
    },
    Status.MERGING: {
        Status.DEPLOYING,
        Status.PREPARING,
        Status.FAILED,
        Status.REJECTED,
        Status.CANCELED,
    },
    Status.DEPLOYING: {Status.MERGED, Status.FAILED},
}
FINAL = tuple(status for status in Status if status not in MOVES)
SHIPPING = (Status.APPROVED, Status.MERGING, Status.DEPLOYING)
# Of those that ship, the one whose turn it is.
AT_WORK = (Status.MERGING, Status.DEPLOYING)

# Both ways from 0. The line's statements negate it: the column's lowest number is not among them.
PRIORITY_MAX = 2**15 - 1


class StepStatus(TextChoices):
    """How a journaled action stands."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Failure:
    """What a failure code means to the person who reads it."""

    cause: str
    remedy: str


FAILURES: dict[str, Failure] = {
    "MERGE_CONFLICT": Failure(
        "The branch and the target branch change the same lines.",
        "Merge the target branch into your branch, resolve the conflicts, push, and retry the run.",
    ),
    "CHECKS_FAILED": Failure(
        "A check failed on the exact commit that would have been merged.",
        "Read the check's log, mend the branch, push, and retry the run. Where the branch changes "
        "the checks themselves, an operator may take its own alone when approving.",
    ),
    "BUILD_FAILED": Failure(
        "Installing or building the application failed.",
        "Read the log of the step, mend the branch, push, and retry the run.",
    ),
    "MIGRATION_FAILED": Failure(
        "The branch's migrations failed on a clone of the template database.",
        "Read the migration's log, mend the migration, push, and retry the run.",
    ),
    "MANIFEST_INVALID": Failure(
        "Procfile, app.json or oroboros.toml does not say how to run the application.",
        "Correct the file, line and key that the detail names, push, and retry the run.",
    ),
    "COMMAND_REFUSED": Failure(
        "A command of the application is not one that the worker may start.",
        "Use an allowed program, or have an operator add it to WORKER_ALLOWED_COMMANDS.",
    ),
    "UNSAFE_DATABASE_TARGET": Failure(
        "The database that the step would have used is not the slot's own.",
        "Correct PREVIEW_BACKEND_DATABASE_URL_TEMPLATE and retry the run.",
    ),
    "BACKEND_UNHEALTHY": Failure(
        "The backend did not start, did not answer its health path, or died again and again.",
        "Read the last lines of the slot's log, mend the branch, push, and retry the run.",
    ),
    "PREVIEW_EXPIRED": Failure(
        "The lease on the slot ran out.", "Retry the run to have the preview again."
    ),
    "MAIN_DIVERGED": Failure(
        "The target branch here and the remote's have each a commit that the other has not.",
        "Look at both with the commands in the detail, decide which one stands, and retry the run.",
    ),
    "NOTHING_TO_SHIP": Failure(
        "The target branch contains the commit already.", "There is nothing to do."
    ),
    "STEP_TIMEOUT": Failure(
        "A step took longer than it may.",
        "Read its log for what it waited for; retry the run, or raise the step's limit.",
    ),
    "STEP_KEPT_DYING": Failure(
        "The worker died each time it came to this step.",
        "Look into the step's log and the worker's for memory or crashes, then retry the run.",
    ),
    "DISK_FULL": Failure(
        "There was no room left on the disk.", "Free some room on the host, then retry the run."
    ),
    "HOST_REFUSED": Failure(
        "Git, the database or another part of the host said no.",
        "Do what the detail says (`scripts/doctor.sh` looks at the host), then retry the run.",
    ),
    "DEPLOY_PUSH_FAILED": Failure(
        "The remote did not take the push.",
        "Read the artifact deploy_git_push_log, mend the cause, then retry the run.",
    ),
    "DEPLOY_HEALTHCHECK_FAILED": Failure(
        "The new release did not become healthy; the last healthy release serves.",
        "Read deploy_backend_reload_log and follow the rollback guidance in the events.",
    ),
    "RELEASED": Failure(
        "The slot was released by hand.", "Retry the run to have the preview again."
    ),
}


# What lifts every freeze, for those who decide to ship on all the same.
UNFREEZE = ".venv/bin/python manage.py unfreeze --reason '<why>'"


class PushMode(TextChoices):
    """What the push step does with the remote."""

    MANUAL = "manual"
    AUTO = "auto"
    DRY_RUN = "dry-run"


def base_of(
    ours: str | None, theirs: str | None, *, ours_in_theirs: bool, theirs_in_ours: bool
) -> str | None:
    """Return the commit a candidate is based on; None if the two branches diverged.

    The remote's where it is equal or ahead; ours where we are ahead, or it has none.
    """
    if theirs is not None and (ours is None or ours_in_theirs):
        return theirs
    if theirs is None or theirs_in_ours:
        return ours
    return None
