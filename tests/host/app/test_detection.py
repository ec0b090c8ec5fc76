"""What is detected where the manifest says nothing."""

import json

import pytest

from host.errors import Refused
from host.files import source_tree


def test_a_django_project_that_requires_gunicorn_starts_by_gunicorn(load_files):
    files = {
        "manage.py": 'os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site.settings")',
        "site/wsgi.py": "",
        "requirements.txt": "django\ngunicorn==23\n",
    }
    found = load_files(files)
    assert found.web == ("gunicorn", "site.wsgi", "--bind", "127.0.0.1:$PORT")
    assert found.release == ("python", "manage.py", "migrate", "--noinput")
    assert found.health_path == "/"
    assert found.frontend_output is None


@pytest.mark.parametrize(
    ("files", "command"),
    [
        ({"main.py": "app = FastAPI()", "requirements.txt": "fastapi[standard]"}, "fastapi"),
        ({"main.py": "app = FastAPI()", "uv.lock": 'name = "fastapi-cli"'}, "fastapi"),
        ({"app.py": "app = Flask(__name__)", "requirements.txt": "Flask==3.1"}, "flask"),
    ],
)
def test_a_fastapi_or_flask_application_starts_by_its_frameworks_command(
    load_files, files, command
):
    found = load_files(files)
    assert found.web == (command, "run", "--host", "127.0.0.1", "--port", "$PORT")
    assert found.health_path == "/"


@pytest.mark.parametrize(
    "files",
    [
        {"main.py": "app = FastAPI()", "requirements.txt": "fastapi"},
        {"main.py": "print(FastAPI())", "requirements.txt": "fastapi\nuvicorn"},
        {"app.py": "print()", "requirements.txt": "flask"},
    ],
)
def test_an_application_without_its_frameworks_command_is_not_detected(load_files, files):
    with pytest.raises(Refused, match=r"(what to run|nothing here says how it starts)"):
        load_files(files)


@pytest.mark.parametrize(
    ("path", "line", "app"),
    [
        ("main.py", "app = FastAPI()", "main:app"),
        ("api/app/main.py", "api: FastAPI = FastAPI(title='x')", "app.main:api"),
    ],
)
def test_a_fastapi_application_with_uvicorn_alone_starts_by_uvicorn(load_files, path, line, app):
    folder = path.partition("app/")[0] if "/" in path else ""
    found = load_files({path: f"from x import y\n{line}\n", f"{folder}requirements.txt": "uvicorn"})
    assert found.web == ("uvicorn", app, "--host", "127.0.0.1", "--port", "$PORT")


CHAT = {
    "manage.py": 'os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chat.settings")',
    "chat/wsgi.py": "",
    "chat/asgi.py": "from channels.routing import ProtocolTypeRouter\n",
    "chat/settings.py": "",
}
DAPHNE = "daphne --proxy-headers -b 127.0.0.1 -p $PORT chat.asgi:application"
GUNICORN = "gunicorn chat.wsgi --bind 127.0.0.1:$PORT"


@pytest.mark.parametrize(
    ("required", "web"),
    [
        ("channels daphne gunicorn", DAPHNE),
        ("channels[daphne]>=4 gunicorn", DAPHNE),
        (
            "channels gunicorn uvicorn",
            "uvicorn chat.asgi:application --host 127.0.0.1 --port $PORT",
        ),
        ("channels gunicorn", GUNICORN),
        ("gunicorn uvicorn", GUNICORN),
        ("channels-redis gunicorn daphne", GUNICORN),
        ("channels daphne", "python manage.py runserver --noreload 127.0.0.1:$PORT"),
    ],
)
def test_django_with_channels_starts_by_the_asgi_server_that_it_requires(load_files, required, web):
    text = required.replace(" ", "\n")
    assert " ".join(load_files({**CHAT, "requirements.txt": text}).web) == web


@pytest.mark.parametrize(
    "files",
    [
        {"pyproject.toml": '[project]\ndependencies = ["channels>=4", "daphne", "gunicorn"]\n'},
        {"uv.lock": "".join(f'[[package]]\nname = "{one}"\n' for one in
                            ("channels", "daphne", "gunicorn"))},
        {"requirements.txt": "gunicorn", "poetry.lock": 'name = "channels"\nname = "daphne"\n'},
        {"requirements.txt": "gunicorn\nchannels\ndaphne", "chat/asgi.py": "",
         "chat/settings.py": "INSTALLED_APPS = [\n    'daphne',\n    'channels',\n]\n"},
    ],
)  # fmt: skip
def test_channels_is_found_in_each_list_of_requirements(load_files, files):
    assert " ".join(load_files({**CHAT, **files}).web) == DAPHNE


