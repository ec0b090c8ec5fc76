"""The health endpoint of the control plane."""

from django.db import Error, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from slots.models import Slot


@never_cache
@require_safe
def check_health(request: HttpRequest) -> HttpResponse:
    """Answer 200 only if the database answers and has the control plane's tables.

    No authentication: the runbook's curl and load balancers call it.
    """
    try:
        Slot.objects.exists()
    except Error as error:
        connection.close()  # the next request opens a new one
        body = {"status": "unavailable", "error": "unavailable", "detail": _describe_error(error)}
        return JsonResponse(body, status=503)
    return JsonResponse({"status": "ok"})


def _describe_error(error: Error) -> str:
    """Return the kind of the error only: its message may name hosts and users."""
    return f"The database did not answer ({type(error).__name__})."
