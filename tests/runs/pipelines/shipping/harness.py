"""Executes a pipeline with a fault at one step, and reports how the end differs from no fault.

A worker is a forked child that calls what the queue would call, and dies by SIGKILL at the seam
that the fault names. Then its claim runs out, and another worker goes on.
"""

import os
import signal
import time
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from django.db import connections

from core.clock import ClockTimestamp
from host.postgres.administration import DatabaseAdmin
from host.units import managers
from releases.models import Deployment, Release
from releases.production import colours, current_link
from releases.rules import DeploymentOutcome, ReleaseStatus
from runs.engine import journal, step_notes
from runs.engine.step_errors import StepFailed
from runs.lifecycle import execution, operations, reconciler
from runs.models import Freeze, Run
from runs.pipelines import preview, shipping
from runs.rules import FINAL, StepStatus
from slots.models import Lease
from slots.rules import LeaseState
from slots.runtime.cleanup import find_leftovers
from tests.runs.pipelines.shipping import tiny

PREVIEW = [action.name for action in preview.STEPS]
SHIPPING = [action.name for action in shipping.STEPS]
STEPS = PREVIEW + SHIPPING
# fail: it comes to a known bad end; repeat: it is delivered twice; before: SIGKILL before its row;
# begun: after its row; recorded: before the gate writes its note; after: after its effect,
# before "succeeded" is written.
KINDS = ["fail", "repeat", "before", "begun", "after"]
KILLS = [*KINDS[2:], "recorded"]
# Nothing is done at these, at installing only the first time.
LOOKS = ("lease", "install", "answer")
CHILD_SECONDS = 300
TURNS = 6


@dataclass
class Fault:
    """What happens at which step."""

    step: str
    kind: str
    number: signal.Signals = signal.SIGKILL

    @property
    def code(self):
        """The failure code that was asked for."""
        deployed = self.step in ("deploy", "health")
        return "DEPLOY_HEALTHCHECK_FAILED" if deployed else "HOST_REFUSED"


