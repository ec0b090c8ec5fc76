"""Variables of previews, production and builds, which operators change on pages and by the API."""

import errno
import shutil

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from accounts.models import AuditEntry
from host.config import read_env_file
from host.masking.masks import MASK
from host.operator_settings import variable_files
from runs.comments.writing import add_comment
from runs.rules import Status
from tests.factories import RunFactory, UserFactory
from tests.runs.conftest import Caller

pytestmark = pytest.mark.django_db
PREVIEWS = variable_files.FILES[0]
PAGE = "/admin/settings/variables/previews/"
SET, REMOVE = f"{PAGE}set/", f"{PAGE}remove/"
VALUE = "sesame-4711-open"


@pytest.fixture(autouse=True)
def path():
    """The file of the previews' variables; the tests have no folder of env files otherwise."""
    folder = settings.OROBOROS.env_dir
    folder.mkdir()
    yield folder / PREVIEWS.name
    shutil.rmtree(folder)


@pytest.fixture
def operator():
    browser = Client()
    browser.force_login(UserFactory(username="olga", groups=["operator"]))
    return browser


def read(answer):
    return answer.content.decode()


def test_an_operator_sets_changes_and_removes_a_variable_on_the_pages(operator, path):
    answer = operator.post(
        SET, {"name": "API_KEY", "value": f"{VALUE}\r\nline 2", "reason": "new"}, follow=True
    )
    assert "You added API_KEY in worker-preview.env." in read(answer)
    assert read_env_file(path)["API_KEY"] == f"{VALUE}\nline 2"
    assert f"{SET}?name=API_KEY" in read(operator.get(PAGE))
    form = operator.get(f"{SET}?name=API_KEY")
    version = form.context["form"].initial["version"]
    # Another name in the body is not the variable that the page is about.
    data = {"name": "OTHER", "value": "2", "reason": "changed", "version": version}
    assert operator.post(f"{SET}?name=API_KEY", data).status_code == 302
    assert read_env_file(path)["API_KEY"] == "2"
    assert "OTHER" not in read_env_file(path)
    answer = operator.post(f"{SET}?name=API_KEY", data)
    assert (answer.status_code, "was changed meanwhile" in read(answer)) == (409, True)
    assert f'<a href="{PAGE}">Names and last changes' in read(answer)
    # The form that is shown then is about the file as it is now.
    data["version"] = answer.context["form"]["version"].value()
    assert f'value="{data["version"]}"' in read(answer)
    assert operator.post(f"{SET}?name=API_KEY", data).status_code == 302
    assert operator.get(f"{REMOVE}?name=API_KEY").status_code == 200
    assert operator.post(f"{REMOVE}?name=API_KEY", {"reason": "unused"}).status_code == 302
    assert "API_KEY" not in read_env_file(path)
    assert operator.get(f"{REMOVE}?name=API_KEY").status_code == 404
    assert operator.post(REMOVE, {"reason": "unused"}).status_code == 404


def test_no_page_and_no_entry_of_the_audit_trail_has_a_value(operator, path):
    operator.post(SET, {"name": "API_KEY", "value": VALUE, "reason": "first"})
    pages = [operator.get(one) for one in (PAGE, f"{SET}?name=API_KEY", "/admin/settings/")]
    # A form that is shown again after an error has it neither.
    wrong = {"value": VALUE, "reason": ""}
    pages.append(operator.post(f"{SET}?name=API_KEY", wrong))
    pages.append(operator.post(SET, {"name": "PORT", "value": VALUE, "reason": "x"}))
    pages.append(operator.post(SET, {"name": "B", "value": VALUE, "reason": f"it is {VALUE}"}))
    assert [page.status_code for page in pages] == [200, 200, 200, 200, 400, 400]
    # The last has it in the reason, as the person typed it.
    assert not any(VALUE in read(page) for page in pages[:-1])
    [entry] = AuditEntry.objects.filter(kind="setting_changed")
    assert (entry.actor, entry.target) == ("olga", "worker-preview.env API_KEY")
    assert (entry.detail, entry.reason) == ("added", "first")
    assert not any(VALUE in str(row) for row in AuditEntry.objects.values_list())
    assert "worker-preview.env API_KEY" in read(operator.get(PAGE))


def test_a_comment_does_not_show_a_value_that_was_just_set(operator):
    page = "/admin/settings/variables/production/set/"
    operator.post(page, {"name": "PAYMENT", "value": VALUE, "reason": "new provider"})
    run = RunFactory(status=Status.PREVIEW_READY)
    comment = add_comment(run, by="ann", text=f"Is {VALUE} right?")
    event = run.events.get(kind="commented")
    assert comment.text == f"Is {MASK} right?"
    assert (VALUE in event.text, MASK in event.text) == (False, True)


def test_a_change_whose_file_cannot_be_written_is_not_on_the_audit_trail(
    operator, path, monkeypatch
):
    monkeypatch.setattr(variable_files.safe_files, "write_atomic", fail_to_write)
    answer = operator.post(SET, {"name": "API_KEY", "value": VALUE, "reason": "first"})
    assert (answer.status_code, path.exists()) == (409, False)
    assert not AuditEntry.objects.filter(kind="setting_changed").exists()


def fail_to_write(*arguments):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_the_api_sets_and_removes_and_answers_names_only(path):
    caller = Caller("operator", "view", "hold", "approve", "operate")
    address = "/api/variables/previews"
    answer = caller.post(address, name="API_KEY", value=VALUE, reason="new")
    assert (answer.status_code, answer.json()["variables"]) == (200, ["API_KEY"])
    version = answer.json()["version"]
    listed = caller.get("/api/variables")
    assert [one["name"] for one in listed.json()] == ["previews", "production", "builds"]
    assert VALUE not in read(answer) + read(listed)
    caller.post(address, name="B", value="", reason="new", version=version)
    stale = caller.post(address, name="B", value="2", reason="new", version=version)
    assert (stale.status_code, stale.json()["error"]) == (409, "env_file_changed")
    for body in ({}, {"value": "1", "remove": True}):
        answer = caller.post(address, name="B", reason="x", **body)
        assert (answer.status_code, answer.json()["error"]) == (400, "value_or_remove")
    answer = caller.post(address, name="API_KEY", remove=True, reason="unused")
    assert (answer.json()["variables"], read_env_file(path)) == (["B"], {"B": ""})
    unknown = caller.post("/api/variables/api.env", name="B", value="2", reason="x")
    assert (unknown.status_code, unknown.json()["error"]) == (404, "env_file_unknown")


def test_a_file_that_cannot_be_read_is_shown_with_its_problem_and_no_form(operator, path):
    path.write_text("A=1\nnot an assignment\n")
    page = read(operator.get(PAGE))
    assert "worker-preview.env line 2" in page
    assert SET not in page
    assert "worker-preview.env line 2" in read(operator.get("/admin/settings/"))
    assert "disabled" in read(operator.get(SET))


@pytest.mark.parametrize("role", ["viewer", "approver"])
def test_only_operators_reach_the_pages(role, path):
    browser = Client()
    browser.force_login(UserFactory(groups=[role]))
    for page in (PAGE, SET, f"{REMOVE}?name=A"):
        assert browser.get(page).status_code == 403
    answer = browser.post(SET, {"name": "A", "value": "1", "reason": "x"})
    assert (answer.status_code, path.exists()) == (403, False)


def test_an_unknown_file_is_not_found(operator):
    address = reverse("admin-variables", args=["api.env"])
    assert operator.get(address).status_code == 404
