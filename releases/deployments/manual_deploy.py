"""A commit of our repository, built and made live without a run: the first release, the shell's."""

from collections.abc import Callable
from pathlib import Path

from host.app import manifest
from host.config import Config
from host.errors import Refused
from host.git.bare_repository import Repository, validate_ref
from host.git.git_commands import SHA
from releases.builds.build import BuildFailed, build
from releases.deployments import operations
from releases.models import Activation, Release
from releases.production import app
from releases.rules import ActivationKind, changes_backend


def resolve(config: Config, repository: Repository, name: str) -> str:
    """Return the commit of a full id or a branch: ours first, then the remote's, fetched if needed.

    Raises Refused `ref_invalid` (400), `commit_unknown` (404).
    """
    for attempt in range(2):
        found = _look(repository, name)
        if found is not None:
            return found
        if attempt == 0 and config.git_remote_url:
            repository.fetch(config.git_remote_url)
    raise Refused("commit_unknown", f"Neither a commit nor a branch here: {name}.", status=404)


def _look(repository: Repository, name: str) -> str | None:
    if SHA.fullmatch(name):
        return name if repository.has(name) else None
    ours = repository.head(f"refs/heads/{validate_ref(name)}")
    return ours or repository.branch_sha(name)


def ship_commit(
    config: Config,
    name: str,
    *,
    actor: str,
    reason: str,
    log: Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> tuple[Release, Activation | None]:
    """Build a commit or branch and make it live; no activation where it is live already.

    Raises BuildFailed, Refused, ActivationFailed.
    """
    say = progress or (lambda text: None)
    repository = Repository(config.var / "repo.git", config)
    repository.ensure()
    commit = resolve(config, repository, name)
    live = Release.objects.live()
    if live is not None and live.commit_sha == commit:
        return live, None
    say(f"building {commit[:12]}")
    log = log or config.var / "log" / "releases" / f"build-{commit[:12]}.log"
    release = build(config, repository, commit, None, log=log)
    activation = operations.switch_to(
        config,
        release.pk,
        actor=actor,
        reason=reason,
        kind=ActivationKind.DEPLOY,
        is_gated=needs_gate(config, repository, release),
        log=log,
        progress=progress,
    )
    operations.confirm(config, activation, log=log, progress=progress)
    release.refresh_from_db()
    return release, activation


def needs_gate(config: Config, repository: Repository, release: Release) -> bool:
    """Tell whether the release changes the backend of what is live; the first one does."""
    live = Release.objects.live()
    if live is None or not repository.has(live.commit_sha):
        return True
    says = manifest.load(app.tree(config, release.pk))
    frontend = says.frontend_dir if says.frontend_output is not None else None
    files = repository.changed_files(live.commit_sha, release.commit_sha)
    return changes_backend(files, says.backend_dir, frontend)


__all__ = ["BuildFailed", "needs_gate", "resolve", "ship_commit"]
