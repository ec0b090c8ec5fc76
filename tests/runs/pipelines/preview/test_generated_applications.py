"""What the generators of popular frameworks make is previewed and ships, or is refused early.

That of Rails needs the packages of TOOLCHAINS in ops/project_checks.py.
"""

import json
import re

import pytest
import requests

from releases.deployments import deploy_and_rollback
from runs.lifecycle import execution, operations
from runs.models import Run
from tests.host.app.inspection.examples import read_examples
from tests.runs.pipelines.preview import django_samples
from tests.runs.pipelines.preview.starters import run_starter, write_files
from tests.runs.pipelines.preview.world import Host


class ShippingHost(Host):
    """A host whose production has a database of its own."""

    def _config(self, more):
        database = "app_production_" + self.folder.name.rpartition("-")[2].lower()
        return super()._config({**more, "OROBOROS_PRODUCTION_DATABASE": database})

    def ship(self, run):
        """Approve the run and carry it to `merged`."""
        operations.approve(run, actor="grace")
        execution.execute_run(run.pk)
        run = Run.objects.get(pk=run.pk)
        assert run.status == "merged", (run.failure_code, run.failure_detail)
        return run

    def production(self, path="/"):
        """Ask production's surface as a browser would."""
        host = f"localhost:{self.config.web_port}"
        return self.get(self.config.web_port, path, headers={"Host": host})


@pytest.fixture
def shows(host, tmp_path):
    """Preview the project in the folder and ship it; each page is checked in both places."""
    made = []

    def show(folder, pages):
        place = host(folder, ShippingHost)
        made.append(place)
        run = place.preview("feature/first", {"README.md": "hello"})
        expect(place.page, pages, run.commit_sha)
        merged = place.ship(run)
        expect(place.production, pages, merged.candidate_sha)
        return place

    yield show
    for place in made:
        place.take_down_production()


def expect(get, pages, commit):
    for path, text in pages.items():
        answer = get(path)
        assert answer.status_code == 200, (path, answer.status_code, answer.text[:500])
        assert text in answer.text, path
        assert answer.headers["X-Oroboros-Commit"] == commit


@pytest.mark.full
def test_a_new_next_project_is_previewed_and_ships(shows, tmp_path):
    # Without --empty its layout fetches fonts of a third party while it builds.
    run_starter(
        "npm", "exec", "--yes", "create-next-app@16.4.3", "--", "site", "--yes", "--use-npm",
        "--empty", "--skip-install", "--disable-git", cwd=tmp_path,
    )  # fmt: skip
    run_starter("npm", "install", "--package-lock-only", cwd=tmp_path / "site")
    shows(tmp_path / "site", {"/": "<title>Create Next App</title>"})


# Its starter fetches its templates from a repository, not from the package registry.
ASTRO_PACKAGE = {
    "name": "site",
    "type": "module",
    "scripts": {"dev": "astro dev", "build": "astro build", "preview": "astro preview"},
    "dependencies": {"astro": "^5"},
}
ASTRO_PAGES = {
    f"src/pages/{name}.astro": f"<html><body><h1>{name}</h1></body></html>\n"
    for name in ("index", "about", "team")
}


@pytest.mark.full
def test_an_astro_site_of_three_pages_is_previewed_and_ships(shows, tmp_path):
    site = tmp_path / "site"
    write_files(site, {"package.json": json.dumps(ASTRO_PACKAGE), **ASTRO_PAGES})
    run_starter("npm", "install", "--package-lock-only", cwd=site)
    pages = {"/": "index", "/about/": "about", "/team/": "team"}
    shows(site, {path: f"<h1>{text}</h1>" for path, text in pages.items()})


ASTRO_SERVER = {
    "package.json": json.dumps(
        {**ASTRO_PACKAGE, "dependencies": {"astro": "^5", "@astrojs/node": "^9"}}
    ),
    "astro.config.mjs": """\
import node from "@astrojs/node";
import { defineConfig } from "astro/config";
export default defineConfig({ output: "server", adapter: node({ mode: "standalone" }) });
""",
    "src/pages/index.astro": "<html><body><h1>{2 + 3} of the server</h1></body></html>\n",
    "src/pages/api/time.js": "export const GET = () => Response.json({ now: Date.now() });\n",
}


@pytest.mark.full
def test_an_astro_site_with_a_server_is_previewed_and_ships(shows, tmp_path):
    write_files(tmp_path / "site", ASTRO_SERVER)
    run_starter("npm", "install", "--package-lock-only", cwd=tmp_path / "site")
    shows(tmp_path / "site", {"/": "<h1>5 of the server</h1>", "/api/time": '"now"'})


