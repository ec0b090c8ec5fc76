"""How a command ended, in words."""

import pytest

from host.process.outcome import Outcome


@pytest.mark.parametrize(
    ("outcome", "failure"),
    [
        (Outcome(None, 1.0, timed_out=True, stopped=False), "took too long"),
        (Outcome(None, 1.0, timed_out=False, stopped=True), "was stopped"),
        (Outcome(3, 1.0, timed_out=False, stopped=False), "ended with exit code 3"),
        (
            Outcome(-9, 1.0, timed_out=False, stopped=False),
            "ended with signal 9 (SIGKILL: the system sends it when memory is short)",
        ),
        (Outcome(-11, 1.0, timed_out=False, stopped=False), "ended with signal 11 (SIGSEGV)"),
        (Outcome(-40, 1.0, timed_out=False, stopped=False), "ended with signal 40"),
    ],
)
def test_a_failure_completes_a_sentence_about_the_command(outcome, failure):
    assert outcome.failure == failure
