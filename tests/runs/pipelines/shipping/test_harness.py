"""A fault at any step of both pipelines leads to the same end, or to the injected failure."""

from dataclasses import replace

import pytest

from releases.deployments.deploy_commit import deploy_commit
from releases.models import Release
from runs.lifecycle import reconciler
from runs.pipelines import merge_gate, shipping
from tests.runs.pipelines.shipping.harness import KINDS, SHIPPING, STEPS, Fault

WAYS = [(step, kind) for step in STEPS for kind in KINDS]
# What costs little to see at every change: seams at which most would be lost.
SHORT = [("migrate", "after"), ("backend", "begun"), ("push", "after"), ("deploy", "after")]


def meets(harness, step, kind, monkeypatch):
    """Serve main, ship a branch with the fault at its step, and look at the end."""
    world, fault = harness.world, Fault(step, kind)
    assert "merged" in harness.usual
    if step in SHIPPING and kind == "fail":
        main = world.commit("main", {"main.txt": f"{step} {kind}"})
        deploy_commit(world.config, main, actor="ada", reason="it serves before")
    live = Release.objects.live()
    branch = f"{step}/{kind}/{world.commits()}"
    world.commit(branch, {"new.txt": branch})
    run = harness.go(branch, fault, monkeypatch)
    found = harness.differences(run, fault, live.commit_sha if live else None)
    assert not found, "\n".join(found)
    return run


@pytest.mark.full
@pytest.mark.parametrize(("step", "kind"), WAYS)
def test_a_fault_at_any_step_leads_to_the_expected_end(step, kind, harness, monkeypatch):
    meets(harness, step, kind, monkeypatch)


@pytest.mark.parametrize(("step", "kind"), SHORT)
def test_a_killed_worker_leaves_no_trace_at_the_end(step, kind, harness, monkeypatch):
    meets(harness, step, kind, monkeypatch)


def test_the_harness_detects_a_repeated_effect(harness, monkeypatch):
    """A push whose probe reads only the row is repeated by the next worker after a kill."""
    blind = [replace(a, probe=sees_nothing_first(a.probe)) if a.name == "push" else a
             for a in shipping.STEPS]  # fmt: skip
    monkeypatch.setattr(shipping, "STEPS", tuple(blind))
    with pytest.raises(AssertionError, match="push acted 2 times"):
        meets(harness, "push", "after", monkeypatch)


def test_the_harness_detects_leftovers(harness, monkeypatch):
    monkeypatch.setattr(merge_gate, "remove_gate", lambda config, run: None)
    monkeypatch.setattr(reconciler, "_remove_abandoned_gates", lambda config, dry_run: iter(()))
    with pytest.raises(AssertionError, match="gates are left"):
        meets(harness, "checks", "repeat", monkeypatch)


def sees_nothing_first(probe):
    """Seeded: after a crash the first look says that nothing is there, whatever is."""
    looks = []

    def probing(context):
        looks.append(context)
        return None if len(looks) == 1 else probe(context)

    return probing
