"""The paths that a framework's backend answers beside a built frontend."""

import json

import pytest

from host.app.frameworks.routes import find_routes
from host.files.source_tree import SourceTree

MANAGE = 'os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site.settings")'
URLS = """\
urlpatterns = [
    path("", home),
    path("control/", admin.site.urls),
    path("accounts/", include("allauth.urls")),
    path("api/v1/", include("api.urls")),
    path("<slug:page>/", page),
    path(PREFIX + "x/", page),
    re_path(r"^old/", page),
]
"""


@pytest.fixture
def find(tmp_path):
    """Return a function that writes files and finds the routes of the framework in a folder."""

    def run(framework, files, folder=".", read=()):
        for name, text in files.items():
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return find_routes(SourceTree(tmp_path), framework, folder, tuple(read))

    return run


@pytest.mark.parametrize("folder", [".", "backend"])
def test_django_answers_the_paths_of_its_urls_and_those_of_static_and_uploaded_files(find, folder):
    settings = 'ROOT_URLCONF = "site.paths"\nSTATIC_URL = "static/"\nMEDIA_URL = "/up/loads/"\n'
    files = {"manage.py": MANAGE, "site/settings.py": settings, "site/paths.py": URLS}
    assert find("Django", files, folder) == [
        "/control/*",
        "/accounts/*",
        "/static/*",
        "/up/loads/*",
    ]


@pytest.mark.parametrize(
    "url", ['"https://cdn.example.com/"', '"//cdn.example.com/"', "PREFIX", '"/"', 'f"/{X}/"']
)
def test_a_url_that_is_no_path_of_this_host_is_no_route(find, url):
    files = {"manage.py": MANAGE, "site/settings.py": f"STATIC_URL = {url}\n"}
    assert find("Django", files) == []


def test_settings_in_several_files_count(find):
    files = {
        "manage.py": MANAGE.replace("site.settings", "site.settings.production"),
        "site/settings/__init__.py": "",
        "site/settings/production.py": "from .base import *\n",
        "site/settings/base.py": 'MEDIA_URL = env("MEDIA_URL", default="/media/")\n',
        "site/urls.py": 'path("admin/", admin.site.urls)',
    }
    assert find("Django", files) == ["/admin/*", "/media/*"]


def test_fastapi_answers_its_documentation_mounts_routers_and_paths(find):
    text = """\
app = FastAPI(docs_url="/help", redoc_url=None)
app.mount("/static", StaticFiles(directory="static"))
app.include_router(items.router, tags=["x"], prefix="/items")
app.include_router(api, prefix="/api/v1")

@app.get("/metrics")
@app.websocket("/ws/{room}")
@app.get("/{anything:path}")
"""
    assert find("FastAPI", {"main.py": text}, read=["main.py"]) == [
        "/help",
        "/openapi.json",
        "/docs/oauth2-redirect",
        "/static/*",
        "/items/*",
        "/metrics/*",
        "/ws/*",
    ]


def test_flask_express_and_rails_answer_the_paths_that_their_files_write_out(find):
    flask = '@app.route("/login")\napp.register_blueprint(auth, url_prefix="/auth")\n'
    assert find("Flask", {"app.py": flask}, read=["app.py"]) == ["/login/*", "/auth/*"]
    package = json.dumps({"scripts": {"start": "node src/main.js"}})
    express = "app.use('/graphql', yoga)\napp.get(`/metrics`, (q, r) => {})\nmap.get('/key')\n"
    found = find("express", {"package.json": package, "src/main.js": express})
    assert found == ["/graphql/*", "/metrics/*"]
    routes = (
        'mount Sidekiq::Web => "/sidekiq"\n  namespace :admin do\n  get "/up" => "health#show"\n'
    )
    found = find("Rails", {"config/routes.rb": routes})
    assert found == ["/assets/*", "/cable", "/rails/*", "/sidekiq/*", "/admin/*", "/up/*"]


def test_an_unknown_framework_and_a_file_that_is_no_text_have_no_routes(find, tmp_path):
    assert find("", {}) == []
    (tmp_path / "app.py").write_bytes(b"\xff\xfe@app.route('/x')")
    assert find("Flask", {}, read=["app.py"]) == ["/x/*"]
