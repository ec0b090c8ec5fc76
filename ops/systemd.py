"""This checkout kept by systemd: installed, started, stopped and removed. Root's work.

Everything that is installed is listed by `plan`; each entry says whether it is so already, so the
installation may run again, and a dry run only prints what is not so yet.
"""

import os
import pwd
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from host import config as configuration
from host.app import environment
from host.config import INSTALLED_UNIT, SYSTEM_ENV_DIR, Config
from host.errors import Refused
from host.files import safe_files
from host.process import runner
from host.process.runner import User
from host.service_user import OURSELVES, SERVICE
from host.units import jobs
from ops import env_files, progress
from ops import install as requirements
from ops.postgres import system_server
from slots.runtime import backend_log, surface

UNITS = Path("/etc/systemd/system")
POLKIT = Path("/etc/polkit-1/rules.d/50-oroboros.rules")
SYSUSERS = Path("/etc/sysusers.d/oroboros.conf")
TMPFILES = Path("/etc/tmpfiles.d/oroboros.conf")
WRITTEN_FOR = "/srv/oroboros"  # the checkout that the files under infra/systemd speak of
COMMAND_SECONDS = 300.0
TARGET = "ouroboros.target"
SLICE = "ouroboros.slice"  # systemd's own, above ours
HEAD = "# Made once by systemd-install-runtime.sh; .env.example says what else can be set.\n"
# What the shell of the first installation says, kept in the file that it makes.
ASKED = (*env_files.ASKED, *environment.NETWORK)


@dataclass(frozen=True)
class Step:
    """One thing that is to be so on this host."""

    what: str
    is_so: Callable[[], bool]
    make: Callable[[], None]


def install(config: Config, *, dry_run: bool) -> str:
    """Make this host run the checkout; says what was made. Raises Refused."""
    found = problems(config)
    if found:
        lines = "\n".join(f"- {problem}" for problem in found)
        raise Refused("not_ready", f"Not ready, nothing was installed:\n{lines}")
    steps = [step for step in plan(config) if not step.is_so()]
    if dry_run:
        for step in steps:
            progress.say(f"would make {step.what}")
        return f"{len(steps)} things would be made; nothing was."
    requirements.install(config, "embedded")
    for step in steps:
        progress.say(f"making {step.what}")
        step.make()
    _systemctl("daemon-reload")
    _systemctl("enable", "--quiet", TARGET, *enabled(config))
    for line in _set_up(config):
        progress.say(line)
    return f"{len(steps)} things were made. Start it: ./scripts/runtime-up.sh"


def problems(config: Config) -> list[str]:
    """Return what stands in the way, each with what to do about it."""
    if os.geteuid() != 0:
        return ["Only root can install units: run it as root."]
    found = []
    if not configuration.BOOTED_BY_SYSTEMD.is_dir():
        found.append("This host was not booted by systemd: use ./scripts/quickstart.sh.")
    if shutil.which("pkaction") is None:
        found.append("polkit is missing: apt-get install polkitd.")
    other = configuration.read_env_file(SYSTEM_ENV_DIR / "api.env").get("OROBOROS_HOME")
    if other and Path(other).resolve() != config.home:
        found.append(f"{SYSTEM_ENV_DIR} belongs to {other}: run --uninstall there first.")
    if (config.var / "postgres").exists():
        found.append(f"{config.var} has an embedded database: use a checkout of its own.")
    if config.web_port != surface_port():
        found.append("Unset OROBOROS_PORT_OFFSET: the installed units have fixed ports.")
    return found + ([] if config.database_url else system_server.problems())


def surface_port() -> int:
    """Return the port of main's surface as the env files have it."""
    return 3100


def plan(config: Config) -> Iterator[Step]:
    """Yield all that is to be so, in the order in which it is made."""
    home = config.home
    yield _text(SYSUSERS, rendered(config, "sysusers.conf"))
    users = lambda: all(is_known(role) for role in roles(config))  # noqa: E731
    yield Step("the users", users, lambda: _run("systemd-sysusers", str(SYSUSERS)))
    for name in ("", "run", "log", "log/slots", "slots", "cache", "gates", "releases",
                 "templates", "tmp", "artifacts"):  # fmt: skip
        yield _folder(config.var / name)
    yield _folder(config.var / "app", mode=0o770, group="ouroboros-app")
    for slot in config.slots:
        yield _log(
            config.var / "log" / "slots" / f"{slot.slot_id}.log", f"ouroboros-{slot.slot_id}"
        )
    tmpfiles = ["systemd-tmpfiles", "--create", str(TMPFILES)]
    yield _text(TMPFILES, rendered(config, "tmpfiles.conf"), lambda: _run(*tmpfiles))
    yield Step(str(SYSTEM_ENV_DIR), SYSTEM_ENV_DIR.is_dir, lambda: SYSTEM_ENV_DIR.mkdir(mode=0o755))
    for path in sorted((home / "infra/systemd/env").iterdir()):
        yield _link(SYSTEM_ENV_DIR / path.name, path)
    yield _text(SYSTEM_ENV_DIR / "web.env", web_environment(config))
    for name, make in SECRETS.items():
        yield _secret(SYSTEM_ENV_DIR / name, config, make)
    yield _text(POLKIT, rights(config))
    for name in unit_files(config):
        yield _text(UNITS / name, rendered(config, f"units/{name}"))


