"""The slot that a preview's steps work on: its files, its variables, the notes in its folder."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from host.app import environment
from host.app.application import Application, read_application
from host.app.planning import Command
from host.app.process_types import process_environment, servers
from host.app.resources import addons, extensions, storage, user_header
from host.config import SlotConfig
from host.errors import ApplicationRefused, Refused
from host.files.source_tree import SourceTree
from host.files.surface_folder import LiveRoutes
from host.postgres.programs import available_extensions
from host.services.redis_server import RedisServer
from runs.engine import step_notes
from runs.engine.step_context import StepContext, StepResult
from runs.pipelines import changed_parts, template_databases, template_storage
from runs.repository import find_preview_base, open_repository
from slots.runtime import worktree
from slots.runtime.spec import ProcessSpec


def get_slot(context: StepContext) -> SlotConfig:
    """Return the slot that the run's lease names."""
    return context.config.slot(context.results["lease"]["slot_id"])


def read_slot_application(context: StepContext) -> Application:
    """Read the application in the slot's worktree."""
    slot = get_slot(context)
    return read_application(context.config, worktree.path(slot), context.config.slot_user(slot))


@contextmanager
def note_application(context: StepContext) -> Iterator[None]:
    """Show the application's notes: also if its installs are complete and the step does nothing.

    Raises ApplicationRefused, which says so if the target branch is refused as well.
    """
    try:
        app = read_slot_application(context)
    except ApplicationRefused as refused:
        repo = open_repository(context.config)
        base = find_preview_base(repo, context.config.target_branch)
        cause = template_databases.explain_refusal_of_base(context, repo, base, refused)
        refused.detail = f"{refused.detail} {cause}".rstrip()
        raise
    _refuse_hiding_storage(context, app)
    context.set_notes([*app.notes, *_describe_lacking_extensions(context, app)])
    parts = changed_parts.find_changed_parts(context, app)
    context.update_run(merge_forecast={**context.run.merge_forecast, "changed_parts": parts})
    yield


def _describe_lacking_extensions(context: StepContext, app: Application) -> list[str]:
    """Return notes on extensions of PostgreSQL that the tree creates and the server cannot.

    Raises ApplicationRefused `manifest_invalid` if the manifest asks for one of those.
    """
    wanted, declared = extensions.find_wanted(SourceTree(app.root)), app.manifest.extensions
    if not wanted and not declared:
        return []
    try:
        found = available_extensions.read_available(context.config)
    except Refused:
        return []  # the step that creates the database says why it does not answer
    asked = dict.fromkeys(declared, "oroboros.toml")
    lacking = extensions.describe_lacking(asked, found.creatable, found.version)
    if lacking:
        raise ApplicationRefused("manifest_invalid", "\n".join(lacking))
    left = {name: path for name, path in wanted.items() if name not in asked}
    return extensions.describe_lacking(left, found.extensions, found.version)


def _refuse_hiding_storage(context: StepContext, app: Application) -> None:
    """Raise ApplicationRefused if the storage would hide files of the commit."""
    if app.manifest.storage:
        tracked = open_repository(context.config).list_files(context.run.commit_sha)
        storage.require_untracked(app.manifest.storage, tracked)


def link_storage(context: StepContext, app: Application) -> None:
    """Give the slot a copy of the template's storage, and link the built worktree to it."""
    slot, template = get_slot(context), context.results["database"]["template"]
    folder, folders = worktree.storage_folder(slot), app.manifest.storage
    saved = template_storage.storage_path(context.config, template)
    storage.fill_targets(folder, folders, saved, app.user)
    notes = storage.link_folders(app.root, folders, folder, app.user)
    context.set_notes(notes, topic="storage")


def create_extensions(context: StepContext) -> None:
    """Create the extensions that the branch asks for and the template database lacks."""
    from host.postgres.administration import DatabaseAdmin  # psycopg takes 0.2 s to import

    name, names = get_slot(context).database, read_slot_application(context).manifest.extensions
    DatabaseAdmin(context.config).create_extensions(name, name, names)


def start_redis(context: StepContext) -> str:
    """Start the slot's Redis server without data, and return its URL; "" if none is wanted."""
    server = RedisServer(context.config, get_slot(context).slot_id)
    if read_slot_application(context).manifest.redis:
        return server.start_empty()
    server.remove()  # the commit before may have wanted it
    return ""


def build_process_specs(
    app: Application, slot: SlotConfig, prepare_argv: Callable[[Command, int], tuple[str, ...]]
) -> tuple[ProcessSpec, ...]:
    """Return the processes beside `web` that a preview of the application starts."""
    return tuple(
        ProcessSpec(
            process.name,
            prepare_argv(
                process.command,
                servers.find_port(process, slot.server_ports) or slot.backend_port,
            ),
            app.root / process.command.cwd,
            process.stop_timeout,
            process.port_index,
            process.health_path,
        )
        for process in app.plan.processes
        if process.has_preview
    )


def build_server_addresses(app: Application, slot: SlotConfig) -> dict[str, str]:
    """Return the variables with the addresses of the slot's servers, none for `web` alone."""
    return process_environment.build_addresses(
        servers.map_ports(app.plan.processes, slot.backend_port, slot.server_ports)
    )


def build_live_routes(app: Application, slot: SlotConfig) -> LiveRoutes:
    """Return where the slot's surface sends the requests of which paths; nowhere without `web`."""
    if app.plan.web is None:
        return LiveRoutes()
    return servers.build_live_routes(
        app.manifest, app.plan.processes, slot.backend_port, slot.server_ports
    )


def slot_variables(context: StepContext) -> dict[str, str]:
    """Return the environment variables that describe the slot: port, database, addresses, run."""
    note = step_notes.read_note(get_slot(context).folder, "database")
    return environment.build_slot_variables(
        context.config,
        get_slot(context),
        database_url=note.get("url", ""),
        run_id=str(context.run.pk),
        commit=context.run.commit_sha,
        branch=context.run.branch,
        label=context.run.label,
    ) | {
        **addons.build_redis_variables(note.get("redis", "")),
        **user_header.build_variables(context.config, str(context.run.pk)),
    }


def build_preview_key(context: StepContext) -> dict[str, Any]:
    """Return what distinguishes this preview from every other one in the same slot."""
    fence = context.results["lease"]["fence"]
    return {"run": str(context.run.pk), "generation": context.run.generation, "fence": fence}


def record_effect(context: StepContext, **details: Any) -> None:
    """Write the note that this step's effect is complete."""
    step_notes.write_note(
        get_slot(context).folder, context.step.name, {**build_preview_key(context), **details}
    )


def read_effect(context: StepContext) -> StepResult:
    """Return the note that this step wrote for this preview, or None."""
    expected = build_preview_key(context)
    return step_notes.read_note(get_slot(context).folder, context.step.name, expected) or None
