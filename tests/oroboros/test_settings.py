"""Settings that operators change: on the page and by the API, with a reason, in effect at once."""

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from accounts.models import AuditEntry
from host.operator_settings import run_time
from runs.approvals.state import read_policy
from runs.leasing.leases import build_request
from runs.prechecks.requests import read_mode
from runs.repository import push_mode
from runs.rules import PushMode
from tests.factories import UserFactory
from tests.runs.conftest import Caller
from web.templatetags.presentation import person

pytestmark = pytest.mark.django_db
PAGE = "/admin/settings/"


@pytest.fixture(autouse=True)
def nothing_set():
    path = run_time.stored_path(settings.OROBOROS)
    yield
    path.unlink(missing_ok=True)


@pytest.fixture
def operator():
    return Caller("operator", "view", "hold", "approve", "operate")


def change(operator, name, value, reason="as agreed"):
    return operator.post(f"/api/settings/{name}", value=value, reason=reason)


def log_in(role):
    browser = Client()
    browser.force_login(UserFactory(username=role, groups=[role]))
    return browser


def test_each_setting_is_read_where_it_decides(operator):
    for name, value in (
        (run_time.REQUIRED_COUNT, "3"),
        (run_time.SELF_APPROVAL, "forbidden"),
        (run_time.CODEOWNERS, "required"),
        (run_time.PREVIEW_TTL, "77"),
        (run_time.PRECHECK, "auto"),
        (run_time.PUSH_MODE, "dry-run"),
        # tests/runs/test_rollback_state.py has where it decides.
        (run_time.FREEZE_AFTER_ROLLBACK, "false"),
    ):
        answer = change(operator, name, value)
        assert (answer.status_code, answer.json()["value"]) == (200, value)
    policy = read_policy()
    assert (policy.required_count, policy.is_self_allowed, policy.needs_owners) == (3, False, True)
    assert build_request(None, actor="ann")["ttl"] == 77
    assert build_request(None, actor="ann", ttl_seconds=5)["ttl"] == 5
    assert read_mode(settings.OROBOROS) == "auto"
    assert push_mode(settings.OROBOROS) == PushMode.DRY_RUN
    assert change(operator, run_time.REQUIRED_COUNT, "").json()["origin"] == "default"
    assert read_policy().required_count == 1


def test_a_change_is_on_the_audit_trail_with_both_values_and_the_reason(operator):
    change(operator, run_time.REQUIRED_COUNT, "2", "two pairs of eyes")
    change(operator, run_time.REQUIRED_COUNT, "", "one again")
    last, first = AuditEntry.objects.filter(kind="setting_changed")
    assert (first.target, first.actor) == (run_time.REQUIRED_COUNT, "token operator")
    assert (first.detail, first.reason) == ("not set → 2", "two pairs of eyes")
    assert last.detail == "2 → not set"
    assert AuditEntry.objects.filter(target=run_time.REQUIRED_COUNT).count() == 2


@pytest.mark.parametrize(
    ("name", "value", "status", "code"),
    [
        (run_time.REQUIRED_COUNT, "0", 400, "setting_invalid"),
        (run_time.PUSH_MODE, "always", 400, "setting_invalid"),
        ("SECRET_KEY", "x", 404, "setting_not_changeable"),
    ],
)
def test_a_wrong_change_is_refused(operator, name, value, status, code):
    answer = change(operator, name, value)
    assert (answer.status_code, answer.json()["error"]) == (status, code)
    assert run_time.read_stored(settings.OROBOROS) == {}
    assert not AuditEntry.objects.filter(kind="setting_changed").exists()


def test_an_operator_changes_a_setting_on_the_page(operator):
    browser = log_in("operator")
    address = reverse("admin-setting-change", args=[run_time.SELF_APPROVAL])
    assert address in browser.get(PAGE).content.decode()
    assert browser.post(address, {"value": "forbidden"}).status_code == 200  # without a reason
    assert read_policy().is_self_allowed
    answer = browser.post(address, {"value": "forbidden", "reason": "as agreed"}, follow=True)
    page = answer.content.decode()
    assert f"You changed {run_time.SELF_APPROVAL}: not set → forbidden." in page
    assert f"by {person('operator')}: as agreed" in page
    assert not read_policy().is_self_allowed
    assert AuditEntry.objects.filter(target=run_time.SELF_APPROVAL).count() == 1
    wrong = browser.post(
        reverse("admin-setting-change", args=[run_time.REQUIRED_COUNT]),
        {"value": "many", "reason": "x"},
    )
    assert (wrong.status_code, "from 1 to 20" in wrong.content.decode()) == (400, True)


def test_the_page_shows_no_secret(operator):
    page = log_in("operator").get(PAGE).content.decode()
    assert settings.SECRET_KEY not in page
    assert settings.DATABASES["default"]["PASSWORD"] not in page
    assert log_in("approver").get(PAGE).status_code == 403
    assert (
        log_in("viewer").get(reverse("admin-setting-change", args=["APPROVAL_SELF"])).status_code
        == 403
    )
