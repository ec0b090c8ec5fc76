"""The slot that a preview's steps work on: its files, its variables, the notes in its folder."""

from typing import Any

from host.app import environment
from host.app.application import Application, read_application
from host.config import SlotConfig
from runs.engine import step_notes
from runs.engine.step_context import StepContext, StepResult
from slots.runtime import worktree


def get_slot(context: StepContext) -> SlotConfig:
    """Return the slot that the run's lease names."""
    return context.config.slot(context.results["lease"]["slot_id"])


def read_slot_application(context: StepContext) -> Application:
    """Read the application in the slot's worktree."""
    slot = get_slot(context)
    return read_application(context.config, worktree.path(slot), context.config.slot_user(slot))


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
    )


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
