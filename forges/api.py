"""GET /api/deliveries, /api/pull-requests and /api/outbox, and POST …/redeliver."""

from django.db.models import QuerySet
from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from forges.models import Delivery, OutgoingMessage, PullRequest
from forges.rules import DeliveryDecision
from host.errors import Refused
from runs.api.request_bodies import EmptyRequest
from web.permissions import OPERATE, VIEW


class DeliverySerializer(serializers.ModelSerializer):
    """A delivery of the forge without its body: `reason` says what it led to, or why not."""

    pull_request = serializers.IntegerField(source="pull_request.number", default=None)
    decision = serializers.ChoiceField(DeliveryDecision.choices)
    headers = serializers.DictField(child=serializers.CharField())

    class Meta:
        model = Delivery
        fields = [
            "delivery_id", "forge", "event", "headers", "received_at", "repeats", "decision",
            "reason", "decided_at", "due_at", "pull_request", "run_id",
        ]  # fmt: skip


class PullRequestSerializer(serializers.ModelSerializer):
    """A pull request as the forge last described it, what was decided about it, and its run."""

    labels = serializers.ListField(child=serializers.CharField())
    state = serializers.CharField()

    class Meta:
        model = PullRequest
        fields = [
            "number", "title", "url", "author", "has_access", "is_fork", "is_draft", "state",
            "labels", "head_branch", "head_sha", "base_branch", "effect", "reason", "allowed_sha",
            "allowed_by", "run_id", "described_at",
        ]  # fmt: skip


class OutgoingMessageSerializer(serializers.ModelSerializer):
    """What the forge is told: `state` is sent, waiting, given up or superseded."""

    pull_request = serializers.IntegerField(source="pull_request.number")
    state = serializers.CharField()
    text = serializers.CharField(source="wanted.text")

    class Meta:
        model = OutgoingMessage
        fields = [
            "pull_request", "target", "text", "state", "failures", "error", "wanted_at", "due_at",
            "given_up_at", "delivered_at",
        ]  # fmt: skip


def select_deliveries() -> QuerySet[Delivery]:
    """Return the deliveries without their bodies, newest first."""
    return Delivery.objects.select_related("pull_request").defer("body")


def find_delivery(delivery_id: str) -> Delivery:
    """Return the delivery with the forge's id. Raises NotFound."""
    found = select_deliveries().filter(delivery_id=delivery_id).first()
    if found is None:
        raise NotFound
    return found


class DeliveryListView(ListAPIView):
    """The deliveries of the forge, newest first."""

    abilities = {"GET": VIEW}
    serializer_class = DeliverySerializer

    def get_queryset(self):
        return select_deliveries()


class DeliveryDetailView(APIView):
    abilities = {"GET": VIEW}

    @extend_schema(responses=DeliverySerializer)
    def get(self, request: Request, delivery_id: str) -> Response:
        """Return a delivery with its decision and reason."""
        return Response(DeliverySerializer(find_delivery(delivery_id)).data)


class RedeliverView(APIView):
    abilities = {"POST": OPERATE}

    @extend_schema(request=EmptyRequest, responses=DeliverySerializer)
    def post(self, request: Request, delivery_id: str) -> Response:
        """Have a stored delivery decided again, as the pull request and the settings are now."""
        delivery = find_delivery(delivery_id)
        EmptyRequest.parse(request)
        if not delivery.repeat():
            raise Refused("already_queued", "It waits for its decision already.")
        return Response(DeliverySerializer(find_delivery(delivery_id)).data)


class PullRequestListView(ListAPIView):
    """The pull requests that the forge told of, the highest number first."""

    abilities = {"GET": VIEW}
    serializer_class = PullRequestSerializer

    def get_queryset(self):
        return PullRequest.objects.all()


class OutboxView(ListAPIView):
    """What is, or will be, reported to the forge, the newest text first."""

    abilities = {"GET": VIEW}
    serializer_class = OutgoingMessageSerializer

    def get_queryset(self):
        return OutgoingMessage.objects.select_related("pull_request")


DELIVERY = "deliveries/<str:delivery_id>"
urlpatterns = [
    path("deliveries", DeliveryListView.as_view(), name="api-deliveries"),
    path(DELIVERY, DeliveryDetailView.as_view(), name="api-delivery"),
    path(f"{DELIVERY}/redeliver", RedeliverView.as_view(), name="api-delivery-redeliver"),
    path("pull-requests", PullRequestListView.as_view(), name="api-pull-requests"),
    path("outbox", OutboxView.as_view(), name="api-outbox"),
]
