"""GET /api/runs/<id>/screenshots: pictures of the run's preview and of production."""

from typing import Any

from django.conf import settings
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from host.errors import Refused
from runs.api.artifacts import find_artifact
from runs.api.runs import find_run
from runs.models import Run
from runs.screenshots import storage
from runs.screenshots.facts import read_screenshots
from runs.screenshots.rules import ARTIFACT_PREFIX
from web.permissions import VIEW


class ScreenshotSerializer(serializers.Serializer):
    """`status` of the page's answer; without a picture `url` is "" and `error` says why."""

    url = serializers.CharField()
    status = serializers.IntegerField()
    error = serializers.CharField()


class ScreenshotPageSerializer(serializers.Serializer):
    """A page on a device. `changed`: the share of changed pixels, 0 to 1; null without both."""

    path = serializers.CharField()
    device = serializers.CharField()
    changed = serializers.FloatField(allow_null=True)
    preview = ScreenshotSerializer()
    production = ScreenshotSerializer(allow_null=True)


class ScreenshotSetSerializer(serializers.Serializer):
    """The pictures of the run's present commit; `status` is "" before they were requested.

    `release_id` was live while production's were taken. `detail` says why there are none.
    """

    status = serializers.CharField()
    detail = serializers.CharField()
    commit_sha = serializers.CharField()
    generation = serializers.IntegerField()
    release_id = serializers.CharField(allow_null=True)
    taken_at = serializers.DateTimeField(allow_null=True)
    largest_change = serializers.FloatField(allow_null=True)
    pages = ScreenshotPageSerializer(many=True)


def describe_screenshots(run: Run) -> dict[str, Any]:
    """Return the representation of the pictures of the run."""
    facts = read_screenshots(run)
    row = facts.row
    return ScreenshotSetSerializer(
        {
            "status": row.status if row else "",
            "detail": facts.reason,
            "commit_sha": run.commit_sha,
            "generation": run.generation,
            "release_id": row.release_id if row else None,
            "taken_at": row.ended_at if row else None,
            "largest_change": facts.largest_change,
            "pages": [
                {
                    "path": pair.shot.path,
                    "device": pair.shot.device,
                    "changed": pair.changed,
                    "preview": pair.preview,
                    "production": pair.production,
                }
                for pair in facts.pairs
            ],
        }
    ).data


class ScreenshotListView(APIView):
    abilities = {"GET": VIEW}

    @extend_schema(responses=ScreenshotSetSerializer)
    def get(self, request: Request, run_id: str) -> Response:
        """Return the pictures of the preview and of production, by page and device."""
        return Response(describe_screenshots(find_run(request, run_id)))


class ScreenshotView(APIView):
    abilities = {"GET": VIEW}

    @extend_schema(
        operation_id="runs_screenshot_retrieve",
        parameters=[
            OpenApiParameter(
                "generation", int, description="default: the newest one that has the picture"
            )
        ],
        responses={(200, "image/png"): OpenApiTypes.BINARY},
    )
    def get(self, request: Request, run_id: str, name: str) -> HttpResponse:
        """Return one picture as a PNG."""
        generation = request.query_params.get("generation", "")
        artifact = find_artifact(find_run(request, run_id), name, generation)
        if not artifact.name.startswith(ARTIFACT_PREFIX):
            raise Refused("artifact_not_found", "That artifact is no picture.", status=404)
        return answer_picture(storage.read_picture(settings.OROBOROS, artifact))


def answer_picture(png: bytes) -> HttpResponse:
    """Return a picture that we encoded, of unreviewed pages: nothing but a picture."""
    response = HttpResponse(png, content_type="image/png")
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Security-Policy"] = "sandbox; default-src 'none'"
    response["Cross-Origin-Resource-Policy"] = "same-origin"
    # Only for those who may see the run: no cache that others share.
    response["Cache-Control"] = "private, no-cache"
    return response
