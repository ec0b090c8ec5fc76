"""Proxies, indexes and certificates: set for one tool, they hold for all of its language."""

import base64
import hashlib
import http.server
import io
import json
import shutil
import tarfile
import threading
import zipfile
from contextlib import contextmanager

import pytest

from host import config
from host.app import installs
from host.app.dependencies import registries, registry_files

URL = "https://index.example/simple"


def translate(**values):
    return registries.translate(lambda name: values.get(name, ""))


@pytest.mark.parametrize("name", registries.PYTHON_INDEX)
def test_an_index_of_one_python_tool_is_that_of_all(name):
    found = translate(**{name: URL}).variables
    assert (found["UV_DEFAULT_INDEX"], found["PIP_INDEX_URL"]) == (URL, URL)
    assert "UV_INDEX_URL" not in found  # uv refuses to have both


@pytest.mark.parametrize("name", registries.NODE_REGISTRY)
def test_a_registry_of_one_node_tool_is_that_of_all(name):
    found = translate(**{name: URL}).variables
    assert {found[other] for other in registries.NODE_REGISTRY} == {URL}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            {"UV_INDEX": "own=https://a/ https://b/"},
            {"PIP_EXTRA_INDEX_URL": "https://a/ https://b/"},
        ),
        ({"PIP_EXTRA_INDEX_URL": "https://a/\nhttps://b/"}, {"UV_INDEX": "https://a/ https://b/"}),
        ({"UV_DEFAULT_INDEX": "own=https://a/"}, {"PIP_INDEX_URL": "https://a/"}),
        ({"PIP_TRUSTED_HOST": "a b"}, {"UV_INSECURE_HOST": "a b"}),
        ({"PIP_FIND_LINKS": "/a /b"}, {"UV_FIND_LINKS": "/a,/b"}),
        ({"PIP_NO_INDEX": "1"}, {"UV_NO_INDEX": "1"}),
        ({"https_proxy": "http://p"}, {"HTTPS_PROXY": "http://p", "YARN_HTTPS_PROXY": "http://p"}),
        ({"npm_config_noproxy": "a"}, {"NO_PROXY": "a", "no_proxy": "a"}),
        (
            {"HTTP_PROXY": "http://p", "NO_PROXY": "y", "YARN_REGISTRY": "http://n/"},
            {"YARN_HTTP_PROXY": "http://p", "YARN_UNSAFE_HTTP_WHITELIST": "n"},
        ),
        (
            {"ALL_PROXY": "http://p", "HTTP_PROXY": "http://q"},
            {"https_proxy": "http://p", "http_proxy": "http://q"},
        ),
        ({"PIP_CERT": "/c"}, {"SSL_CERT_FILE": "/c", "npm_config_cafile": "/c"}),
        ({"NODE_EXTRA_CA_CERTS": "/c"}, {"NODE_EXTRA_CA_CERTS": "/c"}),
        ({"GOPROXY": "https://g|direct"}, {"GOPROXY": "https://g|direct"}),
        (
            {"GOPRIVATE": "a.example", "GOSUMDB": "off"},
            {"GOPRIVATE": "a.example", "GOSUMDB": "off"},
        ),
        ({"BUNDLE_MIRROR__ALL": "https://r/"}, {"BUNDLE_MIRROR__ALL": "https://r/"}),
    ],
)
def test_a_setting_of_one_tool_is_translated_for_the_others(given, expected):
    found = translate(**given).variables
    assert found.items() >= expected.items()
    assert "SSL_CERT_FILE" not in translate(NODE_EXTRA_CA_CERTS="/c").variables


def test_uv_goes_on_to_the_next_index_where_the_extra_indexes_are_pips():
    strategy = "UV_INDEX_STRATEGY"
    assert translate(PIP_EXTRA_INDEX_URL=URL).variables[strategy] == "unsafe-first-match"
    assert strategy not in translate(UV_INDEX=URL, PIP_EXTRA_INDEX_URL=URL).variables
    assert strategy not in translate(PIP_INDEX_URL=URL).variables
    given = {strategy: "first-index", "PIP_EXTRA_INDEX_URL": URL}
    assert translate(**given).variables[strategy] == "first-index"


