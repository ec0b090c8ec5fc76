"""The command palette: what it finds, for whom, and where it leads."""

import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tests.factories import ReleaseFactory, RunFactory, SlotFactory, UserFactory

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nothing_kept():
    """unfold keeps answers by the person's number, which another test's person may have."""
    cache.clear()


def log_in(*groups):
    browser = Client()
    browser.force_login(UserFactory(username="ann", groups=list(groups)))
    return browser


def search(browser, term):
    answer = browser.get(reverse("admin:search"), {"s": term, "extended": "1"})
    assert answer.status_code == 200
    return {item.link for item in answer.context["results"]}


def test_runs_branches_commits_releases_and_slots_are_found():
    run = RunFactory(title="Reactions <b>", branch="feature/reactions", commit_sha="abcdef12" * 5)
    release = ReleaseFactory(title="Fewer clicks", commit_sha="12345678" * 5)
    temporary = ReleaseFactory(title="Fewer again", is_temporary=True)
    slot = SlotFactory(number=2)
    merged = RunFactory(title="Another", branch="fix/other", candidate_sha="9" * 40)
    browser = log_in("viewer")
    page = reverse("admin:runs_run_change", args=[run.pk])
    runs_of_branch = f"{reverse('admin:runs_run_changelist')}?branch__icontains=feature%2Freactions"
    assert search(browser, "REACTIONS") == {page, runs_of_branch}
    assert search(browser, "abcdef12ab") == {page}
    assert search(browser, str(run.pk)) == {page}
    assert search(browser, "9" * 9) == {reverse("admin:runs_run_change", args=[merged.pk])}
    assert search(browser, "fewer") == {reverse("admin:releases_release_change", args=[release.pk])}
    assert search(browser, temporary.pk) == set()
    assert search(browser, slot.slot_id) == {reverse("admin:slots_slot_change", args=[slot.pk])}
    text = browser.get(reverse("admin:search"), {"s": "reactions", "extended": "1"}).content
    assert b"Reactions &lt;b&gt;" in text


def test_who_may_not_view_finds_nothing():
    RunFactory(title="Reactions")
    assert search(log_in(), "reactions") == set()


def test_the_number_of_queries_does_not_grow_with_what_is_found():
    browser, counts = log_in("viewer"), []
    for count in (1, 12):
        RunFactory.create_batch(count, branch="feature/many")
        cache.clear()
        with CaptureQueriesContext(connection) as queries:
            search(browser, "many")
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 9
