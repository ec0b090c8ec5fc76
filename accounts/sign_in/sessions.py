"""The sessions of people who are logged in: listed, and ended by their owner or an operator."""

from datetime import timedelta

from allauth.usersessions.models import UserSession
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db.models import QuerySet
from django.http import HttpRequest

from core.clock import ClockTimestamp, get_database_time
from host.config import Config


def list_sessions() -> QuerySet[UserSession]:
    """Return the sessions that have not ended, the latest first."""
    open_sessions = Session.objects.filter(expire_date__gt=ClockTimestamp())
    return UserSession.objects.filter(session_key__in=open_sessions.values("session_key")).order_by(
        "-created_at"
    )


def end_sessions(user: User, *, keep: str = "") -> int:
    """End the account's sessions, but not the one with the key `keep`; returns their number.

    Those too that are not listed: a change of the password gives a session another key, and
    sessions may be older than their list.
    """
    rows = Session.objects.filter(expire_date__gt=ClockTimestamp()).exclude(session_key=keep)
    keys = [
        row.session_key
        for row in rows.iterator()
        if row.get_decoded().get(SESSION_KEY) == str(user.pk)
    ]
    UserSession.objects.filter(user=user).exclude(session_key=keep).delete()
    return Session.objects.filter(session_key__in=keys).delete()[0]


def end_session(session: UserSession) -> None:
    """End one session: its next request is a stranger's."""
    Session.objects.filter(session_key=session.session_key).delete()
    session.delete()


def limit_session(request: HttpRequest, hours: int) -> None:
    """Have the request's session end so many hours from now, whatever it does.

    Not from its last request: a group that was taken away at the provider must be seen by then.
    """
    request.session.set_expiry(get_database_time() + timedelta(hours=hours))


def remove_expired(config: Config) -> None:
    """Remove what is left of sessions that are over. The worker calls it."""
    Session.objects.filter(expire_date__lte=ClockTimestamp()).delete()
    UserSession.objects.exclude(session_key__in=Session.objects.values("session_key")).delete()
