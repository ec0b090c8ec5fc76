"""Columns of texts that others write have no secrets, whatever writes them."""

import pytest
from django.apps import apps
from django.conf import settings
from django.db import models

from core.clock import get_database_time
from core.masked_fields import MaskedCharField, MaskedTextField
from host.masking.masks import MASK
from runs.models import Freeze, Run
from tests.factories import RunFactory
from tests.runs.conftest import Caller

OWN = ("accounts", "forges", "notifications", "releases", "runs", "slots")
# Each of these is masked by what writes it: by `Run.end` and the journal, by `record_event`, by
# releases and deployments, by comments, by side work, and by the audit trail.
MASKED_WHERE_WRITTEN = {
    "accounts.AuditEntry.detail",
    "accounts.AuditEntry.reason",
    "releases.Deployment.detail",
    "releases.Release.detail",
    "runs.Comment.text",
    "runs.Event.text",
    "runs.Precheck.detail",
    "runs.Run.failure_detail",
    "runs.ScreenshotSet.detail",
    "runs.Step.detail",
}
# Texts of the forge, which all who see the repository can read there; what notifications say is
# made of masked columns, and why a target is off is our own sentence.
PUBLIC = {
    "forges.PullRequest.title",
    "notifications.Notification.text",
    "notifications.Notification.title",
    "notifications.Target.disabled_reason",
}


def test_each_column_of_a_text_that_others_write_is_masked():
    found = {
        f"{model._meta.app_label}.{model.__name__}.{field.name}"
        for label in OWN
        for model in apps.get_app_config(label).get_models()
        for field in model._meta.local_concrete_fields
        if field.name.endswith(("reason", "note", "title", "detail", "text", "answer", "error"))
        and isinstance(field, models.TextField | models.CharField)
        and not isinstance(field, MaskedTextField | MaskedCharField)
    }
    assert found == MASKED_WHERE_WRITTEN | PUBLIC


@pytest.mark.django_db
def test_a_secret_in_a_reason_or_a_title_is_stored_masked():
    secret, operator = settings.SECRET_KEY, Caller("operator", *("view", "hold", "operate"))
    run = RunFactory(title=f"Is {secret} right?")
    Run.objects.filter(pk=run.pk).update(stop_reason=f"not with {secret}")
    operator.post("/api/shipping/freeze", reason=f"{secret} leaked")
    run.refresh_from_db()
    assert (run.title, run.stop_reason) == (f"Is {MASK} right?", f"not with {MASK}")
    assert Freeze.objects.get().reason == f"{MASK} leaked"
    assert secret not in operator.get("/api/shipping").content.decode()


@pytest.mark.django_db
def test_a_text_that_a_mask_makes_too_long_is_cut(monkeypatch):
    monkeypatch.setattr("core.masked_fields.mask_value", lambda text: text.replace("s3cret", MASK))
    run = RunFactory(title=f"{'x' * 190} s3cret is")
    run.refresh_from_db()
    assert run.title == f"{'x' * 190} {MASK} "[:200]
    Freeze.objects.create(actor="ann", reason="s3cret", since=get_database_time())
    assert Freeze.objects.get(reason="s3cret").reason == MASK
