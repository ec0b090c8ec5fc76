"""A fault at any step of both pipelines ends as without it, or with the code that was asked for."""

from dataclasses import replace

import pytest

from releases.deployments.manual_deploy import ship_commit
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
        ship_commit(world.config, main, actor="ada", reason="it serves before")
    live = Release.objects.live()
    branch = f"{step}/{kind}/{world.commits()}"
    world.commit(branch, {"new.txt": branch})
    run = harness.go(branch, fault, monkeypatch)
    found = harness.differences(run, fault, live.commit_sha if live else None)
    assert not found, "\n".join(found)
    return run


@pytest.mark.full
@pytest.mark.parametrize(("step", "kind"), WAYS)
def test_a_fault_at_any_step_ends_as_without_it(step, kind, harness, monkeypatch):
    meets(harness, step, kind, monkeypatch)


@pytest.mark.parametrize(("step", "kind"), SHORT)
def test_a_killed_worker_is_not_to_be_seen_at_the_end(step, kind, harness, monkeypatch):
    meets(harness, step, kind, monkeypatch)


def test_the_harness_sees_an_effect_made_twice(harness, monkeypatch):
    """A push that trusts its row alone is made again by whoever comes after a kill."""
    blind = [replace(a, probe=sees_nothing_first(a.probe)) if a.name == "push" else a
             for a in shipping.ACTIONS]  # fmt: skip
    monkeypatch.setattr(shipping, "ACTIONS", tuple(blind))
    with pytest.raises(AssertionError, match="push acted 2 times"):
        meets(harness, "push", "after", monkeypatch)


def test_the_harness_sees_what_is_left_behind(harness, monkeypatch):
    monkeypatch.setattr(merge_gate, "close", lambda config, run: None)
    monkeypatch.setattr(reconciler, "_gates", lambda config, dry_run: iter(()))
    with pytest.raises(AssertionError, match="gates are left"):
        meets(harness, "checks", "repeat", monkeypatch)


def sees_nothing_first(probe):
    """Seeded: after a crash the first look says that nothing is there, whatever is."""
    looks = []

    def probing(context):
        looks.append(context)
        return None if len(looks) == 1 else probe(context)

    return probing
