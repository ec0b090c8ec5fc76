"""Decides which process answers which path, where an application has several servers.

Of the routes that stand for a path the most specific one counts. The surface cannot search for it:
it tries patterns in a fixed order. So the routes are put into layers, each of one process, in which
no route of a later layer is more specific than one of an earlier layer that overlaps it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from host.app.process_types.process_environment import WEB
from host.files.surface_folder import MAX_LAYERS

API = "/api/*"  # the backend's beside a frontend
ALL = "/*"


@dataclass(frozen=True)
class RouteLayer:
    """Paths that one process answers."""

    process: str
    paths: tuple[str, ...]


@dataclass(frozen=True)
class RoutePlan:
    """Which paths go where: `layers` are tried first, in their order.

    `backend` are further paths that `web` answers in place of the built frontend, and `after_files`
    those where that has no such file.
    """

    layers: tuple[RouteLayer, ...]
    backend: tuple[str, ...]
    after_files: tuple[str, ...]

    @property
    def is_too_deep(self) -> bool:
        """Whether there are more layers than the surface can try."""
        return len(self.layers) > MAX_LAYERS


def plan_routes(routes: Mapping[str, str], detected: Iterable[str]) -> RoutePlan:
    """Return the plan of the manifest's `routes` and of the `detected` ones of the backend.

    A route of `web` needs a layer only if it lies below a route of another server.
    """
    detected = tuple(detected)
    servers = {path: name for path, name in routes.items() if name != WEB}
    own = [path for path, name in routes.items() if name == WEB]
    below = {
        path: WEB
        for path in (API, *own, *detected)
        if path not in servers and any(_covers(server, path) for server in servers)
    }
    return RoutePlan(
        tuple(_build_layers(servers | below)),
        tuple(path for path in own if path not in below),
        tuple(path for path in detected if path not in below and path not in servers),
    )


def _build_layers(routes: Mapping[str, str]) -> list[RouteLayer]:
    left = sorted(routes, key=_measure_depth, reverse=True)
    layers = []
    while left:
        name = routes[left[0]]
        others = [path for path in left if routes[path] != name]
        # What has a more specific route of another process below it must wait for that.
        taken = [
            path
            for path in left
            if routes[path] == name and not any(_covers(path, other) for other in others)
        ]
        layers.append(RouteLayer(name, tuple(taken)))
        left = [path for path in left if path not in taken]
    return layers


def _measure_depth(path: str) -> tuple[int, bool]:
    """Return how specific a route is: by its parts, and one without all below it is more so."""
    return path.removesuffix("/*").count("/"), not path.endswith("/*")


def _covers(path: str, other: str) -> bool:
    """Return whether the route `path` stands for the paths of the route `other` too."""
    base = path.removesuffix("/*")
    return path != other and path != base and f"{other.removesuffix('/*')}/".startswith(f"{base}/")
