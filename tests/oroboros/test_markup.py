"""What others wrote is text on every page of the admin, whatever it looks like."""

import pytest
from django.contrib import admin
from django.db import DatabaseError, models, transaction
from django.test import Client
from django.urls import reverse
from django.utils.html import escape

from core.audit_trail import Entry, append_entry
from runs import difference
from runs.difference import Difference, FileChange
from runs.engine.artifacts import artifact_path
from runs.models import Comment, Run, Step
from tests.factories import ArtifactFactory, CommentFactory, EventFactory, UserFactory
from tests.runs.admin.rows import create_rows

pytestmark = pytest.mark.django_db
# It ends an attribute and begins an element; short enough for every text that others write.
MARKUP = "'\"><b oro=1>"
RAW = "<b oro="
# Texts of the product's own, which its pages read: names of functions, slots and colours.
OWN = {"slot_id", "host", "colour", "forge", "func", "hook", "password", "claim_owner"}
OWN |= {"stop_status", "failure_code", "effect", "delivery_id", "commit_sha", "event"}


@pytest.fixture
def run(settings, monkeypatch):
    """A ready run; it and every other row has the markup wherever the database allows it."""
    run = create_rows()
    append_entry(Entry("change", MARKUP, target=MARKUP, reason=MARKUP))
    CommentFactory(run=run, path=MARKUP, line=8, side="new")
    EventFactory(run=run, text=MARKUP)
    log = artifact_path(settings.OROBOROS, run, "build_log")
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(f"{MARKUP}\n")
    ArtifactFactory(run=run, name="build_log", path=f"{run.pk}/{log.name}")
    for model in (*admin.site._registry, Step):
        for field in model._meta.concrete_fields:
            if is_free_text(field):
                write_markup(model, field)
    Run.objects.update(notes=[{"generation": 1, "step": "worktree", "text": MARKUP}])

    def compute(run, repo, path=None):
        change = FileChange(MARKUP, "modified", added=1, deleted=0, lines=[("add", f"+{MARKUP}")])
        return Difference("0" * 40, run.commit_sha, files=[MARKUP], changes=[change])

    monkeypatch.setattr(difference, "compute_difference", compute)
    run.refresh_from_db()
    return run


def is_free_text(field):
    is_text = isinstance(field, models.CharField | models.TextField)
    return is_text and not (field.choices or field.unique or field.name in OWN)


def write_markup(model, field):
    try:
        with transaction.atomic():
            model.objects.update(**{field.name: MARKUP})
    except DatabaseError:
        pass  # a constraint says what it has; or the audit trail, which no role changes


def list_addresses(run):
    yield from ("/admin/", "/admin/search/?q=oro", "/admin/?q=oro")
    yield from (f"/admin/runs/run/{run.pk}/{name}/" for name in ("approve", "comment", "share"))
    for model in admin.site._registry:
        names = model._meta.app_label, model._meta.model_name
        yield reverse(f"admin:{'_'.join(names)}_changelist")
        row = run if model is Run else model.objects.first()
        if row is not None:
            yield reverse(f"admin:{'_'.join(names)}_change", args=[row.pk])


def test_markup_in_any_text_of_the_database_is_shown_as_text(run):
    browser = Client()
    browser.force_login(UserFactory(username="olga", is_superuser=True))
    pages = {}
    for address in list_addresses(run):
        answer = browser.get(address)
        assert answer.status_code in (200, 302), address
        pages[address] = answer.content.decode()
    assert [address for address, page in pages.items() if RAW in page] == []
    # What reviewers read is there, and so was not left out.
    page = pages[reverse("admin:runs_run_change", args=[run.pk])]
    assert page.count(escape(MARKUP)) > 10
    for text in (f"+{MARKUP}", run.title, run.branch, *run.list_notes()):
        assert escape(text) in page, text
    assert Comment.objects.filter(path=MARKUP, text=MARKUP).exists()


def test_a_log_with_markup_is_a_text_that_no_browser_takes_for_a_page(run):
    browser = Client()
    browser.force_login(UserFactory(username="olga", groups=["viewer"]))
    answer = browser.get(f"/api/runs/{run.pk}/artifacts/build_log")
    assert RAW in b"".join(answer).decode()
    assert answer["Content-Type"].startswith("text/plain")
    assert answer["X-Content-Type-Options"] == "nosniff"
