"""How a surface serves the files of a built frontend: pages, folders, routes, hidden files."""

import pytest

from host.errors import Refused
from host.files.surface_folder import SurfaceFolder
from slots.runtime import surface, worktree
from tests.slots.runtime.answering_backend import echo
from tests.slots.runtime.surface_server import COMMIT, build_public, request

SITE = {
    "index.html": "HOME",
    "about/index.html": "ABOUT",
    "blog/first/index.html": "FIRST",
    "pricing.html": "PRICING",
    "both.html": "PAGE",
    "both/index.html": "FOLDER",
    "404.html": "LOST",
    "api/index.html": "API",
    "js/app.mjs": "export default 1",
    "empty/picture.png": "png",
    "docs/ünï/a b%20c?.txt": "odd",
    "docs/ünï/index.html": "ODD",
    "oddly named%20.html": "ODD PAGE",
    ".well-known/assetlinks.json": "{}",
    ".well-known/.secret": "SECRET",
    ".env": "SECRET",
    ".git/config": "SECRET",
    "blog/.git/config": "SECRET",
    "blog/.htpasswd": "SECRET",
    ".hidden/index.html": "SECRET",
    "blog/.page.html": "SECRET",
}


def build_site(slot, files, name="site"):
    public = worktree.path(slot) / name
    for path, text in files.items():
        (public / path).parent.mkdir(parents=True, exist_ok=True)
        (public / path).write_text(text)
    return public


@pytest.fixture
def site(web, config, slot):
    """A static site of several pages without a backend; returns the surface's port."""
    surface.show_live(config, slot, 17, COMMIT, build_site(slot, SITE), None)
    return web


@pytest.fixture
def application(web, config, slot):
    """A single-page application with a backend; returns the surface's port."""
    public = build_site(slot, {"index.html": "home", "app.js": "js", ".env": "SECRET"})
    surface.show_live(config, slot, 17, COMMIT, public)
    with echo(slot.backend_port):
        yield web


def answer(port, path, method="GET", **headers):
    response = request(port, path, method, **headers)
    return response.status, response.headers["Location"] or response.body.decode()


ANSWERS = {
    "/": (200, "HOME"),
    "/about/": (200, "ABOUT"),
    "/about": (307, "/about/"),
    "/about?x=1&y=a%2Fb": (307, "/about/?x=1&y=a%2Fb"),
    "//about": (307, "/about/"),
    "/about/index.html": (200, "ABOUT"),
    "/blog/first": (307, "/blog/first/"),
    "/blog/first/": (200, "FIRST"),
    "/pricing": (200, "PRICING"),
    "/pricing?x=1": (200, "PRICING"),
    "/pricing.html": (200, "PRICING"),
    "/pricing/": (307, "/pricing"),
    "/both": (200, "PAGE"),
    "/both/": (200, "FOLDER"),
    "/js/app.mjs": (200, "export default 1"),
    "/docs/%C3%BCn%C3%AF/a%20b%2520c%3F.txt": (200, "odd"),
    "/docs/%C3%BCn%C3%AF": (307, "/docs/%C3%BCn%C3%AF/"),
    "/oddly%20named%2520": (200, "ODD PAGE"),
    "/oddly%20named%2520/": (307, "/oddly%20named%2520"),
    "/.well-known/assetlinks.json": (200, "{}"),
    "/nothing": (404, "LOST"),
    "/nothing/here/": (404, "LOST"),
    "/empty": (404, "LOST"),
    "/empty/": (404, "LOST"),
    "/blog/": (404, "LOST"),
    "/missing.png": (404, "LOST"),
    "/users/jane.doe": (404, "LOST"),
    "/404.html": (200, "LOST"),
    "/api": (404, "This application has no backend."),
    "/api/": (404, "This application has no backend."),
    "/api/x": (404, "This application has no backend."),
}


def test_static_site_shows_each_page_and_404_for_the_others(site):
    assert {path: answer(site, path, Accept="text/html") for path in ANSWERS} == ANSWERS


def test_404_page_answers_every_method_and_no_condition(site):
    assert answer(site, "/nothing", "POST") == (404, "LOST")
    assert answer(site, "/nothing", "HEAD") == (404, "")
    etag = request(site, "/404.html").headers["ETag"]
    assert answer(site, "/nothing", If_None_Match=etag) == (404, "LOST")
    assert answer(site, "/nothing", Range="bytes=0-1") == (404, "LOST")