@pytest.mark.parametrize(
    "files",
    [
        {"pyproject.toml": '[tool.pixi.workspace]\nchannels = ["conda-forge"]\n'},
        {"pyproject.toml": '[project]\nname = "x"\ndescription = "Chat channels of a team"\n'},
        {"requirements.txt": "# without channels\ngunicorn\nuvicorn\n"},
        {"requirements.txt": "channels\ngunicorn\nuvicorn", "chat/asgi.py": "import channel\n",
         "chat/settings.py": "INSTALLED_APPS = [\n    # 'channels',\n]\n"},
    ],
)  # fmt: skip
def test_the_word_channels_alone_leaves_a_project_to_gunicorn(load_files, files):
    required = {"requirements.txt": "gunicorn\nuvicorn\n"}
    assert " ".join(load_files({**CHAT, **required, **files}).web) == GUNICORN


FACTORY = "def create_app():\n    return Flask(__name__)\n"


@pytest.mark.parametrize(
    ("path", "text", "options"),
    [
        ("wsgi.py", "from shop import create_app\napp = create_app()\n", ()),
        ("app.py", FACTORY, ()),
        ("main.py", "app = Flask(__name__)\n", ("--app", "main")),
        ("run.py", "app = create_app('production')\n", ("--app", "run")),
        ("shop/__init__.py", FACTORY, ("--app", "shop")),
        ("src/shop/__init__.py", FACTORY, ("--app", "src/shop")),
    ],
)
def test_flask_starts_the_application_or_its_factory(load_files, path, text, options):
    found = load_files({path: text, "tests/__init__.py": FACTORY, "requirements.txt": "Flask==3"})
    assert found.framework == "Flask"
    assert found.web == ("flask", *options, "run", "--host", "127.0.0.1", "--port", "$PORT")
    # The same text without the requirement is no application.
    with pytest.raises(Refused, match="what to run"):
        load_files({"requirements.txt": "idna"})


@pytest.mark.parametrize(
    ("required", "web"),
    [
        ("fastapi\nuvicorn", "uvicorn app.main:application"),
        ("fastapi[standard]", "fastapi run"),
        ("litestar\nuvicorn", "uvicorn app.main:application"),
    ],
)
def test_an_asgi_application_that_a_factory_makes_is_detected(load_files, required, web):
    text = "from app.factory import create_app\n\napplication: FastAPI = create_app(settings)\n"
    found = load_files({"app/main.py": text, "requirements.txt": required})
    assert " ".join(found.web).startswith(web)
    with pytest.raises(Refused):
        load_files({"requirements.txt": "uvicorn"})


LOCUST = 'name = "flask"\nname = "locust"\nname = "uvicorn"\nname = "starlette"\n'


@pytest.mark.parametrize(
    ("files", "framework"),
    [
        ({"pyproject.toml": '[project]\ndependencies = ["litestar", "uvicorn"]'}, "Litestar"),
        ({"requirements.txt": "fastapi\nuvicorn\nflask\n"}, "FastAPI"),
        ({"requirements.txt": "Flask\n"}, "Flask"),
        ({"app.py": "from shop import create_app  # a Flask\napp = create_app()\n"}, "Flask"),
    ],
)
def test_a_factory_makes_what_the_application_requires_itself(load_files, files, framework):
    made = {"app.py": "from shop.factory import create_app\n\napp = create_app()\n"}
    assert load_files({**made, "uv.lock": LOCUST, **files}).framework == framework


def test_what_another_package_brings_takes_no_factory(load_files):
    made = "from shop.factory import create_app\n\napp = create_app()\n"
    files = {"web.py": "", "wsgi.py": made, "pyproject.toml": '[project]\ndependencies = ["sanic"]'}
    with pytest.raises(Refused, match="nothing here says how it starts"):
        load_files({**files, "uv.lock": 'name = "flask"\nname = "locust"\nname = "fastapi-cli"\n'})