def roles(config: Config) -> list[str]:
    """Return whose user the control plane shares a group with, by the name after ouroboros-."""
    return ["job", "install", "app", *(slot.slot_id for slot in config.slots)]


def is_known(role: str) -> bool:
    """Say whether the role's user is there and the control plane is in its group."""
    user = jobs.known(role)
    return user is not None and user.gid in os.getgrouplist(SERVICE, 0)


def unit_files(config: Config) -> list[str]:
    """Return the units and their drop-ins, relative to systemd's folder."""
    root = config.home / "infra/systemd/units"
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def rendered(config: Config, name: str) -> str:
    """Return a file of infra/systemd as it is installed: with this checkout's path."""
    text = (config.home / "infra/systemd" / name).read_text()
    text = text.replace(f"{WRITTEN_FOR}/var", str(config.var))
    return re.sub(rf"{WRITTEN_FOR}\b", str(config.home), text)


def rights(config: Config) -> str:
    """Return polkit's rule; it has more of it where a reload hook restarts ourselves."""
    rule = rendered(config, "polkit.rules")
    if OURSELVES.search(config.get("DEPLOY_BACKEND_RELOAD_CMD")):
        rule = rule.replace("deploysItself = false", "deploysItself = true")
    return rule


def enabled(config: Config) -> list[str]:
    """Return the units that are up after a boot."""
    previews = [f"preview{slot.number}" for slot in config.slots]
    return [
        "ouroboros-migrate.service",
        "ouroboros-api.service",
        "ouroboros-worker.service",
        *(f"ouroboros-web@{name}.service" for name in ["main", *previews]),
        "ouroboros-caddy.service",
        *(f"ouroboros-preview@{slot.slot_id}.service" for slot in config.slots),
        "ouroboros-app@blue.service",
        "ouroboros-app@green.service",
        "ouroboros-reaper.timer",
        "ouroboros-reconciler.timer",
        "ouroboros-retention.timer",
    ]


def web_environment(config: Config) -> str:
    """Return what all surfaces and the router are told; no secret is among it."""
    return (
        "# Made by systemd-install-runtime.sh from OROBOROS_DOMAIN and CORS_APP_ORIGINS;\n"
        "# run it again after a change.\n"
        f"OROBOROS_DOMAIN={config.domain}\n"
        f"WEB_ORIGINS='{surface.origins(config)}'\n"
    )


def _api_env(config: Config) -> dict[str, str]:
    url = config.database_url
    if not url:
        password = system_server.make_role("oroboros")
        system_server.make_database("oroboros", "oroboros")
        url = f"postgresql://oroboros:{password}@127.0.0.1:{system_server.port()}/oroboros"
    values = {
        "OROBOROS_HOME": str(config.home),
        "SECRET_KEY": secrets.token_urlsafe(48),
        "DATABASE_URL": url,
    }
    asked = config.get("OROBOROS_DOMAIN")
    return values | ({"OROBOROS_DOMAIN": asked} if asked else {})


def _worker_env(config: Config) -> dict[str, str]:
    admin, template = config.preview_admin_database_url, config.preview_database_url_template
    if not admin:
        password = system_server.make_role("oroboros_admin", "CREATEDB CREATEROLE")
        system_server.close_to_public("oroboros_admin")
        server = f"127.0.0.1:{system_server.port()}"
        admin = f"postgresql://oroboros_admin:{password}@{server}/postgres"
        template = f"postgresql://{server}/{{db_name}}"
    return {
        "PREVIEW_ADMIN_DATABASE_URL": admin,
        "PREVIEW_BACKEND_DATABASE_URL_TEMPLATE": template,
        **{name: config.get(name) for name in ASKED if config.get(name)},
    }


SECRETS: dict[str, Callable[[Config], dict[str, str]]] = {
    "api.env": _api_env,
    "worker.env": _worker_env,
    "worker-preview.env": lambda config: {},
    "app.env": lambda config: {},
}


def _secret(path: Path, config: Config, values: Callable[[Config], dict[str, str]]) -> Step:
    def make() -> None:
        lines = "".join(f"{name}={value}\n" for name, value in values(config).items())
        safe_files.write_atomic(path, (HEAD + lines).encode(), 0o600, service())

    return Step(f"{path}, with its secrets", path.exists, make)


