"""How runs and what belongs to them look in answers."""

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from releases.api import CommitShape, SchemaChangeShape
from runs import presenters
from runs.api.slots import SlotShape
from runs.models import Approval, Artifact, Event, Freeze, Run, Step


def places(runs):
    """Return the context of a shape of those runs: where they stand in both lines."""
    return {"positions": presenters.positions(runs), "turns": presenters.turns(runs)}


class RunShape(serializers.ModelSerializer):
    """A run that came from `shown.runs()`, with the context `places()`."""

    slot_id = serializers.SerializerMethodField()
    lease_state = serializers.SerializerMethodField()
    frontend_url = serializers.SerializerMethodField()
    backend_url = serializers.SerializerMethodField()
    position = serializers.SerializerMethodField()
    expires_at = serializers.SerializerMethodField()
    seconds_left = serializers.SerializerMethodField()
    next_action = serializers.SerializerMethodField()

    class Meta:
        model = Run
        fields = [
            "id",
            "title",
            "branch",
            "commit_sha",
            "status",
            "prepare",
            "priority",
            "failure_code",
            "failure_detail",
            "next_action",
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
        slot = presenters.slot(run)
        return slot.slot_id if slot else None

    @extend_schema_field({"type": "string", "nullable": True})
    def get_lease_state(self, run):
        lease = presenters.lease(run)
        return lease.state if lease else None

    @extend_schema_field({"type": "string", "format": "uri", "nullable": True})
    def get_frontend_url(self, run):
        return presenters.frontend_url(run)

    @extend_schema_field({"type": "string", "format": "uri", "nullable": True})
    def get_backend_url(self, run):
        return presenters.backend_url(run)

    @extend_schema_field({"type": "integer", "nullable": True, "minimum": 1})
    def get_position(self, run):
        return self.context["positions"].get(run.pk)

    @extend_schema_field({"type": "string", "format": "date-time", "nullable": True})
    def get_expires_at(self, run):
        return presenters.expires_at(run)

    @extend_schema_field({"type": "integer", "nullable": True, "minimum": 0})
    def get_seconds_left(self, run):
        return presenters.seconds_left(run)

    @extend_schema_field({"type": "string"})
    def get_next_action(self, run):
        return presenters.next_action(run, *self._places(run))

    def _places(self, run):
        """Return the run's place in the line for a slot, and that in the line to ship."""
        return [self.context[line].get(run.pk) for line in ("positions", "turns")]


class StepShape(serializers.ModelSerializer):
    seconds = serializers.FloatField(read_only=True, allow_null=True)

    class Meta:
        model = Step
        fields = ["name", "status", "attempt", "started_at", "ended_at", "seconds", "detail"]
        read_only_fields = fields


class ApprovalShape(serializers.ModelSerializer):
    class Meta:
        model = Approval
        fields = [
            "commit_sha",
            "verdict",
            "actor",
            "reason",
            "accepts_checks",
            "at",
            "voided_at",
            "void_reason",
        ]
        read_only_fields = fields


class FreezeShape(serializers.ModelSerializer):
    """What holds shipping; `run_id` names the run whose deploy left it, if one did."""

    class Meta:
        model = Freeze
        fields = ["reason", "actor", "since", "until", "run_id"]
        read_only_fields = fields


class RunDetailShape(RunShape):
    """A run with its journal of today's generation, what people decided, and what it waits for.

    The context's `line` is `standing.line()` for a run that waits for a slot, else None.
    """

    waiting_reason = serializers.SerializerMethodField()
    estimate_seconds = serializers.SerializerMethodField()
    blocked_by = serializers.SerializerMethodField()
    held_by = serializers.SerializerMethodField()
    steps = serializers.SerializerMethodField()
    approvals = ApprovalShape(many=True, read_only=True)

    class Meta(RunShape.Meta):
        fields = [
            *RunShape.Meta.fields,
            "waiting_reason",
            "estimate_seconds",
            "blocked_by",
            "held_by",
            "steps",
            "approvals",
        ]
        read_only_fields = fields

    @extend_schema_field({"type": "string"})
    def get_waiting_reason(self, run):
        return presenters.waiting_reason(run, *self._places(run))

    @extend_schema_field({"type": "number", "nullable": True, "minimum": 0})
    def get_estimate_seconds(self, run):
        line = self.context["line"]
        return line.estimate(self.context["positions"][run.pk]) if line else None

    @extend_schema_field(SlotShape(many=True))
    def get_blocked_by(self, run):
        line = self.context["line"]
        return SlotShape(line.holding if line else [], many=True).data

    @extend_schema_field(FreezeShape(many=True))
    def get_held_by(self, run):
        turn = self.context["turns"].get(run.pk)
        return FreezeShape(turn.freezes if turn else [], many=True).data

    @extend_schema_field(StepShape(many=True))
    def get_steps(self, run):
        steps = run.steps.filter(generation=run.generation)
        return StepShape(steps, many=True).data


class EventShape(serializers.ModelSerializer):
    class Meta:
        model = Event
        fields = ["id", "at", "actor", "kind", "text", "slot_id", "data"]
        read_only_fields = fields


class ArtifactShape(serializers.ModelSerializer):
    step = serializers.CharField(source="step.name", default=None, read_only=True)
    url = serializers.SerializerMethodField()

    class Meta:
        model = Artifact
        fields = ["name", "step", "generation", "created_at", "url"]
        read_only_fields = fields

    @extend_schema_field({"type": "string"})
    def get_url(self, artifact):
        query = f"?generation={artifact.generation}"
        return f"/api/runs/{artifact.run_id}/artifacts/{artifact.name}{query}"


class ChangedCheckShape(serializers.Serializer):
    name = serializers.CharField()
    before = serializers.CharField(allow_null=True)
    after = serializers.CharField(allow_null=True)


class DifferenceShape(serializers.Serializer):
    base_sha = serializers.CharField()
    commit_sha = serializers.CharField()
    commits = CommitShape(many=True)
    files = serializers.ListField(child=serializers.CharField())
    migrations = serializers.ListField(child=serializers.CharField())
    checks = ChangedCheckShape(many=True)
    schema_changes = SchemaChangeShape(many=True, allow_null=True)
    patch = serializers.CharField()
    is_cut = serializers.BooleanField()