@pytest.mark.parametrize(
    "start", ["npm start --prefix server", "cd server && npm start", "yarn --cwd server start"]
)
def test_a_root_that_starts_another_folder_is_not_the_backend(load_files, start):
    root = {"scripts": {"start": start, "build": "npm run build --prefix client"}}
    api = {"scripts": {"start": "node ."}, "dependencies": {"express": "5"}}
    files = {"server/package.json": json.dumps(api), "client/package.json": json.dumps(VITE)}
    found = load_files({"package.json": json.dumps(root), **files})
    assert (found.backend_dir, found.web, found.backend_build) == ("server", ("npm", "start"), ())
    assert found.public_dir == "client/dist"
    # Without such a folder it is.
    alone = load_files({"server/package.json": "{}", "client/package.json": "{}"})
    assert (alone.backend_dir, alone.web) == (".", ("npm", "start"))


VITE = {"scripts": {"build": "vite build"}, "devDependencies": {"vite": "^7"}}


@pytest.mark.parametrize(
    "files",
    [
        {"backend/requirements.txt": "fastapi\nuvicorn\n", "backend/service/run.py": "FastAPI()"},
        {"server/package.json": json.dumps({"dependencies": {"express": "5"}})},
        {"pyproject.toml": '[project]\ndependencies = ["Flask>=3"]\n'},
    ],
    ids=["fastapi", "express", "flask"],
)
def test_a_frontend_beside_an_unknown_backend_is_not_served_alone(load_files, files):
    files = {**files, "frontend/package.json": json.dumps(VITE)}
    with pytest.raises(Refused, match="nothing here says how it starts: write `web: ") as refusal:
        load_files(files)
    assert refusal.value.code == "manifest_invalid"
    stated = {"oroboros.toml": '[frontend]\ndirectory = "frontend"\noutput = "dist"\n'}
    [note] = load_files(files | stated).notes
    assert note.startswith(next(iter(files))) and "no backend is started" in note


@pytest.mark.parametrize(
    ("required", "line", "framework"),
    [
        ("starlette\nuvicorn", "app = Starlette(routes=[])", "Starlette"),
        ("litestar[standard]", "app = Litestar([index])", "Litestar"),
        ("quart\nuvicorn", "app = quart.Quart(__name__)", "Quart"),
    ],
)
def test_other_asgi_applications_start_by_uvicorn(load_files, required, line, framework):
    found = load_files({"app.py": line, "requirements.txt": required})
    assert (found.framework, found.web[1]) == (framework, "app:app")


def test_a_server_that_starts_nowhere_is_refused_with_the_line_to_write(load_files):
    with pytest.raises(Refused, match=r"requires litestar, .* write `web: litestar --app main:app"):
        load_files({"requirements.txt": "litestar"})


def test_a_django_project_without_gunicorn_starts_by_runserver(load_files):
    found = load_files(
        {"backend/manage.py": "DJANGO_SETTINGS_MODULE", "backend/requirements.txt": "d"}
    )
    assert found.web[:3] == ("python", "manage.py", "runserver")
    assert found.backend_dir == "backend"


def test_herokus_hooks_build_as_there(load_files):
    django = {
        "manage.py": '"DJANGO_SETTINGS_MODULE", "site.settings"',
        "site/settings.py": 'INSTALLED_APPS = ["django.contrib.staticfiles"]\nSTATIC_ROOT = "s"',
        "requirements.txt": "django",
        "bin/post_compile": "#!/bin/sh",
    }
    collect = ("python", "manage.py", "collectstatic", "--noinput")
    found = load_files(django)
    assert found.backend_build == (collect, ("./bin/post_compile",))
    assert found.sources["backend_build"] == "Django: manage.py, bin/post_compile"
    own = {**django, "Procfile": "web: gunicorn site.wsgi\n"}
    assert load_files(own).backend_build == (collect, ("./bin/post_compile",))
    stated = {**own, "oroboros.toml": '[backend]\nbuild = "true"\n'}
    assert load_files(stated).backend_build == (("true",),)


def test_heroku_postbuild_is_run_in_place_of_build(load_files):
    scripts = {"start": "node x", "build": "tsc", "heroku-postbuild": "tsc && node tools/x"}
    found = load_files({"package.json": json.dumps({"scripts": scripts})})
    assert found.backend_build == (("npm", "run", "heroku-postbuild"),)


