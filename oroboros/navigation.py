"""The admin's sidebar."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse

from web.permissions import OPERATE, VIEW, has_ability

GROUPS = (
    (
        "",
        (
            ("Dashboard", "home", "admin:index"),
            ("Runs", "rocket_launch", "admin:runs_run_changelist"),
            ("Slots", "grid_view", "admin:slots_slot_changelist"),
            ("Releases", "deployed_code", "admin:releases_release_changelist"),
        ),
    ),
    (
        "History",
        (
            ("Leases", "key", "admin:slots_lease_changelist"),
            ("Deployments", "swap_vert", "admin:releases_deployment_changelist"),
            ("Events", "list_alt", "admin:runs_event_changelist"),
            ("Freezes", "ac_unit", "admin:runs_freeze_changelist"),
            ("Schedules", "schedule", "admin:django_q_schedule_changelist"),
        ),
    ),
    (
        "Notifications",
        (
            ("Targets", "notifications", "admin:notifications_target_changelist"),
            ("Sent", "outgoing_mail", "admin:notifications_notification_changelist"),
        ),
    ),
    (
        "API",
        (
            ("API tokens", "password", "admin:accounts_apitoken_changelist"),
            ("API documentation", "api", "api-docs"),
        ),
    ),
)


SETTINGS = ("Settings", "tune", "admin-settings")
USERS = ("Users", "group", "admin:auth_user_changelist")
LINKED_ACCOUNTS = ("Linked accounts", "link", "admin:forges_linkedaccount_changelist")
# Shown where a forge is set.
FORGE_GROUP = (
    "Forge",
    (
        ("Pull requests", "call_merge", "admin:forges_pullrequest_changelist"),
        ("Deliveries", "webhook", "admin:forges_delivery_changelist"),
        ("Outbox", "outbox", "admin:forges_outgoingmessage_changelist"),
    ),
)


def build_navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the sidebar's groups of links that the user may see."""
    groups_here = (*GROUPS, FORGE_GROUP) if settings.OROBOROS.get("FORGE") else GROUPS
    visible = groups_here if has_ability(request, VIEW) else ()
    groups = [_build_group(title, items) for title, items in visible]
    if has_ability(request, OPERATE):
        audit = ("Audit trail", "policy", "admin:accounts_auditentry_changelist")
        sessions = ("Sessions", "devices", "admin:usersessions_usersession_changelist")
        groups.append(_build_group("Operation", (SETTINGS, audit, sessions)))
    if request.user.has_perm("auth.view_user"):
        accounts = (LINKED_ACCOUNTS,) if settings.OROBOROS.get("FORGE") else ()
        groups.append(_build_group("Authentication", (USERS, *accounts)))
    return groups


def _build_group(title: str, items: tuple[tuple[str, str, str], ...]) -> dict[str, Any]:
    return {
        "title": title,
        "separator": bool(title),
        "items": [
            {"title": name, "icon": icon, "link": reverse(address)} for name, icon, address in items
        ],
    }
