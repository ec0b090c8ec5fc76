"""application.py decides, policy.py refuses, installs.py carries out."""

import fcntl
import json
import os
import stat
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from host import config
from host.app import command_policy, installs, planning
from host.app.manifest import Check, Manifest
from host.app.planning import Command, Install, Tools
from host.errors import Refused
from host.files import file_lock
from host.process import runner

TOOLS = Tools("/v/bin/uv", "/usr/bin/python3", "3.11.2", "/usr/bin/npm", "v20")


@pytest.fixture
def tmp_path():
    """A folder that other uids can reach, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="oroboros-test-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
        installs.ownership.delete(Path(folder) / "var")


@pytest.fixture
def tree(tmp_path):
    """Write files into a tree and return its root."""
    root = tmp_path / "tree"
    root.mkdir(mode=0o755)

    def write(files):
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return root

    return write


def plan(root, tools=TOOLS, **parts):
    return planning.plan(root, Manifest(**parts), tools)


def only(found):
    assert len(found) == 1
    return found[0]


# the plan


def test_a_plan_has_every_command_of_the_manifest_in_its_place(tree):
    found = plan(
        tree({}),
        web=("python", "app.py"),
        release=("python", "m.py"),
        seed=("python", "s.py"),
        backend_dir="back",
        backend_build=(("python", "b.py"),),
        frontend_dir="front",
        frontend_build=(("npm", "run", "build"),),
        checks=(Check("tests", ("pytest",), 30.0, "back"),),
    )
    assert found.builds == (
        Command("build backend", ("python", "b.py"), "back"),
        Command("build frontend", ("npm", "run", "build"), "front"),
    )
    assert found.release == Command("release", ("python", "m.py"), "back", 600.0)
    assert found.seed == Command("seed", ("python", "s.py"), "back", 300.0)
    assert found.web == Command("web", ("python", "app.py"), "back", 0.0)
    assert found.checks == (Command("tests", ("pytest",), "back", 30.0),)


def test_a_plan_with_code_on_a_command_line_is_refused(tree):
    with pytest.raises(Refused) as refusal:
        plan(tree({}), checks=(Check("x", ("bash", "-c", "id")),))
    assert (refusal.value.code, refusal.value.status) == ("command_refused", 400)


@pytest.mark.parametrize("key", ["backend_install", "frontend_install"])
@pytest.mark.parametrize("argv", [("bash", "-c", "id"), ("perl", "-e", "1"), ("uv", "run", "x")])
def test_an_install_with_code_on_its_command_line_is_refused(key, argv, tree):
    with pytest.raises(Refused) as refusal:
        plan(tree({}), **{key: (argv,)})
    assert refusal.value.code == "command_refused"


def test_without_dependencies_there_is_an_empty_shared_venv(tree):
    install = only(plan(tree({"app.py": ""})).installs)
    assert (install.kind, install.shared, install.files) == ("python", True, ())
    assert only(install.commands)[1] == "venv"


def test_requirements_are_installed_by_uv(tree):
    install = only(plan(tree({"requirements.txt": "click\n"})).installs)
    assert install.shared
    assert install.commands[1] == (
        "/v/bin/uv",
        "pip",
        "install",
        "--python",
        ".venv/bin/python",
        "-r",
        "requirements.txt",
    )


def test_the_backends_own_folder_comes_first(tree):
    root = tree({"back/requirements.txt": "a\n", "requirements.txt": "b\n"})
    assert only(plan(root, backend_dir="back").installs).directory == "back"


def test_a_lock_file_wins_over_requirements(tree):
    root = tree({"uv.lock": "x", "pyproject.toml": "[project]\n", "requirements.txt": "a\n"})
    install = only(plan(root).installs)
    assert install.commands[1][1:3] == ("sync", "--frozen")
    assert install.commands[1][-1] == "--no-install-project"
    assert install.files == ("uv.lock", "pyproject.toml")


def key(root, tools=TOOLS, **parts):
    return only(plan(root, tools, **parts).installs).key


def test_the_key_changes_with_the_files_and_the_interpreter_and_nothing_else(tree):
    first = key(tree({"requirements.txt": "-r base.txt\n", "base.txt": "a\n"}))
    assert key(tree({"app.py": "changed"})) == first
    other_place = Tools("/elsewhere/uv", "/usr/bin/python3", "3.11.2", "/usr/bin/npm", "v20")
    assert key(tree({}), other_place) == first
    newer = Tools("/v/bin/uv", "/usr/bin/python3", "3.12.0", "/usr/bin/npm", "v20")
    assert key(tree({}), newer) != first
    assert key(tree({"base.txt": "b\n"})) != first


@pytest.mark.parametrize(
    "requirements",
    [
        "-e .\n",
        "--editable ./lib\n",
        "./wheel.whl\n",
        "../other\n",
        "/srv/lib\n",
        "file:///srv/lib\n",
        "a @ file:///srv/lib\n",
        "a @ ./lib\n",
        "a\n  -e lib\n",
        "-r ../outside.txt\n",
        "-r missing.txt\n",
        "--find-links wheels\n",
    ],
)
def test_requirements_that_name_a_place_are_installed_in_the_tree(tree, requirements):
    install = only(plan(tree({"requirements.txt": requirements})).installs)
    assert not install.shared


@pytest.mark.parametrize(
    "line",
    [
        "-r {}",
        "-r={}",
        " --requirement {}",
        "-c {}",
        "--constraint={}",
        "-r /{}",
        "-r sub/deep.txt",
    ],
)
def test_requirements_that_include_a_file_of_the_host_are_installed_in_the_tree(tree, line):
    files = {
        "requirements.txt": line.format("/etc/cron.d/x") + "\n",
        "sub/deep.txt": "-c /etc/cron.d/x\n",
        "etc/cron.d/x": "# what would be written there\n",
    }
    install = only(plan(tree(files)).installs)
    assert (install.shared, install.files) == (False, ())


def test_requirements_that_include_each_other_end(tree):
    root = tree({"requirements.txt": "-r a/b.txt\n", "a/b.txt": "-r ../requirements.txt\n"})
    assert only(plan(root).installs).files == ("requirements.txt", "a/b.txt")


@pytest.mark.parametrize(
    "files",
    [
        {"pyproject.toml": "[project]\n[build-system]\n", "uv.lock": ""},
        {"pyproject.toml": "[project]\n[build-system]\n"},
        {"pyproject.toml": "[project]\n", "uv.lock": 'source = { editable = "lib" }\n'},
    ],
)
def test_a_package_of_the_trees_own_is_installed_in_the_tree(tree, files):
    assert not only(plan(tree(files)).installs).shared


def test_install_commands_of_the_manifest_replace_the_habit(tree):
    own = (("uv", "pip", "install", "-r", "requirements/dev.txt"), ("npm", "ci", "--omit=dev"))
    root = tree({"requirements.txt": "a\n", "package.json": "{}"})
    python, node = plan(root, backend_install=own).installs
    assert (len(python.commands), python.own) == (1, own[:1])
    assert (node.commands, node.own) == ((), own[1:])
    assert not python.shared
    assert not node.shared


def package(**parts):
    return json.dumps({"name": "x", "dependencies": {"a": "1"}, **parts})


def test_a_node_folder_with_a_lock_is_shared(tree):
    root = tree({"front/package.json": package(), "front/package-lock.json": "{}"})
    _, node = plan(root, frontend_dir="front").installs
    assert (node.kind, node.directory, node.shared) == ("node", "front", True)
    assert only(node.commands)[:2] == ("/usr/bin/npm", "ci")
    assert node.files == ("package-lock.json", "package.json")


@pytest.mark.parametrize(
    ("data", "lock"),
    [
        (package(), None),
        (package(), '{"packages": {"node_modules/b": {"link": true}}}'),
        (package(), '{"packages": {"": {"dependencies": {"b": "file:../b"}}}}'),
        (package(scripts={"postinstall": "node x.js"}), "{}"),
    ],
)
def test_a_node_install_that_may_read_the_tree_is_made_in_it(tree, data, lock):
    files = {"package.json": data} | ({"package-lock.json": lock} if lock else {})
    _, node = plan(tree(files)).installs
    assert not node.shared


def test_a_package_json_without_dependencies_needs_no_install(tree):
    assert only(plan(tree({"package.json": '{"scripts": {}}'})).installs).kind == "python"


# what may be started


@pytest.mark.parametrize(
    "argv",
    [
        ["bash", "-c", "id"],
        ["bash", "-lc", "id"],
        ["bash", "-o", "errexit", "-c", "id"],
        ["bash", "+x", "-c", "id"],
        ["bash", "-s"],
        ["bash", "--rcfile=/tmp/x", "-i"],
        ["/bin/sh", "-ec", "id"],
        ["sh", "-"],
        ["python", "-c", "import os"],
        ["python3.11", "-Ic", "import os"],
        ["python3", "-cimport os"],
        ["python", "-W", "ignore", "-c", "import os"],
        ["python", "-X", "dev", "-c", "import os"],
        ["python", "--check-hash-based-pycs", "always", "-c", "import os"],
        ["python", "-"],
        ["node", "-e", "1"],
        ["node", "--eval=1"],
        ["node", "-pe", "1"],
        ["node", "--title", "x", "-e", "1"],
        ["node", "--import", "data:text/javascript,1"],
        ["npm", "exec", "-c", "id"],
        ["npm", "run", "x", "--script-shell=/tmp/x"],
        ["perl", "-I", "lib", "-e", "1"],
        ["git", "-c", "core.sshCommand=touch x", "fetch"],
        ["git", "--exec-path=/tmp", "status"],
        ["git", "fetch", "--upl=touch x", "o"],
        ["git", "--config-env=a=b", "status"],
        ["tar", "--to-command=sh", "-xf", "a"],
        ["tar", "--to-comm=sh", "-xf", "a"],
        ["tar", "-xIsh", "-f", "a"],
        ["make", "--eval=x:;id"],
        ["uv", "run", "python"],
        [],
        [""],
        ["a\0b"],
    ],
)
def test_code_on_the_command_line_is_refused(argv):
    with pytest.raises(Refused) as refusal:
        command_policy.check(argv)
    assert (refusal.value.code, refusal.value.status) == ("command_refused", 400)


@pytest.mark.parametrize(
    "argv",
    [
        ["python", "-m", "pytest", "-c", "setup.cfg"],
        ["python", "-um", "http.server", "-c"],
        ["python", "-u", "manage.py", "check", "-c"],
        ["python", "-Wignore::DeprecationWarning", "x.py"],
        ["gunicorn", "-c", "gunicorn.conf.py", "a.wsgi"],
        ["bash", "-eu", "run.sh", "-c", "x"],
        ["bash", "-euo", "pipefail", "run.sh"],
        ["node", "--enable-source-maps", "server.js"],
        ["npm", "run", "build", "--", "-c", "x"],
        ["uv", "pip", "install", "-r", "requirements.txt"],
        ["make", "-C", "dir", "test"],
        ["git", "log", "--oneline"],
    ],
)
def test_options_of_what_is_started_are_let_be(argv):
    command_policy.check(argv)


@pytest.fixture
def place(tmp_path):
    """A tree with a script, a venv outside it, and who may use which programs."""
    root, bins = tmp_path / "root", tmp_path / "venv" / "bin"
    for folder in (root / "bin", bins, tmp_path / "host"):
        folder.mkdir(parents=True)
    for path in (root / "bin" / "run", bins / "gunicorn", tmp_path / "host" / "git"):
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    (root / "data").write_text("x")
    (root / "itself").symlink_to("itself")
    (bins / "python").symlink_to("/bin/sh")
    conf = config.load(
        {"WORKER_ALLOWED_COMMANDS": "git, sh", "WORKER_ALLOWED_PATHS": f"{tmp_path}/host:relative"}
    )

    def resolve(*argv, cwd=root):
        return command_policy.resolve(argv, conf, cwd=cwd, root=root, bins=[bins])

    return resolve


def test_the_applications_own_programs_come_first(place, tmp_path):
    assert place("gunicorn", "a") == [str(tmp_path / "venv" / "bin" / "gunicorn"), "a"]
    assert place("python", "x.py") == [str(tmp_path / "venv" / "bin" / "python"), "x.py"]


def test_a_file_of_the_tree_is_found_from_where_it_is_started(place, tmp_path):
    run = str(tmp_path / "root" / "bin" / "run")
    assert place("./bin/run") == [run]
    assert place("../bin/run", cwd=tmp_path / "root" / "bin") == [run]


def test_its_own_programs_are_found_through_the_link_to_a_shared_install(place, tmp_path):
    linked = tmp_path / "root" / "node_modules"
    linked.symlink_to(tmp_path / "venv")
    assert place("node_modules/bin/gunicorn") == [str(linked / "bin" / "gunicorn")]
    with pytest.raises(Refused):
        place("node_modules/../venv/other")


def test_an_allowed_program_is_taken_from_an_allowed_folder(place, tmp_path):
    assert place("git", "status") == [str(tmp_path / "host" / "git"), "status"]
    assert place(f"{tmp_path}/host/git") == [f"{tmp_path}/host/git"]


@pytest.mark.parametrize(
    "program",
    [
        "/tmp/git",
        "/usr/bin/env",
        "curl",
        "sh",
        "../venv/bin/other",
        "./data",
        "./gone",
        "/bin/sh",
        "./itself",
    ],
)
def test_any_other_program_is_refused(place, program):
    with pytest.raises(Refused) as refusal:
        place(program, "x")
    assert refusal.value.code == "command_refused"


def test_a_link_out_of_the_tree_is_no_file_of_the_tree(place, tmp_path):
    (tmp_path / "root" / "env").symlink_to("/usr/bin/env")
    with pytest.raises(Refused):
        place("./env", "x")


def test_ready_fills_in_the_port_and_finds_the_program(tree, tmp_path):
    root = tree({"run": "#!/bin/sh\n"})
    (root / "run").chmod(0o755)
    command = Command("web", ("./run", "--bind=127.0.0.1:${PORT}", "$NONE"))
    argv = planning.ready(command, config.load({}), root=root, bins=[], env={"PORT": "8101"})
    assert argv == [str(root / "run"), "--bind=127.0.0.1:8101", ""]


def test_a_directory_that_leads_out_of_the_tree_is_refused(tree, tmp_path):
    root = tree({"inner/run": "#!/bin/sh\n"})
    (root / "within").symlink_to("inner")
    (root / "out").symlink_to(tmp_path)
    (root / "round").symlink_to("round")  # the start will fail, as it should

    def ready(directory):
        command = Command("web", ("true",), directory)
        return planning.ready(command, config.load({}), root=root, bins=[], env={})

    for directory in (".", "inner", "within", "round", "absent"):
        assert ready(directory) == ["/usr/bin/true"]
    for directory in ("out", "out/tree-2", "within/../.."):
        with pytest.raises(Refused, match=f"directory {directory} of web leads out") as refusal:
            ready(directory)
        assert refusal.value.code == "command_refused"


def test_a_variable_cannot_smuggle_code_past_the_check(tree):
    command = Command("web", ("sh", "$FLAG", "id"))
    with pytest.raises(Refused, match="command line"):
        planning.ready(command, config.load({}), root=tree({}), bins=[], env={"FLAG": "-c"})


# installs, for real (nothing is downloaded)


@pytest.fixture
def conf(tmp_path):
    (tmp_path / "var").mkdir(mode=0o755)
    # Whoever tests here at the same time must not share our uids: an install kills all of its.
    values = {
        "OROBOROS_VAR": str(tmp_path / "var"),
        "OROBOROS_ENV_DIR": str(tmp_path / "env"),
        "OROBOROS_UID_BASE": str(100000 + 100 * (os.getpid() % 5000)),
    }
    return config.load(values)


@pytest.fixture
def work(tree, conf, tmp_path):
    """Plan and make the installs of a tree."""

    class Work:
        root = tree({"app.py": ""})
        log = tmp_path / "log"

        def plan(self, **parts):
            return plan(self.root, installs.tools(conf), **parts)

        def plan_node(self, script):
            """Plan an npm project, where a script stands for npm."""
            tree({"package.json": package(), "package-lock.json": "{}"})
            npm = tmp_path / "npm"
            npm.write_text(f"#!/bin/sh\n{script}\n")
            npm.chmod(0o755)
            return plan(self.root, replace(installs.tools(conf), npm=str(npm)))

        def make(self, found, **more):
            return installs.make_all(conf, found, self.root, user=None, log=self.log, **more)

    return Work()


def test_a_shared_install_is_made_once_and_is_read_only(work, conf):
    found = work.plan()
    assert work.make(found).exit_code == 0
    python = only(found.bins(conf, work.root)) / "python"
    assert os.access(python, os.X_OK)
    place = only(found.installs).place(conf, work.root)
    assert stat.S_IMODE(place.stat().st_mode) == 0o555
    if os.geteuid() == 0:
        assert {path.lstat().st_uid for path in place.rglob("*")} == {0}
    before = (place / ".venv" / "pyvenv.cfg").stat()
    assert work.make(found).exit_code == 0
    assert (place / ".venv" / "pyvenv.cfg").stat() == before


def test_an_interrupted_install_is_made_over(work, conf):
    found = work.plan()
    place = only(found.installs).place(conf, work.root)
    (place / ".venv").mkdir(parents=True)
    (place / ".venv" / "half").write_text("x")
    assert not installs.is_done(conf, only(found.installs), work.root)
    assert work.make(found).exit_code == 0
    assert not (place / ".venv" / "half").exists()
    assert installs.is_done(conf, only(found.installs), work.root)


def test_a_failed_install_is_an_answer_and_not_kept(work, conf):
    (work.root / "requirements.txt").write_text("no-such-thing ===\n")
    found = work.plan()
    assert work.make(found).exit_code not in (0, None)
    assert "no-such-thing" in work.log.read_text()
    assert not installs.is_done(conf, only(found.installs), work.root)


def test_a_shared_install_sees_the_files_of_its_key_alone(work, conf):
    (work.root / "requirements.txt").write_text("-r base.txt\n")
    (work.root / "base.txt").write_text("# nothing\n")
    (work.root / "setup.py").write_text("raise SystemExit('ran')\n")
    found = work.plan()
    assert work.make(found).exit_code == 0
    place = only(found.installs).place(conf, work.root)
    assert {path.name for path in place.iterdir()} == {"requirements.txt", "base.txt", ".venv"}


def test_a_shared_install_writes_nothing_outside_of_its_place(work, conf, tmp_path):
    victim = tmp_path / "host" / "cron"
    for name in (str(victim), "../forged"):
        forged = Install("python", ".", (), (name,), "python-forged", shared=True)
        with pytest.raises(ValueError, match="no file of an install"):
            installs.make(conf, forged, work.root, user=None, log=work.log)
    assert not victim.parent.exists()
    assert not (conf.var / "cache" / "installs" / "forged").exists()


def test_who_waits_for_anothers_install_can_be_stopped(work, conf):
    found = work.plan()
    store = conf.var / "cache" / "installs"
    store.mkdir(parents=True)
    with (store / f"{only(found.installs).key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        outcome = work.make(found, stop=lambda: True)
    assert outcome.stopped
    assert outcome.exit_code is None


def test_who_waits_for_anothers_install_too_long_runs_out_of_time(work, conf, monkeypatch):
    monkeypatch.setattr(installs, "INSTALL_SECONDS", 0.0)
    found = work.plan()
    store = conf.var / "cache" / "installs"
    store.mkdir(parents=True)
    with (store / f"{only(found.installs).key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        outcome = work.make(found)
    assert (outcome.timed_out, outcome.stopped, outcome.exit_code) == (True, False, None)


def test_an_install_of_the_trees_own_is_gone_with_its_tree(work, conf):
    (work.root / "install").write_text("#!/bin/sh\nmkdir node_modules\n")
    (work.root / "install").chmod(0o755)
    own = Install("node", ".", (), (), "node-own", shared=False, own=(("./install",),))
    assert not installs.is_done(conf, own, work.root)
    assert installs.make(conf, own, work.root, user=None, log=work.log).exit_code == 0
    assert installs.is_done(conf, own, work.root)
    (work.root / "node_modules").rmdir()  # as if it were laid out anew
    assert not installs.is_done(conf, own, work.root)


def test_an_install_of_the_manifest_starts_only_what_is_allowed(work, conf):
    (work.root / "note.py").write_text("import sys; open('by', 'w').write(sys.prefix)")
    planned = replace(only(work.plan().installs), shared=False)

    def make(*own):
        install = replace(planned, own=own)
        return installs.make(conf, install, work.root, user=None, log=work.log)

    assert make(("uv", "pip", "list"), ("python", "note.py")).exit_code == 0
    assert (work.root / "by").read_text() == str(work.root / ".venv")
    with pytest.raises(Refused, match="WORKER_ALLOWED_COMMANDS") as refusal:
        make(("perl", "note.pl"))
    assert refusal.value.code == "command_refused"


@pytest.mark.parametrize("own", [(), (("npm", "ci"),)], ids=["by habit", "by the manifest"])
def test_an_npm_project_on_a_host_without_npm_is_told_what_to_install(
    work, conf, tree, tmp_path, monkeypatch, own
):
    monkeypatch.setattr(installs, "SEARCH", str(tmp_path / "nothing"))
    tree({"package.json": package(), "package-lock.json": "{}"})
    without = replace(installs.tools(conf), npm="npm", node_version="")
    found = plan(work.root, without, frontend_install=own)
    with pytest.raises(Refused, match="install nodejs and npm") as refusal:
        work.make(found)
    assert refusal.value.code == "command_refused"


def test_a_shared_node_install_is_linked_into_the_tree(work, conf):
    found = work.plan_node("mkdir node_modules && cp package.json node_modules/")
    assert work.make(found).exit_code == 0
    link = work.root / "node_modules"
    assert link.readlink() == found.installs[1].place(conf, work.root) / "node_modules"
    assert (link / "package.json").read_text() == package()
    link.unlink()
    assert not installs.is_done(conf, found.installs[1], work.root)
    assert work.make(found).exit_code == 0
    assert link.is_symlink()


def test_a_node_modules_that_was_committed_gives_way_to_the_shared_one(work, conf, tree):
    found = work.plan_node("mkdir node_modules")
    tree({"node_modules/a/index.js": "", "node_modules/.bin": ""})
    assert work.make(found).exit_code == 0
    link = work.root / "node_modules"
    assert link.readlink() == found.installs[1].place(conf, work.root) / "node_modules"


@pytest.mark.parametrize("swap", ["front", "front/deep", None])
def test_a_folder_that_became_a_link_gets_no_node_modules(work, conf, tree, tmp_path, swap):
    npm = work.plan_node("mkdir node_modules").installs[1].commands[0][0]
    tree({"front/deep/package.json": package(), "front/deep/package-lock.json": "{}"})
    tools = replace(installs.tools(conf), npm=npm)
    node = plan(work.root, tools, frontend_dir="front/deep").installs[1]
    victim = tmp_path / "victim"
    for folder in (victim, victim / "deep"):
        (folder / "node_modules").mkdir(parents=True)
        (folder / "node_modules" / "theirs").touch()
    before = sorted(victim.rglob("*"))
    installs.ownership.delete(work.root / "front")
    if swap:
        (work.root / swap).parent.mkdir(exist_ok=True)
        (work.root / swap).symlink_to(victim)
    with pytest.raises(Refused, match="front/deep is no folder") as refusal:
        installs.make(conf, node, work.root, user=None, log=work.log)
    assert refusal.value.code == "command_refused"
    assert sorted(victim.rglob("*")) == before


def test_two_who_want_the_same_install_make_it_once(work):
    found = work.plan_node("echo made; sleep 0.1; mkdir node_modules")
    with ThreadPoolExecutor(3) as pool:
        outcomes = list(pool.map(lambda _: work.make(found), range(3)))
    assert [outcome.exit_code for outcome in outcomes] == [0, 0, 0]
    assert work.log.read_text().count("made") == 1


@pytest.mark.root
@pytest.mark.parametrize("end", ["mkdir node_modules", "exit 1"])
def test_a_shared_install_leaves_no_process(work, conf, end):
    # Out of its family, its session and its mark.
    leaves = "(setsid env -i /bin/sh -c ': > left; exec sleep 60' &)"
    work.make(work.plan_node(f"{leaves}; until [ -e left ]; do sleep 0.01; done; {end}"))
    assert conf.install_user.pids() == set()


@pytest.mark.root
def test_what_an_interrupted_install_left_is_gone_before_the_next(work, conf):
    env, user = {"PATH": os.defpath}, conf.install_user
    left = runner.spawn(["sleep", "60"], cwd=Path("/"), env=env, user=user, log=work.log)
    found = work.plan_node(f"ps -o s= -p {left.pid}; mkdir node_modules")
    assert work.make(found).exit_code == 0
    assert "S" not in work.log.read_text()
    assert not runner.alive(left)


@pytest.mark.root
def test_shared_installs_of_different_files_are_made_one_at_a_time(work, conf):
    found = work.plan()
    store = conf.var / "cache" / "installs"
    store.mkdir(parents=True)
    with file_lock.held(store / "user.lock", seconds=0):
        assert work.make(found, stop=lambda: True).stopped
    assert not only(found.installs).place(conf, work.root).exists()
    assert work.make(found).exit_code == 0


@pytest.mark.root
def test_an_install_runs_as_the_jobs_user_with_nothing_of_ours(work, conf, tree):
    script = "#!/bin/sh\nid -u > who; ls -ld $HOME >> who; env > environment; mkdir node_modules\n"
    (work.root / "install").write_text(script)
    (work.root / "install").chmod(0o755)
    own = Install("node", ".", (), (), "node-own", shared=False, own=(("./install",),))
    user = conf.slot_user(conf.slot("preview-1"))
    os.chown(work.root, user.uid, user.gid)
    conf.environ["SECRET_KEY"] = "control"
    assert installs.make(conf, own, work.root, user=user, log=work.log).exit_code == 0
    who = (work.root / "who").read_text()
    assert who.startswith(f"{user.uid}\ndrwx------")
    assert "SECRET_KEY" not in (work.root / "environment").read_text()
    assert list((conf.var / "tmp").iterdir()) == []


def test_a_private_folder_is_gone_afterwards(conf):
    with installs.private_folder(conf, conf.job_user) as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "x").mkdir(mode=0o500)
    assert not folder.exists()


def test_the_tools_are_found_beside_our_python(conf):
    found = installs.tools(conf)
    assert Path(found.uv).name == "uv"
    assert "Python 3." in found.python_version
