"""Deadlines hold against a browser that never stops sending, and each page has its own load."""

import json
import os
import threading
from contextlib import contextmanager, suppress

import pytest

from host.deadline import Deadline
from host.screenshots import devtools
from host.screenshots.__main__ import Limits, PageLoad
from host.screenshots.devtools import Browser, BrowserEnded, BrowserFailed

EVENT = {"method": "Network.dataReceived", "params": {}}


@contextmanager
def sending(data):
    """Yield a browser that sends `data` again and again."""
    commands, answers = os.pipe(), os.pipe()

    def flood():
        with suppress(BrokenPipeError):
            while True:
                os.write(answers[1], data)

    thread = threading.Thread(target=flood, daemon=True)
    thread.start()
    try:
        yield Browser(commands[1], answers[0])
    finally:
        os.close(answers[0])
        thread.join()
        for number in (*commands, answers[1]):
            os.close(number)


def test_a_stream_of_events_or_of_half_a_message_ends_with_the_deadline():
    with sending(json.dumps(EVENT).encode() + b"\0") as browser:
        with pytest.raises(BrowserFailed, match="not answered in time"):
            browser.call("Page.enable", Deadline(0.2))
        assert browser.wait_for_event(Deadline(0)) is None
        assert browser.wait_for_event(Deadline(20)) == EVENT
    with sending(b"x") as browser:
        assert browser.wait_for_event(Deadline(0.2)) is None


def test_too_much_and_an_end_are_those_of_the_browser(monkeypatch):
    monkeypatch.setattr(devtools, "MESSAGE_BYTES", 1000)
    with sending(b"x" * 500) as browser, pytest.raises(BrowserEnded, match="too much"):
        browser.wait_for_event(Deadline(20))
    commands, answers = os.pipe(), os.pipe()
    browser = Browser(commands[1], answers[0])
    os.close(answers[1])
    with pytest.raises(BrowserEnded, match="ended"):
        browser.wait_for_event(Deadline(20))
    os.close(commands[0])
    with pytest.raises(BrowserEnded, match="ended"):
        browser.send("Page.enable")
    os.close(commands[1])
    os.close(answers[0])


def test_no_part_lasts_longer_than_all_pages_may():
    assert Limits(1).begin(30).seconds_left <= 1
    assert Limits(0).begin(30).has_passed
    assert 1 < Limits(600).begin(30).seconds_left <= 30


def follow(page, *events):
    for method, params in events:
        page.follow({"method": method, "params": params})
    return page


def navigated(loader, **frame):
    return ("Page.frameNavigated", {"frame": {"loaderId": loader, **frame}})


def load(loader):
    return ("Page.lifecycleEvent", {"name": "load", "loaderId": loader})


def answered(loader, status):
    response = {"type": "Document", "loaderId": loader, "response": {"status": status}}
    return ("Network.responseReceived", response)


def test_only_the_load_of_the_navigation_counts():
    page = follow(PageLoad("ours"), navigated("blank"), load("blank"), answered("ours", 404))
    assert not page.is_loaded
    follow(page, navigated("ours"), navigated("frame", parentId="1"), load("frame"))
    assert not page.is_loaded
    follow(page, ("Page.lifecycleEvent", {"name": "init", "loaderId": "ours"}))
    assert not page.is_loaded
    assert follow(page, load("ours")).is_loaded
    assert page.status == 404


def test_a_page_that_opens_another_one_has_that_ones_load_and_status():
    page = follow(PageLoad("ours"), answered("ours", 200), navigated("ours"))
    follow(page, answered("next", 500), navigated("next"), load("ours"))
    assert not page.is_loaded
    assert follow(page, load("next")).is_loaded
    assert page.status == 500
