"""What of production is live, as its surface reads it: from plain files, no Django, no database."""

from dataclasses import dataclass

from host.config import Config
from ops import preflight
from releases.builds import build_manifest
from releases.production import current_link


@dataclass(frozen=True)
class Live:
    """The colour that serves the live release: its unit, its port, and what it answers on."""

    unit: str
    port: int
    health_path: str


def live(config: Config) -> Live | None:
    """Return the colour that serves; None where nothing is live, or it has no backend."""
    now = current_link.read(config)
    if now is None:
        return None
    builds = (config.var / "releases").glob(f"r-*-{now.commit[:12]}")  # one commit, one recipe
    facts = next(filter(None, map(build_manifest.facts, builds)), None)
    if facts is None or facts["web"] is None:
        return None
    for _, port, unit in preflight.port_table(config):
        if now.address == f"127.0.0.1:{port}":
            return Live(unit, port, facts["health_path"])
    return None
