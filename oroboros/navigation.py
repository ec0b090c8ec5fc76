"""The admin's sidebar."""

from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from web.permissions import VIEW, may

GROUPS = (
    (
        "",
        (
            ("Front page", "home", "admin:index"),
            ("Runs", "rocket_launch", "admin:runs_run_changelist"),
            ("Slots", "grid_view", "admin:slots_slot_changelist"),
            ("Releases", "deployed_code", "admin:releases_release_changelist"),
        ),
    ),
    (
        "History",
        (
            ("Leases", "key", "admin:slots_lease_changelist"),
            ("Activations", "swap_vert", "admin:releases_activation_changelist"),
            ("Events", "list_alt", "admin:runs_event_changelist"),
            ("Freezes", "ac_unit", "admin:runs_freeze_changelist"),
        ),
    ),
    (
        "Programs",
        (
            ("API tokens", "password", "admin:accounts_apitoken_changelist"),
            ("API", "api", "api-docs"),
        ),
    ),
)


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the groups that who looks may see."""
    shown = GROUPS if may(request, VIEW) else ()
    groups = [_group(title, items) for title, items in shown]
    if request.user.has_perm("auth.view_user"):
        groups.append(_group("People", (("Users", "group", "admin:auth_user_changelist"),)))
    return groups


def _group(title: str, items: tuple[tuple[str, str, str], ...]) -> dict[str, Any]:
    return {
        "title": title,
        "separator": bool(title),
        "items": [
            {"title": name, "icon": icon, "link": reverse(address)} for name, icon, address in items
        ],
    }