@pytest.mark.full
def test_a_new_vite_project_that_renders_on_a_server_is_previewed_and_ships(shows, tmp_path):
    run_starter(
        "npm", "exec", "--yes", "create-vite-extra@5.0.3", "--", "site", "--template",
        "ssr-vanilla", cwd=tmp_path,
    )  # fmt: skip
    # The line that it is refused with.
    write_files(tmp_path / "site", {"Procfile": "web: node server.js\n"})
    place = shows(tmp_path / "site", {"/": '<section id="center">'})
    assert place.page("/server/entry-server.js").text == place.page("/").text


@pytest.mark.full
def test_a_new_nest_application_is_previewed_and_ships(shows, tmp_path):
    run_starter(
        "npm", "exec", "--yes", "@nestjs/cli@11", "--", "new", "api", "--skip-git",
        "--skip-install", "--package-manager", "npm", cwd=tmp_path,
    )  # fmt: skip
    run_starter("npm", "install", "--package-lock-only", cwd=tmp_path / "api")
    shows(tmp_path / "api", {"/": "Hello World!"})


@pytest.mark.full
def test_a_new_vue_project_that_asks_for_a_newer_node_is_previewed_and_ships(shows, tmp_path):
    run_starter(
        "npm", "exec", "--yes", "create-vue@3.24.0", "--", "site", "--default", cwd=tmp_path
    )
    shows(tmp_path / "site", {"/": "/assets/index-"})


BUN_SERVER = """\
import { Hono } from "hono";

const app = new Hono();
app.get("/", (context) => context.text(`hello from bun ${Bun.version}`));
export default { hostname: "127.0.0.1", port: process.env.PORT, fetch: app.fetch };
"""


@pytest.mark.full
def test_a_server_that_bun_installs_and_runs_is_previewed_and_ships(shows, tmp_path):
    package = {
        "name": "api",
        "scripts": {"start": "bun run index.ts"},
        "dependencies": {"hono": "^4"},
    }
    files = {"package.json": json.dumps(package), "index.ts": BUN_SERVER}
    write_files(tmp_path / "api", files)
    run_starter(
        "npm", "exec", "--yes", "--package=bun@1.4.5", "--", "bun", "install", "--lockfile-only",
        cwd=tmp_path / "api",
    )  # fmt: skip
    shows(tmp_path / "api", {"/": "hello from bun 1."})


SERVER = """\
import express from "express";
const app = express();
app.get("/api/hello", (request, answer) => answer.json({ hello: "express" }));
app.listen(process.env.PORT);
"""
SERVER_PACKAGE = {
    "name": "server",
    "private": True,
    "type": "module",
    "scripts": {"start": "node index.js"},
    "dependencies": {"express": "^5"},
}


@pytest.fixture
def workspace(tmp_path):
    """Make a workspace of a new Vite project and an Express server, with a lock file."""

    def make(manager):
        root = tmp_path / "site"
        package = {"name": "root", "private": True}
        if manager == "npm":
            package["workspaces"] = ["client", "server"]
        else:
            package["packageManager"] = "pnpm@10.34.8"
            write_files(root, {"pnpm-workspace.yaml": "packages:\n  - client\n  - server\n"})
        server = {"package.json": json.dumps(SERVER_PACKAGE), "index.js": SERVER}
        write_files(root, {"package.json": json.dumps(package)})
        write_files(root / "server", server)
        run_starter(
            "npm", "exec", "--yes", "create-vite@9.3.0", "--", "client", "--template", "vanilla",
            "--no-interactive", cwd=root,
        )  # fmt: skip
        if manager == "npm":
            run_starter("npm", "install", "--package-lock-only", cwd=root)
        else:
            run_starter(
                "npm", "exec", "--yes", "--package=pnpm@10.34.8", "--",
                "pnpm", "install", "--lockfile-only", cwd=root,
            )  # fmt: skip
        return root

    return make


@pytest.mark.full
@pytest.mark.parametrize("manager", ["npm", "pnpm"])
def test_a_workspace_of_vite_and_express_is_previewed_and_ships(shows, workspace, manager):
    shows(workspace(manager), {"/": "/assets/index-", "/api/hello": '{"hello":"express"}'})


@pytest.fixture
def refuse(host, tmp_path):
    """Return why a run of a project of these files is refused, before anything is installed."""

    def get_detail(files):
        write_files(tmp_path / "project", files)
        place = host(tmp_path / "project")
        run = place.carry("feature/first", {"README.md": "hello"})
        assert run.failure_code == "MANIFEST_INVALID"
        assert not list((place.config.var / "cache").glob("installs/*"))
        return run.failure_detail

    return get_detail


