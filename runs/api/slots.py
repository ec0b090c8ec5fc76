"""Slots over HTTP: who has them; acquire, heartbeat, release, reap."""

from django.conf import settings
from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from runs.api.fields import RunId
from runs.leasing import queue_status, reaper, reservations
from runs.leasing.queue_status import SlotView
from web.api import Flag, Input, Integer, Text
from web.permissions import HOLD, OPERATE, VIEW, abilities_of, actor

FENCE_MAX = 2**63 - 1


def owner(request: Request) -> str | None:
    """Return who must have made the run that is written for; None: an operator may do it all."""
    return None if OPERATE in abilities_of(request.user) else actor(request)


class SlotShape(serializers.Serializer):
    """A slot and who has it; `run_id` is null unless a lease holds it."""

    slot_id = serializers.CharField(source="slot.slot_id")
    state = serializers.CharField()
    run_id = serializers.SerializerMethodField()
    run_title = serializers.SerializerMethodField()
    run_status = serializers.SerializerMethodField()
    held_by = serializers.SerializerMethodField()
    lease_state = serializers.SerializerMethodField()
    held_since = serializers.SerializerMethodField()
    heartbeat_at = serializers.SerializerMethodField()
    expires_at = serializers.SerializerMethodField()
    is_pinned = serializers.SerializerMethodField()
    fence = serializers.IntegerField(source="slot.fence")
    reason = serializers.SerializerMethodField()
    frontend_url = serializers.SerializerMethodField()
    backend_url = serializers.SerializerMethodField()

    def get_run_id(self, view: SlotView) -> str | None:
        return str(view.lease.run_id) if view.lease else None

    def get_run_title(self, view: SlotView) -> str | None:
        return view.lease.run.title if view.lease else None

    def get_run_status(self, view: SlotView) -> str | None:
        return view.lease.run.status if view.lease else None

    def get_held_by(self, view: SlotView) -> str | None:
        return view.lease.run.created_by if view.lease else None

    def get_lease_state(self, view: SlotView) -> str | None:
        return view.lease.state if view.lease else None

    def get_held_since(self, view: SlotView) -> str | None:
        return _time(view.lease.granted_at) if view.lease else None

    def get_heartbeat_at(self, view: SlotView) -> str | None:
        return _time(view.lease.heartbeat_at) if view.lease else None

    def get_expires_at(self, view: SlotView) -> str | None:
        """Null where the lease is held open: it does not run out while the run ships."""
        return _time(view.lease.expires_at) if view.lease and not view.lease.is_pinned else None

    def get_is_pinned(self, view: SlotView) -> bool:
        return view.lease is not None and view.lease.is_pinned

    def get_reason(self, view: SlotView) -> str:
        return view.slot.quarantine_reason or view.slot.drain_reason

    def get_frontend_url(self, view: SlotView) -> str:
        return settings.OROBOROS.frontend_url(settings.OROBOROS.slot(view.slot.slot_id))

    def get_backend_url(self, view: SlotView) -> str:
        return settings.OROBOROS.backend_url(settings.OROBOROS.slot(view.slot.slot_id))


def _time(at):
    return serializers.DateTimeField().to_representation(at)


class SlotList(APIView):
    abilities = {"GET": VIEW}

    @extend_schema(responses=SlotShape(many=True))
    def get(self, request: Request) -> Response:
        """Every slot and who has it: a plain list, two queries."""
        return Response(SlotShape(queue_status.slots(), many=True).data)


class Acquiring(Input):
    run_id = RunId()
    ttl_seconds = Integer(required=False, min_value=1, max_value=settings.PREVIEW_KEEP_SECONDS)


