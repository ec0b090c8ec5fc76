"""The sessions of people who are logged in: listed, and ended by their owner or an operator."""

from allauth.usersessions.models import UserSession
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db.models import QuerySet

from core.clock import ClockTimestamp


def list_sessions() -> QuerySet[UserSession]:
    """Return the sessions that have not ended, the latest first."""
    open_sessions = Session.objects.filter(expire_date__gt=ClockTimestamp())
    return UserSession.objects.filter(session_key__in=open_sessions.values("session_key")).order_by(
        "-created_at"
    )


def end_sessions(user: User, *, keep: str = "") -> int:
    """End the account's sessions, but not the one with the key `keep`; returns their number."""
    ended = UserSession.objects.filter(user=user).exclude(session_key=keep)
    return _delete(ended)


def end_session(session: UserSession) -> None:
    """End one session: its next request is a stranger's."""
    _delete(UserSession.objects.filter(pk=session.pk))


def _delete(ended: QuerySet[UserSession]) -> int:
    keys = list(ended.values_list("session_key", flat=True))
    count = Session.objects.filter(session_key__in=keys).delete()[0]
    ended.delete()
    return count


def remove_expired() -> None:
    """Remove what is left of sessions that are over."""
    Session.objects.filter(expire_date__lte=ClockTimestamp()).delete()
    UserSession.objects.exclude(session_key__in=Session.objects.values("session_key")).delete()
