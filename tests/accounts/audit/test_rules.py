"""What of a request goes on the audit trail."""

import pytest

from accounts.audit.rules import Answered, decide_kind, name_object


@pytest.mark.parametrize(
    ("method", "path", "status", "view", "kind"),
    [
        ("POST", "/api/runs/1/approve", 200, "api-run-approve", "change"),
        ("POST", "/api/runs/1/approve", 409, "api-run-approve", ""),
        ("GET", "/api/runs", 200, "api-runs", ""),
        ("GET", "/api/runs", 403, "api-runs", "refused"),
        ("GET", "/metrics", 429, "metrics", "refused"),
        ("POST", "/api/slots/preview-1/heartbeat", 200, "api-slot-heartbeat", ""),
        ("POST", "/api/new", 201, "some-new-view", "change"),
        ("POST", "/admin/x/", 302, "admin:runs_run_cancel", "change"),
        ("POST", "/admin/x/", 200, "admin:runs_run_cancel", ""),
        ("POST", "/admin/x/", 302, "admin:runs_run_changelist", ""),
        ("POST", "/admin/x/", 403, "", "refused"),
        ("POST", "/admin/x/", 302, "admin:auth_user_change", "user_edited"),
        ("POST", "/admin/x/", 302, "admin:accounts_apitoken_new", "token_made"),
        ("POST", "/admin/x/", 302, "admin:accounts_apitoken_rotate", "token_rotated"),
        ("POST", "/admin/login/", 302, "admin:login", ""),  # the form records it
        ("POST", "/admin/logout/", 200, "admin:logout", "sign_out"),
        ("POST", "/elsewhere", 403, "", ""),
        *(("POST", "/api/x", status, "x", "change") for status in (200, 302, 399)),
        *(("POST", "/api/x", status, "x", "") for status in (400, 401, 402, 404, 428, 430, 500)),
        *(("POST", "/api/x", status, "x", "refused") for status in (403, 429)),
        *((method, "/api/x", 200, "x", "change") for method in ("PUT", "PATCH", "DELETE")),
        *((method, "/api/x", 200, "x", "") for method in ("HEAD", "OPTIONS", "TRACE")),
        ("POST", "/api/slots/acquire", 200, "api-slots-acquire", ""),
        ("POST", "/api/slots/acquire", 403, "api-slots-acquire", ""),
        ("POST", "/admin/x/", 302, "admin:accounts_apitoken_revoke", "token_revoked"),
        ("POST", "/admin/x/", 302, "account_change_password", "user_edited"),
        ("POST", "/admin/x/", 301, "admin:runs_run_cancel", ""),
        ("POST", "/admin/x/", 303, "admin:runs_run_cancel", ""),
        ("POST", "/admin/x/", 400, "admin:logout", ""),
        ("POST", "/admin/x/", 399, "admin:logout", "sign_out"),
        ("GET", "/admin/login/", 200, "admin:login", ""),
        ("POST", "/admin/login/", 429, "admin:login", "refused"),
    ],
)
def test_each_answer_makes_one_kind_of_entry_or_none(method, path, status, view, kind):
    assert decide_kind(Answered(method, path, status, view)) == kind


def test_the_object_is_what_the_address_names():
    run = Answered("POST", "/api/runs/7/approve", 200, "api-run-approve", {"run_id": "7"})
    assert name_object(run) == "7"
    assert name_object(Answered("POST", "/api/shipping/freeze", 200)) == "/api/shipping/freeze"


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"release_id": "r-1", "slot_id": "preview-1"}, "preview-1 r-1"),
        ({"name": "", "id": None, "object_id": 12}, "12"),
        ({"other": "x"}, "/api/x"),
        ({}, "/api/x"),
        (None, "/api/x"),
    ],
)
def test_several_parts_of_an_address_are_named_in_one_order(arguments, name):
    assert name_object(Answered("POST", "/api/x", 200, "x", arguments)) == name
