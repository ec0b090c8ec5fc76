"""Files that steps left, and logs while they grow; no browser runs what is in them."""

import os
import re
from collections.abc import Iterator
from typing import IO, BinaryIO

from django.conf import settings
from django.http import HttpResponseBase, StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.views import APIView

from host.errors import Refused
from host.files import safe_files
from runs.api.runs import find_run
from runs.api.serializers import ArtifactShape
from runs.engine.journal import artifacts_folder
from runs.models import Artifact, Run
from slots.runtime import backend_log
from web.permissions import VIEW

RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})", re.ASCII)
DIGITS = re.compile(r"\d{1,9}", re.ASCII)
OFFSET = re.compile(r"-?\d{1,15}", re.ASCII)
CHUNK = 64 * 1024


class ArtifactList(ListAPIView):
    """The run's files and logs."""

    abilities = {"GET": VIEW}
    serializer_class = ArtifactShape

    def get_queryset(self):
        if getattr(self, "swagger_fake_view", False):
            return Artifact.objects.none()
        return Artifact.objects.filter(run=find_run(self.kwargs["run_id"])).select_related("step")


class ArtifactContent(APIView):
    abilities = {"GET": VIEW}

    @extend_schema(
        parameters=[
            OpenApiParameter("generation", int, description="default: the newest that has it"),
            OpenApiParameter("from", int, description="the first byte; negative: the last so many"),
            OpenApiParameter("Range", str, OpenApiParameter.HEADER, description="one byte range"),
        ],
        responses={(200, "application/octet-stream"): OpenApiTypes.BINARY},
    )
    def get(self, request: Request, run_id: str, name: str) -> HttpResponseBase:
        """The file as a download. A log that grows is followed by asking again `from` the byte
        that the header `X-Oroboros-Next` named."""
        query = request.query_params
        artifact = _find(find_run(run_id), name, query.get("generation", ""))
        offset = query.get("from", "")
        if offset and not OFFSET.fullmatch(offset):
            raise Refused("from_invalid", "`from` is a number of bytes.", status=400)
        asked = "" if offset else request.META.get("HTTP_RANGE", "")
        return served(_open(artifact), artifact.name, asked, int(offset or 0))


def _unknown() -> Refused:
    return Refused("artifact_not_found", "The run has no such artifact.", status=404)


def _find(run: Run, name: str, generation: str) -> Artifact:
    found = Artifact.objects.filter(run=run, name=name.replace("\0", ""))
    if generation:
        if not DIGITS.fullmatch(generation):
            raise Refused("generation_invalid", "A generation is a number.", status=400)
        found = found.filter(generation=int(generation))
    artifact = found.order_by("-generation").first()
    if artifact is None:
        raise _unknown()
    return artifact


def _open(artifact: Artifact) -> IO[bytes]:
    """Open the file, a regular one below the artifacts' folder.

    The only one with a second name elsewhere is the log that a backend of a slot writes to.
    """
    config = settings.OROBOROS
    try:
        file = safe_files.open_beneath(artifacts_folder(config), artifact.path)
    except (Refused, OSError):
        raise _unknown() from None
    found = os.fstat(file.fileno())
    if found.st_nlink != 1 and not backend_log.is_one(config, found):
        file.close()
        raise _unknown()
    return file


def served(file: IO[bytes], name: str, asked: str, offset: int = 0) -> StreamingHttpResponse:
    """Answer with the file from `offset` on, or the range of it that was asked for."""
    size = os.fstat(file.fileno()).st_size
    span = _range(asked, size)
    start, end = span or (min(offset, size) if offset >= 0 else max(0, size + offset), size)
    if span and start >= end:
        file.close()
        answer = StreamingHttpResponse((), status=416)
        start = end = 0
    else:
        file.seek(start)
        answer = StreamingHttpResponse(_chunks(file, end - start), status=206 if span else 200)
    answer["Content-Type"] = "text/plain; charset=utf-8"
    answer["Content-Length"] = str(end - start)
    answer["Accept-Ranges"] = "bytes"
    answer["X-Oroboros-Next"] = str(end)
    if span:
        answer["Content-Range"] = f"bytes {f'{start}-{end - 1}' if end else '*'}/{size}"
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    answer["X-Content-Type-Options"] = "nosniff"
    answer["Content-Security-Policy"] = "sandbox; default-src 'none'"
    answer["Cache-Control"] = "no-store"
    return answer


def _range(asked: str, size: int) -> tuple[int, int] | None:
    """Return the first byte and the one after the last; None where no single range is asked for."""
    match = RANGE.fullmatch(asked)
    if match is None or match[0] == "bytes=-":
        return None
    if not match[1]:  # the last so many bytes
        return max(0, size - int(match[2])), size
    return int(match[1]), min(size, int(match[2]) + 1) if match[2] else size


def _chunks(file: IO[bytes] | BinaryIO, left: int) -> Iterator[bytes]:
    with file:
        while left > 0 and (chunk := file.read(min(CHUNK, left))):
            left -= len(chunk)
            yield chunk
