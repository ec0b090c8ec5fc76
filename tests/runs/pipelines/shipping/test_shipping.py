"""A branch from queued to merged, on real parts."""

from host.postgres import administration, guard, schema_catalog, schema_snapshot
from runs.engine.artifacts import artifacts_folder
from runs.lifecycle import execution, operations, reconciler
from runs.models import Run
from runs.pipelines import deployment, schema_changes
from slots.runtime import backend_log, cleanup


def artifact(world, run, name):
    return (artifacts_folder(world.config) / run.artifacts.get(name=name).path).read_text()


def test_a_branch_reaches_preview_ready_and_is_shown(world, ready):
    commit = world.commit("feature/one", {"backend/new.txt": "one"})
    run = ready("feature/one")
    slot = world.config.slot("preview-1")
    page = world.get(slot.web_port)
    assert page.status_code == 200
    assert page.headers["X-Oroboros-Run"] == str(run.pk)
    assert page.headers["X-Oroboros-Commit"] == commit
    assert world.get(slot.web_port, "/api/health").json()["status"] == "ok"
    assert world.get(slot.backend_port, "/health").status_code == 200
    names = list(run.steps.values_list("name", flat=True))
    expected = "lease worktree install database build migrate backend surface answer"
    assert names == expected.split()


def test_the_schema_before_is_what_a_clone_of_the_template_has(world, ready):
    world.commit("feature/reads", {"backend/reads.txt": "reads"})
    run = ready("feature/reads")
    admin, slot = administration.DatabaseAdmin(world.config), world.config.slot("preview-1")
    template = run.steps.get(name="database").result["template"]
    password = admin.ensure_role(slot.database)
    admin.clone(template, slot.database, slot.database)
    target = guard.resolve_target(world.config, slot)
    clone = schema_catalog.read_schema(guard.server_url(target, slot.database, password))
    assert "public.entries" in clone["tables"]
    assert artifact(world, run, "schema_before") == schema_snapshot.to_json(clone)


def test_dropped_columns_are_shown_even_if_the_backend_does_not_start(world):
    drop = "ALTER TABLE entries DROP COLUMN written_at; ALTER TABLE entries ADD COLUMN mood text;"
    files = {
        "backend/migrations/0002_mood.sql": drop,
        "backend/guestbook/__main__.py": "exit('the last words')\n",
    }
    world.commit("feature/drops", files)
    run = operations.create_run(title="drops", branch="feature/drops", actor="ada")
    execution.execute_run(run.pk)
    run.refresh_from_db()
    assert run.failure_code == "BACKEND_UNHEALTHY"
    assert "the last words" in artifact(world, run, "backend_log")
    kinds = {change.kind: change.text for change in schema_changes.read_schema_diff(run).changes}
    assert list(kinds) == ["drops", "adds"]
    assert "written_at" in kinds["drops"]
    assert "mood" in kinds["adds"]


def test_backend_output_is_the_steps_log_and_outlives_the_slot(world, ready):
    files = {"backend/guestbook/__init__.py": "print('hello from the branch', flush=True)\n"}
    world.commit("feature/says", files)
    run = ready("feature/says")
    assert "hello from the branch" in artifact(world, run, "backend_log")
    log = backend_log.path(world.config, world.config.slot("preview-1"))
    with log.open("a") as output:
        output.write("later\n")
    assert artifact(world, run, "backend_log").endswith("later\n")
    operations.cancel(run, actor="ada")
    world.commit("feature/next", {"backend/next.txt": "next"})
    ready("feature/next")
    assert artifact(world, run, "backend_log").count("hello from the branch") == 1


def test_a_preview_that_is_missing_on_the_machine_is_prepared_again(world, ready):
    world.commit("feature/lost", {"backend/lost.txt": "lost"})
    run = ready("feature/lost")
    slot = world.config.slot("preview-1")
    assert not cleanup.clean_slot(world.config, slot)  # as a host is that a backup was put back on
    assert "does not show run" in reconciler.reconcile(world.config)[0]
    run.refresh_from_db()
    assert (run.status, run.generation) == ("preparing", 2)
    execution.execute_run(run.pk)
    run.refresh_from_db()
    assert run.status == "preview_ready"
    assert world.get(slot.web_port).headers["X-Oroboros-Run"] == str(run.pk)
    assert reconciler.reconcile(world.config) == []


def test_an_approved_branch_is_merged_pushed_and_live(world, shipped):
    commit = world.commit("feature/two", {"backend/two.txt": "two"})
    before = world.remote_main()
    run = shipped("feature/two")
    assert (run.status, run.failure_detail) == ("merged", "")
    assert world.remote_main() == run.candidate_sha
    parents = world.git(
        "rev-parse", f"{run.candidate_sha}^1", f"{run.candidate_sha}^2", cwd=world.remote
    )
    assert parents.split() == [before, commit]
    assert world.get(world.config.web_port).headers["X-Oroboros-Commit"] == run.candidate_sha
    assert run.pushed is True
    assert run.release.status == "live"
    idle = world.get(world.config.slot("preview-1").backend_port, "/health").json()
    assert idle["status"] == "idle"
    assert Run.objects.count() == 1


def test_a_frontend_change_records_that_reload_and_health_gate_were_skipped(world, shipped):
    world.commit("feature/gated", {"backend/gated.txt": "gated"})
    gated = shipped("feature/gated")
    world.commit("feature/page", {"frontend/note.txt": "for the page alone"})
    page = shipped("feature/page")
    assert (gated.status, page.status) == ("merged", "merged")
    assert not gated.events.filter(kind=deployment.NO_HEALTH_GATE).exists()
    assert "there is no health gate" in page.events.get(kind=deployment.NO_HEALTH_GATE).text
