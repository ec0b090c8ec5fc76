"""Refuses requests with a null character, which PostgreSQL's text cannot hold."""

from collections.abc import Callable, Iterator

from django.http import HttpRequest, HttpResponseBase

from web.errors import error_response

FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data")


def refuse_null_characters(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware: answer 400 to a null character in a page's path, a query or a form.

    A filter or a lookup would pass it on to the database, which raises an error. The API refuses
    it in paths and in JSON bodies itself, with the codes of what it looks for there.
    """

    def middleware(request: HttpRequest) -> HttpResponseBase:
        if any("\0" in text for text in _iterate_texts(request)):
            return error_response(request, 400, "The request contains a null character.")
        return get_response(request)

    return middleware


def _iterate_texts(request: HttpRequest) -> Iterator[str]:
    if not request.path_info.startswith("/api/"):
        yield request.path_info
    forms = [request.GET]
    # Only a form is read here: a view may want to read another body from its stream.
    if request.content_type in FORM_TYPES:
        forms.append(request.POST)
    for form in forms:
        for name, values in form.lists():
            yield name
            yield from values
