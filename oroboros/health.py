"""Whether the control plane could do its job now."""

from django.db import Error, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from slots.models import Slot


@never_cache
@require_safe
def health(request: HttpRequest) -> HttpResponse:
    """Answer 200 only if the database answers and has our tables; asks nobody who they are."""
    try:
        Slot.objects.exists()
    except Error as error:
        connection.close()  # so that the next question is asked on a new connection
        body = {"status": "unavailable", "error": "unavailable", "detail": _reason(error)}
        return JsonResponse(body, status=503)
    return JsonResponse({"status": "ok"})


def _reason(error: Error) -> str:
    """Say what kind of trouble it is; the message itself may name hosts and users."""
    return f"The database did not answer ({type(error).__name__})."
