"""Which commands may be started, and which program a name means."""

import pytest

from host import config
from host.app import command_policy
from host.errors import Refused


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
        ["uv"],
        ["/usr/bin/uv", "tool", "run", "sync"],
        ["bundle", "exec", "bash", "-c", "id"],
        ["bundle", "exec"],
        ["bash", "-O", "extglob", "-c", "id"],
        ["dash", "-c", "id"],
        ["zsh", "-o", "errexit", "-c", "id"],
        ["ruby", "-r", "json", "-e", "1"],
        ["ruby", "-ne", "1"],
        ["php", "-r", "1;"],
        ["php", "-B", "1;"],
        ["perl", "-E", "1"],
        ["npx", "--call", "id"],
        ["npm", "--node-options=--eval=1", "run", "x"],
        ["npm", "-c", "id", "--", "x"],
        ["git", "--receive-pack=touch x", "push"],
        ["tar", "-F", "sh", "-xf", "a"],
        ["node", "-r", "./x.js", "-p", "1"],
        ["python", "-Xdev", "-c", "1"],
        ["python3", "-uc", "1"],
        [],
        [""],
        ["a\0b"],
    ],
)
def test_code_on_the_command_line_is_refused(argv):
    with pytest.raises(Refused) as refusal:
        command_policy.check_command(argv)
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
        ["uv", "sync", "--frozen"],
        ["bundle", "exec", "ruby", "x.rb", "-e"],
        ["bundle", "install", "-c"],
        ["ruby", "-Eutf-8", "x.rb"],
        ["python", "-Xcpu_count=1", "x.py"],
        ["python", "-mc", "x"],
        ["python", "x.py", "-"],
        ["python", "--", "-c"],
        ["cat", "-"],
        ["node", "--title=e", "server.js", "-e"],
        ["npm", "run", "build", "--", "--call"],
        ["node", "--"],
        ["2048", "-c"],
    ],
)
def test_options_of_the_started_script_are_allowed(argv):
    command_policy.check_command(argv)


@pytest.fixture
def resolve(tmp_path):
    """Return a function that resolves argv in a tree with a script, with a venv outside of it."""
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

    def run(*argv, cwd=root):
        return command_policy.resolve_program(argv, conf, cwd=cwd, root=root, bins=[bins])

    return run


def test_the_applications_programs_win_over_the_hosts(resolve, tmp_path):
    assert resolve("gunicorn", "a") == [str(tmp_path / "venv" / "bin" / "gunicorn"), "a"]
    assert resolve("python", "x.py") == [str(tmp_path / "venv" / "bin" / "python"), "x.py"]


def test_a_file_of_the_tree_is_resolved_relative_to_cwd(resolve, tmp_path):
    run = str(tmp_path / "root" / "bin" / "run")
    assert resolve("./bin/run") == [run]
    assert resolve("../bin/run", cwd=tmp_path / "root" / "bin") == [run]


def test_an_installed_program_is_found_through_the_node_modules_link(resolve, tmp_path):
    linked = tmp_path / "root" / "node_modules"
    linked.symlink_to(tmp_path / "venv")
    assert resolve("node_modules/bin/gunicorn") == [str(linked / "bin" / "gunicorn")]
    with pytest.raises(Refused):
        resolve("node_modules/../venv/other")


def test_an_allowed_program_is_found_in_an_allowed_folder(resolve, tmp_path):
    assert resolve("git", "status") == [str(tmp_path / "host" / "git"), "status"]
    assert resolve(f"{tmp_path}/host/git") == [f"{tmp_path}/host/git"]


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
def test_any_other_program_is_refused(resolve, program):
    with pytest.raises(Refused) as refusal:
        resolve(program, "x")
    assert refusal.value.code == "command_refused"


def test_a_link_out_of_the_tree_is_refused(resolve, tmp_path):
    (tmp_path / "root" / "env").symlink_to("/usr/bin/env")
    with pytest.raises(Refused):
        resolve("./env", "x")


@pytest.mark.parametrize(
    ("content", "mode", "remedy"),
    [
        (b"#!/bin/sh\n", 0o644, "is not executable: run git update-index --chmod=+x bin/release"),
        (b"#!/bin/sh\r\necho ok\r\n", 0o755, "`bin/release text eol=lf` in .gitattributes"),
        (b"\xef\xbb\xbf#!/bin/sh\n", 0o755, "begins with a byte order mark"),
        (None, 0, "does not exist"),
    ],
)
def test_a_file_that_cannot_be_started_is_refused_with_what_to_change(
    resolve, tmp_path, content, mode, remedy
):
    path = tmp_path / "root" / "bin" / "release"
    if content is not None:
        path.write_bytes(content)
        path.chmod(mode)
    for program, cwd in (("./bin/release", path.parents[1]), ("./release", path.parent)):
        with pytest.raises(Refused) as refusal:
            resolve(program, cwd=cwd)
        assert refusal.value.code == "command_refused"
        assert remedy in refusal.value.detail


def test_the_program_env_is_refused_with_where_variables_belong(resolve):
    with pytest.raises(Refused, match=r"under \[env\] in oroboros\.toml"):
        resolve("env", "A=1", "python", "x.py")
