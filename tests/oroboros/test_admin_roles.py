"""Every page of the admin by role: who has to log in, who is refused, and who gets through."""

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.urls import get_resolver

from forges.models import LinkedAccount
from tests.factories import UserFactory
from tests.runs.admin.rows import create_rows

pytestmark = pytest.mark.django_db
ROLES = ("viewer", "approver", "operator", "superuser")
# For each page who gets through: the first of ROLES that does, and all after it; `none` of them;
# `stranger`: also without a login. A new page belongs here. The shortcut without `change` leads to
# the page that checks. Notifications of others are shown to operators only. The pages of second
# factors lead to a confirmation; those of codes and of the app answer 404 without one.
TABLE = """
stranger  /
viewer    /admin/
none      /admin/(?P<
viewer    /admin/^(?P<
viewer    /admin/account/
viewer    /admin/account/app/add/
none      /admin/account/app/remove/
stranger  /admin/account/cancel/
none      /admin/account/codes/
none      /admin/account/codes/file/
viewer    /admin/account/codes/new/
viewer    /admin/account/confirm/
viewer    /admin/account/confirm/code/
viewer    /admin/account/confirm/key/
none      /admin/account/factor/
viewer    /admin/account/factors/
viewer    /admin/account/keys/
viewer    /admin/account/keys/<int:pk>/edit/
viewer    /admin/account/keys/<int:pk>/remove/
viewer    /admin/account/keys/add/
stranger  /admin/account/sign-in/
none      /admin/account/sign-in/callback/
viewer    /admin/accounts/apitoken/
viewer    /admin/accounts/apitoken/<path:object_id>/
viewer    /admin/accounts/apitoken/<path:object_id>/change/
none      /admin/accounts/apitoken/<path:object_id>/delete/
viewer    /admin/accounts/apitoken/<path:object_id>/history/
operator  /admin/accounts/apitoken/<path:object_id>/revoke/
operator  /admin/accounts/apitoken/<path:object_id>/rotate/
none      /admin/accounts/apitoken/add/
operator  /admin/accounts/apitoken/new/
operator  /admin/accounts/auditentry/
viewer    /admin/accounts/auditentry/<path:object_id>/
operator  /admin/accounts/auditentry/<path:object_id>/change/
none      /admin/accounts/auditentry/<path:object_id>/delete/
operator  /admin/accounts/auditentry/<path:object_id>/history/
none      /admin/accounts/auditentry/add/
superuser /admin/auth/user/
superuser /admin/auth/user/<id>/password/
viewer    /admin/auth/user/<path:object_id>/
superuser /admin/auth/user/<path:object_id>/change/
superuser /admin/auth/user/<path:object_id>/delete/
superuser /admin/auth/user/<path:object_id>/history/
superuser /admin/auth/user/add/
none      /admin/autocomplete/
viewer    /admin/django_q/schedule/
viewer    /admin/django_q/schedule/<path:object_id>/
viewer    /admin/django_q/schedule/<path:object_id>/change/
none      /admin/django_q/schedule/<path:object_id>/delete/
viewer    /admin/django_q/schedule/<path:object_id>/history/
none      /admin/django_q/schedule/add/
viewer    /admin/forges/delivery/
viewer    /admin/forges/delivery/<path:object_id>/
viewer    /admin/forges/delivery/<path:object_id>/change/
none      /admin/forges/delivery/<path:object_id>/delete/
operator  /admin/forges/delivery/<path:object_id>/deliver-again/
viewer    /admin/forges/delivery/<path:object_id>/history/
none      /admin/forges/delivery/add/
operator  /admin/forges/delivery/selected/deliver-again/
superuser /admin/forges/linkedaccount/
viewer    /admin/forges/linkedaccount/<path:object_id>/
superuser /admin/forges/linkedaccount/<path:object_id>/change/
superuser /admin/forges/linkedaccount/<path:object_id>/delete/
superuser /admin/forges/linkedaccount/<path:object_id>/history/
superuser /admin/forges/linkedaccount/add/
viewer    /admin/forges/outgoingmessage/
viewer    /admin/forges/outgoingmessage/<path:object_id>/
viewer    /admin/forges/outgoingmessage/<path:object_id>/change/
none      /admin/forges/outgoingmessage/<path:object_id>/delete/
viewer    /admin/forges/outgoingmessage/<path:object_id>/history/
operator  /admin/forges/outgoingmessage/<path:object_id>/send-again/
none      /admin/forges/outgoingmessage/add/
operator  /admin/forges/outgoingmessage/selected/send-again/
viewer    /admin/forges/pullrequest/
viewer    /admin/forges/pullrequest/<path:object_id>/
operator  /admin/forges/pullrequest/<path:object_id>/allow/
viewer    /admin/forges/pullrequest/<path:object_id>/change/
none      /admin/forges/pullrequest/<path:object_id>/delete/
viewer    /admin/forges/pullrequest/<path:object_id>/history/
none      /admin/forges/pullrequest/add/
viewer    /admin/jsi18n/
stranger  /admin/login/
stranger  /admin/logout/
viewer    /admin/notifications/notification/
viewer    /admin/notifications/notification/<path:object_id>/
operator  /admin/notifications/notification/<path:object_id>/change/
none      /admin/notifications/notification/<path:object_id>/delete/
operator  /admin/notifications/notification/<path:object_id>/history/
operator  /admin/notifications/notification/<path:object_id>/send-again/
none      /admin/notifications/notification/add/
operator  /admin/notifications/notification/selected/send-again/
viewer    /admin/notifications/target/
viewer    /admin/notifications/target/<path:object_id>/
operator  /admin/notifications/target/<path:object_id>/change/
operator  /admin/notifications/target/<path:object_id>/delete/
operator  /admin/notifications/target/<path:object_id>/edit/
operator  /admin/notifications/target/<path:object_id>/history/
operator  /admin/notifications/target/<path:object_id>/rotate/
operator  /admin/notifications/target/<path:object_id>/switch/
operator  /admin/notifications/target/<path:object_id>/test/
none      /admin/notifications/target/add/
viewer    /admin/notifications/target/new-mail/
operator  /admin/notifications/target/new-service/
operator  /admin/notifications/target/new-webhook/
viewer    /admin/password_change/
viewer    /admin/password_change/done/
none      /admin/r/<path:content_type_id>/<path:object_id>/
viewer    /admin/releases/deployment/
viewer    /admin/releases/deployment/<path:object_id>/
viewer    /admin/releases/deployment/<path:object_id>/change/
none      /admin/releases/deployment/<path:object_id>/delete/
viewer    /admin/releases/deployment/<path:object_id>/history/
none      /admin/releases/deployment/add/
viewer    /admin/releases/release/
viewer    /admin/releases/release/<path:object_id>/
viewer    /admin/releases/release/<path:object_id>/change/
none      /admin/releases/release/<path:object_id>/delete/
viewer    /admin/releases/release/<path:object_id>/history/
operator  /admin/releases/release/<path:object_id>/rollback/
none      /admin/releases/release/add/
viewer    /admin/releases/release/compare/
viewer    /admin/runs/comment/
viewer    /admin/runs/comment/<path:object_id>/
viewer    /admin/runs/comment/<path:object_id>/change/
none      /admin/runs/comment/<path:object_id>/delete/
viewer    /admin/runs/comment/<path:object_id>/history/
approver  /admin/runs/comment/<path:object_id>/reopen/
approver  /admin/runs/comment/<path:object_id>/resolve/
none      /admin/runs/comment/add/
viewer    /admin/runs/event/
viewer    /admin/runs/event/<path:object_id>/
viewer    /admin/runs/event/<path:object_id>/change/
none      /admin/runs/event/<path:object_id>/delete/
viewer    /admin/runs/event/<path:object_id>/history/
none      /admin/runs/event/add/
viewer    /admin/runs/freeze/
viewer    /admin/runs/freeze/<path:object_id>/
viewer    /admin/runs/freeze/<path:object_id>/change/
none      /admin/runs/freeze/<path:object_id>/delete/
viewer    /admin/runs/freeze/<path:object_id>/history/
none      /admin/runs/freeze/add/
viewer    /admin/runs/run/
viewer    /admin/runs/run/<path:object_id>/
approver  /admin/runs/run/<path:object_id>/approve/
approver  /admin/runs/run/<path:object_id>/cancel/
viewer    /admin/runs/run/<path:object_id>/change/
approver  /admin/runs/run/<path:object_id>/comment/
none      /admin/runs/run/<path:object_id>/delete/
operator  /admin/runs/run/<path:object_id>/force-release/
viewer    /admin/runs/run/<path:object_id>/history/
approver  /admin/runs/run/<path:object_id>/keep/
approver  /admin/runs/run/<path:object_id>/precheck/
approver  /admin/runs/run/<path:object_id>/reject/
approver  /admin/runs/run/<path:object_id>/release/
approver  /admin/runs/run/<path:object_id>/retry/
approver  /admin/runs/run/<path:object_id>/share/
viewer    /admin/runs/run/<uuid:run_id>/mails/<int:pk>/
viewer    /admin/runs/run/<uuid:run_id>/mails/<int:pk>/attachments/<int:number>/
viewer    /admin/runs/run/<uuid:run_id>/mails/<int:pk>/html/
viewer    /admin/runs/run/<uuid:run_id>/seen/
none      /admin/runs/run/add/
viewer    /admin/runs/run/charts/
operator  /admin/runs/run/freeze/
approver  /admin/runs/run/new/
operator  /admin/runs/run/push/
approver  /admin/runs/run/revert/
approver  /admin/runs/run/selected/cancel/
operator  /admin/runs/run/selected/force-release/
approver  /admin/runs/run/selected/release/
operator  /admin/runs/run/unfreeze/
viewer    /admin/runs/sharelink/
viewer    /admin/runs/sharelink/<path:object_id>/
viewer    /admin/runs/sharelink/<path:object_id>/change/
none      /admin/runs/sharelink/<path:object_id>/delete/
viewer    /admin/runs/sharelink/<path:object_id>/history/
approver  /admin/runs/sharelink/<path:object_id>/revoke/
none      /admin/runs/sharelink/add/
viewer    /admin/search/
operator  /admin/settings/
operator  /admin/settings/<str:name>/change/
operator  /admin/settings/variables/<str:key>/
operator  /admin/settings/variables/<str:key>/remove/
operator  /admin/settings/variables/<str:key>/set/
viewer    /admin/slots/lease/
viewer    /admin/slots/lease/<path:object_id>/
viewer    /admin/slots/lease/<path:object_id>/change/
none      /admin/slots/lease/<path:object_id>/delete/
viewer    /admin/slots/lease/<path:object_id>/history/
none      /admin/slots/lease/add/
viewer    /admin/slots/slot/
viewer    /admin/slots/slot/<path:object_id>/
viewer    /admin/slots/slot/<path:object_id>/change/
none      /admin/slots/slot/<path:object_id>/delete/
operator  /admin/slots/slot/<path:object_id>/drain/
operator  /admin/slots/slot/<path:object_id>/force-release/
viewer    /admin/slots/slot/<path:object_id>/history/
operator  /admin/slots/slot/<path:object_id>/quarantine/
approver  /admin/slots/slot/<path:object_id>/restart/
operator  /admin/slots/slot/<path:object_id>/undrain/
operator  /admin/slots/slot/<path:object_id>/unquarantine/
none      /admin/slots/slot/add/
operator  /admin/slots/slot/selected/drain/
operator  /admin/slots/slot/selected/undrain/
operator  /admin/usersessions/usersession/
viewer    /admin/usersessions/usersession/<path:object_id>/
operator  /admin/usersessions/usersession/<path:object_id>/change/
none      /admin/usersessions/usersession/<path:object_id>/delete/
operator  /admin/usersessions/usersession/<path:object_id>/end/
operator  /admin/usersessions/usersession/<path:object_id>/history/
operator  /admin/usersessions/usersession/<path:object_id>/reset-factors/
none      /admin/usersessions/usersession/add/
operator  /admin/usersessions/usersession/selected/end/
viewer    /previews/enter
"""
ROWS = dict(reversed(line.split()) for line in TABLE.splitlines() if line)
# Of the mails of a run and of variables, which the test lacks: these pages are reached with 404.
MISSING = ("/admin/runs/run/<uuid:run_id>/mails/", "/admin/settings/variables/<str:key>/remove/")
# tests/oroboros/test_roles.py, and those of the router: tests/runs/addresses.
OTHERS = ("api/", "metrics", "health", "readyz", "hooks/", "internal/")
# An account without a role is told so; without a provider nothing comes back from it; who is logged
# in has no step of a log-in left.
ELSEWHERE = ("/previews/enter", "/admin/account/sign-in/callback/", "/admin/account/factor/")
# A pattern that names no address is asked for by one.
PATTERNS = {
    "/admin/^(?P<": "/admin/runs/",
    "/admin/(?P<": "/admin/nowhere/",
    "/previews/enter": f"/previews/enter?host=preview1.example.com&slot=1&nonce={'0' * 64}",
}


