"""What a request for a protected preview is, and what it gets without access."""

import pytest

from runs.protection import rules
from runs.protection.rules import AccessAnswer, PreviewRequest

ORIGINS = r"(?:https://app\.example\.com)\Z"
PAGE = {"fetch_mode": "navigate", "accept": "text/html"}


@pytest.mark.parametrize(
    ("fields", "answer"),
    [
        (PAGE, AccessAnswer.LOGIN),
        ({"accept": "text/html,*/*"}, AccessAnswer.LOGIN),
        ({**PAGE, "method": "HEAD"}, AccessAnswer.LOGIN),
        ({**PAGE, "method": "POST"}, AccessAnswer.REFUSAL),
        ({"accept": "*/*"}, AccessAnswer.REFUSAL),
        ({"fetch_mode": "cors", "accept": "text/html"}, AccessAnswer.REFUSAL),
        ({"fetch_mode": "websocket"}, AccessAnswer.REFUSAL),
        ({**PAGE, "is_worker": True}, AccessAnswer.REFUSAL),
        ({"fetch_mode": "same-origin", "is_worker": True}, AccessAnswer.REFUSAL),
    ],
)
def test_only_a_page_that_a_person_opens_is_sent_to_log_in(fields, answer):
    assert rules.choose_answer(PreviewRequest("x", **fields)) is answer


@pytest.mark.parametrize(
    ("slot", "method", "asked", "origin", "is_preflight"),
    [
        ("1", "OPTIONS", "POST", "https://app.example.com", True),
        ("", "OPTIONS", "POST", "https://app.example.com", False),
        ("1", "OPTIONS", "POST", "https://app.example.com.evil.example", False),
        ("1", "OPTIONS", "POST", "https://evil.example", False),
        ("1", "OPTIONS", "POST", "", False),
        ("1", "OPTIONS", "", "https://app.example.com", False),
        ("1", "GET", "POST", "https://app.example.com", False),
    ],
)
def test_only_a_preflight_that_the_surface_answers_needs_no_access(
    slot, method, asked, origin, is_preflight
):
    request = PreviewRequest("x", slot=slot, method=method, preflight_method=asked, origin=origin)
    assert rules.is_preflight(request, ORIGINS) is is_preflight


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("a-1b.preview.example.com", "a-1b.preview.example.com"),
        ("A-1B.Preview.Example.COM:8088", "a-1b.preview.example.com"),
        ("a-1b.preview.localhost:8088", "a-1b.preview.localhost"),
        ("preview3.example.com", "preview3.example.com"),
        ("preview3.localhost", None),
        ("api.example.com", None),
        ("example.com", None),
        ("x.a-1b.preview.example.com", None),
        ("a-1b.preview.example.com.", None),
        ("a-1b.preview.example.com.evil.example", None),
        ("a-1b.preview.examplexcom", None),
        ("a-1b.preview.example.com:x@evil.example", None),
        ("", None),
    ],
)
def test_only_host_names_of_previews_get_tickets(text, host):
    assert rules.parse_host(text, "example.com") == host


@pytest.mark.parametrize(
    ("uri", "name", "value", "address"),
    [
        ("/a?x=1&oroboros_ticket=T&y=%2F&y=", "oroboros_ticket", "T", "/a?x=1&y=%2F&y="),
        ("/?oroboros_share=S", "oroboros_share", "S", "/"),
        ("/?oroboros_bypass=", "oroboros_bypass", "", "/"),
        ("//evil.example/?oroboros_share=S", "oroboros_share", "S", "//evil.example/"),
        ("/?oroboros_share=S&oroboros_share=R&oroboros_ticket=T", "oroboros_share", "S", "/"),
        ("/?my_oroboros_share=S", "", "", ""),
        ("/oroboros_share=S", "", "", ""),
    ],
)
def test_our_parameters_are_taken_out_and_the_rest_of_the_query_stays(uri, name, value, address):
    assert rules.split_parameter(uri) == (name, value, address)


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("/page?x=1", "/page?x=1"),
        ("https://evil.example/", "/"),
        ("/a\r\nSet-Cookie: x=y", "/"),
        ("/" + "a" * 5000, "/"),
        ("", "/"),
    ],
)
def test_the_way_back_is_an_address_of_the_same_host(uri, address):
    assert rules.check_address(uri) == address
    assert rules.add_ticket("/", "T") == "/?oroboros_ticket=T"
    assert rules.add_ticket("/a?x", "T") == "/a?x&oroboros_ticket=T"
