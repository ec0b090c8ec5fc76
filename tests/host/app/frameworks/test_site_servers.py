"""Frontends that are servers of their own are recognized beside a separate API."""

import json
import shutil

import pytest

from host.errors import Refused

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


def build_only(*required, **scripts):
    """Return a package.json that has these packages for development, and a script `build`."""
    scripts = {"build": "vite build", **scripts}
    return json.dumps({"scripts": scripts, "devDependencies": dict.fromkeys(required, "1")})


SSR = {"build": "vite build && vite build --ssr src/entry-server.js --outDir dist/server"}
STARTS = {"start": "cross-env NODE_ENV=production node server.js"}
SERVERS = {
    "Vite": (build_only("vite", **SSR, **STARTS), "npm start"),
    "TanStack Start": (
        build_only("vite", "@tanstack/react-start", "nitro"), "node .output/server/index.mjs",
    ),
    "React Router": (build_only("vite", "@react-router/dev", **STARTS), "npm start"),
    "SolidStart": (build_only("vinxi", "@solidjs/start", start="vinxi start"), "npm start"),
    "Angular": (
        build_only("@angular/ssr", start="ng serve", **{"serve:ssr:x": "node dist/x/server.mjs"}),
        "npm run serve:ssr:x",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SERVERS)
def test_a_build_for_a_server_is_started_and_not_served_as_files(load_files, name):
    text, command = SERVERS[name]
    alone = load_files({"package.json": text})
    assert (" ".join(alone.web), alone.frontend_output) == (command, None)
    assert alone.backend_build == (("npm", "run", "build"),)
    beside = load_files({**API, "frontend/package.json": text})
    [server] = beside.processes
    assert (beside.framework, " ".join(server.argv)) == ("FastAPI", command)
    assert beside.sources["routes"].startswith(name)
    assert beside.frontend_output is None


ASTRO = {
    "package.json": build_only("astro", "@astrojs/node", build="astro build", start="astro dev")
}
ON_DEMAND = "---\nexport const prerender = false;\n---\n<h1>x</h1>\n"


@pytest.mark.parametrize(
    ("files", "is_server"),
    [
        ({"astro.config.mjs": "output: 'server', adapter: node({ mode: 'standalone' })"}, True),
        ({"astro.config.ts": 'export default {\n  output: "hybrid",\n}'}, True),
        ({"src/pages/index.astro": ON_DEMAND}, True),
        ({"src/pages/api/time.ts": "export const prerender = false\n"}, True),
        ({"src/components/cart.astro": "<Cart server:defer />"}, True),
        ({"src/actions/index.ts": "export const server = {}"}, True),
        ({"package.json": build_only("astro", "@astrojs/node", build="astro build",
                                     start="node ./dist/server/entry.mjs")}, True),
        ({}, False),
        ({"astro.config.mjs": "{\n  // output: 'server'\n  adapter: node({})\n}"}, False),
        ({"astro.config.mjs": "output: 'static'", "src/pages/index.astro": "<h1>x</h1>"}, False),
        ({"src/pages/index.astro": "<p>export const prerender = false</p>"}, False),
        ({"src/layouts/x.ts": "export const prerender = false"}, False),
    ],
)  # fmt: skip
def test_astro_with_an_adapter_is_a_server_only_with_pages_on_demand(load_files, files, is_server):
    found = load_files({**ASTRO, **files})
    assert found.frontend_output == (None if is_server else "dist")
    assert (found.web is not None) == is_server
    inner = {f"frontend/{name}": text for name, text in {**ASTRO, **files}.items()}
    beside = load_files({**API, "package.json": "{}", **inner})
    assert [one.type for one in beside.processes] == ["web-frontend"] * is_server


UNSERVED = {
    "have @astrojs/node as adapter with the mode standalone": {
        "package.json": build_only("astro", "@astrojs/node"),
        "astro.config.mjs": 'output: "server", adapter: node({ mode: "middleware" })',
    },
    "(`npx astro add node`)": {
        "package.json": build_only("astro", "@astrojs/netlify"),
        "astro.config.ts": "output: 'server'",
    },
    "adapter-auto makes nothing that runs here: have @sveltejs/adapter-node": {
        "package.json": build_only("vite", "@sveltejs/kit", "@sveltejs/adapter-auto"),
    },
    "require nitro and add its plugin": {
        "package.json": build_only("vite", "@tanstack/react-start"),
    },
    "require @react-router/serve and have it as script `start`": {
        "package.json": build_only("vite", "@react-router/dev"),
    },
    "require @remix-run/serve": {"package.json": build_only("vite", "@remix-run/dev")},
}


@pytest.mark.parametrize("line", UNSERVED)
def test_a_build_for_a_server_that_starts_nowhere_is_refused_with_the_line(load_files, line):
    files = UNSERVED[line]
    with pytest.raises(Refused) as refusal:
        load_files(files)
    assert (refusal.value.code, line in refusal.value.detail) == ("manifest_invalid", True)
    # Beside an API too; and what the manifest states counts.
    inner = {f"frontend/{name}": text for name, text in files.items()}
    with pytest.raises(Refused, match=r"package\.json"):
        load_files({**API, **inner})
    stated = {"oroboros.toml": '[frontend]\noutput = "dist"\n'}
    assert load_files({**files, **stated}).frontend_output == "dist"


PRERENDER = "vite build && vite build --ssr src/entry-server.js && node prerender.js"


@pytest.mark.parametrize(
    ("scripts", "has_note"),
    [
        ({"build": PRERENDER}, False),
        ({"build": "npm run build:client && npm run build:server && npm run render",
          "build:client": "vite build", "build:server": "vite build --ssr src/server.js",
          "render": "tsx render.ts"}, False),
        ({"build": "vite build", "build:ssr": "vite build --ssr x.js"}, False),
        ({"build": "vite build", "ssr": "vite build --ssr x.js", "start": "node x.js"}, False),
        (SSR, True),
        ({"build": "run-s b:*", "b:a": "vite build", "b:b": "vite build --ssr a"}, True),
    ],
)  # fmt: skip
def test_a_vite_build_that_starts_no_server_is_served_as_files(
    load_files, tmp_path, scripts, has_note
):
    text = build_only("vite", **scripts)
    beside = load_files({**API, "frontend/package.json": text})
    assert (beside.processes, beside.public_dir) == ((), "frontend/dist")
    if "start" in scripts:
        return
    shutil.rmtree(tmp_path / "frontend")
    shutil.rmtree(tmp_path / "backend")
    found = load_files({"package.json": text})
    assert (found.web, found.frontend_output) == (None, "dist")
    assert [("vite build --ssr" in note) for note in found.notes] == [True] * has_note


def test_a_prerendered_site_beside_a_node_program_is_served_as_files(load_files):
    files = {"package.json": build_only("vite", build=PRERENDER), "Procfile": "web: node api.js"}
    found = load_files(files)
    assert (found.web, found.frontend_output) == (("node", "api.js"), "dist")


def test_the_command_of_a_procfile_starts_a_build_for_a_server(load_files):
    found = load_files({"package.json": build_only("vite", **SSR), "Procfile": "web: node s.js"})
    assert (found.web, found.frontend_output) == (("node", "s.js"), None)
    assert found.backend_build == (("npm", "run", "build"),)


@pytest.mark.parametrize(
    ("files", "output"),
    [
        ({"package.json": build_only("astro", build="astro build")}, "dist"),
        ({"package.json": build_only("vite", "@sveltejs/kit", "@sveltejs/adapter-static")},
         "build"),
        ({"package.json": build_only("vite", "@remix-run/dev"),
          "vite.config.ts": "remix({ ssr: false })"}, "build/client"),
        ({"package.json": build_only("@angular/cli", build="ng build", start="ng serve"),
          "angular.json": json.dumps({"projects": {"shop": {"architect": {"build": {
              "builder": "@angular/build:application"}}}}})}, "dist/shop/browser"),
        ({"package.json": build_only("@angular/cli", build="ng build", start="ng serve"),
          "angular.json": json.dumps({"projects": {"shop": {"architect": {"build": {
              "builder": "x:browser", "options": {"outputPath": "out"}}}}}})}, "out"),
    ],
)  # fmt: skip
def test_a_build_to_files_is_served_whatever_its_start_script_is(load_files, files, output):
    found = load_files(files)
    assert (found.web, found.frontend_output) == (None, output)


def test_a_server_beside_its_bundler_is_started_and_the_files_are_served(load_files):
    package = {
        "scripts": {"build": "vite build", "start": "node server.js"},
        "dependencies": {"express": "5"},
        "devDependencies": {"vite": "7"},
    }
    found = load_files({"package.json": json.dumps(package)})
    assert (found.framework, found.web) == ("express", ("npm", "start"))
    assert (found.public_dir, found.backend_build) == ("dist", ())


def test_nest_starts_what_its_build_compiled(load_files):
    package = {
        "scripts": {"build": "nest build", "start": "nest start", "start:prod": "node dist/main"},
        "dependencies": {"@nestjs/core": "11"},
    }
    found = load_files({"package.json": json.dumps(package)})
    assert (found.web, len(found.backend_build)) == (("npm", "run", "start:prod"), 1)
