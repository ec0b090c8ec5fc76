"""The way of a branch from waiting to merged, on real parts."""

from host.postgres import administration, dump, guard
from runs.engine.journal import artifacts_folder
from runs.lifecycle import operations, reconciler
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
    expected = "lease worktree install database migrate build backend surface probe"
    assert names == expected.split()


def test_the_schema_before_is_what_a_clone_of_the_template_has(world, ready):
    world.commit("feature/reads", {"backend/reads.txt": "reads"})
    run = ready("feature/reads")
    admin, slot = administration.Admin(world.config), world.config.slot("preview-1")
    template = run.steps.get(name="database").result["template"]
    password = admin.ensure_role(slot.database)
    admin.clone(template, slot.database, slot.database)
    target = guard.target(world.config, slot)
    clone = dump.schema(guard.server_url(target, slot.database, password))
    assert "CREATE TABLE public.entries" in clone
    assert artifact(world, run, "schema_before") == clone


def test_what_a_branchs_migrations_drop_is_shown_even_where_its_backend_does_not_start(world):
    drop = "ALTER TABLE entries DROP COLUMN written_at; ALTER TABLE entries ADD COLUMN mood text;"
    files = {
        "backend/migrations/0002_mood.sql": drop,
        "backend/guestbook/__main__.py": "exit('the last words')\n",
    }
    world.commit("feature/drops", files)
    run = operations.create_run(title="drops", branch="feature/drops", actor="ada")
    operations.carry(run.pk)
    run.refresh_from_db()
    assert run.failure_code == "BACKEND_UNHEALTHY"
    assert "the last words" in artifact(world, run, "backend_log")
    kinds = {change.kind: change.text for change in schema_changes.schema(run).changes}
    assert list(kinds) == ["drops", "adds"]
    assert "written_at" in kinds["drops"]
    assert "mood" in kinds["adds"]


def test_a_backends_own_output_is_its_steps_log_and_stays_when_the_slot_is_free(world, ready):
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


def test_a_preview_that_is_gone_from_the_machine_is_prepared_anew(world, ready):
    world.commit("feature/lost", {"backend/lost.txt": "lost"})
    run = ready("feature/lost")
    slot = world.config.slot("preview-1")
    assert not cleanup.clean(world.config, slot)  # as a host is that a backup was put back on
    assert "does not show run" in reconciler.reconcile(world.config)[0]
    run.refresh_from_db()
    assert (run.status, run.generation) == ("preparing", 2)
    operations.carry(run.pk)
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


def test_a_change_of_the_frontend_alone_says_that_it_skipped_reload_and_gate(world, shipped):
    world.commit("feature/gated", {"backend/gated.txt": "gated"})
    gated = shipped("feature/gated")
    world.commit("feature/page", {"frontend/note.txt": "for the page alone"})
    page = shipped("feature/page")
    assert (gated.status, page.status) == ("merged", "merged")
    assert not gated.events.filter(kind=deployment.UNGATED).exists()
    assert "no reload, no health gate" in page.events.get(kind=deployment.UNGATED).text
