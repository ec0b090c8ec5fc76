"""What a start of production's application that failed is compared with, to name the difference."""

from host.app import environment
from host.app.planning import Command
from host.config import Config
from host.errors import Refused
from releases.builds.build_folders import source_folder
from releases.builds.launch_spec import LaunchSpec
from releases.models import Release
from releases.production import app_instance, start_failures
from releases.production.app_instance import Instance
from releases.production.start_failures import Facts


def find_differences(
    config: Config,
    release: Release,
    spec: LaunchSpec,
    instance: Instance,
    command: Command,
    output: str,
) -> list[str]:
    """Return sentences that name in what production differs, by what `command` printed."""
    env = app_instance.resolve_environment(config, release, spec, instance).env
    tree = source_folder(config, release.pk)
    facts = Facts(
        tree=str(tree),
        folder=str(tree / command.cwd),
        home=str(instance.home),
        port=instance.port,
        preview_ports=[slot.backend_port for slot in config.slots],
        preview_folder=str(config.var / "slots"),
        preview_only=_find_preview_only(config, spec, instance, env),
        names=list(env),
    )
    return start_failures.find_differences(output, facts)


def _find_preview_only(
    config: Config, spec: LaunchSpec, instance: Instance, env: dict[str, str]
) -> dict[str, str]:
    """Return the variables that previews have and production lacks, with what to do about each."""
    slot = config.slots[0]
    variables = environment.build_slot_variables(
        config, slot, database_url=instance.database_url, run_id="", label="", commit=""
    )
    try:
        preview = environment.build_environment(
            config, variables, spec.manifest, home=instance.home, purpose=slot.slot_id
        )
    except Refused:  # the file of the previews is invalid, of which their runs are informed
        return {}
    return {
        variable.name: "use it only if it is set"
        if variable.origin == "oroboros"
        else "set it in app.env"
        for variable in preview.values
        if variable.name not in env
    }
