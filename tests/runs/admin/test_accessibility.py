"""axe-core on every page, light and dark: no serious and no critical violation.

The rules are axe's own (https://github.com/dequelabs/axe-core/blob/develop/doc/rule-descriptions.md).
"""

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import User
from django.urls import reverse

from accounts.models import ApiToken
from forges.models import Delivery, OutgoingMessage, PullRequest
from notifications.models import Notification, Target
from releases.models import Deployment, Release
from runs import difference
from runs.admin.run_page import PANELS
from runs.difference import Difference, FileChange
from runs.models import Comment, Event, Freeze, Run
from runs.rules import Status
from slots.models import Lease, Slot
from tests.chromium import NARROW, WIDE
from tests.factories import (
    ApprovalFactory,
    CommentFactory,
    FreezeFactory,
    RunFactory,
    SlotFactory,
)
from tests.host.postgres.schema_snapshots import snapshot_text
from tests.runs.admin.artifacts import write_artifact
from tests.runs.admin.rows import create_rows

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
SERIOUS = ("serious", "critical")
ROWS = (
    Lease, Release, Deployment, Event, Freeze, ApiToken, User, Slot, Delivery, PullRequest,
    OutgoingMessage, Target, Notification, Comment,
)  # fmt: skip


@pytest.fixture
def run(monkeypatch):
    """A ready run with changes, schema and environment, beside rows of all kinds."""

    def compute(run, repo, path):
        code = "def f(a): return 'b', 12  # why"
        lines = [("hunk", "@@ -1 +1,2 @@"), ("add", "+a line " + "x" * 300), ("del", "-another")]
        lines += [("", f" {code}"), ("del", f"-{code}"), ("add", f"+{code}")]
        text = FileChange("app.py", "modified", added=1, deleted=1, lines=lines)
        logo = FileChange("logo.png", "added", is_binary=True, omitted="A binary file.")
        return Difference(
            "0" * 40, run.commit_sha, files=["app.py", "logo.png"], changes=[text, logo]
        )

    monkeypatch.setattr(difference, "compute_difference", compute)
    for number in (1, 2, 3):
        SlotFactory(number=number)
    Slot.objects.filter(number=3).update(drained_at="2026-01-01T00:00Z", drain_reason="a kernel")
    ready = create_rows()
    CommentFactory(run=ready, path="app.py", side="new", line=1, quote="+a line")
    CommentFactory(run=ready, resolved_at="2026-01-01T00:00Z", resolved_by="olga")
    ApprovalFactory(run=ready, voided_at="2026-01-01T00:00Z", void_reason="a new commit")
    write_artifact(ready, "environment", "API_KEY=******  # worker-preview.env\n")
    write_artifact(ready, "schema_before", snapshot_text({"public.a": {"id": "bigint"}}))
    write_artifact(ready, "schema_after", snapshot_text({"public.a": {"it": "text"}}))
    failed = RunFactory(status=Status.FAILED, failure_detail="no\nyes")
    FreezeFactory(run=failed)
    return ready


def list_addresses(run):
    """Return the addresses of every kind of page."""
    actions = ("approve", "precheck", "reject", "keep", "cancel", "force-release", "comment")
    lists = ("new", "freeze", "unfreeze", "push", "revert", "charts", "changelist")
    models = (*ROWS, Run)
    names = [f"{model._meta.app_label}_{model._meta.model_name}" for model in models]
    slot, release = Slot.objects.first(), Release.objects.exclude(status="live").first()
    return [
        "/admin/",
        *(reverse(f"admin:runs_run_{name}") for name in lists),
        *(reverse("admin:runs_run_change", args=[one.pk]) for one in Run.objects.all()),
        *(reverse(f"admin:runs_run_{name}", args=[run.pk]) for name in actions),
        *(reverse(f"admin:{name}_changelist") for name in names),
        *(
            reverse(f"admin:{name}_change", args=[model.objects.first().pk])
            for name, model in zip(names, ROWS, strict=False)
        ),
        reverse("admin:slots_slot_drain", args=[slot.pk]),
        reverse("admin:releases_release_rollback", args=[release.pk]),
        reverse("admin-release-comparison"),
        reverse("admin:accounts_apitoken_new"),
        reverse("admin-settings"),
        reverse("admin-setting-change", args=["APPROVAL_SELF"]),
        reverse("admin-variables", args=["previews"]),
        reverse("admin-variable-set", args=["production"]),
        reverse("admin:auth_user_add"),
        reverse("admin:django_q_schedule_changelist"),
        reverse("admin:password_change"),
        "/admin/runs/",
        "/admin/nowhere/",
        "/nowhere",
        "/api/runs",
        f"/api/runs/{run.pk}",
        "/api/slots",
        "/api/slots/acquire",
        "/api/docs/",
    ]


def list_violations(page, address):
    page.goto(address)
    page.wait_for_load_state("networkidle")
    found = Axe().run(page).response["violations"]
    return [
        (address, one["id"], node["html"][:160])
        for one in found
        if one["impact"] in SERIOUS
        for node in one["nodes"]
    ]


def assert_accessible(page, addresses):
    violations = [one for address in addresses for one in list_violations(page, address)]
    assert violations == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_dashboard_and_a_run_have_no_serious_violation(open_admin, run, scheme):
    page = open_admin(WIDE, scheme)
    address = reverse("admin:runs_run_change", args=[run.pk])
    panels = [f"{address}#{name}" for name, _, _ in PANELS]
    assert_accessible(page, ["/admin/", *panels, f"{address}?view=split#changes"])


@pytest.mark.full
@pytest.mark.parametrize(
    ("viewport", "scheme"), [(WIDE, "light"), (WIDE, "dark"), (NARROW, "dark")]
)
def test_no_page_has_a_serious_violation(open_admin, run, viewport, scheme):
    page = open_admin(viewport, scheme)
    User.objects.update(is_superuser=True)
    assert_accessible(page, list_addresses(run))
    page.context.clear_cookies()
    assert_accessible(page, ["/admin/login/", "/nowhere", "/api/docs/"])


def test_every_page_has_a_main_landmark_and_a_link_that_skips_to_it(open_admin, run):
    page = open_admin()
    for address in ("/admin/", "/admin/runs/run/", "/admin/runs/run/new/", "/nowhere"):
        page.goto(address)
        assert (address, page.locator("main").count()) == (address, 1)
        page.keyboard.press("Tab")
        assert page.locator(":focus").inner_text() == "Skip to the content"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "content"
