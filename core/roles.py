"""The roles of people. Without Django: the doctor reads the settings that name them."""

from collections.abc import Collection

# Each has the abilities of those before it (`web.permissions.GROUPS`). Groups have these names.
ROLES = ("viewer", "approver", "operator")
VIEWER, APPROVER, OPERATOR = ROLES


def find_highest(names: Collection[str]) -> str:
    """Return the role with most abilities among the names; "" if none is a role."""
    return next((role for role in reversed(ROLES) if role in names), "")
