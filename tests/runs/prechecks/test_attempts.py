"""When a precheck is given up: each claim whose worker died counts."""

import pytest
from django.conf import settings

from core.claims import MAX_ATTEMPTS
from runs.models import Precheck
from runs.prechecks import execution
from tests.factories import RunFactory


class Begun(Exception):
    """The steps have begun."""


@pytest.mark.parametrize("attempts", [MAX_ATTEMPTS - 1, MAX_ATTEMPTS, MAX_ATTEMPTS + 1])
def test_a_precheck_is_tried_three_times(db, monkeypatch, attempts):
    precheck, _ = Precheck.objects.request(RunFactory(), requested_by="bob")
    precheck.attempts, precheck.step = attempts, "checks"

    def begin(claim):
        raise Begun

    monkeypatch.setattr(execution, "_must_stop", lambda config, precheck: False)
    monkeypatch.setattr(precheck, "start", begin)
    if attempts <= MAX_ATTEMPTS:
        with pytest.raises(Begun):
            execution._run_steps(settings.OROBOROS, precheck, None)
        return
    assert execution._run_steps(settings.OROBOROS, precheck, None) == (
        "failed",
        "STEP_KEPT_DYING",
        f"The worker died {MAX_ATTEMPTS} times at the step checks.",
    )
