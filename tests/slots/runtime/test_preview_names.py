"""Whose preview a host name shows, served by the real Caddy."""

import pytest

from host import config as configuration
from slots.runtime import surface
from tests.slots.runtime.answering_backend import echo
from tests.slots.runtime.surface_server import COMMIT, OTHER, build_public, request

LABEL, GONE = "feature-x-1a2b3c", "feature-gone-4d5e6f"
REMOVAL = (configuration.HOME / "infra/caddy/remove_worker.js").read_text()
STORAGE = '"cache", "storage"'
SCRIPT = {"Service_Worker": "script"}
HTML = {"Accept": "text/html,application/xhtml+xml"}
SHARED = ("preview1.localhost", "127.0.0.1", "localhost", "preview1.example.com")


def own_names(label):
    names = [f"{label}.preview1.localhost", f"{label}.preview.example.com"]
    return [*names, f"{label}.preview1.localhost:3101", f"sub.{label}.preview1.localhost"]


@pytest.fixture
def live(web, config, slot):
    """A preview with a frontend; returns its port."""
    public = build_public(slot, index_html="home", sw_js="own worker")
    surface.show_live(config, slot, 17, COMMIT, public, label=LABEL)
    return web


@pytest.mark.parametrize("name", [*own_names(LABEL), *SHARED])
def test_own_and_shared_names_show_the_run(live, name):
    answer = request(live, "/", Host=name)
    assert (answer.status, answer.body, answer.headers["X-Oroboros-Run"]) == (200, b"home", "17")


@pytest.mark.parametrize("name", own_names(GONE))
def test_name_of_another_run_never_shows_this_one(live, config, slot, name):
    for path, method in (("/", "GET"), ("/sw.js", "GET"), ("/api/x", "POST"), ("/health", "GET")):
        answer = request(live, path, method, Host=name)
        assert (answer.status, answer.headers["Clear-Site-Data"]) == (404, STORAGE), path
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Oroboros-Run"] is None
        assert GONE in answer.body.decode() and LABEL in answer.body.decode()
    surface.show_free(config, slot)
    answer = request(live, "/", Host=name)
    assert (answer.status, b"This slot is free" in answer.body) == (404, True)
    assert request(live, "/", Host=own_names(LABEL)[0]).status == 404


def test_free_and_preparing_pages_clear_what_the_browser_kept(web, config, slot):
    def check():
        for name in SHARED:
            headers = request(web, "/", Host=name).headers
            # Where the control plane has the same host or domain, its cookies are left alone.
            cookies = name == "preview1.localhost"
            expected = '"cache", "cookies", "storage"' if cookies else STORAGE
            assert (headers["Clear-Site-Data"], headers["Cache-Control"]) == (expected, "no-store")

    check()
    surface.show_preparing(config, slot, "17", COMMIT, label=LABEL)
    check()
    assert request(web, "/", Host=own_names(LABEL)[0]).status == 503


def test_first_page_of_each_run_and_commit_clears_what_came_before(live, config, slot):
    name = own_names(LABEL)[0]

    def load(cookie=""):
        return request(live, "/", Host=name, Cookie=cookie, **HTML).headers

    first = load()
    assert (first["Clear-Site-Data"], first["Cache-Control"]) == (STORAGE, "no-store")
    cookie = first["Set-Cookie"].partition(";")[0]
    assert cookie == f"oroboros_seen=17.{COMMIT}"
    again = load(f"a=1; {cookie}")
    assert (again["Clear-Site-Data"], again["Set-Cookie"]) == (None, None)
    assert request(live, "/sw.js", Host=name).headers["Clear-Site-Data"] is None
    surface.show_live(config, slot, 17, OTHER, None, label=LABEL)
    with echo(slot.backend_port, set_cookies=["own=1; Path=/"]):
        changed = load(cookie)
        assert changed["Clear-Site-Data"] == STORAGE
        assert sorted(value.partition("=")[0] for value in changed.get_all("Set-Cookie")) == [
            "oroboros_seen",
            "own",
        ]
        received = request(live, "/api/x", Host=name, Cookie=f"a=1; {cookie}").json["headers"]
    assert [value for key, value in received if key == "cookie"] == ["a=1"]


