"""The deployments that the forge shows of a run: its preview, and production. No I/O."""

from collections.abc import Iterable

from forges.adapters.forge import DeploymentReport, DeploymentState, StatusState
from forges.reporting.stages import DEPLOY, PREVIEW, StageState

DEPLOYMENT = "deployment:"
PRODUCTION = "production"
STATES = {
    StatusState.PENDING: DeploymentState.PENDING,
    StatusState.SUCCESS: DeploymentState.SUCCESS,
    StatusState.FAILURE: DeploymentState.FAILURE,
    StatusState.ERROR: DeploymentState.INACTIVE,
}


def list_deployments(
    stages: Iterable[StageState],
    *,
    preview: tuple[str, str, str],
    production: tuple[str, str, str],
    run_url: str,
    number: int,
) -> list[DeploymentReport]:
    """Return the deployments that the run has reached.

    `preview` and `production` are the commit, its branch and the address; the preview's address is
    "" once it is not served, and production's commit is "" if the forge does not have it.
    """
    found = {stage.stage: stage for stage in stages}
    reports = []
    for stage, environment, (sha, branch, url) in (
        (PREVIEW, f"preview/pr-{number}", preview),
        (DEPLOY, PRODUCTION, production),
    ):
        if stage not in found or not sha:
            continue
        state = STATES[found[stage].state]
        if state == DeploymentState.SUCCESS and not url:
            state = DeploymentState.INACTIVE
        text = found[stage].text
        reports.append(DeploymentReport(environment, sha, branch, state, text, url, run_url))
    return reports