def list_pages(resolver, prefix=""):
    for entry in resolver.url_patterns:
        path = prefix + str(entry.pattern)
        if hasattr(entry, "url_patterns"):
            yield from list_pages(entry, path)
        elif not path.startswith(OTHERS):
            yield "/" + path.partition("(?P<")[0] + ("(?P<" if "(?P<" in path else "")


def test_every_page_is_in_the_table():
    assert sorted(set(list_pages(get_resolver()))) == sorted(ROWS)


def make_browser(role):
    browser = Client()
    groups = [] if role == "superuser" else [role]
    is_superuser = role == "superuser"
    browser.force_login(UserFactory(username=role, groups=groups, is_superuser=is_superuser))
    return browser


def find_keys(run):
    """Return a row's key for each of the admin's models, by the beginning of its addresses."""
    keys = {}
    for model in admin.site._registry:
        options = model._meta
        keys[f"/admin/{options.app_label}/{options.model_name}/"] = model.objects.first().pk
    return {**keys, "/admin/runs/run/": run.pk}


def build_address(page, keys):
    key = next((str(one) for start, one in keys.items() if page.startswith(start)), "1")
    address = next((one for start, one in PATTERNS.items() if page.startswith(start)), page)
    for name in ("<path:object_id>", "<id>", "<uuid:run_id>"):
        address = address.replace(name, key)
    address = address.replace("<str:name>", "APPROVAL_SELF").replace("<str:key>", "previews")
    for name in ("<path:content_type_id>", "<int:pk>", "<int:number>"):
        address = address.replace(name, "1")
    return f"{address}?row={key}" if "/selected/" in page else address


