"""Comments on a run: what they are bound to, who may write them, and what the pages show."""

import re
import threading

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.urls import reverse

from host.deadline import wait_until
from host.errors import Refused
from host.masking.masks import create_masks
from runs import difference
from runs.admin import comments as admin_comments
from runs.comments import writing
from runs.comments.writing import add_comment
from runs.difference import Difference, FileChange
from runs.models import Comment, Run
from runs.rules import Status
from tests.factories import CommentFactory, LeaseFactory, UserFactory
from tests.runs.conftest import Caller
from web.templatetags.presentation import person

pytestmark = pytest.mark.django_db
PATH = "shop/<odd> & é.py"
LINES = [("hunk", "@@ -7,2 +7,2 @@"), ("", " a = 1"), ("del", "-b = 2"), ("add", "+b = 3")]


@pytest.fixture
def run(monkeypatch):
    """A ready run that changes line 8 of one file."""

    def compute(run, repo, path=None):
        if path not in (None, PATH):
            raise Refused("path_unknown", "No such file.", status=404)
        change = FileChange(PATH, "modified", added=1, deleted=1, lines=LINES)
        return Difference("0" * 40, run.commit_sha, files=[PATH], changes=[change])

    monkeypatch.setattr(difference, "compute_difference", compute)
    return LeaseFactory(held=True, slot__number=1, run__status=Status.PREVIEW_READY).run


def log_in(role):
    browser = Client()
    browser.force_login(UserFactory(username=role, groups=[role]))
    return browser


def page_of(run):
    return reverse("admin:runs_run_change", args=[run.pk])


def comment_on(run):
    return reverse("admin:runs_run_comment", args=[run.pk])


def read(browser, address):
    return browser.get(address).content.decode()


def test_a_comment_on_a_line_is_kept_with_its_commit_and_the_line_as_it_was(run):
    comment = add_comment(run, by="ann", text="Why 3?", path=PATH, line=8)
    old = add_comment(run, by="ann", text="Why not?", path=PATH, line=8, side="old")
    assert (comment.quote, comment.place) == ("+b = 3", f"{PATH} line 8")
    assert (old.quote, old.place) == ("-b = 2", f"{PATH} deleted line 8")
    assert comment.commit_sha == run.commit_sha
    event = run.events.filter(kind="commented").first()
    assert (event.actor, event.text) == ("ann", f"commented on {PATH} deleted line 8: Why not?")


def test_a_secret_is_masked_also_where_a_text_is_cut_in_it(run, monkeypatch):
    secret = "tau-epsilon-4711"
    monkeypatch.setattr(writing, "read_masks", lambda config: create_masks([secret]))
    lines = [("hunk", "@@ -0,0 +1 @@"), ("add", f"+{'x' * 494}{secret}")]
    change = FileChange(PATH, "added", added=1, deleted=0, lines=lines)
    changes = Difference("0" * 40, run.commit_sha, files=[PATH], changes=[change])
    monkeypatch.setattr(difference, "compute_difference", lambda *arguments: changes)
    comment = add_comment(run, by="ann", text="y" * 495 + secret, path=PATH, line=1)
    event = run.events.filter(kind="commented").first()
    for shown in (comment.text, comment.quote, event.text):
        assert secret[:4] not in shown


def test_a_comment_without_its_event_is_not_kept(run, monkeypatch):
    def fail(*arguments, **fields):
        raise OSError("no more space")

    monkeypatch.setattr(writing, "record_event", fail)
    with pytest.raises(OSError, match="no more space"):
        add_comment(run, by="ann", text="Why?")
    assert not Comment.objects.exists()


def test_a_run_has_a_limited_number_of_comments_and_its_page_the_newest(run, monkeypatch):
    monkeypatch.setattr(writing, "MAX_COMMENTS", 3)
    monkeypatch.setattr(admin_comments, "SHOWN", 2)
    made = [add_comment(run, by="ann", text=f"Why {number}?") for number in range(3)]
    with pytest.raises(Refused) as refused:
        add_comment(run, by="ann", text="Why?")
    assert refused.value.code == "too_many_comments"
    browser = log_in("viewer")
    page = read(browser, page_of(run))
    shown = [f'id="comment-{comment.pk}"' in page for comment in made]
    assert shown == [False, True, True]
    [address] = re.findall(r'newest 2 of <a href="([^"]+)">all 3 comments</a>', page)
    CommentFactory(text="of another run")
    every = read(browser, address)
    assert all(comment.text in every for comment in made)
    assert "of another run" not in every


def count_waiting():
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")  # which a transaction keeps
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return cursor.fetchone()[0]


