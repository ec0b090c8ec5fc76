"""Supervision of the servers that run for applications: those that died are started again."""

from host.config import Config
from host.services import redis_server
from host.services.redis_server import RedisServer
from runs.engine.events import RECONCILER, record_event
from slots.models import Lease
from slots.rules import LeaseState


def restart_dead_servers(config: Config) -> None:
    """Start the Redis servers that ended by themselves, and record it.

    Raises Refused as `redis_server.start_dead_servers`.
    """
    for server in redis_server.start_dead_servers(config):
        _record_restart(config, server)


def _record_restart(config: Config, server: RedisServer) -> None:
    lost = "" if server.name == redis_server.PRODUCTION else ", and is empty now"
    text = f"Redis of {server.name} had ended; it was started again{lost}"
    lease = _find_lease(config, server.name)
    record_event(
        "service_restarted",
        text,
        actor=RECONCILER,
        run=lease.run if lease else None,
        slot_id=server.name if lease else "",
    )


def _find_lease(config: Config, slot_id: str) -> Lease | None:
    held = Lease.objects.on_host(config.host_name).filter(
        state=LeaseState.HELD, slot__slot_id=slot_id
    )
    return held.select_related("run").first()
