"""Cookies that a preview can set beside ours are not taken for ours."""

import pytest
from django.conf import settings
from django.http.cookie import parse_cookie
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from accounts.session_cookies import find_cookie
from tests.factories import UserFactory

NAME = "oroboros_session"
SPACES = st.text("\t\r\n\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u2003\u3000\x00", min_size=1, max_size=3)
# What Python or a browser may read as our name, and is not.
LOOK_ALIKES = st.one_of(
    SPACES.map(lambda spaces: spaces + NAME),
    SPACES.map(lambda spaces: NAME + spaces),
    st.sampled_from([f"={NAME}", f'"{NAME}"', NAME.upper(), f"__Host-{NAME}", f"{NAME};a"]),
    st.text(max_size=8).filter(lambda name: name.strip(" ") != NAME and ";" not in name),
)


@given(LOOK_ALIKES, st.booleans())
def test_only_the_exact_name_counts(other, is_first):
    pairs = [f"{NAME}=ours", f"{other}=theirs"]
    header = "; ".join(pairs if is_first else pairs[::-1])
    assert find_cookie(header, NAME) == "ours"
    assert find_cookie(f"{other}=theirs", NAME) is None


def test_a_name_that_occurs_twice_does_not_count():
    assert find_cookie(f"{NAME}=a; {NAME}=b", NAME) is None
    assert find_cookie(f"{NAME}=a;a=1;{NAME}=a", NAME) is None


@pytest.mark.django_db
def test_a_session_under_a_name_that_python_reads_as_ours_logs_nobody_in():
    browser = Client()
    browser.force_login(UserFactory(groups=["viewer"]))
    name = settings.SESSION_COOKIE_NAME
    session = browser.cookies[name].value
    tossed = f"\xa0{name}={session}"
    assert parse_cookie(tossed)[name] == session  # Django alone would take it

    def get_status(cookie):
        return Client(HTTP_COOKIE=cookie).get("/api/runs").status_code

    assert get_status(f"{name}={session}") == 200
    assert get_status(tossed.encode().decode("latin-1")) == 401
    assert get_status(f"{name}={session}; \xa0{name}=x".encode().decode("latin-1")) == 200
