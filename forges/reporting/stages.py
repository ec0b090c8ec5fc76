"""The state of each stage of a run, as commit statuses and the comment show it: no I/O."""

from dataclasses import dataclass

from forges.adapters.forge import StatusState
from runs.rules import FINAL, Status

PREVIEW, MERGE_GATE, DEPLOY = "preview", "merge-gate", "deploy"
CONTEXT_PREFIX = "oroboros/"
WAITING_TEXTS = {
    Status.QUEUED: "Waiting for a slot.",
    Status.HOLDING: "Waiting for a slot.",
    Status.PREPARING: "The preview is being prepared.",
}


@dataclass(frozen=True)
class RunSummary:
    """What of a run decides the states of its stages.

    `was_ready`: the preview of this commit was ready. `failed_stage` is the stage of the step that
    failed, "" if none did. `reason` is why a run has ended, in one line. `is_verified`: its
    candidate has passed the merge gate.
    """

    status: str
    was_ready: bool
    was_approved: bool
    failed_stage: str
    failure_code: str
    reason: str
    is_verified: bool = False


@dataclass(frozen=True)
class StageState:
    """The state of one stage; `text` is a sentence."""

    stage: str
    state: StatusState
    text: str

    @property
    def context(self) -> str:
        """The name of its commit status."""
        return f"{CONTEXT_PREFIX}{self.stage}"


def list_stages(run: RunSummary) -> list[StageState]:
    """Return the states of the stages that the run has reached."""
    stages = [_preview(run), _merge_gate(run), _deploy(run)]
    return [stage for stage in stages if stage is not None]


def _preview(run: RunSummary) -> StageState:
    if run.was_ready:
        text = (
            "The preview was ready; its run has ended."
            if run.status in FINAL
            else "The preview is ready."
        )
        return StageState(PREVIEW, StatusState.SUCCESS, text)
    if run.status == Status.FAILED:
        return StageState(PREVIEW, StatusState.FAILURE, _explain(run))
    if run.status in FINAL:
        return StageState(PREVIEW, StatusState.ERROR, _explain(run))
    text = WAITING_TEXTS.get(Status(run.status), "The preview is being prepared.")
    return StageState(PREVIEW, StatusState.PENDING, text)


def _merge_gate(run: RunSummary) -> StageState | None:
    if run.status == Status.REJECTED:
        return StageState(MERGE_GATE, StatusState.FAILURE, _explain(run))
    if not run.was_approved:
        return None
    if run.failed_stage == MERGE_GATE:
        return StageState(MERGE_GATE, StatusState.FAILURE, _explain(run))
    is_past = run.status in (Status.DEPLOYING, Status.MERGED) or run.failed_stage == DEPLOY
    if is_past or (run.is_verified and run.status not in FINAL):
        return StageState(MERGE_GATE, StatusState.SUCCESS, "Merged, checked and built.")
    if run.status in FINAL:
        return StageState(MERGE_GATE, StatusState.ERROR, _explain(run))
    return StageState(MERGE_GATE, StatusState.PENDING, "Approved: it is merged and checked.")


def _deploy(run: RunSummary) -> StageState | None:
    if run.status == Status.MERGED:
        return StageState(DEPLOY, StatusState.SUCCESS, "The release is live.")
    if run.failed_stage == DEPLOY:
        return StageState(DEPLOY, StatusState.FAILURE, _explain(run))
    if run.status == Status.DEPLOYING:
        return StageState(DEPLOY, StatusState.PENDING, "The release is being deployed.")
    return None


def _explain(run: RunSummary) -> str:
    parts = [run.failure_code or run.status, run.reason]
    return ": ".join(part for part in parts if part)
