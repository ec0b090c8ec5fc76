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


def start_release(context: StepContext) -> None:
    """Start the sealed release, unless it has no backend, and stop it when it is healthy."""
    config, folder = context.config, gate_folder(context.config, context.gate_id)
    release = Release.objects.get(pk=context.results["release"]["release"])
    spec = read_launch_spec(config, release.pk)
    if spec.web is not None:
        output = app_instance.log_path(config, gate_start.GATE)
        output.unlink(missing_ok=True)  # of an earlier run, whose artifact it remains
        context.link_log(output)
        url = guard.strip_driver(step_notes.read_note(folder, "migrations")["url"])
        start = GateStart(
            config,
            release,
            str(context.gate_id),
            spec,
            url,
            context.log,
            context.is_stopping,
            context.job,
        )
        try:
            context.set_notes(gate_start.start_once(start, spec.web))
        except StartFailed as failed:
            raise StepFailed("START_FAILED", str(failed)) from failed
        except DeploymentLost:
            raise StepStopped from None
    note = {"release": release.pk, "has_backend": spec.web is not None}
    step_notes.write_note(folder, "start", note)


def probe_start(context: StepContext) -> StepResult:
    """Return whether the release has a backend, if the note says that this release was started."""
    release = context.results["release"]["release"]
    note = step_notes.read_note(gate_folder(context.config, context.gate_id), "start")
    if note.get("release") != release:
        return None
    return {"has_backend": note["has_backend"]}
