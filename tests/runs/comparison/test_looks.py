"""What changed since a person's last look at a branch."""

from dataclasses import replace

import pytest
from django.test import Client

from runs.models import Look
from runs.repository import open_repository
from tests.factories import CommentFactory, RunFactory, UserFactory
from tests.runs.commits import make_commit

pytestmark = pytest.mark.django_db


@pytest.fixture
def commits(settings, tmp_path):
    """Three commits, one on the other, of which main has the first."""
    settings.OROBOROS = replace(settings.OROBOROS, var=tmp_path)
    repo = open_repository(settings.OROBOROS)
    root = make_commit(repo, "root")
    first = make_commit(repo, "first", root)
    repo.update_ref("refs/heads/main", root, None)
    return root, first, make_commit(repo, "second", first)


@pytest.fixture
def client():
    return log_in("vera")


def log_in(name):
    client = Client()
    client.force_login(UserFactory(username=name, groups=["approver"]))
    return client


def mark(client, run, commit):
    return client.post(f"/admin/runs/run/{run.pk}/seen/", {"commit_sha": commit})


def read(client, run, query=""):
    return client.get(f"/admin/runs/run/{run.pk}/change/{query}").content.decode()


def test_a_new_commit_is_compared_with_the_one_that_the_person_saw(client, commits):
    _, first, second = commits
    run = RunFactory(commit_sha=first)
    assert "Mark as seen" in read(client, run)
    assert mark(client, run, first).url.endswith("/change/#changes")
    assert "You marked this commit as seen" in read(client, run)
    run.commit_sha = second
    run.save()
    assert f'<a href="?since={first}#changes">' in read(client, run)
    assert "+second" in read(client, run)
    page = read(client, run, f"?since={first}")
    assert "first.txt" in page
    assert "-first" in page
    assert "root.txt" not in page
    assert f"since {first[:12]}" in page
    mark(client, run, second)
    assert [look.commit_sha for look in Look.objects.all()] == [second]


def test_a_look_is_the_persons_own_and_the_branchs(client, commits):
    _, first, second = commits
    run = RunFactory(commit_sha=first)
    mark(client, run, first)
    other = RunFactory(commit_sha=second, branch="other")
    assert "?since=" not in read(client, other)
    later = RunFactory(commit_sha=second)
    assert "?since=" in read(client, later)
    assert "?since=" not in read(log_in("olga"), later)


def test_only_the_commit_that_the_run_is_at_is_marked(client, commits):
    _, first, second = commits
    run = RunFactory(commit_sha=second)
    mark(client, run, first)
    assert not Look.objects.exists()
    assert f"The run is at {second[:12]} now" in read(client, run)


def test_a_get_marks_nothing(client, commits):
    run = RunFactory(commit_sha=commits[1])
    assert client.get(f"/admin/runs/run/{run.pk}/seen/").status_code == 405
    assert not Look.objects.exists()


def test_a_run_without_a_branch_has_no_looks(client, commits):
    run = RunFactory(commit_sha=commits[1], branch="")
    assert "Mark as seen" not in read(client, run)
    assert mark(client, run, commits[1]).status_code == 404


def test_lines_since_the_last_look_are_not_commented_on(client, commits):
    _, first, second = commits
    run = RunFactory(commit_sha=second)
    CommentFactory(run=run, path="second.txt", line=1, side="new", text="Whose line is it?")
    page = read(client, run, f"?since={first}")
    assert 'aria-label="Comment on' not in page
    assert "data-changes" not in page  # what was opened here is not all that is approved
    assert 'aria-label="Comment on second.txt"' in read(client, run)


@pytest.mark.parametrize("since", ["d" * 40, "main", "--output=x"])
def test_a_commit_that_git_does_not_have_is_said(client, commits, since):
    page = read(client, RunFactory(commit_sha=commits[2]), f"?since={since}")
    assert "Show all changes" in page
    assert "data-path" not in page
