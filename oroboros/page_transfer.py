"""Fewer bytes for pages: they are compressed, and unchanged live parts are not sent again."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.gzip import GZipMiddleware
from django.utils.cache import set_response_etag


def compress_pages(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware: compress pages. The API's answers are small, and logs are read in pieces."""
    compress = GZipMiddleware(get_response).process_response

    def middleware(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        is_page = response.get("Content-Type", "").startswith("text/html")
        return compress(request, response) if is_page else response

    return middleware


def tag_live_pages(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware: give answers to `?live` an ETag, by which ConditionalGetMiddleware compares them.

    It gives none itself to pages that caches may not store, as the admin's; live.js keeps the ETag.
    """

    def middleware(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        is_live = "live" in request.GET and response.status_code == 200
        if is_live and isinstance(response, HttpResponse):
            set_response_etag(response)
        return response

    return middleware
