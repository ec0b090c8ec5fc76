"""Runs all checks and all tests of the project: CI and developers run the same command."""

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from host.app.dependencies.registries import find_registries
from host.config import Config
from host.errors import Refused
from host.files import ownership, safe_files
from host.process import runner, users
from ops import preflight, progress, virtualenv

STEP_SECONDS = 5400.0
APT_SECONDS = 900.0
# Each has a PostgreSQL server of its own, and many tests start whole stacks.
MAX_TEST_PROCESSES = 4
BROWSER = "chromium"
# What the applications of the long tests are written in. The gems are the distribution's, since the
# registry of gems may be out of reach; Rails and what `rails new` requires are among them.
TOOLCHAINS = (
    *("golang-go", "php-cli", "composer", "redis-server"),
    *("ruby-bundler", "ruby-sinatra", "ruby-webrick"),
    *("ruby-rails", "ruby-pg", "ruby-sass-rails", "ruby-jbuilder", "puma"),
)
QUERY_SECONDS = 30.0
# The whole stack, and what root hides of users, files and processes: as root every uid is ours.
ORDINARY_TESTS = (
    "tests/system",
    "tests/accounts/test_peers.py",
    "tests/host/files",
    "tests/host/process",
)
COPY_EXCLUDES = (".venv", "var", "__pycache__", ".*_cache", ".hypothesis")
# `check --deploy` reads the settings as on a host behind https, and connects to no database.
PRODUCTION_SETTINGS = {
    "SECRET_KEY": "only-for-checking-the-settings-of-production-2c9e1f7a",
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
    "OROBOROS_HTTPS": "true",
    "OROBOROS_DOMAIN": "oroboros.test",
}


def run_all(
    config: Config, environ: Mapping[str, str], *, full: bool, pytest_arguments: Sequence[str]
) -> int:
    """Check and test this checkout; returns the exit code.

    `full` adds the long tests. `environ` is the caller's environment.
    """
    if not can_others_enter(config):
        return run_in_copy(config, environ, [*(["--full"] if full else []), *pytest_arguments])
    virtualenv.install_requirements(config, "dev")
    install_browser(environ)
    if full:
        install_toolchains(environ)
    path = f"{config.home / '.venv/bin'}{os.pathsep}{environ['PATH']}"
    env = {**environ, "PATH": path}
    checks = list_checks(config)
    failed = [title for title, argv in checks if not run_check(config, title, argv, env)]
    if failed:
        progress.print_line(f"No test was run, because these checks failed: {', '.join(failed)}")
        return 1
    if os.geteuid() == 0 and not pytest_arguments and not run_as_ordinary_user(config, env, full):
        progress.print_line("No other test was run, because these fail for an ordinary user")
        return 1
    marks = [] if full else ["not full"]
    if pytest_arguments:
        return run_pytest(config, "pytest", env, marks, pytest_arguments)
    # First those that a busy host would fail.
    if run_pytest(config, "pytest, one test at a time", env, [*marks, "alone"]) != 0:
        progress.print_line("No other test was run, because tests that run alone failed.")
        return 1
    return run_pytest(config, "pytest", env, [*marks, "not alone"], list_parallel_options())


def run_pytest(
    config: Config,
    title: str,
    env: Mapping[str, str],
    marks: Sequence[str],
    options: Sequence[str] = (),
) -> int:
    """Run the tests that all of `marks` select; returns the exit code."""
    selection = ["-m", " and ".join(marks)] if marks else []
    return run_streamed(config, title, ["python", "-m", "pytest", *selection, *options], env)


def list_checks(config: Config) -> list[tuple[str, list[str]]]:
    """Return the checks that run before the tests, each with its title and its argv.

    None reads a list of known vulnerabilities: pip-audit gets its own from the network.
    """
    manage = ["python", "-W", "ignore::RuntimeWarning", "manage.py"]
    scripts = sorted(str(path) for path in (config.home / "scripts").glob("*.sh"))
    return [
        ("ruff check", ["ruff", "check", "--quiet", "."]),
        ("ruff format", ["ruff", "format", "--quiet", "--check", "."]),
        ("mypy", ["mypy", "--no-error-summary"]),
        ("bandit", ["bandit", "--quiet", "--configfile", "pyproject.toml", "--recursive", "."]),
        ("check --deploy", [*manage, "check", "--deploy", "--fail-level", "WARNING"]),
        ("makemigrations", [*manage, "makemigrations", "--check", "--dry-run"]),
        ("shellcheck", ["shellcheck", *scripts, ".ci/run"]),
    ]


def run_check(config: Config, title: str, argv: list[str], env: Mapping[str, str]) -> bool:
    """Run one check with the settings of production; returns whether it passed."""
    # For all of them: mypy's Django plugin imports the settings too.
    settings = {**PRODUCTION_SETTINGS, "OROBOROS_ENV_DIR": os.devnull}
    return run_streamed(config, title, argv, {**env, **settings}) == 0


