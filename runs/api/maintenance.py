"""Slots as places over HTTP: drained, quarantined, and both taken back. For operators."""

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from host.errors import Refused
from runs.api.slots import Nothing, SlotShape
from runs.leasing import maintenance, queue_status
from runs.leasing.cleanup import take_back
from slots.models import Slot
from web.api import Input, Text
from web.permissions import OPERATE, actor


class Because(Input):
    reason = Text(multiline=True, max_length=2000)


class Upkeep(APIView):
    """A verb on one slot; it may be repeated, and answers with the slot as it is then."""

    abilities = {"POST": OPERATE}

    def done(self, slot: Slot) -> Response:
        [view] = [one for one in queue_status.slots() if one.slot.pk == slot.pk]
        return Response(SlotShape(view).data)


def find_slot(slot_id: str) -> Slot:
    """Return the slot's row. Raises Refused `slot_id_invalid` (400), `slot_unknown` (404)."""
    slot = Slot.objects.filter(slot_id=settings.OROBOROS.slot(slot_id).slot_id).first()
    if slot is None:
        raise Refused("slot_unknown", "The slot has no row yet; run sync_slots.", status=404)
    return slot


class Drain(Upkeep):
    @extend_schema(request=Because, responses=SlotShape)
    def post(self, request: Request, slot_id: str) -> Response:
        """Grant the slot to nobody else; whoever holds it keeps it."""
        slot, given = find_slot(slot_id), Because.given(request)
        maintenance.drain(slot, **given, actor=actor(request))
        return self.done(slot)


class Undrain(Upkeep):
    @extend_schema(request=Nothing, responses=SlotShape)
    def post(self, request: Request, slot_id: str) -> Response:
        """Grant the slot again, to the next in line at once."""
        slot = find_slot(slot_id)
        Nothing.given(request)
        maintenance.undrain(slot, actor=actor(request))
        return self.done(slot)


class Quarantine(Upkeep):
    @extend_schema(request=Because, responses=SlotShape)
    def post(self, request: Request, slot_id: str) -> Response:
        """Hand the slot out to nobody until somebody has looked at it."""
        slot, given = find_slot(slot_id), Because.given(request)
        maintenance.quarantine(slot, **given, actor=actor(request))
        return self.done(slot)


class Unquarantine(Upkeep):
    @extend_schema(request=Nothing, responses=SlotShape)
    def post(self, request: Request, slot_id: str) -> Response:
        """Clean the slot and hand it out again; 409 `not_clean` says what is left there."""
        slot = find_slot(slot_id)
        Nothing.given(request)
        take_back(settings.OROBOROS, slot, actor=actor(request))
        return self.done(slot)