@pytest.mark.full
def test_herokus_python_sample_is_previewed_and_ships(shows, tmp_path):
    write_files(tmp_path / "sample", django_samples.HEROKU)
    place = shows(tmp_path / "sample", {"/": "Getting Started on Heroku"})
    logo = place.production().text.partition('src="')[2].partition('"')[0]
    assert logo.startswith("/static/lang-logo.") and place.production(logo).status_code == 200


@pytest.mark.full
def test_a_sample_for_another_python_is_refused_with_what_to_change(refuse):
    pin = {".python-version": "# The Python version to use for the project.\n3.99\n"}
    detail = refuse({**django_samples.HEROKU, **pin})
    assert detail.startswith(".python-version asks for Python 3.99, and this host has ")
    assert "OROBOROS_APP_PYTHON" in detail


@pytest.mark.full
@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("", [django_samples.SETTINGS_LINE.strip(), "manage.py"]),
        (
            f"[env]\n{django_samples.SETTINGS_LINE}",
            ["requires DJANGO_SECRET_KEY, DJANGO_ADMIN_URL, MAILGUN_API_KEY", "[env]"],
        ),
    ],
)
def test_a_cookiecutter_project_without_its_variables_is_refused_with_the_lines(
    refuse, lines, told
):
    detail = refuse({**django_samples.COOKIECUTTER, "oroboros.toml": lines})
    assert all(text in detail for text in told), detail


@pytest.mark.full
def test_a_cookiecutter_project_with_its_variables_is_previewed_and_ships(shows, tmp_path):
    manifest = {"oroboros.toml": django_samples.COOKIECUTTER_ENV}
    write_files(tmp_path / "project", {**django_samples.COOKIECUTTER, **manifest})
    shows(tmp_path / "project", {"/admin/login/": "Django administration"})


# Gems for development that Debian does not have.
RAILS_GEMS = re.compile(r"^.*gem '(?:byebug|web-console|capybara|selenium-webdriver)'.*\n", re.M)


@pytest.fixture
def rails_project(tmp_path):
    """What `rails new` and its generator of pages make, with the manifest of our page."""
    run_starter(
        "rails", "new", "shop", "--database=postgresql", "--skip-git", "--skip-bundle",
        "--skip-javascript", "--skip-spring", "--skip-bootsnap", "--skip-listen", cwd=tmp_path,
    )  # fmt: skip
    project = tmp_path / "shop"
    (project / "config" / "master.key").unlink()  # git would ignore it
    gemfile = project / "Gemfile"
    text = RAILS_GEMS.sub("", gemfile.read_text())
    gemfile.write_text(re.sub(r"gem 'puma'.*", "gem 'puma'", text))
    run_starter("bundle", "lock", "--local", cwd=project)
    run_starter("rails", "generate", "scaffold", "item", "name:string", cwd=project)
    [example] = [one for one in read_examples() if one.title == "Rails"]
    write_files(project, {"oroboros.toml": example.files["oroboros.toml"]})
    return project


@pytest.mark.full
def test_a_new_rails_project_is_previewed_ships_and_is_rolled_back(shows, rails_project):
    pages = {"/items": "<h1>Items</h1>", "/items/new": "New Item"}
    place = shows(rails_project, pages)
    stylesheet = re.search(r'href="(/assets/[^"]+)"', place.production("/items").text)[1]
    assert place.production(stylesheet).status_code == 200
    first = Run.objects.get()
    add_item(place, "kept over releases")
    second = place.ship(place.preview("feature/second", {"README.md": "second"}))
    assert "kept over releases" not in place.page("/items").text
    expect(place.production, {"/items": "kept over releases"}, second.candidate_sha)
    deploy_and_rollback.roll_back(place.config, first.release_id, actor="grace", reason="a test")
    expect(place.production, {"/items": "kept over releases"}, first.candidate_sha)


def add_item(place, name):
    """Fill in the form of a new item in production, as a browser would."""
    address = f"http://localhost:{place.config.web_port}/items"
    session = requests.Session()
    form = session.get(f"{address}/new", timeout=30).text
    token = re.search(r'name="authenticity_token" value="([^"]+)"', form)[1]
    fields = {"authenticity_token": token, "item[name]": name}
    answer = session.post(address, fields, timeout=30)
    assert answer.status_code == 200 and name in answer.text
