"""Production that runs and does not answer is told once, and told when it answers again."""

import os
import signal
from contextlib import contextmanager

import pytest

from host.units import managers
from releases.production import colours
from runs.lifecycle.production_watch import PROBE_SECONDS, ProductionWatch
from runs.models import Event
from tests.releases.conftest import base_folder, config, repo, web
from tests.releases.production_state import deploy

__all__ = ["base_folder", "config", "repo", "web"]

pytestmark = pytest.mark.django_db(transaction=True)


def list_events():
    rows = Event.objects.filter(kind__startswith="production_").order_by("pk")
    return list(rows.values_list("kind", "text"))


@contextmanager
def stopped(config, watch):
    """Stop the process of the live release, which keeps its port, for the time of the block."""
    unit = colours.unit_name(colours.get_live_colour(config))
    pid = managers.get_manager(config).status(unit).pid
    os.kill(pid, signal.SIGSTOP)
    watch.probe_seconds = 0.2  # it cannot answer, however long this lasts
    try:
        yield
    finally:
        watch.probe_seconds = PROBE_SECONDS
        os.kill(pid, signal.SIGCONT)


def test_silence_is_told_at_the_second_failed_probe_and_its_end_too(config, repo, web):
    watch = ProductionWatch(config)
    watch.check()
    assert list_events() == []  # no release is live
    deploy(config, repo.commit("0000001a"))
    watch.check()
    assert (list_events(), watch.silent_since) == ([], None)
    with stopped(config, watch):
        watch.check()
        assert list_events() == []
        for _ in range(2):
            watch.check()
    [(kind, text)] = list_events()
    assert kind == "production_silent"
    assert text.startswith("production has not answered for ")
    watch.check()
    assert [kind for kind, _ in list_events()] == ["production_silent", "production_answers"]
    with stopped(config, watch):
        watch.check()
    watch.check()
    assert len(list_events()) == 2  # one failed probe is no silence
