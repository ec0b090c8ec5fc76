"""The API of the settings: what each is, where it is from, and changes at run time."""

from django.conf import settings
from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from host.operator_settings import sources
from oroboros.operator_settings.changes import change_setting
from web.fields import StrictCharField
from web.permissions import OPERATE
from web.serializers import StrictSerializer
from web.visible_answers import TEXT


class ConfiguredValueSerializer(serializers.Serializer):
    """A `sources.Setting`; secrets are masked."""

    name = serializers.CharField()
    section = serializers.CharField()
    meaning = serializers.CharField()
    value = serializers.CharField()
    origin = serializers.CharField(source="source")
    default_value = serializers.CharField(source="default")
    may_change = serializers.BooleanField()
    unused = serializers.CharField()


class SettingRequest(StrictSerializer):
    value = StrictCharField(max_length=200, allow_blank=True, default="", validators=[TEXT])
    reason = StrictCharField(max_length=1000, multiline=True, validators=[TEXT])


class SettingListView(APIView):
    abilities = {"GET": OPERATE}

    @extend_schema(responses=ConfiguredValueSerializer(many=True))
    def get(self, request: Request) -> Response:
        """List all settings, and where the value of each is from."""
        found = sources.list_settings(settings.OROBOROS)
        return Response(ConfiguredValueSerializer(found, many=True).data)


class SettingView(APIView):
    abilities = {"POST": OPERATE}

    @extend_schema(request=SettingRequest, responses=ConfiguredValueSerializer)
    def post(self, request: Request, name: str) -> Response:
        """Change a setting at run time; an empty value, or none, takes the change back."""
        body = SettingRequest.parse(request)
        change_setting(request, name, body["value"], body["reason"])
        found = sources.list_settings(settings.OROBOROS)
        changed = next(one for one in found if one.name == name)
        return Response(ConfiguredValueSerializer(changed).data)


urlpatterns = [
    path("settings", SettingListView.as_view(), name="api-settings"),
    path("settings/<str:name>", SettingView.as_view(), name="api-setting"),
]
