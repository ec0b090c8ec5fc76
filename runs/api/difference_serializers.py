"""How a run's difference looks in the API's answers."""

from urllib.parse import urlencode

from rest_framework import serializers

from host.git.changes import KINDS, STATUSES
from releases.api import CommitSerializer, SchemaChangeSerializer


class ChangedCheckSerializer(serializers.Serializer):
    name = serializers.CharField()
    before = serializers.CharField(allow_null=True)
    after = serializers.CharField(allow_null=True)


class FileChangeSerializer(serializers.Serializer):
    """A changed file, without its lines: those are in `patch` of the difference."""

    path = serializers.CharField()
    status = serializers.ChoiceField([*STATUSES.values()])
    kind = serializers.ChoiceField(["file", *KINDS.values()])
    old_path = serializers.CharField(allow_null=True)
    old_mode = serializers.CharField()
    new_mode = serializers.CharField()
    added = serializers.IntegerField(allow_null=True)
    deleted = serializers.IntegerField(allow_null=True)
    is_binary = serializers.BooleanField()
    is_migration = serializers.BooleanField()
    omitted = serializers.CharField()
    command = serializers.CharField()
    url = serializers.SerializerMethodField()

    def get_url(self, change) -> str:
        """Return where the file's whole patch is."""
        return f"/api/runs/{self.context['run_id']}/diff?{urlencode({'path': change.path})}"


class DifferenceSerializer(serializers.Serializer):
    """A `Difference`; the context has `run_id`. `omitted_count` of `changes` are not in full."""

    base_sha = serializers.CharField()
    commit_sha = serializers.CharField()
    commits = CommitSerializer(many=True)
    commit_count = serializers.IntegerField()
    files = serializers.ListField(child=serializers.CharField())
    changes = FileChangeSerializer(many=True)
    omitted_count = serializers.IntegerField()
    migrations = serializers.ListField(child=serializers.CharField())
    checks = ChangedCheckSerializer(many=True)
    schema_changes = SchemaChangeSerializer(many=True, allow_null=True)
    patch = serializers.CharField()
    is_cut = serializers.BooleanField()
