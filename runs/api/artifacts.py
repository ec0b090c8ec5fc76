"""Downloads of artifacts and logs, also of logs that still grow. Browsers never render them."""

import re

from django.conf import settings
from django.http import HttpResponseBase
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.views import APIView

from host.errors import Refused
from runs.api.runs import find_run
from runs.api.serializers import ArtifactSerializer
from runs.engine.artifacts import open_artifact
from runs.models import Artifact, Run
from web.logs import answers
from web.permissions import VIEW

# Nine digits fit into PostgreSQL's integer, whatever they are.
DIGITS = re.compile(r"\d{1,9}", re.ASCII)


class ArtifactListView(ListAPIView):
    """The artifacts of the run: files and logs."""

    abilities = {"GET": VIEW}
    serializer_class = ArtifactSerializer

    def get_queryset(self):
        # drf-spectacular calls this without the arguments of a URL.
        if getattr(self, "swagger_fake_view", False):
            return Artifact.objects.none()
        return Artifact.objects.filter(
            run=find_run(self.request, self.kwargs["run_id"])
        ).select_related("step")


class ArtifactContentView(APIView):
    abilities = {"GET": VIEW}

    @extend_schema(
        parameters=[
            OpenApiParameter(
                "generation",
                int,
                description="default: the newest generation that has the artifact",
            ),
            *answers.PARAMETERS,
        ],
        responses=answers.RESPONSES,
    )
    def get(self, request: Request, run_id: str, name: str) -> HttpResponseBase:
        """Return the file as a download.

        To follow a growing log, repeat the request with `from` set to the value of the answer's
        header `X-Oroboros-Next`.
        """
        generation = request.query_params.get("generation", "")
        artifact = find_artifact(find_run(request, run_id), name, generation)
        file = open_artifact(settings.OROBOROS, artifact)
        return answers.answer_log(request, file, artifact.name)


def find_artifact(run: Run, name: str, generation: str) -> Artifact:
    """Return the run's artifact, of the newest generation if none is given.

    Raises Refused `artifact_not_found` (404), `generation_invalid` (400).
    """
    # PostgreSQL refuses NUL in a parameter.
    artifacts = Artifact.objects.filter(run=run, name=name.replace("\0", ""))
    if generation:
        if not DIGITS.fullmatch(generation):
            raise Refused("generation_invalid", "`generation` must be a number.", status=400)
        artifacts = artifacts.filter(generation=int(generation))
    artifact = artifacts.order_by("-generation").first()
    if artifact is None:
        raise Refused("artifact_not_found", "The run has no artifact of this name.", status=404)
    return artifact