class Acquire(APIView):
    abilities = {"POST": HOLD}

    @extend_schema(
        request=Acquiring,
        responses=inline_serializer(
            "Acquired",
            {
                "acquired": serializers.BooleanField(),
                "slot_id": serializers.CharField(allow_null=True),
                "queue_reason": serializers.CharField(allow_null=True),
                "position": serializers.IntegerField(allow_null=True),
                "expires_at": serializers.DateTimeField(allow_null=True),
                "ttl_seconds": serializers.IntegerField(),
                "fence": serializers.IntegerField(allow_null=True),
            },
        ),
    )
    def post(self, request: Request) -> Response:
        """Ask for a slot; a full pool answers with the place in the line. Ask again to keep it."""
        given = Acquiring.given(request)
        answer = reservations.acquire(
            given["run_id"],
            ttl_seconds=given.get("ttl_seconds"),
            actor=actor(request),
            owner=owner(request),
        )
        return Response(
            {
                "acquired": answer.slot_id is not None,
                "slot_id": answer.slot_id,
                "queue_reason": None if answer.slot_id else "WAITING_FOR_SLOT",
                "position": answer.position,
                "expires_at": answer.expires_at,
                "ttl_seconds": answer.ttl_seconds,
                "fence": answer.fence,
            }
        )


class Beating(Input):
    run_id = RunId()
    fence = Integer(required=False, min_value=1, max_value=FENCE_MAX)


class Heartbeat(APIView):
    abilities = {"POST": HOLD}

    @extend_schema(
        request=Beating,
        responses=inline_serializer(
            "Beaten",
            {
                "heartbeat_updated": serializers.BooleanField(),
                "slot_id": serializers.CharField(),
                "run_id": serializers.UUIDField(),
                "reason": serializers.CharField(allow_null=True),
                "expires_at": serializers.DateTimeField(),
            },
        ),
    )
    def post(self, request: Request, slot_id: str) -> Response:
        """Say that the holder lives; the lease of a reservation begins anew."""
        slot, given = settings.OROBOROS.slot(slot_id), Beating.given(request)
        until = reservations.heartbeat(
            slot, given["run_id"], fence=given.get("fence"), owner=owner(request)
        )
        return Response(
            {
                "heartbeat_updated": True,
                "slot_id": slot.slot_id,
                "run_id": str(given["run_id"]),
                "reason": None,
                "expires_at": until,
            }
        )


class Releasing(Beating):
    force = Flag(required=False, default=False)
    reason = Text(required=False, allow_blank=True, default="", multiline=True, max_length=2000)


class Release(APIView):
    abilities = {"POST": HOLD}

    @extend_schema(
        request=Releasing,
        responses=inline_serializer(
            "Released",
            {
                "released": serializers.BooleanField(),
                "slot_id": serializers.CharField(),
                "run_id": serializers.UUIDField(),
                "reason": serializers.CharField(allow_null=True),
            },
        ),
    )
    def post(self, request: Request, slot_id: str) -> Response:
        """Let the slot go; what ran there is ended and cleaned."""
        slot, given = settings.OROBOROS.slot(slot_id), Releasing.given(request)
        if given["force"] and owner(request) is not None:
            raise PermissionDenied("Only an operator forces a release.")
        released = reservations.release(
            slot,
            given["run_id"],
            fence=given.get("fence"),
            force=given["force"],
            reason=given["reason"],
            actor=actor(request),
            owner=owner(request),
        )
        return Response(
            {
                "released": released,
                "slot_id": slot.slot_id,
                "run_id": str(given["run_id"]),
                "reason": None if released else "ALREADY_RELEASED",
            }
        )


class Nothing(Input):
    """A body that says nothing."""


class ReapExpired(APIView):
    abilities = {"POST": OPERATE}

    @extend_schema(
        request=Nothing,
        responses=inline_serializer(
            "Reaped",
            {
                "expired_count": serializers.IntegerField(),
                "expired_slots": serializers.ListField(child=serializers.CharField()),
            },
        ),
    )
    def post(self, request: Request) -> Response:
        """Fence the leases that ran out and clean their slots; may be repeated."""
        Nothing.given(request)
        reaped = reaper.reap_expired(actor=actor(request))
        return Response({"expired_count": len(reaped.slot_ids), "expired_slots": reaped.slot_ids})
