"""POST /api/slots/<id>/restart; for operators drain, undrain, quarantine, unquarantine."""

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from host.errors import Refused
from runs.api.request_bodies import EmptyRequest, ReasonRequest, RestartRequest
from runs.api.runs import check_run_limits
from runs.api.slot_serializers import SlotSerializer
from runs.leasing import maintenance, process_restarts, queue_status
from runs.leasing.cleanup import return_to_service
from slots.models import Slot
from web.permissions import HOLD, OPERATE, get_actor_name, get_required_owner


class SlotMaintenanceView(APIView):
    """The base of the views that change one slot, for operators. They may be repeated."""

    abilities = {"POST": OPERATE}

    def slot_response(self, slot: Slot) -> Response:
        """Return the slot as it is now."""
        [status] = [one for one in queue_status.list_slots() if one.slot.pk == slot.pk]
        return Response(SlotSerializer(status).data)


def find_slot(slot_id: str) -> Slot:
    """Return the slot's row. Raises Refused `slot_id_invalid` (400), `slot_unknown` (404)."""
    config = settings.OROBOROS
    known = config.slot(slot_id).slot_id
    slot = Slot.objects.on_host(config.host_name).filter(slot_id=known).first()
    if slot is None:
        detail = "The slot is configured but has no row yet. Run manage.py sync_slots."
        raise Refused("slot_unknown", detail, status=404)
    return slot


class RestartView(SlotMaintenanceView):
    abilities = {"POST": HOLD}
    checks_limits = True

    @extend_schema(request=RestartRequest, responses=SlotSerializer)
    def post(self, request: Request, slot_id: str) -> Response:
        """Restart the processes of the run's preview. Its database and its files stay."""
        slot, body = find_slot(slot_id), RestartRequest.parse(request)
        check_run_limits(request, body["run_id"])
        process_restarts.restart_processes(
            settings.OROBOROS.slot(slot.slot_id),
            actor=get_actor_name(request),
            owner=get_required_owner(request),
            **body,
        )
        return self.slot_response(slot)


class DrainView(SlotMaintenanceView):
    @extend_schema(request=ReasonRequest, responses=SlotSerializer)
    def post(self, request: Request, slot_id: str) -> Response:
        """Stop granting the slot. A run that holds it keeps it until its lease ends."""
        slot, body = find_slot(slot_id), ReasonRequest.parse(request)
        maintenance.drain(slot, **body, actor=get_actor_name(request))
        return self.slot_response(slot)


class UndrainView(SlotMaintenanceView):
    @extend_schema(request=EmptyRequest, responses=SlotSerializer)
    def post(self, request: Request, slot_id: str) -> Response:
        """Grant the slot again, first to the next waiting run."""
        slot = find_slot(slot_id)
        EmptyRequest.parse(request)
        maintenance.undrain(slot, actor=get_actor_name(request))
        return self.slot_response(slot)


class QuarantineView(SlotMaintenanceView):
    @extend_schema(request=ReasonRequest, responses=SlotSerializer)
    def post(self, request: Request, slot_id: str) -> Response:
        """Stop granting the slot until an operator has examined it and lifts the quarantine."""
        slot, body = find_slot(slot_id), ReasonRequest.parse(request)
        maintenance.quarantine(slot, **body, actor=get_actor_name(request))
        return self.slot_response(slot)


class UnquarantineView(SlotMaintenanceView):
    @extend_schema(request=EmptyRequest, responses=SlotSerializer)
    def post(self, request: Request, slot_id: str) -> Response:
        """Clean the slot and grant it again. 409 `not_clean` lists what could not be removed."""
        slot = find_slot(slot_id)
        EmptyRequest.parse(request)
        return_to_service(settings.OROBOROS, slot, actor=get_actor_name(request))
        return self.slot_response(slot)
