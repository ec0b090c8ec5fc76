"""Makes the body of a request readable whatever its framing, and its host certain.

Django reads as many bytes as Content-Length says, and none without it: a body that was sent in
chunks would be ignored without an error, and an absent optional field means something else than
the one that the client sent. For the same reason a request that has a Content-Type, and so a body,
is refused if it does not state a length.

The host is in the Host field, or in the target of a request to a proxy (`GET http://host/path`),
which then counts in place of the field (RFC 9112, 3.2.2). Django reads the field only, and other
parts may not: what names two hosts, or none, is refused.
"""

import io
import json
import re
from collections.abc import Callable, Iterable
from typing import Any

from django.conf import settings

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


LENGTH_REQUIRED = (
    "411 Length Required",
    "length_required",
    "The request has a Content-Type and states no length, so its body is not read: send"
    " Content-Length, or no Content-Type if it has no body.",
)
ONE_HOST = "Name one host, in the Host field, and as the same in the target if that is a whole URL."
METHODS_WITH_BODY = {"POST", "PUT", "PATCH", "DELETE"}


def read_chunked_bodies(application: Application) -> Application:
    """Return the WSGI application with the body of a chunked request read, and its length set.

    A body above DATA_UPLOAD_MAX_MEMORY_SIZE bytes is cut one byte above it, so that it is refused
    as too large. A server that does not decode chunks answers 411, as does every server a request
    with a Content-Type and without a length (RFC 9110, 15.5.12). A request of two hosts, or of
    none, is 400.
    """

    def read(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if not _has_one_host(environ):
            return _refuse(start_response, "400 Bad Request", "invalid_input", ONE_HOST)
        is_chunked = "HTTP_TRANSFER_ENCODING" in environ
        # Set by servers that end the stream with the body (PEP 3333 leaves it open).
        if is_chunked and not environ.get("wsgi.input_terminated"):
            return _refuse(start_response, *LENGTH_REQUIRED)
        if not is_chunked:
            if _has_body_of_unknown_length(environ):
                return _refuse(start_response, *LENGTH_REQUIRED)
            return application(environ, start_response)
        body = environ["wsgi.input"].read(settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
        environ |= {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        return application(environ, start_response)

    return read


def _has_body_of_unknown_length(environ: dict[str, Any]) -> bool:
    has_body = environ.get("REQUEST_METHOD") in METHODS_WITH_BODY and environ.get("CONTENT_TYPE")
    return bool(has_body) and not environ.get("CONTENT_LENGTH")


def _has_one_host(environ: dict[str, Any]) -> bool:
    """Return whether the target and the Host field name one host; RAW_URI is gunicorn's."""
    host, target = environ.get("HTTP_HOST"), environ.get("RAW_URI", "/").lower()
    if host is None:  # an HTTP/1.0 client may send none
        return environ.get("SERVER_PROTOCOL") != "HTTP/1.1" and target.startswith("/")
    if target.startswith("/") or target == "*":
        return True
    scheme, _, rest = target.partition("://")
    return scheme in ("http", "https") and re.split("[/?#]", rest)[0] == host.strip().lower()


def _refuse(
    start_response: Callable[..., Any], status: str, code: str, detail: str
) -> Iterable[bytes]:
    body = json.dumps({"error": code, "detail": detail}).encode()
    fields = [("Content-Length", str(len(body))), ("Content-Type", "application/json")]
    start_response(status, fields)
    return [body]
