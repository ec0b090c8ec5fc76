"""Approvals in the API: decisions, what they lack, and what is known before them."""

from rest_framework import serializers

from runs.models import Approval
from runs.prechecks.rules import PrecheckStatus


class ApprovalSerializer(serializers.ModelSerializer):
    """A decision. `person`: the account behind the actor; `checklist`: what they confirmed."""

    checklist = serializers.ListField(child=serializers.CharField(), read_only=True)

    class Meta:
        model = Approval
        fields = [
            "commit_sha",
            "verdict",
            "actor",
            "person",
            "checklist",
            "reason",
            "accepts_checks",
            "at",
            "voided_at",
            "void_reason",
        ]
        read_only_fields = fields


class PrecheckSerializer(serializers.Serializer):
    """A check of the commit, merged into the target branch of that moment, before the approval.

    `is_stale`: the branch or the target branch has moved since. `step`: where it is, or failed.
    `checks`: the names of those that passed; until then `passed` and `running` have their commands.
    `log` is the artifact of a failed step's log, and `lines` its end.
    """

    status = serializers.ChoiceField(PrecheckStatus.choices, source="row.status")
    is_stale = serializers.BooleanField()
    commit_sha = serializers.CharField(source="row.commit_sha")
    base_sha = serializers.CharField(source="row.base_sha")
    candidate_sha = serializers.CharField(source="row.candidate_sha")
    step = serializers.CharField(source="row.step")
    checks = serializers.ListField(child=serializers.CharField())
    passed = serializers.ListField(child=serializers.CharField(), source="passed_commands")
    running = serializers.CharField(source="running_command")
    code = serializers.CharField(source="row.code")
    detail = serializers.CharField(source="row.detail")
    log = serializers.CharField(source="log_name")
    lines = serializers.CharField()
    requested_by = serializers.CharField(source="row.requested_by")
    requested_at = serializers.DateTimeField(source="row.requested_at")
    started_at = serializers.DateTimeField(source="row.started_at", allow_null=True)
    ended_at = serializers.DateTimeField(source="row.ended_at", allow_null=True)
    seconds = serializers.FloatField(source="row.seconds", allow_null=True)


class ApprovalFactsSerializer(serializers.Serializer):
    """What is known before an approval, of the run's present commit; a forecast of the gate.

    `merge_outcome`: merges, conflicts, contained, unchanged, unrelated, or null while not known.
    `changed_parts`: of backend, frontend, other (files of neither); none while not known.
    """

    merge = serializers.CharField()
    merge_outcome = serializers.CharField(allow_null=True)
    base_sha = serializers.CharField()
    conflicts = serializers.ListField(child=serializers.CharField())
    migration = serializers.CharField()
    is_irreversible = serializers.BooleanField()
    changed_parts = serializers.ListField(child=serializers.CharField())
    precheck = PrecheckSerializer(allow_null=True)


class OwnedPathsSerializer(serializers.Serializer):
    """Changed paths with the same owners (CODEOWNERS); `paths` are the first of `count`."""

    owners = serializers.ListField(child=serializers.CharField(), source="sorted_owners")
    paths = serializers.ListField(child=serializers.CharField())
    count = serializers.IntegerField()


class ApprovalStateSerializer(serializers.Serializer):
    """The approvals of the run's present commit, and what the target branch asks of them.

    `missing_owners`: paths of which an owner has to approve still.
    """

    count = serializers.IntegerField()
    required_count = serializers.IntegerField(source="policy.required_count")
    is_complete = serializers.BooleanField()
    checklist = serializers.ListField(child=serializers.CharField())
    missing_owners = OwnedPathsSerializer(many=True)
