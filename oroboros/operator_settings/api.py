"""The API of the settings and of the variables of applications."""

from django.conf import settings
from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from host.errors import Refused
from host.operator_settings import sources, variable_files
from oroboros.operator_settings.changes import change_setting, change_variable
from web.fields import StrictBooleanField, StrictCharField
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


class VariableFileSerializer(serializers.Serializer):
    """A `variable_files.FileState`: names and no values."""

    name = serializers.CharField(source="file.key")
    path = serializers.CharField()
    variables = serializers.ListField(child=serializers.CharField(), source="names")
    version = serializers.CharField()
    effect = serializers.CharField(source="file.effect")
    problem = serializers.CharField()


class VariableRequest(StrictSerializer):
    name = StrictCharField(max_length=variable_files.NAME_LENGTH, validators=[TEXT])
    value = StrictCharField(
        max_length=variable_files.VALUE_LENGTH,
        multiline=True,
        allow_blank=True,
        trim_whitespace=False,
        required=False,
    )
    remove = StrictBooleanField(default=False)
    reason = StrictCharField(max_length=1000, multiline=True, validators=[TEXT])
    version = StrictCharField(max_length=100, default="", allow_blank=True, validators=[TEXT])


class VariableFileListView(APIView):
    abilities = {"GET": OPERATE}

    @extend_schema(responses=VariableFileSerializer(many=True))
    def get(self, request: Request) -> Response:
        """List the names of the variables of previews, production and builds."""
        found = [
            variable_files.read_state(settings.OROBOROS, file) for file in variable_files.FILES
        ]
        return Response(VariableFileSerializer(found, many=True).data)


class VariableFileView(APIView):
    abilities = {"POST": OPERATE}

    @extend_schema(request=VariableRequest, responses=VariableFileSerializer)
    def post(self, request: Request, name: str) -> Response:
        """Set a variable of a file, or with `remove` take it out. No answer has a value.

        With `version`, of an earlier answer, it is refused if the file was changed since.
        """
        file = variable_files.find_file(name)
        body = VariableRequest.parse(request)
        if ("value" in body) == body["remove"]:
            detail = "Give a value, or remove: true, and not both."
            raise Refused("value_or_remove", detail, status=400)
        value = body.get("value")
        change_variable(request, file, body["name"], value, body["reason"], body["version"])
        return Response(
            VariableFileSerializer(variable_files.read_state(settings.OROBOROS, file)).data
        )


urlpatterns = [
    path("settings", SettingListView.as_view(), name="api-settings"),
    path("settings/<str:name>", SettingView.as_view(), name="api-setting"),
    path("variables", VariableFileListView.as_view(), name="api-variables"),
    path("variables/<str:name>", VariableFileView.as_view(), name="api-variable-file"),
]
