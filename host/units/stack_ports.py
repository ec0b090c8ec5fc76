"""The ports of the stack: what each is for, and the unit that may listen on it."""

from collections.abc import Iterator

from host.config import Config

POSTGRES = "postgres"  # the cluster, which is no unit
REDIS_PREFIX = "ouroboros-redis@"
PREVIEW_PREFIX, APP_PREFIX = "ouroboros-preview@", "ouroboros-app@"


def process_prefix(slot_id: str) -> str:
    """Return what the names of the units of a slot's background processes begin with."""
    return f"ouroboros-process-{slot_id}@"


def name_server(prefix: str, name: str, index: int) -> str:
    """Return the unit of a server beside `web`: of a slot, or of an instance of production.

    By the place of its port, and not by its type: systemd allows each unit its own port only.
    """
    return f"{prefix}{name}.{index + 1}"


def list_ports(config: Config) -> Iterator[tuple[str, int, str]]:
    """Yield of each port of the stack its purpose, its number, and the unit that listens on it."""
    yield "control API", config.api_port, "ouroboros-api"
    yield "worker", config.worker_port, "ouroboros-worker"
    yield "web main", config.web_port, "ouroboros-web@main"
    for slot in config.slots:
        yield f"web {slot.slot_id}", slot.web_port, f"ouroboros-web@preview{slot.number}"
        yield f"backend of {slot.slot_id}", slot.backend_port, f"{PREVIEW_PREFIX}{slot.slot_id}"
        yield f"Redis of {slot.slot_id}", slot.redis_port, f"{REDIS_PREFIX}{slot.slot_id}"
        for index, port in enumerate(slot.server_ports):
            yield (
                f"server of {slot.slot_id}",
                port,
                name_server(PREVIEW_PREFIX, slot.slot_id, index),
            )
    for colour, port in zip(("blue", "green"), config.colour_ports, strict=True):
        yield f"production, {colour}", port, f"{APP_PREFIX}{colour}"
    yield "merge gate", config.gate_port, f"{APP_PREFIX}gate"
    for name, ports in config.server_ports.items():
        for index, port in enumerate(ports):
            yield f"server of production, {name}", port, name_server(APP_PREFIX, name, index)
    for name, port in zip(("app", "job"), config.redis_ports, strict=True):
        yield f"Redis of {name}", port, f"{REDIS_PREFIX}{name}"
    yield "router", config.router_port, "ouroboros-caddy"
    if config.is_public:
        yield "router, HTTP", config.http_port, "ouroboros-caddy"
        yield "router, HTTPS", config.https_port, "ouroboros-caddy"
    yield "PostgreSQL", config.postgres_port, POSTGRES
