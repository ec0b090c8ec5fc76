"""How runs and the merge queue look in the API's answers."""

from dataclasses import asdict

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from releases.api import ProcessSerializer
from runs import allowed_actions, presenters
from runs.api.approval_serializers import (
    ApprovalFactsSerializer,
    ApprovalSerializer,
    ApprovalStateSerializer,
)
from runs.api.slot_serializers import SlotSerializer
from runs.approval_facts import read_approval_facts
from runs.approvals.state import find_approver, read_state
from runs.models import Artifact, Event, Freeze, Run, Step
from runs.rules import Status
from runs.screenshots.rules import ARTIFACT_PREFIX, build_picture_url
from web.permissions import APPROVE, get_abilities, get_actor_name, get_required_owner


class UnfreezeResultSerializer(serializers.Serializer):
    lifted_count = serializers.IntegerField()


class PushResultSerializer(serializers.Serializer):
    """What was pushed where; `already_there` if the remote had the commit."""

    commit_sha = serializers.CharField(source="commit")
    branch = serializers.CharField()
    remote = serializers.CharField()
    dry_run = serializers.BooleanField()
    already_there = serializers.BooleanField()


class ActionStateSerializer(serializers.Serializer):
    """Whether the requester may perform an action now; `reason` says why not.

    `is_hidden`: not offered to the requester, as another role's or for the run's status.
    """

    allowed = serializers.BooleanField()
    reason = serializers.CharField()
    is_hidden = serializers.BooleanField()


class AllowedActionsSerializer(serializers.Serializer):
    """The state of each action on a run, for the requester (`runs.allowed_actions`)."""

    approve = ActionStateSerializer()
    reject = ActionStateSerializer()
    keep = ActionStateSerializer()
    retry = ActionStateSerializer()
    cancel = ActionStateSerializer()
    release = ActionStateSerializer()
    restart = ActionStateSerializer()
    force_release = ActionStateSerializer()


def get_run_context(request, runs):
    """Return the context for `RunSerializer`: who asks, and the positions in both queues."""
    abilities = get_abilities(request.user)
    may_approve = APPROVE in abilities
    return {
        "abilities": abilities,
        "approver": find_approver(get_actor_name(request)) if may_approve else None,
        "owner": get_required_owner(request),
        "positions": presenters.get_queue_positions(runs),
        "merge_queue": presenters.get_merge_queue_entries(runs),
    }


class RunSerializer(serializers.ModelSerializer):
    """A run from `presenters.select_runs()`, with the context from `get_run_context()`."""

    slot_id = serializers.SerializerMethodField()
    lease_state = serializers.SerializerMethodField()
    frontend_url = serializers.SerializerMethodField()
    backend_url = serializers.SerializerMethodField()
    position = serializers.SerializerMethodField()
    expires_at = serializers.SerializerMethodField()
    seconds_left = serializers.SerializerMethodField()
    next_action = serializers.SerializerMethodField()
    allowed_actions = serializers.SerializerMethodField()
    notes = serializers.ListField(
        child=serializers.CharField(), source="list_notes", read_only=True
    )

    class Meta:
        model = Run
        fields = [
            "id",
            "title",
            "branch",
            "label",
            "commit_sha",
            "status",
            "prepare",
            "priority",
            "failure_code",
            "failure_detail",
            "next_action",
            "allowed_actions",
            "notes",
            "slot_id",
            "lease_state",
            "frontend_url",
            "backend_url",
            "position",
            "expires_at",
            "seconds_left",
            "created_by",
            "created_at",
            "approved_at",
            "ended_at",
            "parent_id",
            "base_sha",
            "candidate_sha",
            "release_id",
            "pushed",
        ]
        read_only_fields = fields

    @extend_schema_field({"type": "string", "nullable": True})
    def get_slot_id(self, run):
        slot = presenters.get_slot(run)
        return slot.slot_id if slot else None

    @extend_schema_field({"type": "string", "nullable": True})
    def get_lease_state(self, run):
        lease = presenters.get_open_lease(run)
        return lease.state if lease else None

    @extend_schema_field({"type": "string", "format": "uri", "nullable": True})
    def get_frontend_url(self, run):
        return presenters.get_frontend_url(run)

    @extend_schema_field({"type": "string", "format": "uri", "nullable": True})
    def get_backend_url(self, run):
        return presenters.get_backend_url(run)

    @extend_schema_field({"type": "integer", "nullable": True, "minimum": 1})
    def get_position(self, run):
        return self.context["positions"].get(run.pk)

    @extend_schema_field({"type": "string", "format": "date-time", "nullable": True})
    def get_expires_at(self, run):
        return presenters.get_expiry(run)

    @extend_schema_field({"type": "integer", "nullable": True, "minimum": 0})
    def get_seconds_left(self, run):
        return presenters.get_seconds_left(run)

    @extend_schema_field({"type": "string"})
    def get_next_action(self, run):
        return presenters.describe_next_action(run, *self._get_positions(run))

    @extend_schema_field(AllowedActionsSerializer)
    def get_allowed_actions(self, run):
        owner, approver = self.context["owner"], self.context["approver"]
        facts = allowed_actions.read_facts(run, owner=owner, approver=approver)
        abilities = self.context["abilities"]
        return {
            name: asdict(allowed_actions.decide_action(name, facts, abilities))
            for name in allowed_actions.DECISIONS
        }

    def _get_positions(self, run):
        """Return the run's position among the waiting runs, and its entry in the merge queue."""
        return self.context["positions"].get(run.pk), self.context["merge_queue"].get(run.pk)


class StepSerializer(serializers.ModelSerializer):
    seconds = serializers.FloatField(read_only=True, allow_null=True)

    class Meta:
        model = Step
        fields = ["name", "status", "attempt", "started_at", "ended_at", "seconds", "detail"]
        read_only_fields = fields


