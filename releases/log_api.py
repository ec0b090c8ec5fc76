"""The API of the logs of production's processes. They may quote visitors: operators read them."""

from django.conf import settings
from django.http import HttpResponseBase
from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from releases.models import Release
from releases.presenters import list_logs
from web.logs import answers
from web.logs.listing import LogSerializer, describe_logs, open_log
from web.permissions import OPERATE


class ReleaseLogListView(APIView):
    abilities = {"GET": OPERATE}

    @extend_schema(responses=LogSerializer(many=True))
    def get(self, request: Request, release_id: str) -> Response:
        """List the logs of the live release's processes; another release has none."""
        logs = list_logs(settings.OROBOROS, Release.objects.require(release_id))
        return Response(LogSerializer(describe_logs(logs), many=True).data)


class ReleaseLogView(APIView):
    abilities = {"GET": OPERATE}

    @extend_schema(parameters=answers.PARAMETERS, responses=answers.RESPONSES)
    def get(self, request: Request, release_id: str, name: str) -> HttpResponseBase:
        """Return the log of a process as a download; `from` with `X-Oroboros-Next` follows it."""
        logs = list_logs(settings.OROBOROS, Release.objects.require(release_id))
        return answers.answer_log(request, open_log(logs, name), f"production-{name}")


urlpatterns = [
    path("releases/<str:release_id>/logs", ReleaseLogListView.as_view(), name="api-release-logs"),
    path(
        "releases/<str:release_id>/logs/<str:name>",
        ReleaseLogView.as_view(),
        name="api-release-log",
    ),
]