def test_first_page_of_a_run_is_asked_for_again_without_the_cookies_of_other_runs(live):
    name, page = own_names(LABEL)[0], {**HTML, "Sec_Fetch_Dest": "document"}

    def load(path="/", host=name, cookie="other=1", **options):
        return request(live, path, Host=host, Cookie=cookie, **{**page, **options})

    first = load("//a.example/x?y=1")
    assert (first.status, first.headers["Location"]) == (307, "/a.example/x?y=1")
    assert first.headers["Clear-Site-Data"] == '"cache", "cookies", "storage"'
    assert first.headers["Cache-Control"] == "no-store"
    [seen] = first.headers.get_all("Set-Cookie")
    # A browser that does not remove them is shown the page all the same.
    second = load(cookie=f"other=1; {seen.partition(';')[0]}")
    assert (second.status, second.headers["Clear-Site-Data"]) == (200, STORAGE)
    assert load(cookie=f"other=1; oroboros_seen=17.{OTHER}").status == 200
    # One that another run's script has set for all names of the slot is sent first.
    both = load(cookie=f"oroboros_seen=16.{OTHER}; {seen.partition(';')[0]}")
    assert (both.status, both.headers["Clear-Site-Data"]) == (200, STORAGE)
    both = load(cookie=f"oroboros_seen=16.{OTHER}; oroboros_seen=17.{COMMIT}")
    assert (both.status, both.headers["Clear-Site-Data"]) == (200, None)
    for other in ("16.x", "117.x", f"17{COMMIT}"):
        assert load(cookie=f"x_oroboros_seen=17.x; oroboros_seen={other}").status == 307
    for other in (*SHARED, own_names(LABEL)[1]):
        assert load(host=other).status == 200
    assert load("/sw.js", Sec_Fetch_Dest="script").status == 200
    assert request(live, "/", Host=name, **page).status == 200


def test_only_the_run_that_was_seen_gets_its_own_service_worker(live, config, slot):
    name, seen = own_names(LABEL)[0], f"oroboros_seen=17.{COMMIT}"

    def read_worker(name, cookie=seen):
        answer = request(live, "/sw.js", Host=name, Cookie=cookie, **SCRIPT)
        assert "javascript" in answer.headers["Content-Type"]
        assert answer.status == 200
        return answer.body.decode()

    assert read_worker(name) == "own worker"
    assert read_worker(name, f"oroboros_seen=16.{COMMIT}") == REMOVAL
    assert read_worker(name, f"oroboros_seen=17.{COMMIT}0") == REMOVAL
    assert read_worker(name, f"oroboros_seen=16.{COMMIT}; {seen}") == "own worker"
    for other in (*SHARED, *own_names(GONE)):
        assert read_worker(other) == REMOVAL
    surface.show_preparing(config, slot, "17", OTHER, label=LABEL)
    assert read_worker(name) == REMOVAL
    surface.show_free(config, slot)
    assert read_worker("preview1.localhost") == REMOVAL


WITH_DOMAIN = [
    "a=1; Domain=preview1.localhost; Path=/",
    "b=2; path=/;domain=.localhost",
    "c=3;DOMAIN",
    "d=4;\tdomain\t=localhost",
    "e=5; Path=/; Max-Age=9; Domain=; HttpOnly",
    "f=6; Domain=a; domain=b",
    'g="7;domain=localhost"',
    "h=8; \xa0domain=localhost",
]


def test_a_previews_cookies_with_a_domain_are_dropped_whatever_their_form(web, config, slot):
    surface.show_live(config, slot, 17, COMMIT, None, label=LABEL)
    good = ["i=domain=a; Path=/", "domain=1", "j=1; Path=/domain; HttpOnly"]
    with echo(slot.backend_port, set_cookies=[*WITH_DOMAIN, *good]):
        answer = request(web, "/x", Host=own_names(LABEL)[0])
    assert [value for value in answer.headers.get_all("Set-Cookie") if value] == good


def test_browser_keeps_no_redirect_and_no_asset_of_a_preview(web, config, slot):
    surface.show_live(config, slot, 17, COMMIT, None, label=LABEL)
    forever = [("Cache-Control", "public, max-age=31536000, immutable"), ("Location", "/x")]
    with echo(slot.backend_port, statuses={"/old": 301}, more_headers=forever):
        for options, expected in ((HTML, "no-store"), ({}, "no-cache")):
            answer = request(web, "/old", Host=own_names(LABEL)[0], **options)
            assert (answer.status, answer.headers.get_all("Cache-Control")) == (301, [expected])


def test_identity_says_to_any_page_which_run_and_commit_answer(live, config, slot):
    path, name = "/.well-known/oroboros", own_names(LABEL)[0]
    answer = request(live, path, Host=name, Origin="http://127.0.0.1:8000")
    assert answer.headers.get_all("Access-Control-Allow-Origin") == ["*"]
    expected = {"run": "17", "commit": COMMIT, "state": "live", "label": LABEL}
    assert (answer.status, answer.json) == (200, expected)
    absent = request(live, path, Host=own_names(GONE)[0])
    assert (absent.status, absent.headers["Access-Control-Allow-Origin"]) == (404, "*")
    assert (absent.json["run"], LABEL in absent.json["detail"]) == (None, True)
    surface.show_preparing(config, slot, "18", OTHER, label=LABEL)
    assert request(live, path, Host=name).json["state"] == "preparing"
