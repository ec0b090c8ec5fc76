"""Making installs, with real commands; nothing is downloaded."""

import fcntl
import os
import shutil
import stat
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from host import config
from host.app import installs
from host.app.dependencies.install import Install
from host.errors import Refused
from host.files import var_folders
from host.files.file_lock import file_lock
from host.process import runner
from tests.host.app.test_planning import make_plan, only, package


@pytest.fixture
def tmp_path():
    """A folder that other uids can reach, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="oroboros-test-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
        installs.ownership.delete_tree(Path(folder) / "var")


@pytest.fixture
def conf(tmp_path):
    (tmp_path / "var").mkdir(mode=0o755)
    # An install kills all processes of its uid: another test run must not have the same uid.
    values = {
        "OROBOROS_VAR": str(tmp_path / "var"),
        "OROBOROS_ENV_DIR": str(tmp_path / "env"),
        "OROBOROS_UID_BASE": str(100000 + 100 * (os.getpid() % 5000)),
    }
    return config.load(values)


@pytest.fixture
def project(tree, conf, tmp_path):
    """A tree whose installs can be planned and made."""

    class Project:
        root = tree({"app.py": ""})
        log = tmp_path / "log"

        def plan(self, **parts):
            return make_plan(self.root, installs.find_tools(conf), **parts)

        def plan_node(self, script):
            """Plan an npm project, where a script stands for npm."""
            tree({"package.json": package(), "package-lock.json": "{}"})
            npm = conf.var / "npm"  # /tmp is hidden from an install
            npm.write_text(f"#!/bin/sh\n{script}\n")
            npm.chmod(0o755)
            return make_plan(self.root, replace(installs.find_tools(conf), npm=str(npm)))

        def make(self, found, root=None, **more):
            root = root or self.root
            return installs.make_installs(conf, found, root, user=None, log=self.log, **more)

    return Project()


def test_a_shared_install_is_made_once_and_is_read_only(project, conf):
    found = project.plan()
    assert project.make(found).exit_code == 0
    python = only(found.bin_folders(conf, project.root)) / "python"
    assert os.access(python, os.X_OK)
    folder = only(found.installs).folder(conf, project.root)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o555
    if os.geteuid() == 0:
        assert {path.lstat().st_uid for path in folder.rglob("*")} == {0}
    before = (folder / ".venv" / "pyvenv.cfg").stat()
    assert project.make(found).exit_code == 0
    assert (folder / ".venv" / "pyvenv.cfg").stat() == before


def test_an_interrupted_install_is_made_anew(project, conf):
    found = project.plan()
    folder = only(found.installs).folder(conf, project.root)
    (folder / ".venv").mkdir(parents=True)
    (folder / ".venv" / "half").write_text("x")
    assert not installs.is_installed(conf, only(found.installs), project.root)
    assert project.make(found).exit_code == 0
    assert not (folder / ".venv" / "half").exists()
    assert installs.is_installed(conf, only(found.installs), project.root)


def test_a_failed_install_returns_its_outcome_and_is_not_complete(project, conf):
    (project.root / "requirements.txt").write_text("no-such-thing ===\n")
    found = project.plan()
    assert project.make(found).exit_code not in (0, None)
    assert "no-such-thing" in project.log.read_text()
    assert not installs.is_installed(conf, only(found.installs), project.root)


def test_a_shared_install_has_only_the_files_of_its_key(project, conf):
    (project.root / "requirements.txt").write_text("-r base.txt\n")
    (project.root / "base.txt").write_text("# nothing\n")
    (project.root / "setup.py").write_text("raise SystemExit('ran')\n")
    found = project.plan()
    assert project.make(found).exit_code == 0
    folder = only(found.installs).folder(conf, project.root)
    assert {path.name for path in folder.iterdir()} == {"requirements.txt", "base.txt", ".venv"}


def test_a_shared_install_writes_nothing_outside_its_folder(project, conf, tmp_path):
    victim = tmp_path / "host" / "cron"
    for name in (str(victim), "../forged"):
        forged = Install("python", ".", (), (name,), "python-forged", shared=True)
        with pytest.raises(ValueError, match="not a file of an install"):
            installs.make_install(conf, forged, project.root, user=None, log=project.log)
    assert not victim.parent.exists()
    assert not (conf.var / "cache" / "installs" / "forged").exists()


def test_a_wait_for_another_install_can_be_stopped(project, conf):
    found = project.plan()
    store = conf.var / "cache" / "installs"
    store.mkdir(parents=True)
    with (store / f"{only(found.installs).key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        outcome = project.make(found, stop=lambda: True)
    assert outcome.stopped
    assert outcome.exit_code is None


def test_a_wait_for_another_install_times_out(project, conf, monkeypatch):
    monkeypatch.setattr(installs, "INSTALL_SECONDS", 0.0)
    found = project.plan()
    store = conf.var / "cache" / "installs"
    store.mkdir(parents=True)
    with (store / f"{only(found.installs).key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        outcome = project.make(found)
    assert (outcome.timed_out, outcome.stopped, outcome.exit_code) == (True, False, None)


def test_an_install_within_a_tree_is_incomplete_after_the_tree_is_rewritten(project, conf):
    (project.root / "install").write_text("#!/bin/sh\nmkdir node_modules\n")
    (project.root / "install").chmod(0o755)
    own = Install("node", ".", (), (), "node-own", shared=False, custom_commands=(("./install",),))
    assert not installs.is_installed(conf, own, project.root)
    assert installs.make_install(conf, own, project.root, user=None, log=project.log).exit_code == 0
    assert installs.is_installed(conf, own, project.root)
    (project.root / "node_modules").rmdir()  # as if it were laid out anew
    assert not installs.is_installed(conf, own, project.root)


def test_an_install_command_of_the_manifest_obeys_the_policy(project, conf):
    (project.root / "note.py").write_text("import sys; open('by', 'w').write(sys.prefix)")
    planned = replace(only(project.plan().installs), shared=False)

    def make(*own):
        install = replace(planned, custom_commands=own)
        return installs.make_install(conf, install, project.root, user=None, log=project.log)

    assert make(("uv", "pip", "list"), ("python", "note.py")).exit_code == 0
    assert (project.root / "by").read_text() == str(project.root / ".venv")
    with pytest.raises(Refused, match="WORKER_ALLOWED_COMMANDS") as refusal:
        make(("perl", "note.pl"))
    assert refusal.value.code == "command_refused"


@pytest.mark.parametrize("own", [(), (("npm", "ci"),)], ids=["detected", "of the manifest"])
def test_an_npm_project_on_a_host_without_npm_is_refused(
    project, conf, tree, tmp_path, monkeypatch, own
):
    monkeypatch.setattr(installs, "SYSTEM_PATH", str(tmp_path / "nothing"))
    tree({"package.json": package(), "package-lock.json": "{}"})
    without = replace(installs.find_tools(conf), npm="npm", node_version="")
    found = make_plan(project.root, without, frontend_install=own)
    with pytest.raises(Refused, match="install nodejs and npm") as refusal:
        project.make(found)
    assert refusal.value.code == "command_refused"


@pytest.mark.parametrize("lock", ["package-lock.json", "other"], ids=["shared", "in the tree"])
def test_an_install_that_makes_no_folder_is_refused_with_the_folder(project, conf, tree, lock):
    found = project.plan_node("exit 0")
    tree({"front/package.json": package(), f"front/{lock}": "{}"})
    tools = replace(installs.find_tools(conf), npm=found.installs[1].commands[0][0])
    found = make_plan(project.root, tools, frontend_dir="front")
    with pytest.raises(Refused, match="no folder front/node_modules") as refusal:
        project.make(found)
    assert refusal.value.code == "effect_missing"
    assert not installs.is_installed(conf, found.installs[1], project.root)


FILLED = (
    "mkdir -p node_modules/a node_modules/.prisma/client node_modules/.bin; "
    "cp package.json node_modules/a/; echo x > node_modules/.prisma/client/index.js; "
    "ln -s ../a/package.json node_modules/.bin/a; mkdir node_modules/.pnpm; "
    "echo {} > node_modules/.package-lock.json; echo x > node_modules/.pnpm/lock.yaml"
)


def test_a_shared_node_install_is_a_real_folder_of_the_tree(project, conf):
    found = project.plan_node(FILLED)
    assert project.make(found).exit_code == 0
    modules, shared = project.root / "node_modules", found.installs[1].folder(conf, project.root)
    assert modules.is_dir() and not modules.is_symlink()
    assert (modules / "a/package.json").samefile(shared / "node_modules/a/package.json")
    assert stat.S_IMODE((modules / "a/package.json").stat().st_mode) == 0o444
    assert (modules / ".bin/a").readlink() == Path("../a/package.json")
    assert found.bin_folders(conf, project.root)[-1] == modules / ".bin"
    # A build may install as well, which writes to these.
    for path in (".package-lock.json", ".pnpm/lock.yaml"):
        found_file = (modules / path).stat()
        assert (found_file.st_nlink, stat.S_IMODE(found_file.st_mode)) == (1, 0o644)
    # What tools write is the tree's own.
    for path in (".vite/deps.json", ".cache/x", ".prisma/client/index.js", "a/new.js"):
        (modules / path).parent.mkdir(exist_ok=True)
        (modules / path).write_text("written")
    assert (shared / "node_modules/.prisma/client/index.js").read_text() == "x\n"
    assert not (shared / "node_modules/a/new.js").exists()
    assert installs.is_installed(conf, found.installs[1], project.root)
    installs.ownership.delete_tree(modules)
    assert not installs.is_installed(conf, found.installs[1], project.root)
    assert (shared / "node_modules/a/package.json").read_text() == package()


@pytest.mark.parametrize("is_link", [False, True])
def test_a_committed_node_modules_is_replaced(project, conf, tree, tmp_path, is_link):
    found = project.plan_node(FILLED)
    assert project.make(found).exit_code == 0
    installs.ownership.delete_tree(project.root / "node_modules")
    if is_link:
        (project.root / "node_modules").symlink_to(tmp_path)
    else:
        tree({"node_modules/b/index.js": "", "node_modules/.oroboros-copy": "forged"})
    assert not installs.is_installed(conf, found.installs[1], project.root)
    assert project.make(found).exit_code == 0
    assert (project.root / "node_modules/a/package.json").read_text() == package()
    assert not (project.root / "node_modules/b").exists()


@pytest.mark.root
def test_a_trees_user_may_add_to_its_packages_and_not_change_them(project, conf):
    found = project.plan_node(FILLED)
    user = conf.slot_user(conf.slot("preview-1"))
    installs.ownership.give_tree(project.root, user)
    outcome = installs.make_installs(conf, found, project.root, user=user, log=project.log)
    assert outcome.exit_code == 0
    script = (
        "set -e; mkdir .vite; echo y > .vite/x; echo y > .prisma/client/index.js; set +e; "
        "echo y > a/package.json && exit 1; chmod u+w a/package.json && exit 1; exit 0"
    )
    outcome = runner.run(
        ["/bin/sh", "-c", script],
        cwd=project.root / "node_modules",
        log=project.log,
        timeout=60,
        env={"PATH": os.defpath},
        user=user,
    )
    assert outcome.exit_code == 0
    shared = found.installs[1].folder(conf, project.root) / "node_modules"
    assert (shared / "a/package.json").read_text() == package()
    assert (shared / ".prisma/client/index.js").read_text() == "x\n"
    installs.ownership.take_back(project.root)
    assert (shared / "a/package.json").stat().st_uid == 0


@pytest.mark.parametrize("swap", ["front", "front/deep", None])
def test_a_folder_that_became_a_link_gets_no_node_modules(project, conf, tree, tmp_path, swap):
    npm = project.plan_node("mkdir node_modules").installs[1].commands[0][0]
    tree({"front/deep/package.json": package(), "front/deep/package-lock.json": "{}"})
    tools = replace(installs.find_tools(conf), npm=npm)
    node = make_plan(project.root, tools, frontend_dir="front/deep").installs[1]
    victim = tmp_path / "victim"
    for folder in (victim, victim / "deep"):
        (folder / "node_modules").mkdir(parents=True)
        (folder / "node_modules" / "theirs").touch()
    before = sorted(victim.rglob("*"))
    installs.ownership.delete_tree(project.root / "front")
    if swap:
        (project.root / swap).parent.mkdir(exist_ok=True)
        (project.root / swap).symlink_to(victim)
    with pytest.raises(Refused, match="front/deep is no longer a folder") as refusal:
        installs.make_install(conf, node, project.root, user=None, log=project.log)
    assert refusal.value.code == "command_refused"
    assert sorted(victim.rglob("*")) == before


def test_concurrent_callers_make_a_shared_install_once(project, tmp_path):
    found = project.plan_node("echo made; sleep 0.1; mkdir node_modules")
    # Two callers never fill the same tree: its slot has one claim.
    roots = [Path(shutil.copytree(project.root, tmp_path / f"other-{n}")) for n in range(3)]
    with ThreadPoolExecutor(3) as pool:
        outcomes = list(pool.map(lambda root: project.make(found, root), roots))
    assert [outcome.exit_code for outcome in outcomes] == [0, 0, 0]
    assert project.log.read_text().count("made") == 1


@pytest.mark.root
@pytest.mark.parametrize("end", ["mkdir node_modules", "exit 1"])
def test_a_shared_install_leaves_no_process(project, conf, end):
    # Out of its family, its session and its mark.
    leaves = "(setsid env -i /bin/sh -c ': > left; exec sleep 60' &)"
    project.make(project.plan_node(f"{leaves}; until [ -e left ]; do sleep 0.01; done; {end}"))
    assert conf.install_user.pids() == set()


@pytest.mark.root
def test_processes_of_an_interrupted_install_are_killed_before_the_next(project, conf):
    env, user = {"PATH": os.defpath}, conf.install_user
    left = runner.spawn(["sleep", "60"], cwd=Path("/"), env=env, user=user, log=project.log)
    found = project.plan_node(f"ps -o s= -p {left.pid}; mkdir node_modules")
    assert project.make(found).exit_code == 0
    assert "S" not in project.log.read_text()
    assert not left.is_alive()


@pytest.mark.root
def test_shared_installs_of_different_files_are_made_one_at_a_time(project, conf):
    found = project.plan()
    store = conf.var / "cache" / "installs"
    store.mkdir(parents=True)
    with file_lock(store / "user.lock", seconds=0):
        assert project.make(found, stop=lambda: True).stopped
    assert not only(found.installs).folder(conf, project.root).exists()
    assert project.make(found).exit_code == 0


@pytest.mark.root
def test_an_install_runs_as_its_user_without_our_secrets(project, conf, tree):
    script = "#!/bin/sh\nid -u > who; ls -ld $HOME >> who; env > environment; mkdir node_modules\n"
    (project.root / "install").write_text(script)
    (project.root / "install").chmod(0o755)
    own = Install("node", ".", (), (), "node-own", shared=False, custom_commands=(("./install",),))
    user = conf.slot_user(conf.slot("preview-1"))
    os.chown(project.root, user.uid, user.gid)
    conf.environ["SECRET_KEY"] = "control"
    assert installs.make_install(conf, own, project.root, user=user, log=project.log).exit_code == 0
    who = (project.root / "who").read_text()
    assert who.startswith(f"{user.uid}\ndrwx------")
    assert "SECRET_KEY" not in (project.root / "environment").read_text()
    assert list((conf.var / "tmp").iterdir()) == []


def test_a_private_folder_is_deleted_at_the_end(conf):
    with var_folders.private_folder(conf, conf.job_user) as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "x").mkdir(mode=0o500)
    assert not folder.exists()


def test_uv_is_found_beside_our_python(conf):
    found = installs.find_tools(conf)
    assert Path(found.uv).name == "uv"
    assert "Python 3." in found.python_version


def test_an_interpreter_that_does_not_start_is_refused_with_the_setting(conf, tmp_path):
    missing = str(tmp_path / "python3.13")
    with pytest.raises(Refused, match="OROBOROS_APP_PYTHON must be a Python") as refusal:
        installs.find_tools(replace(conf, environ={"OROBOROS_APP_PYTHON": missing}))
    assert refusal.value.code == "setting_invalid" and missing in refusal.value.detail
