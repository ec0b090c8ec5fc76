"""GET /api/releases[/<id>], POST /api/releases/<id>/rollback."""

from django.conf import settings
from django.urls import path
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.generics import ListAPIView
from rest_framework.response import Response
from rest_framework.views import APIView

from oroboros.api import Flag, Input, Text
from oroboros.identity import actor
from releases import bell, tasks, wayback
from releases.models import Activation, Release
from releases.shown import activation_facts, release_facts

HISTORY = 50


class ReleaseSerializer(serializers.BaseSerializer):
    def to_representation(self, instance):
        return release_facts(instance)


class RollbackInput(Input):
    reason = Text(max_length=1000, multiline=True)
    accept_schema = Flag(default=False)


@extend_schema_view(get=extend_schema(operation_id="releases_list", responses=OpenApiTypes.OBJECT))
class ReleasesView(ListAPIView):
    """All releases, the newest first."""

    abilities = {"GET": "view"}
    serializer_class = ReleaseSerializer
    queryset = Release.objects.all()


class ReleaseView(APIView):
    """One release: its activations, and what a rollback to it would take back."""

    abilities = {"GET": "view"}

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def get(self, request, release_id):
        release = tasks.known(release_id)
        history = Activation.objects.filter(release=release)[:HISTORY]
        way = wayback.preview(settings.OROBOROS, release)
        return Response(
            {
                **release_facts(release),
                "activations": [activation_facts(one) for one in history],
                "rollback": way.as_dict(),
            }
        )


class RollbackView(APIView):
    """Make the release live again. Answers at once; the activation shows the progress."""

    abilities = {"POST": "operate"}
    serializer_class = RollbackInput

    @extend_schema(request=RollbackInput, responses={202: OpenApiTypes.OBJECT})
    def post(self, request, release_id):
        given = RollbackInput.given(request)
        way = wayback.preview(settings.OROBOROS, tasks.known(release_id))
        activation = bell.request_rollback(
            settings.OROBOROS, release_id, actor=actor(request), **given
        )
        return Response(
            {
                "accepted": True,
                "activation": activation_facts(activation),
                "rollback": way.as_dict(),
            },
            202,
        )


class ActivationView(APIView):
    """One switch to the release, and how far it is."""

    abilities = {"GET": "view"}

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def get(self, request, release_id, number):
        tasks.known(release_id)
        found = Activation.objects.filter(release=release_id, number=number).first()
        if found is None:
            raise NotFound
        return Response(activation_facts(found))


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
