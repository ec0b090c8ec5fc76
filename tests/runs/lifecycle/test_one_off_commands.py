"""One-off commands: who may run one where, what is recorded, and when it ends."""

import pytest
from django.core.management import call_command

from host.deadline import wait_until
from host.errors import Refused
from runs.lifecycle import one_off_commands
from runs.lifecycle.one_off_commands import Target
from runs.models import Event
from slots.models import Lease
from tests.factories import LeaseFactory
from tests.host.processes import is_running

ENV = {"PATH": "/usr/bin:/bin", "TOKEN": "x"}


@pytest.fixture
def lease(slot):
    return LeaseFactory(held=True, slot=slot)


@pytest.fixture
def target(lease, tmp_path):
    return Target(
        lease.slot.slot_id, tmp_path, ENV, None, {"commit": "c"}, run=lease.run, lease=lease
    )


@pytest.fixture(autouse=True)
def files(monkeypatch, tmp_path):
    """The streams of a command are files here: pytest has replaced the real ones."""
    import contextlib

    @contextlib.contextmanager
    def attach():
        with (tmp_path / "out").open("w+b") as file:
            yield file, file, file

    monkeypatch.setattr(one_off_commands.terminal_relay, "attach_files", attach)
    monkeypatch.setattr(one_off_commands.terminal_relay, "is_interactive", lambda: False)


def events():
    return [
        (one.kind, one.actor, one.slot_id, one.run_id, one.data)
        for one in Event.objects.order_by("id")
        if one.kind.startswith("command_")
    ]


def test_start_and_end_are_recorded_with_actor_reason_and_exit_code(target, tmp_path):
    argv = ["sh", "-c", "echo $TOKEN; pwd; exit 4"]
    outcome, how = one_off_commands.run_one_off(target, argv, actor="ada", reason="a look")
    assert (outcome.exit_code, how) == (4, "ended with exit code 4")
    assert (tmp_path / "out").read_text() == f"x\n{tmp_path}\n"
    started, ended = events()
    place = ("ada", target.slot_id, target.run.pk)
    data = {"commit": "c", "command": "sh -c 'echo $TOKEN; pwd; exit 4'", "reason": "a look"}
    assert started == ("command_started", *place, data)
    assert ended[:4] == ("command_ended", *place)
    assert (ended[4]["exit_code"], ended[4]["reason"]) == (4, "a look")


def test_a_command_and_what_it_started_end_with_the_lease(target, tmp_path, monkeypatch):
    monkeypatch.setattr(one_off_commands, "LEASE_POLL_SECONDS", 0.0)
    out, is_ended = tmp_path / "out", []

    def end_lease():
        if out.read_text().endswith("\n") and not is_ended:
            is_ended.append(Lease.objects.get(pk=target.lease.pk).begin_ending(reason="canceled"))
        return False

    argv = ["sh", "-c", "setsid sleep 600 & echo $!; sleep 600"]
    outcome, how = one_off_commands.run_one_off(
        target, argv, actor="ada", reason="", is_interrupted=end_lease
    )
    assert (outcome.exit_code, how) == (None, "was ended with the lease of its preview")
    assert events()[-1][4]["exit_code"] is None
    started = int(out.read_text())
    assert wait_until(lambda: not is_running(started), seconds=60)


def test_an_interrupted_command_and_one_that_cannot_be_started_are_recorded(target):
    outcome, how = one_off_commands.run_one_off(
        target, ["sleep", "60"], actor="ada", reason="", is_interrupted=lambda: True
    )
    assert (outcome.exit_code, how) == (None, "was ended")
    with pytest.raises(Refused, match=r"no-such-program cannot be started: No such file"):
        one_off_commands.run_one_off(target, ["no-such-program"], actor="ada", reason="")
    assert "was not started" in Event.objects.first().text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--production"], "needs --reason"),
        (["--production", "--reason", " "], "needs --reason"),
        (["--production", "--reason", "x"], "No release is live"),
        (["--slot", "preview-1"], "preview-1 has no preview now"),
        (["--slot", "preview-9"], "No such slot"),
    ],
)
def test_a_command_without_a_place_or_a_reason_is_refused(slots, capsys, words, message):
    with pytest.raises(SystemExit) as end:
        call_command("run_command", *words, "--", "true")
    assert end.value.code == 125
    assert message in capsys.readouterr().err
    assert events() == []


def test_a_preview_that_is_not_ready_has_no_backend_to_run_in(lease, settings):
    config = settings.OROBOROS
    with pytest.raises(Refused) as refusal:
        one_off_commands.find_slot_target(config, config.slot(lease.slot.slot_id))
    assert refusal.value.code == "no_backend"
