"""GET /api/slots; acquire, heartbeat, release, reap-expired. The rules are in `runs.leasing`."""

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from runs.api.request_bodies import (
    AcquireRequest,
    EmptyRequest,
    HeartbeatRequest,
    ReleaseRequest,
)
from runs.api.runs import check_run_limits
from runs.api.slot_serializers import (
    AcquireResultSerializer,
    HeartbeatResultSerializer,
    ReapResultSerializer,
    ReleaseResultSerializer,
    SlotSerializer,
)
from runs.leasing import queue_status, reaper, reservations
from web.permissions import HOLD, OPERATE, VIEW, get_actor_name, get_required_owner
from web.serializers import represent


class SlotListView(APIView):
    abilities = {"GET": VIEW}

    @extend_schema(responses=SlotSerializer(many=True))
    def get(self, request: Request) -> Response:
        """List every slot and the run that holds it, unpaginated."""
        return Response(SlotSerializer(queue_status.list_slots(), many=True).data)


class AcquireView(APIView):
    abilities = {"POST": HOLD}
    checks_limits = True

    @extend_schema(request=AcquireRequest, responses=AcquireResultSerializer)
    def post(self, request: Request) -> Response:
        """Request a slot. If all are taken, the run waits: repeat the request to stay queued."""
        body = AcquireRequest.parse(request)
        check_run_limits(request, body["run_id"])
        answer = reservations.acquire(
            body["run_id"],
            ttl_seconds=body.get("ttl_seconds"),
            actor=get_actor_name(request),
            owner=get_required_owner(request),
        )
        return Response(represent(AcquireResultSerializer, answer))


class HeartbeatView(APIView):
    abilities = {"POST": HOLD}
    checks_limits = True

    @extend_schema(request=HeartbeatRequest, responses=HeartbeatResultSerializer)
    def post(self, request: Request, slot_id: str) -> Response:
        """Report that the holder is alive. This renews the lease of a reservation."""
        slot, body = settings.OROBOROS.slot(slot_id), HeartbeatRequest.parse(request)
        check_run_limits(request, body["run_id"])
        expires_at = reservations.heartbeat(
            slot, body["run_id"], fence=body.get("fence"), owner=get_required_owner(request)
        )
        result = {
            "heartbeat_updated": True,
            "slot_id": slot.slot_id,
            "run_id": body["run_id"],
            "reason": None,
            "expires_at": expires_at,
        }
        return Response(represent(HeartbeatResultSerializer, result))


class ReleaseView(APIView):
    abilities = {"POST": HOLD}
    checks_limits = True

    @extend_schema(request=ReleaseRequest, responses=ReleaseResultSerializer)
    def post(self, request: Request, slot_id: str) -> Response:
        """Release the slot. Its processes are stopped and it is cleaned."""
        slot, body = settings.OROBOROS.slot(slot_id), ReleaseRequest.parse(request)
        check_run_limits(request, body["run_id"])
        if body["force"] and get_required_owner(request) is not None:
            raise PermissionDenied("Only an operator may force a release.")
        is_released = reservations.release(
            slot,
            body["run_id"],
            fence=body.get("fence"),
            force=body["force"],
            reason=body["reason"],
            actor=get_actor_name(request),
            owner=get_required_owner(request),
        )
        result = {
            "released": is_released,
            "slot_id": slot.slot_id,
            "run_id": body["run_id"],
            "reason": None if is_released else "ALREADY_RELEASED",
        }
        return Response(represent(ReleaseResultSerializer, result))


class ReapExpiredView(APIView):
    abilities = {"POST": OPERATE}

    @extend_schema(request=EmptyRequest, responses=ReapResultSerializer)
    def post(self, request: Request) -> Response:
        """Fence all expired leases and clean their slots. May be repeated."""
        EmptyRequest.parse(request)
        reaped = reaper.reap_expired(actor=get_actor_name(request))
        return Response({"expired_count": len(reaped.slot_ids), "expired_slots": reaped.slot_ids})
