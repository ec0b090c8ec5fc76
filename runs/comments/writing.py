"""Adding a comment to a run."""

from django.conf import settings
from django.db import transaction

from core.clock import ClockTimestamp
from host.errors import Refused
from host.masking.known_secrets import read_masks
from host.masking.masks import Masks
from host.visible_text import make_line_visible
from runs import difference
from runs.comments.rules import NEW, find_line
from runs.engine.events import record_event
from runs.models import Comment, Run
from runs.repository import open_repository

TEXT_LENGTH = 5000
MAX_COMMENTS = 200  # of one run
QUOTE_LENGTH = EVENT_LENGTH = 500  # characters
MAX_LINE = 2**31 - 1


def add_comment(
    run: Run,
    *,
    by: str,
    text: str,
    path: str = "",
    line: int | None = None,
    side: str = NEW,
    commit_sha: str = "",
) -> Comment:
    """Add a comment on the run's commit, on a file that it changes, or on a line of the difference.

    `commit_sha` is the commit that the person saw, "" for the run's own. Secrets are masked.
    Raises Refused `no_commit`, `commit_moved`, `too_many_comments`, `path_required` (400),
    `line_unknown` (404), and with a path as `difference.compute_difference`.
    """
    if not run.commit_sha:
        raise Refused("no_commit", "The run only holds a slot and has no commit.")
    if commit_sha and commit_sha != run.commit_sha:
        detail = f"The run is at {run.commit_sha} now: look at it again, then comment on that."
        raise Refused("commit_moved", detail)
    masks = read_masks(settings.OROBOROS)
    comment = Comment(
        run=run,
        commit_sha=run.commit_sha,
        path=path,
        side=side if line is not None else "",
        line=line,
        quote=_read_quote(run, path, line, side, masks),
        text=masks.mask(text),
        actor=by,
        at=ClockTimestamp(),
    )
    with transaction.atomic():
        _save_within_limit(comment)
        # Masked before it is cut: a part of a secret is not recognised.
        about = f"commented on {comment.place}: {comment.text[:EVENT_LENGTH]}"
        record_event("commented", about, actor=by, run=run)
    comment.refresh_from_db()
    return comment


def _save_within_limit(comment: Comment) -> None:
    """Save it, while no other process adds one to the run. Raises Refused."""
    run = Run.objects.select_for_update(no_key=True).get(pk=comment.run_id)
    if run.comments.count() >= MAX_COMMENTS:
        raise Refused("too_many_comments", f"A run has at most {MAX_COMMENTS} comments.")
    comment.save(force_insert=True)


def _read_quote(run: Run, path: str, line: int | None, side: str, masks: Masks) -> str:
    """Return the line as the difference shows it, masked, "" without a line. Raises Refused."""
    if not path:
        if line is not None:
            raise Refused("path_required", "A line needs the path of its file.", status=400)
        return ""
    repo = open_repository(settings.OROBOROS)
    [change] = difference.compute_difference(run, repo, path).changes
    if line is None:
        return ""
    found = find_line(change.lines, side, line)
    if found is None:
        detail = f"The changes of {path} do not show line {line}: comment on the file."
        raise Refused("line_unknown", detail, status=404)
    return make_line_visible(masks.mask(found.text))[:QUOTE_LENGTH]


def find_comment(run: Run, comment_id: int) -> Comment:
    """Return the comment of the run with that id. Raises Refused `comment_unknown` (404)."""
    comments = run.comments.filter(pk=comment_id) if comment_id < 2**63 else None
    comment = comments.first() if comments is not None else None
    if comment is None:
        raise Refused("comment_unknown", "The run has no comment of that id.", status=404)
    return comment
