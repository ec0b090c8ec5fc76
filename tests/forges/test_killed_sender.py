"""A sender that is killed between any two of its steps: one comment, one deployment, and the
newest status.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import pytest
from django.db import connection

from forges.adapters.http_client import Client
from forges.models import OutgoingMessage, PullRequest
from forges.reporting import outbox
from runs.models import Event, Run, Step
from runs.rules import Status
from tests.forges.test_reporting import expire_waits, make_ready, the_comment

pytestmark = [pytest.mark.full, pytest.mark.django_db]
WRITES = ("INSERT", "UPDATE", "DELETE")


class Killed(BaseException):
    """The process ends here; nothing of it is done after this."""


class Victim:
    """Ends the process at its step `at`: before or after one of its requests and writes."""

    def __init__(self, monkeypatch, at):
        self.monkeypatch, self.at, self.steps = monkeypatch, at, 0
        self.is_dead = False

    def step(self):
        self.steps += 1
        self.is_dead = self.is_dead or self.steps == self.at
        if self.is_dead:  # also for what `finally` would still do
            raise Killed

    def execute(self, execute, sql, params, many, context):
        if not sql.startswith(WRITES):
            return execute(sql, params, many, context)
        self.step()
        result = execute(sql, params, many, context)
        self.step()
        return result

    @contextmanager
    def running(self) -> Iterator[None]:
        send = Client._send

        def send_and_die(client, *arguments, **options):
            self.step()
            answer = send(client, *arguments, **options)
            self.step()
            return answer

        self.is_dead = False  # the next worker lives
        with self.monkeypatch.context() as patch, connection.execute_wrapper(self.execute):
            patch.setattr(Client, "_send", send_and_die)
            yield


def forget(world, pull):
    """Have nothing reported yet of a run that is being prepared."""
    OutgoingMessage.objects.all().delete()
    PullRequest.objects.update(announced="")
    Step.objects.all().delete()
    Event.objects.filter(kind=Status.PREVIEW_READY).delete()
    Run.objects.update(status=Status.PREPARING)
    pull.comments.clear()
    world.forge.statuses.clear()
    world.forge.deployments.clear()


def test_one_comment_and_the_newest_status_wherever_the_sender_is_killed(world, monkeypatch):
    world.configure(FORGE_DEPLOYMENTS="true")
    pull = world.pull()
    world.deliver(pull)
    killed = 0
    for at in count(1):
        forget(world, pull)
        victim = Victim(monkeypatch, at)
        for happen in (lambda: None, make_ready):
            happen()
            expire_waits()
            try:
                with victim.running():
                    world.report()
            except Killed:
                killed += 1
        for _ in range(2):  # the next worker, and the one after it
            expire_waits()
            outbox.report(world.config)
        assert list(world.forge.latest_statuses(pull.sha).values()) == ["success"], at
        [deployment] = world.forge.deployments.values()
        assert deployment["state"] == "success", at
        assert len(pull.comments) == 1, at
        assert "The preview is ready." in the_comment(pull), at
        assert not OutgoingMessage.objects.waiting().exists(), at
        if victim.steps < at:
            break
    assert killed == at - 1 > 30
