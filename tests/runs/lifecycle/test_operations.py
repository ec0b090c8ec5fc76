"""What people request of a run is done to the run as it is in the database."""

import pytest

from runs.lifecycle import operations
from runs.models import Approval, Run
from runs.rules import Status
from tests.factories import RunFactory

pytestmark = pytest.mark.django_db
EARLIER, NOW = "a" * 40, "b" * 40


def test_a_rejection_names_the_commit_that_the_run_has_now():
    read_before_the_push = RunFactory(status=Status.PREVIEW_READY, commit_sha=EARLIER)
    Run.objects.update(commit_sha=NOW)
    operations.reject(read_before_the_push, actor="grace", reason="the button is blue")
    rejection = Approval.objects.get()
    assert (rejection.verdict, rejection.commit_sha) == (Approval.REJECTED, NOW)
    assert Run.objects.get().status == Status.REJECTED