class Harness:
    """One world, and a count of the acts of each step of each run, in any process."""

    def __init__(self, world, monkeypatch):
        self.world = world
        self.acts = world.folder / "acts"
        self.pushes = world.folder / "pushes"
        for path in (self.acts, self.pushes):
            path.unlink(missing_ok=True)
        for module in (preview, shipping):
            monkeypatch.setattr(module, "STEPS", tuple(map(self._counted, module.STEPS)))

    def _counted(self, action):
        def act(context):
            with self.acts.open("a") as file:
                file.write(f"{context.run.pk} {context.run.generation} {action.name}\n")
            action.act(context)

        return replace(action, act=act)

    def acted(self, run, step):
        lines = self.acts.read_text().splitlines() if self.acts.exists() else []
        return lines.count(f"{run.pk} {run.generation} {step}")

    # -- faults -----------------------------------------------------------------------------------

    def inject(self, fault, monkeypatch):
        """Make this process meet the fault; the others are as they were."""
        self.number = fault.number
        getattr(self, f"_{fault.kind}")(fault.step, monkeypatch)

    def _before(self, step, monkeypatch):
        begin = journal._begin_step

        def deadly(config, run, claim, actions, action, results):
            if action.name == step:
                os.kill(os.getpid(), self.number)
            return begin(config, run, claim, actions, action, results)

        monkeypatch.setattr(journal, "_begin_step", deadly)

    def _begun(self, step, monkeypatch):
        begin = journal._begin_step

        def deadly(config, run, claim, actions, action, results):
            context = begin(config, run, claim, actions, action, results)
            if action.name == step:
                os.kill(os.getpid(), self.number)
            return context

        monkeypatch.setattr(journal, "_begin_step", deadly)

    def _recorded(self, step, monkeypatch):
        note = step_notes.write_note

        def deadly(folder, name, content):
            if name == step:
                os.kill(os.getpid(), self.number)
            note(folder, name, content)

        monkeypatch.setattr(step_notes, "write_note", deadly)

    def _after(self, step, monkeypatch):
        end = journal._end_step

        def deadly(context, *args):
            if context.step.name == step:
                os.kill(os.getpid(), self.number)
            end(context, *args)

        monkeypatch.setattr(journal, "_end_step", deadly)

    def _repeat(self, step, monkeypatch):
        perform = journal.run_step

        def twice(config, run, claim, actions, action, results):
            found = perform(config, run, claim, actions, action, results)
            if action.name == step:
                found = perform(config, run, claim, actions, action, results)
            return found

        monkeypatch.setattr(journal, "run_step", twice)

    def _fail(self, step, monkeypatch):
        module = preview if step in PREVIEW else shipping

        def failing(action):
            if action.name != step:
                return action
            if step in ("deploy", "health"):
                return replace(action, act=broken)
            return replace(action, act=refuse, probe=refuse)

        def refuse(context):
            raise StepFailed("HOST_REFUSED", f"{step} was asked to fail")

        def broken(context):
            if step == "deploy":
                with tiny.failing_release(self.world.config):
                    return original.act(context)
            (self.world.folder / "unhealthy").touch()
            try:
                original.act(context)
            finally:
                (self.world.folder / "unhealthy").unlink(missing_ok=True)

        original = next(action for action in module.STEPS if action.name == step)
        monkeypatch.setattr(module, "STEPS", tuple(map(failing, module.STEPS)))

    # -- execution --------------------------------------------------------------------------------

    def go(self, branch, fault=None, monkeypatch=None):
        """Execute a branch to its end, with the fault, and return the run."""
        run = operations.create_run(title=branch, branch=branch, actor="ada")
        self.execute(run, fault if fault and fault.step in PREVIEW else None, monkeypatch)
        if run.status == "preview_ready":
            operations.approve(run, actor="grace")
            self.execute(run, fault if fault and fault.step in SHIPPING else None, monkeypatch)
        assert run.status in FINAL, f"{run.status} is no end"
        self.reconcile()
        return run

    def execute(self, run, fault, monkeypatch):
        """Execute the run until it waits for a person, with the fault in the first worker."""
        if fault is not None and fault.kind in KILLS:
            assert self.execute_in_child(run, fault) == -signal.SIGKILL, f"{fault} was not met"
            self.expire_claims()
            run.refresh_from_db()
        elif fault is not None:
            with monkeypatch.context() as patch:
                self.inject(fault, patch)
                execution.execute_run(run.pk)
        for _ in range(TURNS):
            run.refresh_from_db()
            if not execution.get_pending_steps(self.world.config, run):
                return
            execution.execute_run(run.pk)
        raise AssertionError(f"the run does not come to an end: {run.status}")

    def execute_in_child(self, run, fault):
        """Execute the run in a forked process; returns its exit code, as subprocess does."""
        connections.close_all()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                self.inject(fault, pytest.MonkeyPatch())
                execution.execute_run(run.pk)
                code = 0
            finally:
                os._exit(code)
        return wait_for(child)

    def dies(self, run, step, kind):
        """Execute the run in a process that dies there. Returns whether SIGKILL ended it."""
        return self.execute_in_child(run, Fault(step, kind)) == -signal.SIGKILL

    def expire_claims(self):
        """Expire all claims, as after 30 s."""
        past = ClockTimestamp() - timedelta(seconds=90)
        Run.objects.filter(claim_expires_at__isnull=False).update(claim_expires_at=past)
        running = Deployment.objects.running()
        running.filter(claim_expires_at__isnull=False).update(claim_expires_at=past)

    def reconcile(self):
        """Run the reconciler as if cleaning had taken longer than it may."""
        past = ClockTimestamp() - timedelta(seconds=60)
        Lease.objects.filter(state=LeaseState.ENDING).update(ending_at=past)
        reconciler.reconcile(self.world.config)

    # -- the end ----------------------------------------------------------------------------------

    def differences(self, run, fault=None, before=None):
        """Return what is not as it must be at the end of that run, as sentences.

        `before` is what served before it; without a fault that fails it, the run is merged.
        """
        failed = fault is not None and fault.kind == "fail"
        found = [*self._run(run, fault if failed else None), *self._machine()]
        reached = STEPS.index(fault.step) if failed else len(STEPS)
        is_out = reached > STEPS.index("push")
        found += self._refs(run, is_out)
        found += self._live(run, before if failed else run.candidate_sha)
        found += self._journal(run, fault, reached)
        return found

    def _run(self, run, fault):
        wanted = ("failed", fault.code) if fault else ("merged", "")
        if (run.status, run.failure_code) != wanted:
            yield f"the run is {run.status} {run.failure_code}: {run.failure_detail}"
        if run.claim_owner or run.stop_status:
            yield "the run still has a claim or a request to stop"
        froze = fault is not None and fault.step in ("deploy", "health")
        if Freeze.objects.filter(run=run).exists() != froze:
            yield f"shipping is {'not ' if froze else ''}frozen"
        leases = [*Lease.objects.filter(run=run)]
        if [lease.state for lease in leases] != [LeaseState.ENDED]:
            yield f"the leases are {leases}"

    def _machine(self):
        config = self.world.config
        for slot in config.slots:
            yield from find_leftovers(config, slot)
        gates = config.var / "gates"
        if gates.exists() and [*gates.iterdir()]:
            yield f"gates are left: {[*gates.iterdir()]}"
        yield from (
            name
            for name in DatabaseAdmin(config).list_pipeline_databases()
            if name.startswith("app_gate_")
        )
        if Deployment.objects.running().exists():
            yield "a deployment is still under way"

    def _refs(self, run, is_out):
        world, repo = self.world, self.world.config.var / "repo.git"
        main = run.candidate_sha if is_out else run.base_sha or world.remote_main()
        theirs, ours = world.remote_main(), world.git("rev-parse", "main", cwd=repo)
        if theirs != main:
            yield f"the remote's main is {theirs}, not {main}"
        if run.base_sha and ours != main:
            yield f"our main is {ours}, not {main}"
        if run.base_sha and is_out:
            parents = world.git("rev-parse", f"{main}^1", f"{main}^2", cwd=world.remote).split()
            if parents != [run.base_sha, run.commit_sha]:
                yield f"the candidate's parents are {parents}"
        pushes = self.pushes.read_text().splitlines() if self.pushes.exists() else []
        if pushes.count(run.candidate_sha) != int(is_out):
            yield f"{pushes.count(run.candidate_sha)} pushes of the candidate"

    def _live(self, run, commit):
        config = self.world.config
        live = [row.commit_sha for row in Release.objects.filter(status=ReleaseStatus.LIVE)]
        if live != ([commit] if commit else []):
            yield f"live releases: {live}"
        now = current_link.read(config)
        if (now.commit if now else None) != commit:
            yield f"the link names {now}"
        if commit:
            answer = self.world.get(config.web_port, "/api/health")
            if (answer.status_code, answer.text) != (200, commit):
                yield f"3100 answers {answer.status_code} {answer.text}"
            colour = colours.unit_name(colours.get_live_colour(config))
            units_now = [
                name for name in managers.get_manager(config).list_names() if "app@" in name
            ]
            if units_now != [colour]:
                yield f"the units are {units_now}, not {colour} alone"
        made = Deployment.objects.filter(run_id=run.pk)
        if made.filter(outcome=DeploymentOutcome.SUCCEEDED).count() > 1 or made.count() > 1:
            yield f"{made.count()} deployments of one run"
        if Release.objects.filter(run_id=run.pk).count() > 1:
            yield f"{Release.objects.filter(run_id=run.pk).count()} builds of one run"

    def _journal(self, run, fault, reached):
        rows = {step.name: step.status for step in run.steps.all()}
        wanted = dict.fromkeys(STEPS[:reached], StepStatus.SUCCEEDED)
        if reached < len(STEPS):
            wanted[STEPS[reached]] = StepStatus.FAILED
        if rows != wanted:
            yield f"the steps are {rows}"
        for name in STEPS[:reached]:
            if self.acted(run, name) != 1 and name not in LOOKS:
                yield f"{name} acted {self.acted(run, name)} times"
        if kinds_of(run) != (usual := self._events(run, fault, reached)):
            yield f"the events are {kinds_of(run)}, not {usual}"

    def _events(self, run, fault, reached):
        """Return the kinds of a run without a fault, up to the step reached, and the end's."""
        usual = self.usual
        if reached == len(STEPS):
            return usual
        comes = {"answer": "preview_ready", "push": "deploying", "health": "merged"}
        missed = next(kind for step, kind in comes.items() if reached <= STEPS.index(step))
        kinds = usual[: usual.index(missed)]
        if fault.step in ("deploy", "health"):
            return [*kinds, "failed", "rollback_guidance", "lease_ended", "frozen"]
        return [*kinds, "failed", "lease_ended"]

    @property
    def usual(self):
        """The kinds of a run's events where no fault is met; learnt once a world."""
        known = getattr(self.world, "usual", None)
        if known is None:
            branch = f"usual/{self.world.commits()}"
            self.world.commit(branch, {"usual.txt": branch})
            run = self.go(branch)
            assert run.status == "merged", run.failure_detail
            self.world.usual = kinds_of(run)
        return self.world.usual


def kinds_of(run):
    return [event.kind for event in run.events.order_by("id")]


def wait_for(child):
    """Wait for a child that we forked; it is killed after CHILD_SECONDS."""
    deadline = time.monotonic() + CHILD_SECONDS
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise AssertionError("the child did not end")
        time.sleep(0.01)


def ways_out(run):
    """Return which of retry, revert and unfreeze the run's event of recovery commands names."""
    told = "\n".join(run.events.filter(kind="rollback_guidance").values_list("text", flat=True))
    signs = {
        "retry": f"/api/runs/{run.pk}/retry",
        "revert": "git revert",
        "unfreeze": "unfreeze --",
    }
    return [way for way, sign in signs.items() if sign in told]
