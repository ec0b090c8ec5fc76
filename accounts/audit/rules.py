"""What of a request goes on the audit trail: pure decisions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SAFE_METHODS = ("GET", "HEAD", "OPTIONS", "TRACE")
AUDITED_PATHS = ("/api/", "/admin/", "/metrics")
# Sent again and again while a program waits for its slot or holds it; the leases are on record.
NOT_AUDITED = ("api-slot-heartbeat", "api-slots-acquire")
REFUSALS = (403, 429)
# The kind of what a view changes, by the beginning of its name; of any other it is "change".
KINDS = {
    "admin:accounts_apitoken_new": "token_made",
    "admin:accounts_apitoken_rotate": "token_rotated",
    "admin:accounts_apitoken_revoke": "token_revoked",
    "admin:auth_user_": "user_edited",
    "account_change_password": "user_edited",
    "account-overview": "user_edited",
    "admin:logout": "sign_out",
    "account_logout": "sign_out",
    "mfa_": "user_edited",
}
# Recorded where they end: the sign-in with all of its steps, what is about a person, and settings.
RECORDED_VIEWS = (
    "admin:usersessions_usersession_end",
    "admin:usersessions_usersession_end_selected",
    "admin:usersessions_usersession_reset-factors",
    "admin:login",
    "account_login",
    "account_reauthenticate",
    "mfa_authenticate",
    "mfa_reauthenticate",
    "mfa_reauthenticate_webauthn",
    "sign-in-start",
    "sign-in-callback",
    "api-setting",
    "admin-setting-change",
    "api-variable-file",
    "admin-variable-set",
    "admin-variable-remove",
)
# The parts of an address that name what a request is about.
OBJECT_ARGUMENTS = ("run_id", "slot_id", "release_id", "object_id", "id", "name", "delivery_id")


@dataclass(frozen=True)
class Answered:
    """A request with its answer: `view` is the name of the view, "" if none was reached."""

    method: str
    path: str
    status: int
    view: str = ""
    arguments: Mapping[str, Any] | None = None


def decide_kind(answered: Answered) -> str:
    """Return the kind of the entry that the request makes, "" if it makes none.

    A form of the admin that was filled in wrongly is answered with 200 and changes nothing, and the
    list's own form only leads to the page that asks for confirmation.
    """
    if not answered.path.startswith(AUDITED_PATHS) or answered.view in NOT_AUDITED:
        return ""
    if answered.status in REFUSALS and answered.view != "sign-in-callback":
        return "refused"
    if answered.method in SAFE_METHODS or answered.view in RECORDED_VIEWS:
        return ""
    kind = next((one for name, one in KINDS.items() if answered.view.startswith(name)), "change")
    if kind == "sign_out":
        return kind if answered.status < 400 else ""
    is_form = answered.path.startswith("/admin/")
    if is_form and (answered.status != 302 or answered.view.endswith("_changelist")):
        return ""
    return kind if answered.status < 400 else ""


def name_object(answered: Answered) -> str:
    """Return what the request is about, such as a run's id; else its address."""
    arguments = answered.arguments or {}
    found = [str(arguments[name]) for name in OBJECT_ARGUMENTS if arguments.get(name)]
    return " ".join(found) or answered.path