def run_as_ordinary_user(config: Config, environ: Mapping[str, str], full: bool) -> bool:
    """Run ORDINARY_TESTS as a user without root's rights, as root only.

    What only root can do must not be needed for anything else. Returns whether they passed.
    """
    user = users.find_nobody()
    # Under /var/tmp, as `run_in_copy`: it holds downloaded packages.
    with tempfile.TemporaryDirectory(prefix="oroboros-user-", dir="/var/tmp") as folder:
        registries = find_registries(config)
        for name, text in registries.files.items():
            safe_files.write_atomic(Path(folder) / name, text.encode(), 0o600)
        ownership.give_tree(Path(folder), user)
        env = {**environ, **registries.variables, "HOME": folder, "CI": "false"}
        # What is alone bounds a time, which is the same for every user; nothing runs beside it.
        marks = ["not root", "not alone", *([] if full else ["not full"])]
        # How the stack recovers from SIGKILL takes a minute, and is the same for every user.
        quick = [] if full else ["-k", "not (system and killed)"]
        options = ["-q", "-p", "no:cacheprovider", "-m", " and ".join(marks), *quick]
        argv = ["python", "-m", "pytest", *options, *list_parallel_options(), *ORDINARY_TESTS]
        return run_streamed(config, "tests as an ordinary user", argv, env, user) == 0


def list_parallel_options() -> list[str]:
    """Return pytest's options for several processes, each of which runs whole files."""
    processes = min(len(os.sched_getaffinity(0)), MAX_TEST_PROCESSES)
    return ["--numprocesses", str(processes)]


def run_streamed(
    config: Config,
    title: str,
    argv: list[str],
    env: Mapping[str, str],
    user: users.User | None = None,
) -> int:
    """Run a command and copy its output to stdout while it runs; returns its exit code."""
    progress.print_line(f"== {title}")
    log = config.var / "log" / "test.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(b"")
    with log.open("rb") as output:

        def copy_output() -> bool:
            sys.stdout.buffer.write(output.read())
            sys.stdout.buffer.flush()
            return False

        outcome = runner.run(
            argv,
            cwd=config.home,
            log=log,
            timeout=STEP_SECONDS,
            env=env,
            user=user,
            stop=copy_output,
        )
        copy_output()  # what came after the last call
    return 1 if outcome.exit_code is None else outcome.exit_code


def can_others_enter(config: Config) -> bool:
    """Return whether the users that the tests run processes as can enter this checkout."""
    user = config.slot_user(config.slots[0])
    return user is None or not any(preflight.check_checkout(config, user))


def run_in_copy(config: Config, environ: Mapping[str, str], arguments: list[str]) -> int:
    """Run test.sh in a copy of the checkout that other users can enter; removes the copy."""
    # Under /var/tmp: /tmp may be in memory, and the copy gets a virtual environment of its own.
    with tempfile.TemporaryDirectory(prefix="oroboros-test-", dir="/var/tmp") as folder:
        copy = Path(folder) / "checkout"
        progress.print_line(f"Other users cannot enter this checkout: testing a copy in {copy}")
        Path(folder).chmod(0o755)
        shutil.copytree(
            config.home, copy, symlinks=True, ignore=shutil.ignore_patterns(*COPY_EXCLUDES)
        )
        for path in (copy, *copy.rglob("*")):
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
        copy_config = replace(config, home=copy, var=Path(folder) / "var")
        argv = ["scripts/test.sh", *arguments]
        return run_streamed(copy_config, "scripts/test.sh", argv, environ)


def install_browser(environ: Mapping[str, str]) -> None:
    """Install the browser for the tests of pages, if this is root; otherwise say how to.

    Raises Refused `browser_missing` if it is missing in CI, where every test must run.
    """
    if shutil.which(BROWSER) is not None:
        return
    if os.geteuid() == 0 and shutil.which("apt-get") is not None:
        install_packages([BROWSER], environ)
    if shutil.which(BROWSER) is None:
        detail = f"{BROWSER} is missing, so no page is tested in a browser: install it as root."
        if environ.get("CI") == "true":
            raise Refused("browser_missing", detail)
        progress.print_line(detail)


def install_toolchains(environ: Mapping[str, str]) -> None:
    """Install what is missing of TOOLCHAINS, if this is root; otherwise say how to.

    The tests that need a package which cannot be installed fail, and name it.
    """
    missing = list_missing_packages(TOOLCHAINS)
    if missing and os.geteuid() == 0 and shutil.which("apt-get") is not None:
        install_packages(missing, environ)
        missing = list_missing_packages(TOOLCHAINS)
    if missing:
        progress.print_line(f"Tests need packages that are missing: {' '.join(missing)}")


def list_missing_packages(names: Sequence[str]) -> list[str]:
    """Return which packages dpkg has not installed; all of them on a host without dpkg."""
    if shutil.which("dpkg-query") is None:
        return list(names)
    argv = ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *names]
    answer = runner.capture(argv, timeout=QUERY_SECONDS)
    found = [line.split() for line in answer.stdout.decode(errors="replace").splitlines()]
    return [name for name in names if [name, "installed"] not in found]


def install_packages(names: Sequence[str], environ: Mapping[str, str]) -> None:
    """Have apt-get install packages of the distribution; its output goes to a file."""
    with progress.step(f"Installing {' '.join(names)}") as report_waiting:
        log = Path(tempfile.mkdtemp(prefix="oroboros-apt-")) / "apt.log"
        env = {**environ, "DEBIAN_FRONTEND": "noninteractive"}
        for argv in (["update", "-q"], ["install", "-qy", "--no-install-recommends", *names]):
            runner.run(
                ["apt-get", *argv], cwd=Path("/"), log=log, timeout=APT_SECONDS, env=env,
                stop=report_waiting,
            )  # fmt: skip