def service() -> User:
    """Return the control plane's user."""
    entry = pwd.getpwnam(SERVICE)
    return User(entry.pw_uid, entry.pw_gid)


def _text(path: Path, text: str, then: Callable[[], None] = lambda: None) -> Step:
    def make() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        safe_files.write_atomic(path, text.encode())
        then()

    return Step(str(path), lambda: path.is_file() and path.read_text() == text, make)


def _link(path: Path, target: Path) -> Step:
    is_so = lambda: path.is_symlink() and path.readlink() == target  # noqa: E731
    return Step(f"{path}, a link", is_so, lambda: safe_files.replace_link(target, path))


def _folder(path: Path, mode: int = 0o711, group: str = SERVICE) -> Step:
    def make() -> None:
        path.mkdir(exist_ok=True)
        shutil.chown(path, SERVICE, group)
        path.chmod(mode)

    return Step(f"{path}/", lambda: path.is_dir() and path.owner() == SERVICE, make)


def _log(path: Path, group: str) -> Step:
    def make() -> None:
        path.touch()
        shutil.chown(path, SERVICE, group)
        path.chmod(0o660)

    return Step(str(path), path.exists, make)


def _set_up(config: Config) -> list[str]:
    """Bring the control plane's own state up to date; returns the first admin's password line."""
    python = str(config.home / ".venv/bin/python")
    argv = [python, str(config.home / "manage.py"), "setup"]
    done = runner.capture(argv, cwd=config.home, timeout=COMMAND_SECONDS)
    if done.exit_code != 0:
        raise Refused("setup_failed", f"manage.py setup failed:\n{done.stderr.decode()[-4000:]}")
    return [line for line in done.stdout.decode().splitlines() if ", password " in line]


def uninstall(config: Config, *, dry_run: bool) -> str:
    """Stop all of it and take away what was installed. Data, secrets and users stay.

    May be repeated: what tells that the units are installed goes last.
    """
    if os.geteuid() != 0:
        raise Refused("not_ready", "Only root can remove units: run it as root.")
    if not config.is_systemd:
        return "Nothing is installed for this checkout."
    present = [path for path in installed_files(config) if path.exists() or path.is_symlink()]
    if dry_run:
        for path in present:
            progress.say(f"would remove {path}")
        return f"{len(present)} files would be removed; nothing was."
    down(config)
    _systemctl("stop", SLICE)
    _systemctl("disable", "--quiet", TARGET, *enabled(config))
    for path in present:
        path.unlink()
        if path.parent.suffix == ".d" and path.parent.parent == UNITS:
            path.parent.rmdir()
    for folder in (jobs.FOLDER.parent, backend_log.links_folder(config)):
        shutil.rmtree(folder, ignore_errors=True)
    _systemctl("daemon-reload")
    # What a timer had just started was killed: systemd would go on listing it as failed.
    _systemctl("reset-failed", "ouroboros*")
    return (
        f"{len(present)} files were removed. What stays: {config.var}, the env files with secrets "
        f"in {SYSTEM_ENV_DIR}, the databases, and the users; docs/uninstall.md says how they go."
    )


def installed_files(config: Config) -> list[Path]:
    """Return the files without secrets that the installation makes, in the order they go."""
    links = [SYSTEM_ENV_DIR / path.name for path in (config.home / "infra/systemd/env").iterdir()]
    units = sorted((UNITS / name for name in unit_files(config)), key=INSTALLED_UNIT.__eq__)
    return [*links, SYSTEM_ENV_DIR / "web.env", POLKIT, SYSUSERS, TMPFILES, *units]


def up(config: Config) -> None:
    """Start everything that is enabled. Raises Refused `unit_refused` with systemd's words."""
    if os.geteuid() != 0:
        raise Refused("not_root", "Only root can start the installed units: run it as root.")
    _systemctl("start", *(f"ouroboros-web@preview{slot.number}" for slot in config.slots))
    _run(sys.executable, "-m", "ops", "slots", cwd=config.home)
    _systemctl("start", TARGET, *enabled(config))


def down(config: Config) -> None:
    """Stop everything, the worker first: it would start again what it finds stopped."""
    if os.geteuid() != 0:
        raise Refused("not_root", "Only root can stop the installed units: run it as root.")
    _systemctl("stop", "ouroboros-worker.service")
    _systemctl("stop", TARGET, *enabled(config), "ouroboros-*.service")


def _systemctl(*words: str) -> None:
    _run("systemctl", "--no-ask-password", *words)


def _run(*argv: str, cwd: Path | None = None) -> None:
    done = runner.capture(argv, cwd=cwd, timeout=COMMAND_SECONDS)
    if done.exit_code != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise Refused("unit_refused", f"{' '.join(argv[:3])}: {said}")
