"""Frontends that are servers of their own are recognized beside a separate API."""

import json

import pytest

API = {"backend/requirements.txt": "fastapi[standard]", "backend/main.py": "app = FastAPI()"}
NODE_ADAPTER = {"@sveltejs/kit": "2", "@sveltejs/adapter-node": "5"}
START = {"build": "x build", "start": "x start"}


def package(scripts=START, **dependencies):
    return json.dumps({"scripts": scripts, "dependencies": dependencies})


@pytest.mark.parametrize(
    ("folder", "text", "argv"),
    [
        (".", package(next="16"), ("npm", "start")),
        ("frontend", package(next="16"), ("npm", "start")),
        (
            "client",
            package({"build": "nuxt build"}, nuxt="4"),
            ("node", ".output/server/index.mjs"),
        ),
        (
            "web",
            package({"build": "vite build"}, **NODE_ADAPTER),
            ("node", "build"),
        ),
        ("frontend", package(**{"@remix-run/serve": "2", "vite": "7"}), ("npm", "start")),
        ("apps/web", package(**{"@react-router/serve": "7"}), ("npm", "start")),
    ],
)
def test_it_is_a_second_server_and_the_api_stays_web(load_files, folder, text, argv):
    found = load_files({**API, f"{folder}/package.json": text})
    assert (found.framework, found.web[0], found.backend_dir) == ("FastAPI", "fastapi", "backend")
    [server] = found.processes
    assert (server.type, server.argv, server.directory) == ("web-frontend", argv, folder)
    assert server.has_port
    assert found.routes == {"/*": "web-frontend"}
    assert found.frontend_build == (("npm", "run", "build"),)
    assert found.frontend_output is None


@pytest.mark.parametrize(
    "files",
    [
        {
            "frontend/package.json": package(next="16"),
            "frontend/next.config.mjs": "output: 'export'",
        },
        {"frontend/package.json": package({"build": "nuxt generate", "start": "x"}, nuxt="4")},
        {"frontend/package.json": package(**{"@sveltejs/kit": "2"})},
        {"frontend/package.json": package({"build": "next build"}, next="16")},
        {"frontend/package.json": package(express="5")},
    ],
)
def test_pages_that_need_no_server_and_other_servers_are_none(load_files, files):
    assert load_files({**API, **files}).processes == ()


def test_the_manifest_decides_what_is_a_server(load_files):
    files = {**API, "frontend/package.json": package(next="16")}
    toml = '[processes.site]\nrun = "npm start"\nport = true\n'
    assert [one.type for one in load_files({**files, "oroboros.toml": toml}).processes] == ["site"]
    toml = '[frontend]\ndirectory = "frontend"\noutput = "out"\n'
    assert load_files({**files, "oroboros.toml": toml}).processes == ()
    # Routes of one's own count before the detected one.
    toml = '[routes]\n"/blog/*" = "web"\n'
    found = load_files({**files, "oroboros.toml": toml})
    assert found.routes == {"/*": "web-frontend", "/blog/*": "web"}


def test_without_another_backend_it_is_web(load_files):
    found = load_files({"package.json": package(next="16")})
    assert (found.framework, found.web, found.processes) == ("next", ("npm", "start"), ())
    # And so it is if the Procfile starts it as web.
    own = load_files({**API, "package.json": package(next="16"), "Procfile": "web: npm start\n"})
    assert (own.web, own.processes) == (("npm", "start"), ())


@pytest.mark.parametrize(
    ("text", "framework", "web"),
    [
        (package({"build": "nuxt build", "dev": "nuxt dev"}, nuxt="4"), "nuxt",
         "node .output/server/index.mjs"),
        (package({"build": "vite build"}, vite="8", **NODE_ADAPTER), "@sveltejs/kit", "node build"),
        (package(vite="7", **{"@react-router/serve": "7", "@react-router/dev": "7"}),
         "@react-router/serve", "npm start"),
        (package(vite="7", **{"@remix-run/serve": "2"}), "@remix-run/serve", "npm start"),
    ],
)  # fmt: skip
def test_alone_it_is_web_with_a_bundler_or_without_a_start_too(load_files, text, framework, web):
    found = load_files({"package.json": text})
    assert (found.framework, " ".join(found.web)) == (framework, web)
    assert (found.frontend_output, found.processes) == (None, ())
    assert found.backend_build == (("npm", "run", "build"),)


@pytest.mark.parametrize(
    ("files", "output"),
    [
        ({"package.json": package(next="16"), "next.config.ts": 'output: "export"'}, "out"),
        ({"package.json": package({"build": "nuxt generate"}, nuxt="4")}, ".output/public"),
        # With the adapter for files, and with one that makes nothing here: its message is shown.
        ({"package.json": package(vite="8", **{"@sveltejs/kit": "2"})}, "build"),
        (
            {
                "package.json": package(vite="7", **{"@react-router/dev": "7"}),
                "react-router.config.ts": "export default { ssr: false }",
            },
            "build/client",
        ),
    ],
)
def test_pages_that_need_no_server_are_served_as_files(load_files, files, output):
    found = load_files(files)
    assert (found.web, found.frontend_output) == (None, output)
