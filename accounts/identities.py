"""The person behind a requester: who counts as one and the same when several must agree."""

from django.contrib.auth.models import User

from accounts.models import ApiToken

TOKEN_ACTOR = "token "  # noqa: S105  how the audit trail's names of tokens begin


def find_person(actor: str) -> str:
    """Return the account behind a name of the audit trail; the name itself if it is none's token.

    The token of a deleted account stays a person of its own.
    """
    if not actor.startswith(TOKEN_ACTOR):
        return actor
    token = ApiToken.objects.filter(name=actor.removeprefix(TOKEN_ACTOR)).select_related("owner")
    return next((one.person for one in token), actor)


def list_identities(person: str) -> frozenset[str]:
    """Return what CODEOWNERS may call the account, in small letters; nothing without an account.

    `@name`, its e-mail address, and `@/group` for each of its groups.
    """
    user = User.objects.filter(username=person).prefetch_related("groups").first()
    if user is None:
        return frozenset()
    groups = (f"@/{group.name}" for group in user.groups.all())
    names = (f"@{user.username}", user.email, *groups)
    return frozenset(name.lower() for name in names if name)
