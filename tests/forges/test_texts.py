"""The states of the stages and the text of the comment, as values."""

import pytest

from forges.adapters.forge import StatusState
from forges.reporting.comment import CommentFacts, Failure, format_block, format_code, write_comment
from forges.reporting.stages import RunSummary, StageState, list_stages


def states(status, *, ready=True, approved=True, failed_stage="", code=""):
    run = RunSummary(status, ready, approved, failed_stage, code, "why")
    return {stage.stage: str(stage.state) for stage in list_stages(run)}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"status": "queued", "ready": False, "approved": False}, {"preview": "pending"}),
        ({"status": "preview_ready", "approved": False}, {"preview": "success"}),
        ({"status": "approved"}, {"preview": "success", "merge-gate": "pending"}),
        ({"status": "merging"}, {"preview": "success", "merge-gate": "pending"}),
        ({"status": "deploying"},
         {"preview": "success", "merge-gate": "success", "deploy": "pending"}),
        ({"status": "merged"},
         {"preview": "success", "merge-gate": "success", "deploy": "success"}),
        ({"status": "rejected", "approved": False},
         {"preview": "success", "merge-gate": "failure"}),
        ({"status": "expired", "approved": False}, {"preview": "success"}),
        ({"status": "canceled", "ready": False, "approved": False}, {"preview": "error"}),
        ({"status": "canceled"}, {"preview": "success", "merge-gate": "error"}),
        ({"status": "failed", "ready": False, "approved": False, "failed_stage": "preview"},
         {"preview": "failure"}),
        ({"status": "failed", "failed_stage": "merge-gate"},
         {"preview": "success", "merge-gate": "failure"}),
        ({"status": "failed", "failed_stage": "deploy"},
         {"preview": "success", "merge-gate": "success", "deploy": "failure"}),
    ],
)  # fmt: skip
def test_a_run_in_a_state_has_these_statuses(arguments, expected):
    assert states(**arguments) == expected


def test_what_others_wrote_is_code_and_ends_no_code():
    assert format_code("a`b|c\n@team") == "`aˋb¦c @team`"
    block = format_block("x\n````\n@team ![](https://evil.example)\n")
    assert block.startswith("`````text\n")
    assert block.endswith("\n`````")
    assert len(format_block("line\n" * 1000).splitlines()) == 32
    assert len(format_block("x" * 10_000)) < 400


def test_the_comment_says_what_a_reviewer_asks_for():
    text = write_comment(
        CommentFacts(
            marker="<!-- oroboros 1 -->",
            commit="a" * 40,
            branch="feature/`x`",
            preview_url="https://x.preview.example.com",
            run_url="https://api.example.com/admin/",
            expires="2026-11-28 20:00 UTC",
            stages=[StageState("preview", StatusState.SUCCESS, "The preview is ready.")],
            schema_changes=["table a gains column b"],
            irreversible_changes=["table a loses column c"],
            failure=Failure("BUILD_FAILED", "It failed.", "detail", "last\nlines"),
            next_action="Review it.",
        )
    )
    assert text.startswith("<!-- oroboros 1 -->\n")
    assert "### Preview of `feature/ˋxˋ` at `aaaaaaaaaaaa`" in text
    assert "[Open the preview](https://x.preview.example.com)** until 2026-11-28 20:00 UTC" in text
    assert "| Preview | ✅ passed | `The preview is ready.` |" in text
    order = ["does not undo", "loses column c", "gains column b", "BUILD_FAILED", "last", "Review"]
    assert [text.index(one) for one in order] == sorted(text.index(one) for one in order)