class FreezeSerializer(serializers.ModelSerializer):
    """A freeze of shipping. `run_id` is the run whose failed deployment caused it, or null."""

    class Meta:
        model = Freeze
        fields = ["reason", "actor", "since", "until", "run_id"]
        read_only_fields = fields


class MergeQueueEntrySerializer(serializers.Serializer):
    """A run in the merge queue: place 1 ships now or next. `is_held`: a freeze holds it."""

    run_id = serializers.UUIDField(source="run.pk")
    title = serializers.CharField(source="run.title")
    status = serializers.ChoiceField(Status.choices, source="run.status")
    place = serializers.IntegerField(source="position")
    is_held = serializers.BooleanField(source="is_frozen")


class LastRollbackSerializer(serializers.Serializer):
    """A rollback after which production is behind the target branch.

    `commit_count` of its commits are not live; null if git does not know. `left_release_id` is the
    newest release that was left, which can be made live again by a rollback to it.
    """

    deployment = serializers.IntegerField(source="deployment.pk")
    release_id = serializers.CharField(source="release.pk")
    left_release_id = serializers.CharField(source="left_release.pk", default=None, allow_null=True)
    actor = serializers.CharField(source="deployment.actor")
    reason = serializers.CharField(source="deployment.reason")
    since = serializers.DateTimeField(source="deployment.started_at")
    commit_count = serializers.IntegerField(allow_null=True)


class RollbackStateSerializer(serializers.Serializer):
    """`rolled_back` is null unless production was rolled back and is behind the target branch."""

    rolled_back = LastRollbackSerializer(allow_null=True)


class MergeQueueSerializer(serializers.Serializer):
    """The active freezes, and the runs that ship or wait to ship, in order."""

    freezes = FreezeSerializer(many=True)
    line = MergeQueueEntrySerializer(many=True)


class RunDetailSerializer(RunSerializer):
    """A run with the steps of its current generation, its approvals, and what it waits for.

    The context needs `queue_status` too: a `QueueStatus` if the run waits for a slot, else None.
    """

    waiting_reason = serializers.SerializerMethodField()
    estimate_seconds = serializers.SerializerMethodField()
    estimate_latest = serializers.SerializerMethodField()
    blocked_by = serializers.SerializerMethodField()
    approval_facts = serializers.SerializerMethodField()
    approval_state = serializers.SerializerMethodField()
    held_by = serializers.SerializerMethodField()
    processes = serializers.SerializerMethodField()
    steps = serializers.SerializerMethodField()
    approvals = ApprovalSerializer(many=True, read_only=True)

    class Meta(RunSerializer.Meta):
        fields = [
            *RunSerializer.Meta.fields,
            "waiting_reason",
            "estimate_seconds",
            "estimate_latest",
            "blocked_by",
            "approval_facts",
            "approval_state",
            "held_by",
            "processes",
            "steps",
            "approvals",
        ]
        read_only_fields = fields

    @extend_schema_field({"type": "string"})
    def get_waiting_reason(self, run):
        return presenters.describe_wait(run, *self._get_positions(run))

    @extend_schema_field({"type": "number", "nullable": True, "minimum": 0})
    def get_estimate_seconds(self, run):
        status = self.context["queue_status"]
        return status.estimate_wait(self.context["positions"][run.pk]) if status else None

    @extend_schema_field(serializers.DateTimeField(allow_null=True))
    def get_estimate_latest(self, run):
        """When it gets a slot at the latest, unless a lease is extended; null: not known."""
        status = self.context["queue_status"]
        at = status.forecast_wait(self.context["positions"][run.pk]).latest_at if status else None
        return None if at is None else serializers.DateTimeField().to_representation(at)

    @extend_schema_field(SlotSerializer(many=True))
    def get_blocked_by(self, run):
        status = self.context["queue_status"]
        return SlotSerializer(status.unavailable_slots if status else [], many=True).data

    @extend_schema_field(ApprovalFactsSerializer)
    def get_approval_facts(self, run):
        return ApprovalFactsSerializer(read_approval_facts(run)).data

    @extend_schema_field(ApprovalStateSerializer)
    def get_approval_state(self, run):
        return ApprovalStateSerializer(read_state(run)).data

    @extend_schema_field(FreezeSerializer(many=True))
    def get_held_by(self, run):
        entry = self.context["merge_queue"].get(run.pk)
        return FreezeSerializer(entry.freezes if entry else [], many=True).data

    @extend_schema_field(ProcessSerializer(many=True))
    def get_processes(self, run):
        """The processes of its preview, as they are now."""
        return ProcessSerializer(presenters.list_processes(run), many=True).data

    @extend_schema_field(StepSerializer(many=True))
    def get_steps(self, run):
        steps = run.steps.filter(generation=run.generation)
        return StepSerializer(steps, many=True).data


class EventSerializer(serializers.ModelSerializer):
    class Meta:
        model = Event
        fields = ["id", "at", "actor", "kind", "text", "slot_id", "data"]
        read_only_fields = fields


class ArtifactSerializer(serializers.ModelSerializer):
    step = serializers.CharField(source="step.name", default=None, read_only=True)
    url = serializers.SerializerMethodField()

    class Meta:
        model = Artifact
        fields = ["name", "step", "generation", "created_at", "url"]
        read_only_fields = fields

    @extend_schema_field({"type": "string"})
    def get_url(self, artifact):
        if artifact.name.startswith(ARTIFACT_PREFIX):
            return build_picture_url(artifact.run_id, artifact.name, artifact.generation)
        query = f"?generation={artifact.generation}"
        return f"/api/runs/{artifact.run_id}/artifacts/{artifact.name}{query}"
