"""The API of the logs of the processes in slots."""

from django.conf import settings
from django.http import HttpResponseBase
from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from slots.runtime import backend_log
from web.logs import answers
from web.logs.listing import LogSerializer, describe_logs, open_log
from web.permissions import VIEW, get_limits


class SlotLogListView(APIView):
    abilities = {"GET": VIEW}

    @extend_schema(responses=LogSerializer(many=True))
    def get(self, request: Request, slot_id: str) -> Response:
        """List the logs of the slot's processes; previous:web is the one before."""
        _refuse_limits(request)
        config = settings.OROBOROS
        logs = backend_log.list_logs(config, config.slot(slot_id))
        return Response(LogSerializer(describe_logs(logs), many=True).data)


class SlotLogView(APIView):
    abilities = {"GET": VIEW}

    @extend_schema(parameters=answers.PARAMETERS, responses=answers.RESPONSES)
    def get(self, request: Request, slot_id: str, name: str) -> HttpResponseBase:
        """Return the log of a process as a download; `from` with `X-Oroboros-Next` follows it."""
        _refuse_limits(request)
        config = settings.OROBOROS
        slot = config.slot(slot_id)
        file = open_log(backend_log.list_logs(config, slot), name)
        return answers.answer_log(request, file, f"{slot.slot_id}-{name.replace(':', '-')}")


def _refuse_limits(request: Request) -> None:
    """Raise Refused `token_limited` (403) for a token limited to some runs."""
    if limits := get_limits(request.user):
        raise limits.build_refusal("a slot's logs may be of another run.")


urlpatterns = [
    path("slots/<str:slot_id>/logs", SlotLogListView.as_view(), name="api-slot-logs"),
    path("slots/<str:slot_id>/logs/<str:name>", SlotLogView.as_view(), name="api-slot-log"),
]
