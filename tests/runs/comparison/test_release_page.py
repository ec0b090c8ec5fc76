"""The page that compares two releases, and how people get to it."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from releases.admin import compare_url
from runs.comparison.addresses import build_addresses
from runs.comparison.layout import Layout
from runs.comparison.release_page import list_choices, list_migrated_between
from runs.repository import open_repository
from tests.factories import DeploymentFactory, ReleaseFactory, UserFactory
from tests.runs.commits import make_commit

pytestmark = pytest.mark.django_db


@pytest.fixture
def client():
    client = Client()
    client.force_login(UserFactory(groups=["viewer"]))
    return client


@pytest.fixture
def pair(settings, tmp_path):
    """Two releases of commits that share an ancestor; `one.txt` and `two.txt` are their files."""
    settings.OROBOROS = replace(settings.OROBOROS, var=tmp_path)
    repo = open_repository(settings.OROBOROS)
    root = make_commit(repo, "root")
    return [
        ReleaseFactory(commit_sha=make_commit(repo, name, root), title=f"Ship {name}")
        for name in ("one", "two")
    ]


def read(client, address):
    answer = client.get(address)
    assert answer.status_code == 200
    return answer.content.decode()


def test_two_releases_are_compared_in_both_directions(client, pair):
    old, new = pair
    page = read(client, compare_url(old.pk, new.pk))
    added, _, removed = page.partition("Commits that are taken back")
    assert f"<code>{new.commit_sha[:12]}</code> two" in added
    assert f"<code>{old.commit_sha[:12]}</code> one" in removed
    assert "<code>one.txt</code>" in page
    assert "+two" in page
    assert "name=&quot;line&quot;" not in page
    swapped = read(client, compare_url(new.pk, old.pk))
    assert f"<code>{old.commit_sha[:12]}</code> one" in swapped.partition("taken back")[0]


def test_one_file_is_shown_alone_with_the_way_back(client, pair):
    old, new = pair
    address = compare_url(old.pk, new.pk)
    page = read(client, f"{address}&path=two.txt")
    assert f'href="{address.replace("&", "&amp;")}#changes">Show all</a>' in page
    assert "+two" in page
    assert "-one" not in page


def test_without_a_choice_the_live_release_is_compared_with_the_one_before(client, pair):
    old, new = pair
    now = timezone.now()
    for release in pair:
        release.healthy_at = release.activated_at = release.built_at = now
        release.save()
    new.status = "live"
    new.save()
    page = read(client, "/admin/releases/release/compare/")
    assert f'<option value="{old.pk}" selected>' in page
    assert f'<option value="{new.pk}" selected>' in page


def test_a_commit_that_git_no_longer_has_is_said(client, pair):
    gone = ReleaseFactory(commit_sha="d" * 40)
    assert "No branch of the git remote has that commit." in read(
        client, compare_url(pair[0].pk, gone.pk)
    )


def test_without_any_release_the_page_says_so(client):
    assert "No release is live yet" in read(client, "/admin/releases/release/compare/")


@pytest.mark.parametrize("release_id", ["r-20260101000000-aaaaaaaaaaaa", "x\n"])
def test_an_unknown_release_is_404(client, release_id):
    assert client.get(compare_url(release_id, release_id)).status_code == 404


def test_a_release_of_a_check_before_the_approval_is_404(client):
    temporary = ReleaseFactory(is_temporary=True)
    assert client.get(compare_url(temporary.pk, temporary.pk)).status_code == 404


def test_schema_changes_are_those_of_the_releases_in_between():
    now = timezone.now()
    releases = [
        ReleaseFactory(
            migrated_at=now + timedelta(hours=number),
            schema_changes=[{"kind": "adds", "text": f"column {number}"}],
        )
        for number in range(4)
    ]
    for old, new in ((releases[0], releases[2]), (releases[2], releases[0])):
        found = list_migrated_between(old, new)
        assert [one.release_id for one in found] == [releases[1].pk, releases[2].pk]


def test_a_chosen_release_is_offered_however_old_it_is(monkeypatch):
    monkeypatch.setattr("runs.comparison.release_page.CHOICES", 1)
    old, _, new = (ReleaseFactory() for _ in range(3))
    assert list_choices(old, None) == [new, old]


def select(client, *releases):
    data = {"action": "compare", "_selected_action": [one.pk for one in releases]}
    return client.post("/admin/releases/release/", data)


def test_two_selected_releases_lead_to_their_comparison(client, pair):
    old, new = pair
    assert select(client, new, old).url == compare_url(old.pk, new.pk)


def test_any_other_number_of_selected_releases_is_refused(client, pair):
    answer = select(client, pair[0])
    assert answer.url == "/admin/releases/release/"
    assert "Select two releases" in read(client, answer.url)


def test_a_release_links_to_its_comparisons(client, pair):
    old, new = pair
    DeploymentFactory(release=new, previous=old)
    live = ReleaseFactory(live=True)
    page = read(client, f"/admin/releases/release/{new.pk}/change/").replace("&amp;", "&")
    assert f'<a href="{compare_url(old.pk, new.pk)}">With the release before</a>' in page
    assert f'<a href="{compare_url(live.pk, new.pk)}">With the live release</a>' in page


def test_addresses_keep_the_query_of_the_page_and_its_layout():
    plain = build_addresses("/a/", {}, Layout())
    assert (plain["all_url"], plain["path_url"]) == ("/a/", "/a/?path=")
    assert (plain["split_url"], plain["space_url"]) == ("/a/?view=split", "/a/?space=hide")
    split = build_addresses("/a/", {"to": "b&c"}, Layout(is_split=True))
    assert split["path_url"] == "/a/?to=b%26c&view=split&path="
    assert split["split_url"] == "/a/?to=b%26c"
    assert split["space_url"] == "/a/?to=b%26c&view=split&space=hide"
