"""How slots, and the answers to requests for them, look in the API's answers."""

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from releases.api import ProcessSerializer
from runs import presenters
from runs.api.fields import LeaseField, LeaseTimeField
from runs.leasing.queue_status import SlotStatus


class SlotSerializer(serializers.Serializer):
    """A `SlotStatus`: the slot and the lease that holds it. `run_id` is null without a lease."""

    slot_id = serializers.CharField(source="slot.slot_id")
    state = serializers.CharField()
    run_id = LeaseField("run_id")
    run_title = LeaseField("run.title")
    run_status = LeaseField("run.status")
    held_by = LeaseField("run.created_by")
    lease_state = LeaseField("state")
    held_since = LeaseTimeField("granted_at")
    heartbeat_at = LeaseTimeField("heartbeat_at")
    expires_at = serializers.SerializerMethodField()
    is_pinned = serializers.BooleanField(source="lease.is_pinned", default=False, read_only=True)
    fence = serializers.IntegerField(source="slot.fence")
    reason = serializers.SerializerMethodField()
    frontend_url = serializers.SerializerMethodField()
    backend_url = serializers.SerializerMethodField()
    processes = serializers.SerializerMethodField()

    @extend_schema_field(ProcessSerializer(many=True))
    def get_processes(self, status):
        """The processes of the run that holds the slot, as they are now."""
        return ProcessSerializer(presenters.list_processes_of(status), many=True).data

    @extend_schema_field(serializers.DateTimeField(allow_null=True))
    def get_expires_at(self, status: SlotStatus) -> str | None:
        """Null for a pinned lease: it does not expire while its run ships."""
        lease = status.lease
        if lease is None or lease.is_pinned or lease.expires_at is None:
            return None
        return serializers.DateTimeField().to_representation(lease.expires_at)

    def get_reason(self, status: SlotStatus) -> str:
        return status.slot.quarantine_reason or status.slot.drain_reason

    @extend_schema_field({"type": "string", "format": "uri", "nullable": True})
    def get_frontend_url(self, status: SlotStatus) -> str | None:
        """The address of the run that holds the slot; null without one."""
        return presenters.get_slot_frontend_url(status)

    @extend_schema_field({"type": "string", "format": "uri", "nullable": True})
    def get_backend_url(self, status: SlotStatus) -> str | None:
        return presenters.get_slot_backend_url(status)


class AcquireResultSerializer(serializers.Serializer):
    """A `reservations.AcquireResult`: a slot, or the position in the queue (1 is next)."""

    acquired = serializers.SerializerMethodField()
    slot_id = serializers.CharField(allow_null=True)
    queue_reason = serializers.SerializerMethodField()
    position = serializers.IntegerField(allow_null=True)
    expires_at = serializers.DateTimeField(allow_null=True)
    ttl_seconds = serializers.IntegerField()
    fence = serializers.IntegerField(allow_null=True)

    def get_acquired(self, answer) -> bool:
        return answer.slot_id is not None

    def get_queue_reason(self, answer) -> str | None:
        return None if answer.slot_id else "WAITING_FOR_SLOT"


class HeartbeatResultSerializer(serializers.Serializer):
    heartbeat_updated = serializers.BooleanField()
    slot_id = serializers.CharField()
    run_id = serializers.UUIDField()
    reason = serializers.CharField(allow_null=True)
    expires_at = serializers.DateTimeField()


class ReleaseResultSerializer(serializers.Serializer):
    released = serializers.BooleanField()
    slot_id = serializers.CharField()
    run_id = serializers.UUIDField()
    reason = serializers.CharField(allow_null=True)


class ReapResultSerializer(serializers.Serializer):
    expired_count = serializers.IntegerField()
    expired_slots = serializers.ListField(child=serializers.CharField())
