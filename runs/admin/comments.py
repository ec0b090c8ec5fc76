"""Comments: written from the run's page, shown there and beside the lines, resolved, listed."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from unfold.decorators import display

from runs.admin.run_actions import run_url
from runs.comments.rules import NEW, OLD, NumberedLine, number_lines
from runs.comments.writing import MAX_LINE, TEXT_LENGTH, add_comment
from runs.comparison.file_tree import build_tree
from runs.comparison.highlighting import Highlighter
from runs.comparison.layout import Layout, hide_space_changes, pair_lines
from runs.difference import Difference, FileChange
from runs.models import Comment, Run
from web.admin_actions import ActionResult, AdminAction, ReadOnlyAdmin, offer_if
from web.permissions import HOLD, get_actor_name
from web.visible_answers import TEXT

PLAIN = Layout()
Places = dict[tuple[str, str, int | None], list[Comment]]
SHOWN = 50  # on the run's page, which asks again every few seconds


class CommentForm(forms.Form):
    """The comment, and the line that it is on: one of the two, of the new file or of the old."""

    text = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 4}),
        max_length=TEXT_LENGTH,
        label="Comment",
        help_text="@user-name tells that person: on the dashboard, and by their e-mail notices.",
        validators=[TEXT],
    )
    line = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=MAX_LINE,
        label="Line of the new file (optional)",
        help_text="One that the changes show.",
    )
    old_line = forms.IntegerField(
        required=False, min_value=1, max_value=MAX_LINE, label="Deleted line"
    )
    path = forms.CharField(
        required=False, strip=False, max_length=4096, widget=forms.HiddenInput, validators=[TEXT]
    )
    commit_sha = forms.CharField(required=False, max_length=40, widget=forms.HiddenInput)


def _comment(request: HttpRequest, run: Run, data: Mapping[str, Any]) -> ActionResult:
    old = data["old_line"]
    comment = add_comment(
        run,
        by=get_actor_name(request),
        text=data["text"],
        path=data["path"],
        line=old or data["line"],
        side=OLD if old else NEW,
        commit_sha=data["commit_sha"],
    )
    return ActionResult(f"You commented on {comment.place}.", f"{run_url(run)}#comments")


def _get_details(request: HttpRequest, run: Run) -> dict[str, Any]:
    """Return the file, and the fields that have no meaning for what is commented on."""
    asked = request.POST if request.method == "POST" else request.GET
    omitted = [] if asked.get("path") else ["line"]
    omitted += ["line"] if asked.get("old_line") else ["old_line"]
    return {"path": asked.get("path", ""), "omitted_fields": omitted}


COMMENT = AdminAction(
    "comment",
    "Comment",
    HOLD,
    "The comment stays with this commit, also when the branch gets another one.",
    _comment,
    CommentForm,
    decide=lambda request, run: offer_if(bool(run.commit_sha), "The run has no commit."),
    details_template="oroboros/comment_place.html",
    get_details=_get_details,
    get_query=lambda run: {"commit_sha": run.commit_sha},
)


@dataclass(frozen=True)
class CommentedLine:
    """A line of a patch, and the comments on it."""

    line: NumberedLine
    comments: tuple[Comment, ...] = ()


@dataclass(frozen=True)
class CommentedPair:
    """The old line and the new one beside it, either of which may lack, and the comments on both.

    What is of neither file, such as a hunk's header, is `old` and `new` alike.
    """

    old: NumberedLine | None
    new: NumberedLine | None
    comments: tuple[Comment, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether it is of neither file, and takes both columns."""
        return self.old is not None and self.old is self.new and self.old.number is None


def build_context(
    run: Run, difference: Difference | None, layout: Layout = PLAIN
) -> dict[str, Any]:
    """Return the run's newest comments, and each changed file with the comments on its lines."""
    numbers = run.comments.order_by().aggregate(
        comment_count=Count("pk"), open_comments=Count("pk", filter=Q(resolved_at=None))
    )
    current = run.comments.filter(commit_sha=run.commit_sha)
    return {
        **numbers,
        "comments": list(run.comments.all()[:SHOWN]),
        **build_files_context(difference, current, layout),
    }


