"""The line to ship over HTTP: who is where in it, and what holds all of it."""

from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from runs import merge_queue
from runs.api.serializers import FreezeShape
from runs.leasing import queue_status
from runs.rules import Status
from web.api import Input, Moment, Text
from web.permissions import OPERATE, VIEW, actor


class TurnShape(serializers.Serializer):
    """A run in the line to ship: 1 is next or at work; `is_held` by what is among the freezes."""

    run_id = serializers.UUIDField(source="run.pk")
    title = serializers.CharField(source="run.title")
    status = serializers.ChoiceField(Status.choices, source="run.status")
    place = serializers.IntegerField()
    is_held = serializers.BooleanField()


class ShippingShape(serializers.Serializer):
    freezes = FreezeShape(many=True)
    line = TurnShape(many=True)


def answer() -> Response:
    """Answer with the line as it is now."""
    found = {"freezes": merge_queue.standing_freezes(), "line": queue_status.to_ship().values()}
    return Response(ShippingShape(found).data)


class Shipping(APIView):
    abilities = {"GET": VIEW}

    @extend_schema(responses=ShippingShape)
    def get(self, request: Request) -> Response:
        """What ships and waits to ship, in order, and every freeze that holds shipping."""
        return answer()


class Freezing(Input):
    """`until`: within a year; without it until somebody lifts it."""

    reason = Text(multiline=True, max_length=2000)
    until = Moment(required=False)


class Freeze(APIView):
    abilities = {"POST": OPERATE}

    @extend_schema(request=Freezing, responses=ShippingShape)
    def post(self, request: Request) -> Response:
        """Hold all that is approved; previews go on, and so does what ships already."""
        merge_queue.freeze(**Freezing.given(request), actor=actor(request))
        return answer()


class Unfreezing(Input):
    reason = Text(multiline=True, max_length=2000)


class Unfreeze(APIView):
    abilities = {"POST": OPERATE}

    @extend_schema(
        request=Unfreezing,
        responses=inline_serializer("Unfrozen", {"lifted_count": serializers.IntegerField()}),
    )
    def post(self, request: Request) -> Response:
        """Lift every standing freeze, a failed deploy's too; may be repeated."""
        lifted = merge_queue.unfreeze(**Unfreezing.given(request), actor=actor(request))
        return Response({"lifted_count": lifted})
