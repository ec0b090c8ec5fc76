"""GET /api/me: who the requester is, and what it may do."""

from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.audit.export import AuditExportView, AuditListView
from accounts.models import ApiToken
from web.permissions import TOKEN_ABILITIES, VIEW, get_abilities, get_actor_name


class TokenSerializer(serializers.ModelSerializer):
    """A token and its limits. `previous_expires_at`: the end of the secret before a rotation."""

    class Meta:
        model = ApiToken
        fields = [
            "name",
            "created_at",
            "expires_at",
            "rotated_at",
            "previous_expires_at",
            "branches",
            "is_own_runs_only",
        ]
        read_only_fields = fields


class MeSerializer(serializers.Serializer):
    """The requester's name in the audit trail, its abilities, and its token if it has one."""

    name = serializers.CharField()
    abilities = serializers.ListField(child=serializers.ChoiceField(TOKEN_ABILITIES))
    token = TokenSerializer(allow_null=True)


class MeView(APIView):
    abilities = {"GET": VIEW}

    @extend_schema(responses=MeSerializer)
    def get(self, request: Request) -> Response:
        """Return who the requester is and what it may do; a token learns when it ends."""
        data = {
            "name": get_actor_name(request),
            "abilities": sorted(get_abilities(request.user)),
            "token": request.auth,
        }
        return Response(MeSerializer(data).data)


urlpatterns = [
    path("me", MeView.as_view(), name="api-me"),
    path("audit", AuditListView.as_view(), name="api-audit"),
    path("audit/export", AuditExportView.as_view(), name="api-audit-export"),
]
