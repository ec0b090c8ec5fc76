"""Makes the body of a request readable whatever its framing.

Django reads as many bytes as Content-Length says, and none without it: a body that was sent in
chunks would be ignored without an error, and an absent optional field means something else than
the one that the client sent.
"""

import io
from collections.abc import Callable, Iterable
from typing import Any

from django.conf import settings

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def read_chunked_bodies(application: Application) -> Application:
    """Return the WSGI application with the body of a chunked request read, and its length set.

    A body above DATA_UPLOAD_MAX_MEMORY_SIZE bytes is cut one byte above it, so that it is refused
    as too large. A server that does not decode chunks answers 411.
    """

    def read(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if "HTTP_TRANSFER_ENCODING" not in environ:
            return application(environ, start_response)
        # Set by servers that end the stream with the body (PEP 3333 leaves it open).
        if not environ.get("wsgi.input_terminated"):
            start_response("411 Length Required", [("Content-Length", "0")])
            return []
        body = environ["wsgi.input"].read(settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
        environ |= {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        return application(environ, start_response)

    return read
