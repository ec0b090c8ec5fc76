"""GET /api/notification-targets and /api/notifications, and POST …/test."""

from django.conf import settings
from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from notifications import targets
from notifications.models import Notification, Target
from runs.api.request_bodies import EmptyRequest
from web.permissions import OPERATE, get_actor_name


class TargetSerializer(serializers.ModelSerializer):
    """A target; `public_address` is its address without what may be secret."""

    public_address = serializers.CharField()
    events = serializers.ListField(child=serializers.CharField())
    branches = serializers.ListField(child=serializers.CharField())

    class Meta:
        model = Target
        fields = [
            "id", "name", "kind", "public_address", "events", "branches", "is_enabled",
            "disabled_reason", "created_by", "created_at",
        ]  # fmt: skip


class NotificationSerializer(serializers.ModelSerializer):
    """A notification to one target: `state` is sent, waiting or given up."""

    target = serializers.CharField(source="target.name")
    state = serializers.CharField()

    class Meta:
        model = Notification
        fields = [
            "id", "message_id", "target", "event", "title", "text", "state", "answer", "error",
            "failures", "wanted_at", "due_at", "given_up_at", "delivered_at",
        ]  # fmt: skip


class TargetListView(ListAPIView):
    """The targets of notifications."""

    abilities = {"GET": OPERATE}
    serializer_class = TargetSerializer

    def get_queryset(self):
        return Target.objects.order_by("name")


class NotificationListView(ListAPIView):
    """The notifications of the last 30 days, newest first."""

    abilities = {"GET": OPERATE}
    serializer_class = NotificationSerializer

    def get_queryset(self):
        return Notification.objects.select_related("target")


class TargetTestView(APIView):
    abilities = {"POST": OPERATE}

    @extend_schema(request=EmptyRequest, responses=NotificationSerializer)
    def post(self, request: Request, number: int) -> Response:
        """Have the target sent a test; the answer is in GET /api/notifications."""
        EmptyRequest.parse(request)
        target = Target.objects.filter(pk=number).first()
        if target is None:
            raise NotFound
        sent = targets.send_test(settings.OROBOROS, target, actor=get_actor_name(request))
        return Response(NotificationSerializer(sent).data)


urlpatterns = [
    path("notification-targets", TargetListView.as_view(), name="api-notification-targets"),
    path(
        "notification-targets/<int:number>/test",
        TargetTestView.as_view(),
        name="api-notification-target-test",
    ),
    path("notifications", NotificationListView.as_view(), name="api-notifications"),
]
