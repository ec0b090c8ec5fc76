"""The servers of an application, `web` and the others with a port, as a surface reads them."""

from collections.abc import Iterable, Mapping, Sequence

from host.app.manifest import Manifest
from host.app.planning import BackgroundCommand
from host.app.process_types.process_environment import WEB
from host.app.process_types.route_layers import plan_routes
from host.files.surface_folder import LiveRoutes, ServerProbe, build_route_pattern


def find_port(process: BackgroundCommand, ports: Sequence[int]) -> int | None:
    """Return the port of a server among those of its slot or colour; None for another process."""
    return None if process.port_index is None else ports[process.port_index]


def map_ports(
    processes: Iterable[BackgroundCommand], web_port: int, ports: Sequence[int]
) -> dict[str, int]:
    """Return the port of `web` and of each other server, by its process type."""
    found = {process.name: find_port(process, ports) for process in processes}
    return {WEB: web_port} | {name: port for name, port in found.items() if port is not None}


def build_live_routes(
    manifest: Manifest,
    processes: Iterable[BackgroundCommand],
    web_port: int,
    ports: Sequence[int],
) -> LiveRoutes:
    """Return which paths lead where, and how the servers beside `web` are probed."""
    processes = tuple(processes)
    plan = plan_routes(manifest.routes, manifest.detected_routes)
    addresses = {
        name: _address(port) for name, port in map_ports(processes, web_port, ports).items()
    }
    return LiveRoutes(
        build_route_pattern(plan.backend),
        build_route_pattern(plan.after_files),
        tuple(
            (addresses[layer.process], build_route_pattern(layer.paths)) for layer in plan.layers
        ),
        tuple(_build_probe(process, addresses) for process in processes if process.is_server),
    )


def _build_probe(process: BackgroundCommand, addresses: Mapping[str, str]) -> ServerProbe:
    path = process.health_path
    return ServerProbe(addresses[process.name], path or "/", is_guess=not path)


def _address(port: int) -> str:
    return f"127.0.0.1:{port}"
