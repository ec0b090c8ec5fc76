"""The step of the merge gate that starts the sealed release once, before the target branch moves.

`releases.production.gate_start` starts it; here are the action and its probe.
"""

from host.postgres import guard
from releases.builds.launch_spec import read_launch_spec
from releases.models import DeploymentLost, Release
from releases.production import app_instance, gate_start
from releases.production.gate_start import GateStart, StartFailed
from runs.engine import step_notes
from runs.engine.step_context import StepContext, StepResult
from runs.engine.step_errors import StepFailed, StepStopped
from runs.pipelines.merge_gate import gate_folder
from runs.pipelines.target_branch import trials


def start_release(context: StepContext) -> None:
    """Start the sealed release, unless it has no backend, and stop it when it is healthy.

    Raises StepFailed, MAIN_BROKEN if the base does not start either.
    """
    config, folder = context.config, gate_folder(context.config, context.gate_id)
    release = Release.objects.get(pk=context.results["release"]["release"])
    has_backend = read_launch_spec(config, release.pk).web is not None
    if has_backend:
        output = app_instance.log_path(config, gate_start.GATE)
        output.unlink(missing_ok=True)  # of an earlier run, whose artifact it remains
        context.link_log(output)
        try:
            context.set_notes(_start_once(context, release))
        except StepFailed as failed:
            if failed.code == "START_FAILED":
                trials.raise_if_base_release_fails(
                    context, failed, lambda base: _start_once(context, base)
                )
            raise
    note = {"release": release.pk, "has_backend": has_backend}
    step_notes.write_note(folder, "start", note)


def _start_once(context: StepContext, release: Release) -> list[str]:
    """Start the release as `gate_start.start_once`; without a backend it does not fail.

    Raises StepFailed START_FAILED, StepStopped, Refused.
    """
    config, folder = context.config, gate_folder(context.config, context.gate_id)
    spec = read_launch_spec(config, release.pk)
    if spec.web is None:
        return []
    start = GateStart(
        config,
        release,
        str(context.gate_id),
        spec,
        guard.strip_driver(step_notes.read_note(folder, "migrations")["url"]),
        context.log,
        context.is_stopping,
        context.job,
    )
    try:
        return gate_start.start_once(start, spec.web)
    except StartFailed as failed:
        raise StepFailed("START_FAILED", str(failed)) from failed
    except DeploymentLost:
        raise StepStopped from None


def probe_start(context: StepContext) -> StepResult:
    """Return whether the release has a backend, if the note says that this release was started."""
    release = context.results["release"]["release"]
    note = step_notes.read_note(gate_folder(context.config, context.gate_id), "start")
    if note.get("release") != release:
        return None
    return {"has_backend": note["has_backend"]}
