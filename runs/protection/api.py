"""GET and POST /api/runs/<id>/share-links: links that show the run's preview without an account."""

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from runs.api.request_bodies import EmptyRequest
from runs.api.runs import find_run
from runs.models import ShareLink
from runs.protection.share_links import HOURS, MAX_HOURS, create_share_link, find_link_of
from web.fields import StrictCharField, StrictIntegerField
from web.permissions import HOLD, VIEW, get_actor_name
from web.serializers import StrictSerializer
from web.visible_answers import LINE, TEXT


class ShareLinkRequest(StrictSerializer):
    """After how many hours the link expires, and for whom it is."""

    hours = StrictIntegerField(required=False, default=HOURS, min_value=1, max_value=MAX_HOURS)
    note = StrictCharField(
        required=False, default="", allow_blank=True, max_length=100, validators=[TEXT, LINE]
    )


class ShareLinkSerializer(serializers.ModelSerializer):
    """A share link without its secret. It is valid until it expires or is revoked."""

    class Meta:
        model = ShareLink
        fields = [
            "id",
            "note",
            "created_by",
            "created_at",
            "expires_at",
            "last_used_at",
            "revoked_at",
            "revoked_by",
        ]
        read_only_fields = fields


class NewShareLinkSerializer(ShareLinkSerializer):
    """`url` has the secret, which is not stored: no other answer shows it."""

    url = serializers.CharField()

    class Meta(ShareLinkSerializer.Meta):
        fields = [*ShareLinkSerializer.Meta.fields, "url"]
        read_only_fields = fields


class ShareLinkListView(ListAPIView):
    """The share links of the run, newest first."""

    abilities = {"GET": VIEW, "POST": HOLD}
    checks_limits = True
    serializer_class = ShareLinkSerializer

    def get_queryset(self):
        # drf-spectacular calls this without the arguments of a URL.
        if getattr(self, "swagger_fake_view", False):
            return ShareLink.objects.none()
        return ShareLink.objects.filter(run=find_run(self.request, self.kwargs["run_id"]))

    @extend_schema(request=ShareLinkRequest, responses={201: NewShareLinkSerializer})
    def post(self, request: Request, run_id: str) -> Response:
        """Create a link to the run's preview, and return it with its address, once."""
        run = find_run(request, run_id)
        body = ShareLinkRequest.parse(request)
        link, url = create_share_link(run, by=get_actor_name(request), **body)
        data = {**ShareLinkSerializer(link).data, "url": url}
        return Response(data, 201, headers={"Location": f"/api/runs/{run.pk}/share-links"})


class RevokeShareLinkView(APIView):
    abilities = {"POST": HOLD}
    checks_limits = True

    @extend_schema(request=EmptyRequest, responses=ShareLinkSerializer)
    def post(self, request: Request, run_id: str, link_id: int) -> Response:
        """Revoke a share link of the run: who used it is refused from now on."""
        link = find_link_of(find_run(request, run_id), link_id)
        EmptyRequest.parse(request)
        link.revoke(by=get_actor_name(request))
        link.refresh_from_db()
        return Response(ShareLinkSerializer(link).data)
