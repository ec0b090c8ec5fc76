"""The request bodies of runs, slots and shipping. Unknown fields are refused by name."""

from django.conf import settings
from rest_framework import serializers

from host.errors import Refused
from runs.api.fields import RunIdField
from runs.rules import PRIORITY_MAX
from web.fields import (
    StrictBooleanField,
    StrictCharField,
    StrictDateTimeField,
    StrictIntegerField,
)
from web.serializers import StrictSerializer
from web.visible_answers import TEXT

# PostgreSQL's bigint, which the fence is stored in.
FENCE_MAX = 2**63 - 1
REASON_MAX_LENGTH = 2000


class EmptyRequest(StrictSerializer):
    """A body without fields."""


class PushRequest(StrictSerializer):
    """`dry_run` only asks the remote whether it would accept the push."""

    dry_run = StrictBooleanField(required=False, default=False)


class ReasonRequest(StrictSerializer):
    """A required reason."""

    reason = StrictCharField(multiline=True, max_length=REASON_MAX_LENGTH, validators=[TEXT])


# --- runs


class CreateRunRequest(StrictSerializer):
    """A branch or a commit; neither if the run only holds a slot (`prepare: false`).

    `priority` is for operators: runs with a higher number get a slot first. While the branch, or
    the commit, has an open run, that run is the answer; `another` creates a further one.
    """

    title = StrictCharField(max_length=200, validators=[TEXT])
    # Git ids are compared exactly: a trimmed name would be another branch.
    branch = StrictCharField(required=False, trim_whitespace=False)
    commit = StrictCharField(required=False, trim_whitespace=False)
    prepare = StrictBooleanField(required=False, default=True)
    priority = StrictIntegerField(required=False, min_value=-PRIORITY_MAX, max_value=PRIORITY_MAX)
    another = StrictBooleanField(required=False)

    def validate(self, attrs):
        if "branch" in attrs and "commit" in attrs:
            detail = "Name either a branch or a commit, not both."
            raise Refused("source_ambiguous", detail, status=400)
        return attrs


class ApproveRequest(StrictSerializer):
    """`accept_checks` runs the branch's own checks instead of the target branch's.

    It requires `commit_sha`, because it approves the checks of that commit. `checklist`: the items
    of the target branch's checklist that the approver confirms, which must be all.
    """

    commit_sha = StrictCharField(required=False, trim_whitespace=False)
    reason = StrictCharField(
        required=False,
        allow_blank=True,
        multiline=True,
        max_length=REASON_MAX_LENGTH,
        validators=[TEXT],
    )
    accept_checks = StrictBooleanField(required=False)
    checklist = serializers.ListField(
        # Compared with the checklist as they are.
        child=StrictCharField(
            max_length=200, allow_blank=True, trim_whitespace=False, multiline=True
        ),
        required=False,
        max_length=20,
    )

    def validate(self, attrs):
        if attrs.get("accept_checks") and "commit_sha" not in attrs:
            raise build_commit_refusal("Name the commit whose checks you accept.")
        return attrs


def build_commit_refusal(detail: str) -> Refused:
    """Return the refusal of an approval that does not name its commit."""
    return Refused("commit_required", detail, status=400, fields={"commit_sha": detail})


class CancelRequest(StrictSerializer):
    """An optional reason."""

    reason = StrictCharField(
        required=False,
        allow_blank=True,
        multiline=True,
        max_length=REASON_MAX_LENGTH,
        validators=[TEXT],
    )


class KeepRequest(StrictSerializer):
    """How long to keep the preview, in seconds from now."""

    seconds = StrictIntegerField(
        required=False,
        default=settings.PREVIEW_KEEP_SECONDS,
        min_value=60,
        max_value=settings.PREVIEW_KEEP_SECONDS,
    )


# --- slots


class AcquireRequest(StrictSerializer):
    """A run that wants a slot, and the duration of its lease."""

    run_id = RunIdField()
    ttl_seconds = StrictIntegerField(
        required=False, min_value=1, max_value=settings.PREVIEW_KEEP_SECONDS
    )


class HeartbeatRequest(StrictSerializer):
    """The run that holds the slot; `fence` is the lease's fencing token."""

    run_id = RunIdField()
    fence = StrictIntegerField(required=False, min_value=1, max_value=FENCE_MAX)


class ReleaseRequest(HeartbeatRequest):
    """`force` is for operators and needs a reason."""

    force = StrictBooleanField(required=False, default=False)
    reason = StrictCharField(
        required=False,
        allow_blank=True,
        default="",
        multiline=True,
        max_length=REASON_MAX_LENGTH,
        validators=[TEXT],
    )


class RestartRequest(HeartbeatRequest, ReasonRequest):
    """`process`: such as `web` or `worker.2`; without it every process is restarted."""

    process = StrictCharField(required=False, default="", allow_blank=True, max_length=64)


# --- shipping


class FreezeRequest(ReasonRequest):
    """`until`: the end of the freeze, within a year. Without it the freeze has no end."""

    until = StrictDateTimeField(required=False)
