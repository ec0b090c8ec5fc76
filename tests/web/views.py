"""Views without a database for the tests of this folder, and a URLconf with them."""

from django.urls import path
from rest_framework.response import Response
from rest_framework.views import APIView

from host.errors import Refused
from oroboros.urls import handler400, handler404, handler500  # noqa: F401  this is a URLconf too
from web.fields import StrictBooleanField, StrictCharField, StrictDateTimeField, StrictIntegerField
from web.serializers import StrictSerializer


class EchoRequest(StrictSerializer):
    ttl_seconds = StrictIntegerField(required=False, min_value=1, max_value=100)
    owner = StrictCharField(required=False, max_length=10)
    reason = StrictCharField(required=False, multiline=True)
    force = StrictBooleanField(required=False)
    until = StrictDateTimeField(required=False)


class EchoView(APIView):
    """Answers with the parsed body."""

    authentication_classes = ()
    permission_classes = ()

    def post(self, request):
        return Response(EchoRequest.parse(request))


class RaisingView(APIView):
    """Raises `exception`, which the tests replace."""

    authentication_classes = ()
    permission_classes = ()
    exception = Refused("rule_name", "Not now.", fields={"slot": "busy"})

    def get(self, request):
        raise self.exception


urlpatterns = [
    path("api/echo", EchoView.as_view()),
    path("api/raises", RaisingView.as_view()),
]
