"""The API of releases, their deployments, and rollbacks.

Its URLs and JSON keys say "activation" for a deployment: the older name, which clients use.
"""

from django.conf import settings
from django.urls import path
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.generics import ListAPIView
from rest_framework.response import Response
from rest_framework.views import APIView

from releases.deployments import enqueue, rollback_plan
from releases.models import Deployment, Release
from releases.presenters import list_processes, present_deployment, present_release
from releases.rules import DeploymentKind, DeploymentOutcome, ReleaseStatus
from web.fields import StrictBooleanField, StrictCharField
from web.permissions import get_actor_name
from web.serializers import StrictSerializer
from web.visible_answers import TEXT

DEPLOYMENT_LIMIT = 50


class SchemaChangeSerializer(serializers.Serializer):
    kind = serializers.CharField()
    text = serializers.CharField()


class CommitSerializer(serializers.Serializer):
    sha = serializers.CharField()
    author = serializers.CharField()
    at = serializers.CharField()
    subject = serializers.CharField()


class ReleaseSerializer(serializers.Serializer):
    """A release, as `present_release` returns it."""

    release_id = serializers.CharField()
    title = serializers.CharField()
    commit_sha = serializers.CharField()
    run_id = serializers.UUIDField(allow_null=True)
    status = serializers.ChoiceField(ReleaseStatus.choices)
    detail = serializers.CharField()
    migrations = serializers.ListField(child=serializers.CharField())
    schema_changes = SchemaChangeSerializer(many=True)
    restore_point = serializers.CharField(allow_null=True)
    restore_command = serializers.CharField(allow_null=True)
    built_at = serializers.DateTimeField(allow_null=True)
    activated_at = serializers.DateTimeField(allow_null=True)
    healthy_at = serializers.DateTimeField(allow_null=True)
    removed_at = serializers.DateTimeField(allow_null=True)


class DeploymentSerializer(serializers.Serializer):
    """A deployment, as `present_deployment` returns it."""

    number = serializers.IntegerField()
    release_id = serializers.CharField()
    previous_release_id = serializers.CharField(allow_null=True)
    kind = serializers.ChoiceField(DeploymentKind.choices)
    actor = serializers.CharField()
    reason = serializers.CharField()
    outcome = serializers.ChoiceField(DeploymentOutcome.choices)
    progress = serializers.CharField()
    detail = serializers.CharField()
    guidance = serializers.ListField(child=serializers.CharField())
    started_at = serializers.DateTimeField()
    switched_at = serializers.DateTimeField(allow_null=True)
    ended_at = serializers.DateTimeField(allow_null=True)
    seconds = serializers.FloatField(allow_null=True)


class RollbackPlanSerializer(serializers.Serializer):
    """What a rollback takes back, and the command that does it."""

    release_id = serializers.CharField()
    from_release_id = serializers.CharField(allow_null=True)
    commits = CommitSerializer(many=True)
    commit_count = serializers.IntegerField()
    files = serializers.ListField(child=serializers.CharField())
    migrations = serializers.ListField(child=serializers.CharField())
    irreversible = serializers.ListField(child=serializers.CharField())
    command = serializers.CharField()


class ProcessSerializer(serializers.Serializer):
    """A process of a preview or of the live release; the second of the type worker is worker.2."""

    name = serializers.CharField()
    type = serializers.CharField()
    state = serializers.ChoiceField(["running", "ended", "stopped"])
    restarts = serializers.IntegerField()


class ReleaseDetailSerializer(ReleaseSerializer):
    """A release, its deployments, and what a rollback to it would take back."""

    activations = DeploymentSerializer(many=True)  # an older name
    rollback = RollbackPlanSerializer()
    processes = ProcessSerializer(many=True)


class RollbackSerializer(serializers.Serializer):
    """A rollback that a worker will do, and its plan."""

    accepted = serializers.BooleanField()
    activation = DeploymentSerializer()  # an older name
    rollback = RollbackPlanSerializer()


class RollbackRequest(StrictSerializer):
    reason = StrictCharField(max_length=1000, multiline=True, validators=[TEXT])
    accept_schema = StrictBooleanField(default=False)


@extend_schema_view(get=extend_schema(operation_id="releases_list"))
class ReleasesView(ListAPIView):
    """All releases, the newest first."""

    abilities = {"GET": "view"}
    serializer_class = ReleaseSerializer
    queryset = Release.objects.listed()

    def paginate_queryset(self, queryset):
        return [present_release(release) for release in super().paginate_queryset(queryset) or ()]


class ReleaseView(APIView):
    """One release: its deployments, and what a rollback to it would take back."""

    abilities = {"GET": "view"}

    @extend_schema(responses=ReleaseDetailSerializer)
    def get(self, request, release_id):
        release = Release.objects.require(release_id)
        deployments = Deployment.objects.filter(release=release)[:DEPLOYMENT_LIMIT]
        plan = rollback_plan.make_rollback_plan(settings.OROBOROS, release)
        data = {
            **present_release(release),
            "activations": [present_deployment(one) for one in deployments],
            "rollback": plan.as_dict(),
            "processes": list_processes(settings.OROBOROS, release),
        }
        return Response(ReleaseDetailSerializer(data).data)


class RollbackView(APIView):
    """Roll back to the release. Answers at once; the deployment shows the progress."""

    abilities = {"POST": "operate"}
    serializer_class = RollbackRequest

    @extend_schema(request=RollbackRequest, responses={202: RollbackSerializer})
    def post(self, request, release_id):
        body = RollbackRequest.parse(request)
        # Made before the deployment begins: it compares with the release that is live now.
        plan = rollback_plan.make_rollback_plan(
            settings.OROBOROS, Release.objects.require(release_id)
        )
        deployment = enqueue.enqueue_rollback(
            settings.OROBOROS, release_id, actor=get_actor_name(request), **body
        )
        data = {
            "accepted": True,
            "activation": present_deployment(deployment),
            "rollback": plan.as_dict(),
        }
        return Response(RollbackSerializer(data).data, 202)


class DeploymentView(APIView):
    """One deployment of the release, and its progress."""

    abilities = {"GET": "view"}

    @extend_schema(responses=DeploymentSerializer)
    def get(self, request, release_id, number):
        Release.objects.require(release_id)
        deployment = Deployment.objects.filter(release=release_id, number=number).first()
        if deployment is None:
            raise NotFound
        return Response(DeploymentSerializer(present_deployment(deployment)).data)


urlpatterns = [
    path("releases", ReleasesView.as_view(), name="api-releases"),
    path("releases/<str:release_id>", ReleaseView.as_view(), name="api-release"),
    path(
        "releases/<str:release_id>/activations/<int:number>",
        DeploymentView.as_view(),
        name="api-release-deployment",
    ),
    path("releases/<str:release_id>/rollback", RollbackView.as_view(), name="api-release-rollback"),
]
