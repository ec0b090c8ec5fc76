"""The states of runs and steps, the failure codes, and the decisions on them: no I/O."""

from dataclasses import dataclass

from django.db.models import TextChoices

from host.errors import Refused


class Status(TextChoices):
    """The state of a run (CONTRIBUTING.md, The words)."""

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
    # A released reservation returns to QUEUED: its creator may ask for a slot again.
    Status.HOLDING: {Status.QUEUED, Status.CANCELED, Status.EXPIRED},
    Status.PREPARING: {
        Status.PREVIEW_READY,
        Status.FAILED,
        Status.REJECTED,
        Status.CANCELED,
        Status.EXPIRED,
    },
    # A new commit on the branch sends the run back to PREPARING.
    Status.PREVIEW_READY: {
        Status.APPROVED,
        Status.PREPARING,
        Status.FAILED,
        Status.REJECTED,
        Status.CANCELED,
        Status.EXPIRED,
    },
    # Not EXPIRED from here on: the lease of a run that ships is pinned.
    Status.APPROVED: {
        Status.MERGING,
        Status.PREPARING,
        Status.FAILED,
        Status.REJECTED,
        Status.CANCELED,
    },
    # MERGING includes the merge gate: a request to stop and a new commit count until the step
    # `merge` has begun.
    Status.MERGING: {
        Status.DEPLOYING,
        Status.PREPARING,
        Status.FAILED,
        Status.REJECTED,
        Status.CANCELED,
    },
    # What is being deployed is in the target branch already: requests to stop are ignored.
    Status.DEPLOYING: {Status.MERGED, Status.FAILED},
}
FINAL = tuple(status for status in Status if status not in MOVES)
SHIPPING = (Status.APPROVED, Status.MERGING, Status.DEPLOYING)
# One run at most is in one of these: the constraint runs_one_ships_at_a_time.
MERGING_OR_DEPLOYING = (Status.MERGING, Status.DEPLOYING)

# Priorities lie between -PRIORITY_MAX and PRIORITY_MAX. The column is a smallint, whose lowest
# value, -2**15, has no negation in it; queries that sort by `-priority` would overflow.
PRIORITY_MAX = 2**15 - 1


