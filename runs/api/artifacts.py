"""Downloads of artifacts and logs, also of logs that still grow. Browsers never render them."""

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
from host.masking.known_secrets import read_masks
from runs.api.runs import find_run
from runs.api.serializers import ArtifactSerializer
from runs.engine.artifacts import artifacts_folder
from runs.models import Artifact, Run
from slots.runtime import backend_log
from web.permissions import VIEW

RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})", re.ASCII)
# Nine digits fit into PostgreSQL's integer, whatever they are.
DIGITS = re.compile(r"\d{1,9}", re.ASCII)
OFFSET = re.compile(r"-?\d{1,15}", re.ASCII)
CHUNK = 64 * 1024


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
            OpenApiParameter(
                "from",
                int,
                description="offset of the first byte; negative: that many bytes from the end",
            ),
            OpenApiParameter(
                "Range", str, OpenApiParameter.HEADER, description="a single byte range"
            ),
        ],
        # 206 and 416: with a Range.
        responses={(status, "text/plain"): OpenApiTypes.STR for status in (200, 206, 416)},
    )
    def get(self, request: Request, run_id: str, name: str) -> HttpResponseBase:
        """Return the file as a download.

        To follow a growing log, repeat the request with `from` set to the value of the answer's
        header `X-Oroboros-Next`.
        """
        query = request.query_params
        artifact = _find_artifact(find_run(request, run_id), name, query.get("generation", ""))
        offset = query.get("from", "")
        if offset and not OFFSET.fullmatch(offset):
            raise Refused("from_invalid", "`from` must be a number of bytes.", status=400)
        byte_range = "" if offset else request.META.get("HTTP_RANGE", "")
        return stream_file(_open(artifact), artifact.name, byte_range, int(offset or 0))


def _not_found() -> Refused:
    return Refused("artifact_not_found", "The run has no artifact of this name.", status=404)


def _find_artifact(run: Run, name: str, generation: str) -> Artifact:
    # PostgreSQL refuses NUL in a parameter.
    artifacts = Artifact.objects.filter(run=run, name=name.replace("\0", ""))
    if generation:
        if not DIGITS.fullmatch(generation):
            raise Refused("generation_invalid", "`generation` must be a number.", status=400)
        artifacts = artifacts.filter(generation=int(generation))
    artifact = artifacts.order_by("-generation").first()
    if artifact is None:
        raise _not_found()
    return artifact


def _open(artifact: Artifact) -> IO[bytes]:
    """Open the file of the artifact. Raises Refused (404) unless it is a regular file.

    A file with a second hard link is refused as well: a branch's build could have linked a secret.
    The only exception is the log of a slot's backend, which is linked into the artifacts.
    """
    config = settings.OROBOROS
    try:
        file = safe_files.open_beneath(artifacts_folder(config), artifact.path)
    except (Refused, OSError):
        raise _not_found() from None
    status = os.fstat(file.fileno())
    if status.st_nlink != 1 and not backend_log.is_slot_log(config, status):
        file.close()
        raise _not_found()
    return file


def stream_file(
    file: IO[bytes], name: str, byte_range: str, offset: int = 0
) -> StreamingHttpResponse:
    """Stream the file from `offset`, or the requested range of it (206, or 416 if it is empty)."""
    size = os.fstat(file.fileno()).st_size
    span = _parse_range(byte_range, size)
    start, end = span or (min(offset, size) if offset >= 0 else max(0, size + offset), size)
    if span and start >= end:
        file.close()
        answer = StreamingHttpResponse((), status=416)
        start = end = 0
    else:
        file.seek(start)
        answer = StreamingHttpResponse(_read_chunks(file, end - start), status=206 if span else 200)
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


def _parse_range(text: str, size: int) -> tuple[int, int] | None:
    """Return the start and the end (exclusive); None unless the text is one byte range."""
    match = RANGE.fullmatch(text)
    # RFC 9110: a server ignores a Range header that it does not understand.
    if match is None or match[0] == "bytes=-":
        return None
    if not match[1]:  # bytes=-N: the last N bytes
        return max(0, size - int(match[2])), size
    return int(match[1]), min(size, int(match[2]) + 1) if match[2] else size


def _read_chunks(file: IO[bytes] | BinaryIO, size: int) -> Iterator[bytes]:
    """Yield the next `size` bytes, with stars in place of secrets: offsets stay as in the file."""
    masks = read_masks(settings.OROBOROS)
    with file:
        position, end = file.tell(), file.tell() + size
        while position < end:
            # With what is before and after it: a secret may begin or end outside.
            before = min(masks.longest, position)
            file.seek(position - before)
            length = min(CHUNK, end - position)
            chunk = masks.cover_bytes(file.read(before + length + masks.longest))
            if len(chunk) <= before:
                return
            yield chunk[before : before + length]
            position += length