def get_outcome(browser, page, keys):
    """Return login, refused or reached; a page of which the requester sees no row is refused."""
    answer = browser.get(build_address(page, keys))
    location = answer.headers.get("Location", "")
    if location.startswith("/admin/login/"):
        return "login"
    is_missing = answer.status_code == 404 and not page.startswith(MISSING)
    is_sent_home = location == "/admin/" and page not in ("/", "/admin/login/")
    return "refused" if answer.status_code == 403 or is_missing or is_sent_home else "reached"


# Logging out ends the browser's session.
ASKED = [page for page in ROWS if page != "/admin/logout/"]


@pytest.mark.full
def test_each_role_reaches_the_pages_of_its_row_and_no_others():
    run = create_rows()
    user = UserFactory(username="target")
    LinkedAccount.objects.create(forge="github", login="octo", user=user)
    keys = find_keys(run)
    for number, role in enumerate(ROLES):
        browser = make_browser(role)
        for page in ASKED:
            first = ROWS[page]
            passes = first == "stranger" or (first in ROLES and ROLES.index(first) <= number)
            expected = "reached" if passes else "refused"
            assert get_outcome(browser, page, keys) == expected, (role, page)


def test_a_stranger_and_an_account_without_a_role_reach_the_login_only():
    browsers = [Client(), Client()]
    browsers[1].force_login(UserFactory(is_staff=False))
    for page in ASKED:
        expected = {"reached"} if ROWS[page] == "stranger" else {"login"}
        if page in ELSEWHERE:
            continue
        assert {get_outcome(one, page, {}) for one in browsers} == expected, page
    assert User.objects.count() == 1