class StepStatus(TextChoices):
    """The state of a step in the journal."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Failure:
    """The explanation of a failure code: what happened, and what to do."""

    cause: str
    remedy: str


FAILURES: dict[str, Failure] = {
    "MERGE_CONFLICT": Failure(
        "The branch and the target branch change the same lines, or share no history.",
        "Merge the target branch into your branch, resolve the conflicts, push, and retry the run.",
    ),
    "CHECKS_FAILED": Failure(
        "A check failed on the exact commit that would have been merged.",
        "Read the check's log, fix the branch, push, and retry the run. If the branch changes "
        "the checks themselves, an operator may accept its own checks when approving.",
    ),
    "BUILD_FAILED": Failure(
        "Installing or building the application failed.",
        "Read the log of the step, fix the branch, push, and retry the run.",
    ),
    "MIGRATION_FAILED": Failure(
        "The application's `release:` failed: on a clone of the template database, or, while the "
        "run shipped, on production's; nothing was switched then.",
        "Read the migration's log, fix the migration, push, and retry the run. After a failure on "
        "production, follow the guidance in the events.",
    ),
    "MANIFEST_INVALID": Failure(
        "Procfile, app.json or oroboros.toml is invalid, or does not say how the application runs.",
        "Correct the file, line and key that the detail names, push, and retry the run.",
    ),
    "MAIN_BROKEN": Failure(
        "The target branch itself does not install, does not build, does not migrate an empty "
        "database, does not start, or fails one of its checks.",
        "Ship a branch that repairs it: such a branch can be previewed and merged as usual. If it "
        "repairs a check itself, an operator accepts its own checks when approving. A database "
        "that the same commit of the target branch could not make is not tried again, unless an "
        "operator runs .venv/bin/python manage.py build_template.",
    ),
    "COMMAND_REFUSED": Failure(
        "The command policy does not allow a command of the application.",
        "Correct what the detail names and push. For a program that is not allowed, use an allowed "
        "one, or have an operator add it to WORKER_ALLOWED_COMMANDS.",
    ),
    "UNSAFE_DATABASE_TARGET": Failure(
        "The step would have used a database that is not the slot's own.",
        "Correct PREVIEW_BACKEND_DATABASE_URL_TEMPLATE and retry the run.",
    ),
    "BACKEND_UNHEALTHY": Failure(
        "The backend did not start, did not answer its health path, or crashed repeatedly.",
        "Read the last lines of the slot's log, fix the branch, push, and retry the run.",
    ),
    "PROCESS_DIED": Failure(
        "A background process of the application (a line of its Procfile other than `web` and "
        "`release`) ended when it started, or was restarted and ended again and again.",
        "Read the last lines of its log, which the detail quotes, fix the branch, push, and retry "
        "the run. A process that previews must not start has `preview = false` in "
        "`[processes.<type>]` of oroboros.toml; one that is not to run at all has the quantity 0 "
        "in `formation` of app.json.",
    ),
    "START_FAILED": Failure(
        "The sealed release did not start in production's environment; nothing was merged.",
        "Read the last lines of the log and the difference that the detail names, fix the branch, "
        "push, and retry the run.",
    ),
    "EFFECT_MISSING": Failure(
        "A step's commands succeeded, but what they should have made does not exist.",
        "The detail says what was looked for and where: correct the command or the directory in "
        "oroboros.toml, push, and retry the run.",
    ),
    "PREVIEW_EXPIRED": Failure(
        "The lease on the slot expired.", "Retry the run to get the preview again."
    ),
    "MAIN_DIVERGED": Failure(
        "The target branch here and the remote's each have commits that the other lacks.",
        "Compare both with the commands in the detail, decide which one to keep, then retry the "
        "run.",
    ),
    "NOTHING_TO_SHIP": Failure(
        "The target branch already contains the commit, or all of its changes.",
        "There is nothing to do.",
    ),
    "STEP_TIMEOUT": Failure(
        "A step exceeded its time limit.",
        "Read its log to see what it waited for, fix that, and retry the run.",
    ),
    "STEP_KEPT_DYING": Failure(
        "The worker died each time it ran this step.",
        "Look for crashes or lack of memory in the logs of the step and of the worker, then retry "
        "the run.",
    ),
    "DISK_FULL": Failure("The disk is full.", "Free disk space on the host, then retry the run."),
    "HOST_REFUSED": Failure(
        "Git, the database or another part of the host refused an operation.",
        "Do what the detail says (`scripts/doctor.sh` checks the host), then retry the run.",
    ),
    "DEPLOY_PUSH_FAILED": Failure(
        "The remote refused the push.",
        "Read the artifact deploy_git_push_log, fix the cause, then retry the run.",
    ),
    "DEPLOY_HEALTHCHECK_FAILED": Failure(
        "The new release did not become healthy; the last healthy release is live.",
        "Read deploy_backend_reload_log and follow the rollback guidance in the events.",
    ),
    "MERGED_ELSEWHERE": Failure(
        "The pull request was merged on the forge, so the run has nothing to ship.",
        "There is nothing to do here: the commit is in the target branch. To deploy it without "
        "another change, an operator runs scripts/deploy.sh.",
    ),
    "RELEASED": Failure(
        "The slot was released by hand.", "Retry the run to get the preview again."
    ),
}


# The codes of Refused that have a failure code of their own; a step that is refused for any other
# reason fails with HOST_REFUSED.
FAILURES_OF_REFUSALS = {
    "backend_unhealthy": "BACKEND_UNHEALTHY",
    "build_failed": "BUILD_FAILED",
    "command_refused": "COMMAND_REFUSED",
    "disk_full": "DISK_FULL",
    "effect_missing": "EFFECT_MISSING",
    "manifest_invalid": "MANIFEST_INVALID",
    "migration_failed": "MIGRATION_FAILED",
    "process_died": "PROCESS_DIED",
    "unsafe_database_target": "UNSAFE_DATABASE_TARGET",
}


def failure_code_of(refusal_code: str) -> str:
    """Return the key of FAILURES with which a step fails that was refused with this code."""
    return FAILURES_OF_REFUSALS.get(refusal_code, "HOST_REFUSED")


# The command that lifts every freeze: remedies quote it.
UNFREEZE_COMMAND = ".venv/bin/python manage.py unfreeze --reason '<why>'"


def require_reason(reason: str, detail: str) -> None:
    """Raise Refused `reason_required` (400) with `detail` if the reason is empty."""
    if not reason.strip():
        raise Refused("reason_required", detail, status=400)


class PushMode(TextChoices):
    """What the push step does with the remote (MERGE_GATE_GIT_PUSH_MODE)."""

    MANUAL = "manual"
    AUTO = "auto"
    DRY_RUN = "dry-run"


def choose_base(
    ours: str | None, theirs: str | None, *, ours_in_theirs: bool, theirs_in_ours: bool
) -> str | None:
    """Return the commit that a candidate is merged into; None if the two branches diverged.

    `ours` is the head of our target branch, `theirs` the remote's; either may not exist. It is
    the remote's if that equals ours or contains it, else ours.
    """
    if theirs is not None and (ours is None or ours_in_theirs):
        return theirs
    if theirs is None or theirs_in_ours:
        return ours
    return None


def explain_awaited_checks(setting: str, checks: str = "") -> str:
    """Return what waits for the external checks of a setting, and for which, as a sentence."""
    return f"It waits for the checks of {setting}{': ' if checks else ''}{checks}."
