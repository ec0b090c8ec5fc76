"""Production's database around a deploy: its restore point, its `release:`, what that changed."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from core.clock import ClockTimestamp
from host.app import planning
from host.app.planning import Command
from host.config import Config
from host.files import safe_files
from host.postgres import administration, dump, guard
from host.postgres.schema_diff import schema_changes
from host.process import runner
from releases.models import Release
from releases.production import app

if TYPE_CHECKING:  # it carries what is migrated here
    from releases.deployments.switch import Carrier

DUMP_SECONDS = 3600.0


class MigrationFailed(Exception):
    """The restore point or the application's `release:` failed; nothing was switched."""


def url(config: Config) -> str:
    """Return where the production app connects, with its role's password in it."""
    server = guard.parse(config.preview_admin_database_url)
    name = config.production_database
    place = f"{server.get('host', '127.0.0.1')}:{server.get('port', '5432')}"
    return f"postgresql://{name}:{quote(_password(config))}@{place}/{name}"


def ensure(config: Config) -> None:
    """Make production's role and database if they are not there; nothing there is changed."""
    name = config.production_database
    admin = administration.Admin(config, production=True)
    is_known = _password_file(config).exists()
    if not is_known or not admin.ready(name, name):
        admin.ensure_role(name, _password(config))
        admin.create(name, name)


def _password_file(config: Config) -> Path:
    return config.var / "secrets" / "app_production.password"


def _password(config: Config) -> str:
    """Return the role's password, made once: the live colour goes on using it."""
    path = _password_file(config)
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        safe_files.write_atomic(path, secrets.token_urlsafe(24).encode(), 0o600)
    return path.read_text()


def migrate(carrier: "Carrier") -> None:
    """Run the new build's `release:` on production, with a way back kept first.

    Raises MigrationFailed. The schema from before lies in a file until `noting_changes` has noted
    what became of it, so that a second try after a crash still knows what the first one changed.
    """
    config, release = carrier.config, carrier.release
    made = app.recipe(config, release)
    if made.web is not None or made.release is not None:
        ensure(config)
    if made.release is None or _is_done(carrier):
        return
    before = _schema_before(carrier)
    if not before.exists():
        before.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        safe_files.write_atomic(before, dump.schema(url(config)).encode(), 0o600)
    if release.migrations:
        _restore_point(carrier)
    carrier.say("running release: on production")
    _release(carrier, made.release, made.bins)


@contextmanager
def noting_changes(carrier: "Carrier") -> Iterator[None]:
    """Look at the migrated schema while the body starts what needs it; note what changed.

    Nothing is done where nothing was migrated, or all is noted. Raises Refused as
    `pgdump.schema`.
    """
    before = _schema_before(carrier)
    if not before.exists():
        yield
        return
    with dump.reading(url(carrier.config)) as after:
        try:
            yield
        finally:
            _note_changes(carrier, before, after.result())


def _note_changes(carrier: "Carrier", before: Path, after: str) -> None:
    carrier.check()
    release = carrier.release
    changes = schema_changes(before.read_text(), after)
    found = [{"kind": change.kind, "text": change.text} for change in changes]
    known = [change for change in release.schema_changes if change not in found]
    Release.objects.filter(pk=release.pk).update(
        schema_changes=[*known, *found], migrated_at=ClockTimestamp()
    )
    release.refresh_from_db()
    before.unlink()


def _schema_before(carrier: "Carrier") -> Path:
    return _kept(carrier.config, carrier.activation.number, "schema.sql")


def _is_done(carrier: "Carrier") -> bool:
    """Tell whether this very activation has migrated already."""
    migrated = carrier.release.migrated_at
    return migrated is not None and migrated >= carrier.activation.started_at


def _release(carrier: "Carrier", wanted: Command, bins: list[Path]) -> None:
    config, release = carrier.config, carrier.release
    root = app.tree(config, release.pk)
    env = app.environ(config, release, carrier.activation.colour, bins)
    outcome = runner.run(
        planning.ready(wanted, config, root=root, bins=bins, env=env),
        cwd=root / wanted.cwd,
        log=carrier.log,
        timeout=wanted.timeout,
        env={**env, runner.MARK: carrier.job},
        user=config.app_user,
        stop=carrier.stopping,
    )
    carrier.check()
    if outcome.exit_code != 0:
        how = "took too long" if outcome.timed_out else f"ended with {outcome.exit_code}"
        last = safe_files.read_tail(carrier.log, 10)
        raise MigrationFailed(f"`release:` on production {how}. {last}")


def _restore_point(carrier: "Carrier") -> None:
    """Dump production's database; the release's row says where, and how it is put back."""
    config, release = carrier.config, carrier.release
    path = _kept(config, carrier.activation.number, "dump")
    if not path.exists():
        carrier.say("restore point of the production database")
        partial = path.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        arguments = ["--format=custom", "--no-owner", "--no-privileges", f"--file={partial}"]
        _run(config, "pg_dump", arguments, "No restore point, so nothing is deployed")
        partial.chmod(0o600)
        partial.rename(path)
    Release.objects.filter(pk=release.pk).update(
        restore_point=str(path.relative_to(config.var)),
        restore_command=f"./scripts/release-registry.sh restore {release.release_id}",
    )
    release.refresh_from_db()


def restore(config: Config, release: Release) -> None:
    """Put the production database back to the release's restore point, all of it or nothing.

    Raises MigrationFailed with what PostgreSQL said.
    """
    dump = config.var / release.restore_point
    script = dump.with_suffix(".sql")
    empty = (
        "DO $$ DECLARE name text; BEGIN FOR name IN SELECT nspname FROM pg_namespace"
        " WHERE pg_get_userbyid(nspowner) = current_user LOOP"
        " EXECUTE format('DROP SCHEMA %I CASCADE', name); END LOOP; END $$;"
        " CREATE SCHEMA IF NOT EXISTS public"
    )
    to_text = ["--no-owner", "--no-privileges", f"--file={script}", str(dump)]
    put = ["--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1"]
    try:
        _run(config, "pg_restore", to_text, "Nothing was restored")
        _run(
            config, "psql", [*put, f"--command={empty}", f"--file={script}"], "Nothing was restored"
        )
    finally:
        script.unlink(missing_ok=True)


def _run(config: Config, name: str, arguments: list[str], failed: str) -> None:
    """Run one of PostgreSQL's programs, the oldest here that is as new as the server."""
    env = dump.environment(url(config))
    said = "PostgreSQL's programs are not installed."
    for beside in reversed(dump.programs()):
        argv = [str(beside.with_name(name)), *arguments]
        done = runner.capture(argv, timeout=DUMP_SECONDS, env=env)
        if done.exit_code == 0:
            return
        said = done.stderr.decode(errors="replace").strip()[-2000:] or "it took too long"
        if "version" not in said:
            break
    raise MigrationFailed(f"{failed}: {said}")


def _kept(config: Config, number: int, suffix: str) -> Path:
    return config.var / "restore" / f"{number}.{suffix}"