def build_files_context(
    difference: Difference | None, comments: Iterable[Comment], layout: Layout = PLAIN
) -> dict[str, Any]:
    """Return `file_tree` and `changed_files` of a difference, and how many files have colours.

    `changed_files` has each change, its commented lines or pairs, and the number of its comments.
    """
    if difference is None:
        return {"changed_files": []}
    of_line: Places = defaultdict(list)
    of_file: dict[str, int] = defaultdict(int)
    for comment in reversed(list(comments)):
        of_line[comment.path, comment.side, comment.line].append(comment)
        of_file[comment.path] += 1
    highlighter = Highlighter()
    files = [
        (change, _lay_out(change, highlighter, of_line, layout), of_file[change.path])
        for change in difference.changes
    ]
    return {
        "changed_files": files,
        "file_tree": build_tree(difference.changes),
        "plain_count": highlighter.large_count,
        "coloured_count": highlighter.coloured_count,
    }


def _lay_out(
    change: FileChange, highlighter: Highlighter, of_line: Places, layout: Layout
) -> list[CommentedLine] | list[CommentedPair]:
    def find(*lines: NumberedLine | None) -> tuple[Comment, ...]:
        known = dict.fromkeys(line for line in lines if line is not None)
        places = ((change.path, line.side, line.number) for line in known)
        return tuple(comment for place in places for comment in of_line.get(place, ()))

    shown = hide_space_changes(change.lines) if layout.hides_space else change.lines
    lines = highlighter.colour(change.path, number_lines(shown))
    if layout.is_split:
        return [CommentedPair(*pair, find(*pair)) for pair in pair_lines(lines)]
    return [CommentedLine(line, find(line)) for line in lines]


def _resolve(request: HttpRequest, comment: Comment, data: Mapping[str, Any]) -> ActionResult:
    is_new = comment.resolve(by=get_actor_name(request))
    text = f"You resolved {comment}." if is_new else f"{comment} was already resolved."
    return ActionResult(text, f"{run_url(comment.run)}#comments")


def _reopen(request: HttpRequest, comment: Comment, data: Mapping[str, Any]) -> ActionResult:
    is_new = comment.reopen()
    text = f"You reopened {comment}." if is_new else f"{comment} was not resolved."
    return ActionResult(text, f"{run_url(comment.run)}#comments")


@admin.register(Comment)
class CommentAdmin(ReadOnlyAdmin):
    list_display = ["about", "run", "text", "actor", "at", "state"]
    list_filter = [("resolved_at", admin.EmptyFieldListFilter)]
    search_fields = ["text", "path", "actor"]
    fields = ["run", "about", "commit_sha", "quote", "text", "actor", "at", "state",
              "resolved_at", "resolved_by"]  # fmt: skip
    readonly_fields = ["about", "state"]
    list_select_related = ["run"]
    page_actions = (
        AdminAction(
            "resolve",
            "Resolve",
            HOLD,
            "The comment stays, and is shown as resolved.",
            _resolve,
            is_primary=True,
            decide=lambda request, comment: offer_if(
                comment.resolved_at is None, f"{comment} is resolved."
            ),
        ),
        AdminAction(
            "reopen",
            "Reopen",
            HOLD,
            "The comment is shown as not resolved.",
            _reopen,
            decide=lambda request, comment: offer_if(
                comment.resolved_at is not None, f"{comment} is not resolved."
            ),
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Comment]:
        return super().get_queryset(request).select_related("run")

    @display(description="On")
    def about(self, comment):
        return comment.place

    @display(description="State", label={"open": "warning", "resolved": "success"})
    def state(self, comment):
        return "open" if comment.resolved_at is None else "resolved"
