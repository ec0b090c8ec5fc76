"""The settings of the surfaces and the router, and the drop-in of the router's unit in public mode.

Only this unit, and only in that mode, may bind low ports and be reached from beyond this host.
"""

from host import loopback
from host.config import Config
from slots.runtime import surface, web_units

DROP_IN = "ouroboros-caddy.service.d/public.conf"
TEXT = """\
# Written by apply-settings.sh while OROBOROS_PUBLIC is true.
[Service]
AmbientCapabilities=CAP_NET_BIND_SERVICE
CapabilityBoundingSet=CAP_NET_BIND_SERVICE
# In a user namespace the capability would not count for this host's ports.
PrivateUsers=no
# Visitors, the certificates' authority and its name server.
IPAddressDeny=
IPAddressAllow=any
"""


def render_web_environment(config: Config) -> str:
    """Return the env file of all surfaces and the router; it has no secrets."""
    settings = web_units.build_router_settings(config)
    return (
        "# Written from OROBOROS_DOMAIN, OROBOROS_PUBLIC, CORS_APP_ORIGINS, PREVIEW_PROTECTION,\n"
        "# PREVIEW_WEBSOCKET_SECONDS and ACME_*; after a change of these run apply-settings.sh.\n"
        f"OROBOROS_DOMAIN={config.domain}\n"
        f"LOOPBACKS='{loopback.format_hosts()}'\n"
        f"WEB_ORIGINS='{surface.build_origin_pattern(config)}'\n"
        + "".join(f"{name}='{value}'\n" for name, value in settings.items())
    )
