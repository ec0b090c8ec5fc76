"""All checks and tests, the same for everybody: what CI runs is exactly this."""

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from host.config import Config
from host.errors import Refused
from host.process import runner
from ops import install, preflight, progress

STEP_SECONDS = 5400.0
APT_SECONDS = 900.0
BROWSER = "chromium"
NOT_COPIED = (".venv", "var", "__pycache__", ".*_cache", ".hypothesis")
# `check --deploy` looks at the settings of an installation behind https.
PRODUCTION = {
    "SECRET_KEY": "only-for-looking-at-the-production-settings-2c9e1f",
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
    "OROBOROS_HTTPS": "true",
    "OROBOROS_DOMAIN": "oroboros.test",
}


def run(config: Config, *, full: bool, more: Sequence[str]) -> int:
    """Check and test this checkout; `more` goes to pytest. Returns the exit code."""
    if not is_reachable(config):
        return run_copy(config, [*(["--full"] if full else []), *more])
    install.install(config, "dev")
    bring_browser()
    env = {**os.environ, "PATH": f"{config.home / '.venv/bin'}{os.pathsep}{os.environ['PATH']}"}
    failed = [title for title, argv in checks(config) if not passes(config, title, argv, env)]
    if failed:
        progress.say(f"Failed, and so no test was run: {', '.join(failed)}")
        return 1
    select = [] if full else ["-m", "not full"]
    return shown(config, "pytest", ["python", "-m", "pytest", *select, *more], env)


def checks(config: Config) -> list[tuple[str, list[str]]]:
    """Return what is looked at before the tests, by name and argv."""
    manage = ["python", "-W", "ignore::RuntimeWarning", "manage.py"]
    scripts = sorted(str(path) for path in (config.home / "scripts").glob("*.sh"))
    return [
        ("ruff check", ["ruff", "check", "--quiet", "."]),
        ("ruff format", ["ruff", "format", "--quiet", "--check", "."]),
        ("mypy", ["mypy", "--no-error-summary"]),
        ("check --deploy", [*manage, "check", "--deploy", "--fail-level", "WARNING"]),
        ("makemigrations", [*manage, "makemigrations", "--check", "--dry-run"]),
        ("shellcheck", ["shellcheck", *scripts, ".ci/run"]),
    ]


def passes(config: Config, title: str, argv: list[str], env: Mapping[str, str]) -> bool:
    """Run one check, under the settings of production: mypy too reads what they define."""
    settings = {**PRODUCTION, "OROBOROS_ENV_DIR": os.devnull}
    return shown(config, title, argv, {**env, **settings}) == 0


def shown(config: Config, title: str, argv: list[str], env: Mapping[str, str]) -> int:
    """Run a command, showing what it writes as it comes; returns its exit code."""
    progress.say(f"== {title}")
    log = config.var / "log" / "test.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(b"")
    with log.open("rb") as written:

        def show() -> bool:
            sys.stdout.buffer.write(written.read())
            sys.stdout.buffer.flush()
            return False

        outcome = runner.run(
            argv, cwd=config.home, log=log, timeout=STEP_SECONDS, env=env, stop=show
        )
        show()
    return 1 if outcome.exit_code is None else outcome.exit_code


def is_reachable(config: Config) -> bool:
    """Say whether the users that tests run things as can enter this checkout."""
    user = config.slot_user(config.slots[0])
    return user is None or not any(preflight.checkout(config, user))


def run_copy(config: Config, arguments: list[str]) -> int:
    """Run in a copy of the checkout that other users can enter, and remove it."""
    with tempfile.TemporaryDirectory(prefix="oroboros-test-", dir="/var/tmp") as folder:
        copy = Path(folder) / "checkout"
        progress.say(f"Other users cannot enter this checkout: testing a copy in {copy}")
        Path(folder).chmod(0o755)
        shutil.copytree(
            config.home, copy, symlinks=True, ignore=shutil.ignore_patterns(*NOT_COPIED)
        )
        for path in (copy, *copy.rglob("*")):
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
        there = replace(config, home=copy, var=Path(folder) / "var")
        return shown(there, "scripts/test.sh", ["scripts/test.sh", *arguments], os.environ)


def bring_browser() -> None:
    """As root, install the browser that tests of pages use; else say how, and go on without.

    Raises Refused `browser_missing` in CI, where nothing may be left out.
    """
    if shutil.which(BROWSER) is not None:
        return
    if os.geteuid() == 0 and shutil.which("apt-get") is not None:
        with progress.step(f"Installing {BROWSER}") as waiting:
            log = Path(tempfile.mkdtemp(prefix="oroboros-apt-")) / "apt.log"
            env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            for argv in (["update", "-q"], ["install", "-qy", "--no-install-recommends", BROWSER]):
                runner.run(
                    ["apt-get", *argv], cwd=Path("/"), log=log, timeout=APT_SECONDS, env=env,
                    stop=waiting,
                )  # fmt: skip
    if shutil.which(BROWSER) is None:
        told = f"{BROWSER} is missing, so no page is tested in a browser: install it as root."
        if os.environ.get("CI") == "true":
            raise Refused("browser_missing", told)
        progress.say(told)