def test_passwords_are_in_files_of_the_home_and_not_in_addresses():
    found = translate(
        UV_DEFAULT_INDEX="https://ci:p%40ss@a.example:8443/simple",
        PIP_EXTRA_INDEX_URL="https://u:two@b.example/simple",
        npm_config_registry="https://n:three@c.example/npm/",
    )
    assert not any(secret in str(found.variables) for secret in ("p%40ss", "two", "three"))
    assert found.variables["PIP_INDEX_URL"] == "https://a.example:8443/simple"
    assert 'machine a.example login "ci" password "p@ss"\n' in found.files[".netrc"]
    assert 'machine b.example login "u" password "two"\n' in found.files[".netrc"]
    token = base64.b64encode(b"n:three").decode()
    assert f"//c.example/npm/:_auth={token}\n" in found.files[".npmrc"]
    assert translate(UV_DEFAULT_INDEX=URL).files == {}


def test_the_files_of_pip_are_read_and_the_last_wins(tmp_path):
    first, second = tmp_path / "1", tmp_path / "2"
    first.write_text(
        "[global]\nindex-url = https://a/%20x\ncert = /c\nextra-index-url =\n  h\n  i\n"
    )
    second.write_text("[install]\nindex-url = https://b\n")
    assert registry_files.read_pip_settings([first, second, tmp_path / "3"]) == {
        "PIP_INDEX_URL": "https://b",
        "PIP_CERT": "/c",
        "PIP_EXTRA_INDEX_URL": "\nh\ni",
    }
    second.write_text("no section\n")
    assert registry_files.read_pip_settings([second]) == {}


def test_files_of_uv_and_npm_count_where_no_variable_is_set(tmp_path):
    uv, npm = tmp_path / "uv.toml", tmp_path / "npmrc"
    uv.write_text(
        'offline = true\n[pip]\nindex-url = "https://old"\n'
        '[[index]]\nurl = "https://a"\ndefault = true\n[[index]]\nurl = "https://b"\n'
        '[[index]]\nurl = "https://torch"\nexplicit = true\n'
    )
    npm.write_text(
        "; mine\n\nregistry=https://n/\n@acme:registry = http://s.example/npm/\n"
        "//s.example/npm/:_authToken=${TOKEN}\nfund=false\nhttps-proxy='http://p'\n"
    )
    given = {"UV_CONFIG_FILE": str(uv), "npm_config_userconfig": str(npm), "TOKEN": "t0ken-value"}
    lookup = lambda name: given.get(name, "")  # noqa: E731
    files = registry_files.read_registry_files(lookup)
    found = registries.translate(registries.add_files(lookup, files.variables), files.npm_records)
    assert found.variables["PIP_INDEX_URL"] == "https://a"
    assert found.variables["PIP_EXTRA_INDEX_URL"] == "https://b"
    assert found.variables["YARN_REGISTRY"] == "https://n/"
    assert found.variables["HTTPS_PROXY"] == "http://p"
    assert found.variables["YARN_UNSAFE_HTTP_WHITELIST"] == "s.example"
    assert "@acme:registry=http://s.example/npm/\n" in found.files[".npmrc"]
    assert '"acme": {"npmRegistryServer": "http://s.example/npm/"}' in found.files[".yarnrc.yml"]
    assert '"npmAuthToken": "t0ken-value"' in found.files[".yarnrc.yml"]
    assert "t0ken-value" in found.passwords and "t0ken-value" not in str(found.variables)
    given |= {"PIP_INDEX_URL": "https://c", "BUN_CONFIG_REGISTRY": "https://d/"}
    found = registries.translate(registries.add_files(lookup, files.variables))
    assert found.variables["UV_DEFAULT_INDEX"] == "https://c"
    assert found.variables["npm_config_registry"] == "https://d/"


