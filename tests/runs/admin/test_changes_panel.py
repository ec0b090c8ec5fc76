"""The changed files of a run in a browser: loaded on demand, and counted before the approval."""

import pytest
from django.urls import reverse
from playwright.sync_api import expect

from runs import difference
from runs.difference import Difference, FileChange
from runs.rules import Status
from tests.chromium import NARROW
from tests.factories import LeaseFactory

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
SMALL, LARGE, BINARY = "app.py", "deep/large & <odd>.txt", "logo.png"


@pytest.fixture
def run(monkeypatch):
    """A ready run that changes a small file, one too large to be shown at first, and a binary."""

    def compute(run, repo, path):
        large = FileChange(
            LARGE,
            "modified",
            added=9000,
            deleted=0,
            lines=[("add", "+the last of 9000 lines")] if path == LARGE else [],
            omitted="" if path == LARGE else "Not shown: it has 9000 lines.",
        )
        small = FileChange(SMALL, "modified", added=1, deleted=0, lines=[("add", "+a line")])
        logo = FileChange(BINARY, "added", is_binary=True, omitted="A binary file.")
        every = [small, large, logo]
        files = [one for one in every if path in (None, one.path)]
        return Difference("0" * 40, run.commit_sha, files=[f.path for f in every], changes=files)

    monkeypatch.setattr(difference, "compute_difference", compute)
    return LeaseFactory(held=True, slot__number=1, run__status=Status.PREVIEW_READY).run


def url_of(run, action="change"):
    panel = "#changes" if action == "change" else ""
    return reverse(f"admin:runs_run_{action}", args=[run.pk]) + panel


def test_a_files_lines_are_loaded_when_it_is_opened(open_admin, run):
    page = open_admin()
    page.goto(url_of(run))
    large = page.locator("details[data-path]").nth(1)
    expect(large.locator(".oro-patch")).to_have_count(0)
    with page.expect_response(lambda answer: "path=" in answer.url) as loaded:
        large.locator("summary").click()
    assert loaded.value.ok
    expect(large.locator(".oro-patch .add")).to_have_text("+the last of 9000 lines")
    expect(large.locator("[data-omitted]")).to_have_count(0)
    assert page.problems == []


def test_a_file_that_cannot_be_loaded_says_so_and_does_not_count_as_opened(open_admin, run):
    page = open_admin()
    page.goto(url_of(run))
    page.route("**/*path=*", lambda route: route.fulfill(status=503, body="away"))
    large = page.locator("details[data-path]").nth(1)
    large.locator("summary").click()
    expect(large.locator("[data-omitted]")).to_contain_text("could not be loaded (status 503)")
    # Neither when it comes into sight again, nor after another failure, which is said once.
    with page.expect_response(lambda answer: "path=" in answer.url):
        large.locator("summary").click()
        large.locator("summary").click()
    expect(large.locator("[data-failure]")).to_have_count(1)
    assert LARGE not in page.evaluate("localStorage.getItem('oroboros-opened-files') || ''")


def test_the_approval_counts_and_marks_the_files_that_were_not_opened(open_admin, run):
    page = open_admin()
    note, opened = page.locator("[data-unopened-count]"), page.locator("[data-unopened]:visible")
    page.goto(url_of(run, "approve"))
    expect(note).to_have_text("3 of 3 changed files were not opened in this browser.")
    page.goto(url_of(run))
    files = page.locator("details[data-path]")
    stored = "path => (localStorage.getItem('oroboros-opened-files') || '').includes(path)"
    # Both are open already, and count once they were on the screen; the large one is closed.
    for number, path in ((0, SMALL), (2, BINARY)):
        files.nth(number).scroll_into_view_if_needed()
        page.wait_for_function(stored, arg=path)
    page.goto(url_of(run, "approve"))
    expect(note).to_have_text("1 of 3 changed files were not opened in this browser.")
    expect(note).to_have_class("oro-note warning")
    expect(opened).to_have_count(1)
    expect(page.locator(f"[data-path='{SMALL}'] [data-unopened]")).to_be_hidden()
    page.goto(url_of(run))
    files.nth(1).locator("summary").click()
    page.wait_for_function(stored, arg="large")
    page.goto(url_of(run, "approve"))
    expect(note).to_have_text("All 3 changed files were opened in this browser.")
    expect(note).to_have_class("oro-note info")


def test_what_was_opened_of_another_commit_does_not_count(open_admin, run):
    page = open_admin()
    page.goto(url_of(run))
    page.evaluate(
        "names => localStorage.setItem('oroboros-opened-files', JSON.stringify({other: names}))",
        [SMALL, LARGE, BINARY],
    )
    page.goto(url_of(run, "approve"))
    expect(page.locator("[data-unopened-count]")).to_contain_text("3 of 3")


def test_the_tree_filters_marks_and_opens_the_files(open_admin, run):
    page = open_admin()
    page.goto(url_of(run))
    tree, files = page.locator("[data-file-tree]"), page.locator("details[data-path]:visible")
    expect(tree.locator("summary", has_text="deep/")).to_contain_text("1 · +9000 −0")
    expect(tree.locator("li", has_text=SMALL).get_by_text("opened")).to_be_visible()
    expect(tree.locator("[data-file]", has_text="large").get_by_text("opened")).to_be_hidden()
    tree.get_by_role("searchbox").fill("DEEP odd")
    expect(files).to_have_count(1)
    expect(tree.get_by_role("status")).to_have_text("1 of 3 files")
    expect(tree.locator("[data-file]:visible")).to_have_count(1)
    tree.get_by_role("link", name="large & <odd>.txt").click()
    expect(files.locator(".oro-patch .add")).to_have_text("+the last of 9000 lines")
    expect(tree.locator("[data-file]:visible").get_by_text("opened")).to_be_visible()
    tree.get_by_role("searchbox").fill("")
    expect(files).to_have_count(3)
    page.set_viewport_size(NARROW)
    page.reload()
    expect(tree.get_by_role("searchbox")).to_be_hidden()  # above the changes, and closed
    assert page.problems == []
