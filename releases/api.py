"""GET /api/releases[/<id>], POST /api/releases/<id>/rollback."""

from django.conf import settings
from django.urls import path
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.generics import ListAPIView
from rest_framework.response import Response
from rest_framework.views import APIView

from releases.deployments import enqueue, operations, rollback_plan
from releases.models import Activation, Release
from releases.presenters import activation_facts, release_facts
from releases.rules import ActivationKind, ActivationOutcome, ReleaseStatus
from web.api import Flag, Input, Text
from web.permissions import actor

HISTORY = 50


class SchemaChangeShape(serializers.Serializer):
    kind = serializers.CharField()
    text = serializers.CharField()


class CommitShape(serializers.Serializer):
    sha = serializers.CharField()
    author = serializers.CharField()
    at = serializers.CharField()
    subject = serializers.CharField()


class ReleaseShape(serializers.Serializer):
    """What `release_facts` says."""

    release_id = serializers.CharField()
    commit_sha = serializers.CharField()
    run_id = serializers.UUIDField(allow_null=True)
    status = serializers.ChoiceField(ReleaseStatus.choices)
    detail = serializers.CharField()
    migrations = serializers.ListField(child=serializers.CharField())
    schema_changes = SchemaChangeShape(many=True)
    restore_point = serializers.CharField(allow_null=True)
    restore_command = serializers.CharField(allow_null=True)
    built_at = serializers.DateTimeField(allow_null=True)
    activated_at = serializers.DateTimeField(allow_null=True)
    healthy_at = serializers.DateTimeField(allow_null=True)
    removed_at = serializers.DateTimeField(allow_null=True)


class ActivationShape(serializers.Serializer):
    """What `activation_facts` says."""

    number = serializers.IntegerField()
    release_id = serializers.CharField()
    previous_release_id = serializers.CharField(allow_null=True)
    kind = serializers.ChoiceField(ActivationKind.choices)
    actor = serializers.CharField()
    reason = serializers.CharField()
    outcome = serializers.ChoiceField(ActivationOutcome.choices)
    progress = serializers.CharField()
    detail = serializers.CharField()
    guidance = serializers.ListField(child=serializers.CharField())
    started_at = serializers.DateTimeField()
    switched_at = serializers.DateTimeField(allow_null=True)
    ended_at = serializers.DateTimeField(allow_null=True)
    seconds = serializers.FloatField(allow_null=True)


class WayBackShape(serializers.Serializer):
    """What a rollback takes back, and the command that does it."""

    release_id = serializers.CharField()
    from_release_id = serializers.CharField(allow_null=True)
    commits = CommitShape(many=True)
    files = serializers.ListField(child=serializers.CharField())
    migrations = serializers.ListField(child=serializers.CharField())
    irreversible = serializers.ListField(child=serializers.CharField())
    command = serializers.CharField()


class ReleaseDetailShape(ReleaseShape):
    """A release, the switches to it, and what a rollback to it would take back."""

    activations = ActivationShape(many=True)
    rollback = WayBackShape()


class RollbackShape(serializers.Serializer):
    """A rollback that was written down; a worker carries it out."""

    accepted = serializers.BooleanField()
    activation = ActivationShape()
    rollback = WayBackShape()


class RollbackInput(Input):
    reason = Text(max_length=1000, multiline=True)
    accept_schema = Flag(default=False)


@extend_schema_view(get=extend_schema(operation_id="releases_list"))
class ReleasesView(ListAPIView):
    """All releases, the newest first."""

    abilities = {"GET": "view"}
    serializer_class = ReleaseShape
    queryset = Release.objects.all()

    def paginate_queryset(self, queryset):
        return [release_facts(one) for one in super().paginate_queryset(queryset) or ()]


class ReleaseView(APIView):
    """One release: its activations, and what a rollback to it would take back."""

    abilities = {"GET": "view"}

    @extend_schema(responses=ReleaseDetailShape)
    def get(self, request, release_id):
        release = operations.known(release_id)
        history = Activation.objects.filter(release=release)[:HISTORY]
        way = rollback_plan.preview(settings.OROBOROS, release)
        facts = {
            **release_facts(release),
            "activations": [activation_facts(one) for one in history],
            "rollback": way.as_dict(),
        }
        return Response(ReleaseDetailShape(facts).data)


class RollbackView(APIView):
    """Make the release live again. Answers at once; the activation shows the progress."""

    abilities = {"POST": "operate"}
    serializer_class = RollbackInput

    @extend_schema(request=RollbackInput, responses={202: RollbackShape})
    def post(self, request, release_id):
        given = RollbackInput.given(request)
        way = rollback_plan.preview(settings.OROBOROS, operations.known(release_id))
        activation = enqueue.request_rollback(
            settings.OROBOROS, release_id, actor=actor(request), **given
        )
        facts = {
            "accepted": True,
            "activation": activation_facts(activation),
            "rollback": way.as_dict(),
        }
        return Response(RollbackShape(facts).data, 202)


class ActivationView(APIView):
    """One switch to the release, and how far it is."""

    abilities = {"GET": "view"}

    @extend_schema(responses=ActivationShape)
    def get(self, request, release_id, number):
        operations.known(release_id)
        found = Activation.objects.filter(release=release_id, number=number).first()
        if found is None:
            raise NotFound
        return Response(ActivationShape(activation_facts(found)).data)


urlpatterns = [
    path("releases", ReleasesView.as_view(), name="api-releases"),
    path("releases/<str:release_id>", ReleaseView.as_view(), name="api-release"),
    path(
        "releases/<str:release_id>/activations/<int:number>",
        ActivationView.as_view(),
        name="api-release-activation",
    ),
    path("releases/<str:release_id>/rollback", RollbackView.as_view(), name="api-release-rollback"),
]