def test_a_hook_without_a_python_project_is_another_buildpacks(load_files):
    scripts = {"start": "node x"}
    files = {"package.json": json.dumps({"scripts": scripts}), "bin/post_compile": "#!/bin/sh"}
    assert load_files(files).backend_build == ()


def test_the_manifest_wins_over_detection(load_files):
    toml = '[backend]\nhealth_path = "/up"\nrelease = "python m.py"\n'
    found = load_files({"manage.py": "DJANGO_SETTINGS_MODULE", "oroboros.toml": toml})
    assert found.web[0] == "python"
    assert (found.health_path, found.release) == ("/up", ("python", "m.py"))


@pytest.mark.parametrize(
    "files",
    [
        {"manage.py": "DJANGO_SETTINGS_MODULE"},
        {"app.py": "app = Flask(__name__)", "requirements.txt": "flask"},
        {"package.json": '{"scripts": {"start": "node x"}}'},
    ],
)
def test_a_web_process_of_ones_own_does_not_move_the_guessed_health_path(load_files, files):
    detected = load_files(files)
    own = load_files({**files, "Procfile": "web: python own.py\n"})
    assert (own.web, own.health_path) == (("python", "own.py"), detected.health_path)
    assert detected.is_health_guess
    assert own.is_health_guess
    stated = load_files({**files, "oroboros.toml": '[backend]\nhealth_path = "/up"\n'})
    assert (stated.health_path, stated.is_health_guess) == ("/up", False)


def package(**parts):
    return json.dumps({"name": "x", **parts})


def test_a_vite_frontend_is_built_into_dist(load_files):
    text = package(scripts={"build": "vite build"}, devDependencies={"vite": "^7"})
    found = load_files({"package.json": text})
    assert (found.frontend_build, found.public_dir) == ((("npm", "run", "build"),), "dist")
    assert found.web is None


def test_a_procfile_and_a_vite_frontend_make_backend_and_frontend(load_files):
    text = package(scripts={"build": "vite build"}, devDependencies={"vite": "^7"})
    found = load_files({"Procfile": "web: python app.py\n", "frontend/package.json": text})
    assert found.public_dir == "frontend/dist"
    assert found.web == ("python", "app.py")


def test_a_node_server_is_built_and_started_by_its_scripts(load_files):
    text = package(scripts={"build": "next build", "start": "next start"}, dependencies={"next": 1})
    found = load_files({"package.json": text})
    assert (found.web, found.backend_build) == (("npm", "start"), (("npm", "run", "build"),))
    assert found.frontend_output is None


def test_an_index_page_alone_is_served_without_a_build(load_files):
    found = load_files({"index.html": "<h1>hi</h1>"})
    assert (found.public_dir, found.frontend_build, found.web) == (".", (), None)


# A word of Latin-1, and more than is read.
OTHER_ENCODING = "# -*- coding: latin-1 -*-\n# café\n".encode("latin-1")
LONG_END = b"\n#" * (source_tree.FILE_BYTES // 2)


@pytest.mark.parametrize("end", [b"", LONG_END])
@pytest.mark.parametrize(
    ("files", "name", "text", "program"),
    [
        ({"requirements.txt": "flask"}, "app.py", "app = Flask(__name__)", "flask"),
        ({"requirements.txt": "fastapi[standard]"}, "main.py", "app = FastAPI()", "fastapi"),
        ({"requirements.txt": "fastapi\nuvicorn"}, "main.py", "app = FastAPI()", "uvicorn"),
        ({}, "manage.py", 'setdefault("DJANGO_SETTINGS_MODULE", "a.settings")', "python"),
        ({"app.rb": "require 'sinatra'"}, "Gemfile", "gem 'sinatra'", "bundle"),
        ({"Gemfile": "gem 'sinatra'"}, "app.rb", "require 'sinatra'", "bundle"),
    ],
)
def test_a_source_file_of_any_encoding_and_size_is_searched(
    load_files, files, name, text, program, end
):
    found = load_files({**files, name: OTHER_ENCODING + text.encode() + end})
    assert found.web[0] == program


def test_the_paths_of_urls_in_another_encoding_are_routes(load_files):
    files = {
        "manage.py": 'setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")',
        "shop/settings.py": 'ROOT_URLCONF = "shop.urls"',
        "shop/urls.py": OTHER_ENCODING + b'urlpatterns = [path("admin/", admin.site.urls)]',
        "frontend/package.json": package(scripts={"build": "x"}, devDependencies={"vite": "1"}),
    }
    assert load_files(files).detected_routes == ("/admin/*",)


def test_a_file_that_is_only_looked_for_may_have_any_size(load_files, tmp_path):
    with (tmp_path / "index.html").open("wb") as page:
        page.truncate(source_tree.FILE_BYTES + 1)
    (tmp_path / "about.html").symlink_to("index.html")
    assert load_files({}).public_dir == "."
    tree = source_tree.SourceTree(tmp_path)
    assert tree.has_file("./index.html")
    assert not any(tree.has_file(path) for path in (".", "about.html", "../index.html", "gone"))


def test_an_index_page_beside_a_backend_is_not_detected_as_a_frontend(load_files):
    assert load_files({"Procfile": "web: a\n", "index.html": "x"}).frontend_output is None


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"scripts": 1, "dependencies": []}',
        '{"a":' * 100_000,
        '{"a": ' + "1" * 5000 + "}",
    ],
)
def test_an_unreadable_package_json_is_ignored(load_files, text):
    assert load_files({"Procfile": "web: a\n", "package.json": text}).frontend_output is None