@pytest.mark.parametrize("text", ["[[index", "index = 3\n", "[index]\nurl = 1\n", "pip = 1\n"])
def test_a_settings_file_of_any_content_is_no_error(tmp_path, text):
    path = tmp_path / "file"
    path.write_text(text)
    assert registry_files.read_uv_settings([path, tmp_path]) == {}
    assert registry_files.read_npm_settings([path, tmp_path], str).variables == {}
    path.write_bytes(b"\xff\n")
    assert registry_files.read_npm_settings([path], str).variables == {}


def make_wheel(version):
    """Return a wheel of the package `private-thing`."""
    data, info = io.BytesIO(), f"private_thing-{version}.dist-info"
    with zipfile.ZipFile(data, "w") as wheel:
        wheel.writestr("private_thing.py", "")
        wheel.writestr(f"{info}/METADATA", f"Name: private-thing\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return data.getvalue()


def make_tarball():
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        text = json.dumps({"name": "private-thing", "version": "1.0.0"}).encode()
        member = tarfile.TarInfo("package/package.json")
        member.size = len(text)
        tar.addfile(member, io.BytesIO(text))
    return data.getvalue()


class Index(http.server.ThreadingHTTPServer):
    """A package index and registry that wants a password, and the proxy of all else."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answered, self.refused = [], []
        self.tarball = make_tarball()
        self.wheel = make_wheel("1.0")

    @property
    def address(self):
        return f"127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers for `private-thing`; a request for another host, which comes to a proxy, is kept."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *given):
        pass

    def do_CONNECT(self):
        self.server.refused.append(self.path)
        self.answer(403, b"")

    def do_GET(self):
        index = self.server
        if self.path.startswith("http"):
            index.refused.append(self.path)
            return self.answer(403, b"")
        wanted = "Basic " + base64.b64encode(b"ci:s3cr3t-index-pw").decode()
        if self.headers.get("Authorization") != wanted:
            return self.answer(401, b"")
        index.answered.append(self.path)
        return self.answer(*self.find(self.path.split("?")[0].rstrip("/")))

    do_HEAD = do_GET  # noqa: N815 — the name is http.server's

    def find(self, path):
        index = self.server
        base = f"http://{index.address}"
        if path == "/simple/private-thing":
            name = "private_thing-1.0-py3-none-any.whl"
            return 200, f'<a href="{base}/{name}">{name}</a>'.encode(), "text/html"
        if path.endswith(".whl"):
            return 200, index.wheel
        if path.endswith(".tgz"):
            return 200, index.tarball
        if path == "/npm/private-thing":
            digest = base64.b64encode(hashlib.sha512(index.tarball).digest()).decode()
            dist = {
                "tarball": f"{base}/npm/private-thing/-/private-thing-1.0.0.tgz",
                "integrity": f"sha512-{digest}",
                "shasum": hashlib.sha1(index.tarball).hexdigest(),
            }
            version = {"name": "private-thing", "version": "1.0.0", "dist": dist}
            data = {
                "name": "private-thing",
                "dist-tags": {"latest": "1.0.0"},
                "versions": {"1.0.0": version},
                "time": {"1.0.0": "2020-01-01T00:00:00.000Z"},
            }
            return 200, json.dumps(data).encode(), "application/json"
        return 404, b"{}"

    def answer(self, status, body, kind="application/octet-stream"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="index"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@contextmanager
def serve():
    index = Index()
    thread = threading.Thread(target=index.serve_forever, daemon=True)
    thread.start()
    try:
        yield index
    finally:
        index.shutdown()
        index.server_close()


@pytest.fixture
def index():
    with serve() as index:
        yield index


@pytest.fixture
def behind(project, index):
    """Set the index for one tool, and a proxy that keeps what else is requested."""

    def configure(**values):
        proxy = f"http://{index.address}"
        own = {
            key: project.config.get(key)
            for key in ("OROBOROS_VAR", "OROBOROS_ENV_DIR", "OROBOROS_UID_BASE", "SECRET_KEY")
        }
        network = {"HTTPS_PROXY": proxy, "HTTP_PROXY": proxy, "NO_PROXY": "127.0.0.1"}
        project.config = config.load({**own, **network, **values})
        return project

    return configure


def private_index(index):
    return f"http://ci:s3cr3t-index-pw@{index.address}/simple"


def test_the_passwords_of_gos_proxies_are_in_a_file():
    found = translate(GOPROXY="https://u:s3cr3t@a.example/go, https://b.example,direct")
    assert found.variables["GOPROXY"] == "https://a.example/go, https://b.example,direct"
    assert 'machine a.example login "u" password "s3cr3t"' in found.files[".netrc"]
    assert "s3cr3t" in found.passwords


@pytest.mark.parametrize("name", ["PIP_INDEX_URL", "UV_DEFAULT_INDEX"])
def test_uv_requests_packages_from_the_set_index_only(behind, index, name):
    project = behind(**{name: private_index(index)})
    files = {"Procfile": "web: python x.py\n", "requirements.txt": "private-thing\n"}
    app = project.write(**files).install()
    require_private_thing(app, index, project.log)


@pytest.mark.full
@pytest.mark.parametrize("name", ["PIP_INDEX_URL", "UV_DEFAULT_INDEX"])
def test_pip_requests_packages_from_the_set_index_only(project, behind, index, name):
    toml = '[frontend]\noutput = "."\ninstall = "pip install --no-cache-dir private-thing"\n'
    app = project.write(**{"oroboros.toml": toml}).read()
    # pip itself comes from where this machine has it.
    python = app.plan.installs[0]
    installs.make_install(app.config, python, app.root, user=None, log=project.log)
    require_private_thing(behind(**{name: private_index(index)}).install(), index, project.log)


def require_private_thing(app, index, log):
    folder = app.plan.installs[0].folder(app.config, app.root)
    assert [*folder.glob(".venv/lib/*/site-packages/private_thing.py")]
    assert index.answered and index.refused == []
    assert "s3cr3t" not in log.read_text()


def test_a_failed_install_does_not_log_the_indexs_password(behind, index):
    project = behind(UV_INDEX_URL=private_index(index))
    app = project.write(**{"Procfile": "web: python x.py\n", "requirements.txt": "absent\n"}).read()
    outcome = installs.make_installs(app.config, app.plan, app.root, user=None, log=project.log)
    assert outcome.exit_code not in (0, None)
    assert "absent" in project.log.read_text() and "s3cr3t" not in project.log.read_text()
    assert index.refused == []


NODE_TOOLS = {
    "npm": {},
    "pnpm": {"packageManager": "pnpm@10.34.8"},
    "yarn 1": {"packageManager": "yarn@1.22.22"},
    "yarn 4": {"packageManager": "yarn@4.18.1"},
    "bun": {"packageManager": "bun@1.4.5"},
}


@pytest.mark.full
@pytest.mark.parametrize("tool", NODE_TOOLS)
def test_a_node_tool_requests_packages_from_the_set_registry_only(project, behind, index, tool):
    toml = '[frontend]\noutput = "dist"\n'
    data = {"name": "x", "dependencies": {"private-thing": "1.0.0"}, **NODE_TOOLS[tool]}
    project.write(**{"oroboros.toml": toml, "package.json": json.dumps(data)})
    # The package manager itself comes from where this machine has it.
    plan = project.read().plan
    tools = [one for one in plan.installs if one.kind == "tool"]
    for one in tools:
        installs.make_install(project.config, one, project.root, user=None, log=project.log)
    registry = private_index(index).replace("/simple", "/npm/")
    name = "YARN_NPM_REGISTRY_SERVER" if tool == "npm" else "npm_config_registry"
    project = behind(**{name: registry})
    project.install()
    assert (project.root / "node_modules" / "private-thing" / "package.json").exists()
    assert index.answered and index.refused == []
    assert "s3cr3t" not in project.log.read_text()
    shutil.rmtree(project.root / "node_modules")
