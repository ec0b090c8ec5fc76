"""What the steps of one deployment share."""

from pathlib import Path
from types import SimpleNamespace

from releases.production.deployment_context import DeploymentContext


def read_mark(var, number):
    context = SimpleNamespace(
        config=SimpleNamespace(var=Path(var)), deployment=SimpleNamespace(number=number)
    )
    return DeploymentContext.job_mark.fget(context)


def test_the_mark_of_a_deployment_is_not_that_of_another_checkout_or_number():
    # At its end every process of the host that has the mark is killed.
    marks = {read_mark("/srv/a/var", 7), read_mark("/srv/b/var", 7), read_mark("/srv/a/var", 8)}
    assert len(marks) == 3
    assert read_mark("/srv/a/var", 7) in marks
