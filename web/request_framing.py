"""Makes the body of a request readable whatever its framing.

Django reads as many bytes as Content-Length says, and none without it: a body that was sent in
chunks would be ignored without an error, and an absent optional field means something else than
the one that the client sent. For the same reason a request that has a Content-Type, and so a body,
is refused if it does not state a length.
"""

import io
import json
from collections.abc import Callable, Iterable
from typing import Any

from django.conf import settings

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


LENGTH_REQUIRED = (
    "The request has a Content-Type and states no length, so its body is not read: send"
    " Content-Length, or no Content-Type if it has no body."
)
METHODS_WITH_BODY = {"POST", "PUT", "PATCH", "DELETE"}


def read_chunked_bodies(application: Application) -> Application:
    """Return the WSGI application with the body of a chunked request read, and its length set.

    A body above DATA_UPLOAD_MAX_MEMORY_SIZE bytes is cut one byte above it, so that it is refused
    as too large. A server that does not decode chunks answers 411, as does every server a request
    with a Content-Type and without a length (RFC 9110, 15.5.12).
    """

    def read(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        is_chunked = "HTTP_TRANSFER_ENCODING" in environ
        # Set by servers that end the stream with the body (PEP 3333 leaves it open).
        if is_chunked and not environ.get("wsgi.input_terminated"):
            return _require_length(start_response)
        if not is_chunked:
            if _has_body_of_unknown_length(environ):
                return _require_length(start_response)
            return application(environ, start_response)
        body = environ["wsgi.input"].read(settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
        environ |= {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        return application(environ, start_response)

    return read


def _has_body_of_unknown_length(environ: dict[str, Any]) -> bool:
    has_body = environ.get("REQUEST_METHOD") in METHODS_WITH_BODY and environ.get("CONTENT_TYPE")
    return bool(has_body) and not environ.get("CONTENT_LENGTH")


def _require_length(start_response: Callable[..., Any]) -> Iterable[bytes]:
    body = json.dumps({"error": "length_required", "detail": LENGTH_REQUIRED}).encode()
    fields = [("Content-Length", str(len(body))), ("Content-Type", "application/json")]
    start_response("411 Length Required", fields)
    return [body]