@pytest.mark.django_db(transaction=True)
def test_two_who_comment_at_once_do_not_exceed_the_limit(run, monkeypatch):
    monkeypatch.setattr(writing, "MAX_COMMENTS", 1)
    refused = []

    def comment():
        try:
            add_comment(run, by="ann", text="Why?")
        except Refused as refusal:
            refused.append(refusal.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=comment) for _ in range(2)]
    with transaction.atomic():
        Run.objects.select_for_update(no_key=True).get(pk=run.pk)
        for thread in threads:
            thread.start()
        assert wait_until(lambda: count_waiting() == len(threads), seconds=60)
    for thread in threads:
        thread.join()
    assert (Comment.objects.count(), refused) == (1, ["too_many_comments"])


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"line": 8}, "path_required"),
        ({"path": PATH, "line": 9}, "line_unknown"),
        ({"path": PATH, "line": 7, "side": "old"}, "line_unknown"),
        ({"path": "other.py"}, "path_unknown"),
        ({"commit_sha": "f" * 40}, "commit_moved"),
    ],
)
def test_a_comment_on_what_the_run_does_not_change_is_refused(run, fields, code):
    with pytest.raises(Refused) as refused:
        add_comment(run, by="ann", text="?", **fields)
    assert refused.value.code == code
    assert not Comment.objects.exists()


@pytest.mark.parametrize("fields", [{"line": 3}, {"side": "new"}, {"line": 3, "side": "new"}])
def test_a_line_needs_a_side_and_a_path(run, fields):
    with pytest.raises(IntegrityError):
        CommentFactory(run=run, **fields)


def test_a_reviewer_comments_on_a_line_and_sees_it_beside_the_line(run):
    browser = log_in("approver")
    assert 'name="line" value="8"' in read(browser, page_of(run))
    query = {"path": PATH, "commit_sha": run.commit_sha, "line": "8"}
    form = browser.get(comment_on(run), query).context["form"]
    assert [form[name].value() for name in query] == list(query.values())
    answer = browser.post(comment_on(run), {**query, "text": "Why <3>?"})
    [comment] = Comment.objects.all()
    assert answer.headers["Location"] == f"{page_of(run)}#comments"
    page = read(browser, page_of(run))
    assert f'id="on-line-{comment.pk}"><b>{person("approver")}</b>: Why &lt;3&gt;?' in page
    assert f'id="comment-{comment.pk}"' in page
    assert "1 comment on the run is not resolved" in read(
        browser, reverse("admin:runs_run_approve", args=[run.pk])
    )


def test_a_comment_on_an_earlier_commit_stays_and_says_so(run):
    comment = add_comment(run, by="ann", text="Why 3?", path=PATH, line=8)
    Run.objects.filter(pk=run.pk).update(commit_sha="e" * 40)
    page = read(log_in("viewer"), page_of(run))
    assert f'id="comment-{comment.pk}"' in page
    assert "on an earlier commit" in page
    assert f'id="on-line-{comment.pk}"' not in page
    assert comment.quote in page


def test_a_comment_is_resolved_and_reopened(run):
    comment = CommentFactory(run=run)
    browser = log_in("approver")
    for action, resolved_by in (("resolve", "approver"), ("reopen", "")):
        address = reverse(f"admin:runs_comment_{action}", args=[comment.pk])
        assert address in read(browser, page_of(run))
        assert browser.post(address).status_code == 302
        comment.refresh_from_db()
        assert (comment.resolved_by, comment.resolved_at is not None) == (
            resolved_by,
            bool(resolved_by),
        )


def test_a_viewer_reads_and_writes_nothing(run):
    comment = CommentFactory(run=run)
    browser = log_in("viewer")
    page = read(browser, page_of(run))
    assert f'id="comment-{comment.pk}"' in page
    assert comment_on(run) not in page
    for address in (comment_on(run), reverse("admin:runs_comment_resolve", args=[comment.pk])):
        assert browser.post(address, {"text": "x"}).status_code == 403
    assert Comment.objects.count() == 1


def test_the_api_writes_lists_and_resolves_comments(run):
    caller = Caller("agent", "view", "hold")
    address = f"/api/runs/{run.pk}/comments"
    comment = {"text": "Why?", "path": PATH, "line": 8, "side": "old"}
    made = caller.raw(address, comment, content_type="application/json")
    assert made.status_code == 201
    body = made.json()
    assert (body["quote"], body["is_current"], body["actor"]) == ("-b = 2", True, "token agent")
    resolved = caller.post(f"{address}/{body['id']}/resolve").json()
    assert resolved["resolved_by"] == "token agent"
    assert caller.post(f"{address}/{body['id']}/reopen").json()["resolved_at"] is None
    assert [one["id"] for one in caller.get(address).json()["results"]] == [body["id"]]
    missing = caller.post(f"{address}/{body['id'] + 1}/resolve")
    assert (missing.status_code, missing.json()["error"]) == (404, "comment_unknown")
    wrong = caller.post(address, text="Why?", line=8)
    assert (wrong.status_code, wrong.json()["error"]) == (400, "path_required")
    other = LeaseFactory().run
    stray = caller.post(f"/api/runs/{other.pk}/comments/{body['id']}/resolve")
    assert stray.status_code == 404