def test_files_answer_head_ranges_and_conditions(site):
    assert answer(site, "/pricing", "HEAD") == (200, "")
    assert answer(site, "/about/", Range="bytes=1-2") == (206, "BO")
    etag = request(site, "/about/").headers["ETag"]
    assert answer(site, "/about/", If_None_Match=etag) == (304, "")
    assert request(site, "/about/", "POST").status == 405


HIDDEN = [
    "/.env",
    "/%2eenv",
    "//.env",
    "/./.env",
    "/.git/config",
    "/.git/",
    "/blog/.git/config",
    "/blog/.htpasswd",
    "/.hidden",
    "/.hidden/",
    "/blog/.page",
    "/.well-known/.secret",
    "/.well-known/../.env",
    "/about/../.env",
    "/.nothing",
]


def test_dot_files_are_never_served(site, slot):
    assert {path: answer(site, path) for path in HIDDEN} == dict.fromkeys(HIDDEN, (404, ""))
    # Builds of earlier versions have them.
    folder = SurfaceFolder(slot.folder).link / "public"
    for name, text in SITE.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    assert {path: answer(site, path) for path in HIDDEN} == dict.fromkeys(HIDDEN, (404, ""))


def test_single_page_application_shows_its_page_for_routes_only(application):
    for path in ("/users/7", "/users/jane.doe", "/domains/example.com", "/v1.2", "/a.b/x", "/x/"):
        assert answer(application, path) == (200, "home"), path
    for path in ("/.env", "/.git/config", "/.nothing"):
        assert answer(application, path, Accept="text/html") == (404, ""), path
    for path in ("/gone.js", "/assets/gone-1a2b.css", "/gone.js?v=1", "/a.JSON", "/salaries.csv"):
        assert answer(application, path, Accept="*/*") == (404, ""), path
        # A person may have a route of that name.
        navigated = request(application, path, Accept="text/html,*/*;q=0.8")
        assert (navigated.status, navigated.body) == (200, b"home"), path
        assert "Accept" in navigated.headers["Vary"]


def test_an_absent_well_known_address_is_no_route(web, config, slot):
    public = build_site(slot, {"index.html": "home", ".well-known/a.json": "{}"}, "single")
    surface.show_live(config, slot, 17, COMMIT, public, None)
    assert answer(web, "/route", Accept="text/html") == (200, "home")
    assert answer(web, "/.well-known/a.json") == (200, "{}")
    # RFC 8615; password managers ask for a name that no site has, and expect 404.
    for path in ("/.well-known/change-password", "/.well-known/", "//.well-known/x"):
        assert answer(web, path, Accept="text/html") == (404, ""), path


def test_manifest_decides_whether_it_is_a_single_page_application(web, config, slot):
    several = build_site(slot, {"index.html": "home", "frame.html": "frame"}, "several")
    surface.show_live(config, slot, 17, COMMIT, several, None, is_single_page=True)
    assert answer(web, "/route") == (200, "home")
    single = build_site(slot, {"index.html": "home"}, "single")
    surface.show_live(config, slot, 17, COMMIT, single, None, is_single_page=False)
    assert answer(web, "/route") == (404, "")


def test_backend_answers_what_an_output_without_index_lacks(web, config, slot):
    surface.show_live(config, slot, 17, COMMIT, build_public(slot, other_html="x"))
    with echo(slot.backend_port):
        assert request(web, "/").json["path"] == "/"
        assert request(web, "/admin/").json["path"] == "/admin/"
        assert answer(web, "/other.html") == (200, "x")


def test_output_without_index_and_backend_is_refused(config, slot):
    public = build_site(slot, {"app/browser/index.html": "app"}, "dist")
    with pytest.raises(Refused, match=r"no dist/index\.html.*There is dist/app/browser/index"):
        surface.show_live(config, slot, 17, COMMIT, public, None)
    (public / "index.html").symlink_to("app/browser/index.html")
    with pytest.raises(Refused, match=r"no dist/index\.html"):
        surface.show_live(config, slot, 17, COMMIT, public, None)
    assert surface.read_state(slot) is None