DJANGO_WITH_STATIC_FILES = {
    "manage.py": 'os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site.settings")',
    "site/wsgi.py": "",
    "site/settings.py": 'INSTALLED_APPS = ["django.contrib.staticfiles"]\nSTATIC_ROOT = "static"\n',
    "requirements.txt": "django\ngunicorn\n",
}
COLLECT = ("python", "manage.py", "collectstatic", "--noinput")


@pytest.mark.parametrize("more", [{}, {"Procfile": "web: gunicorn site.wsgi\n"}])
def test_a_django_project_that_says_where_static_files_go_collects_them(load_files, more):
    assert load_files({**DJANGO_WITH_STATIC_FILES, **more}).backend_build == (COLLECT,)


@pytest.mark.parametrize(
    "more",
    [
        {"site/settings.py": 'INSTALLED_APPS = ["django.contrib.staticfiles"]\n# STATIC_ROOT = 1'},
        {"site/settings.py": 'STATIC_ROOT = "static"\n'},
        {"Procfile": "web: gunicorn site.wsgi\n", "oroboros.toml": '[backend]\ndirectory = "api"'},
    ],
)
def test_static_files_are_not_collected_without_a_place(load_files, more):
    assert load_files({**DJANGO_WITH_STATIC_FILES, **more}).backend_build == ()


def test_the_manifests_build_replaces_the_collection_of_static_files(load_files):
    toml = {"oroboros.toml": '[backend]\nbuild = "make static"\n'}
    assert load_files({**DJANGO_WITH_STATIC_FILES, **toml}).backend_build == (("make", "static"),)


@pytest.mark.parametrize(
    ("web", "builds"), [("npm start", (("npm", "run", "build"),)), ("./bin/web", ())]
)
def test_a_node_servers_own_command_keeps_its_build(load_files, web, builds):
    scripts = '{"scripts": {"build": "next build", "start": "next start"}}'
    found = load_files({"package.json": scripts, "Procfile": f"web: {web}\n"})
    assert found.backend_build == builds


@pytest.mark.parametrize("workspace", ["package.json", "pnpm-workspace.yaml"])
def test_the_parts_of_a_workspace_are_found_in_apps(load_files, workspace):
    root = {
        "scripts": {"start": "turbo start", "build": "turbo build"},
        "devDependencies": {"vite": "7"},
    }
    api = {"scripts": {"start": "node ."}, "dependencies": {"express": "5"}}
    web = {"scripts": {"build": "vite build"}, "devDependencies": {"vite": "7"}}
    files = {"pnpm-workspace.yaml": "packages:\n  - apps/*\n"}
    if workspace == "package.json":
        root["workspaces"], files = ["apps/*"], {}
    found = load_files(
        files
        | {
            "package.json": json.dumps(root),
            "apps/api/package.json": json.dumps(api),
            "apps/web/package.json": json.dumps(web),
        }
    )
    assert (found.backend_dir, found.web) == ("apps/api", ("npm", "start"))
    assert found.public_dir == "apps/web/dist"


def test_a_backend_of_another_language_is_found_in_apps(load_files):
    files = {
        "apps/api/main.py": "app = FastAPI()",
        "apps/api/requirements.txt": "fastapi[standard]",
    }
    assert load_files(files).backend_dir == "apps/api"
