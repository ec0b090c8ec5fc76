"""Builds and deploys a commit without a run: the first release, and `manage.py deploy`."""

from collections.abc import Callable
from pathlib import Path

from host.config import Config
from host.errors import Refused
from host.git.bare_repository import Repository, get_repository
from host.git.validation import SHA, validate_ref
from releases.builds.build import build_release
from releases.deployments import deploy_and_rollback
from releases.models import Deployment, Release
from releases.production import health_gate
from releases.rules import DeploymentKind


def resolve_commit(config: Config, repository: Repository, name: str) -> str:
    """Return the commit of a full id or a branch name; fetches from the remote if it is unknown.

    A branch of our repository wins over the remote's. Raises Refused `ref_invalid` (400),
    `commit_unknown` (404).
    """
    # Once without and once after a fetch, which takes seconds.
    for attempt in range(2):
        commit = _find_commit(repository, name)
        if commit is not None:
            return commit
        if attempt == 0 and config.git_remote_url:
            repository.fetch(config.git_remote_url)
    raise Refused("commit_unknown", f"Neither a commit nor a branch here: {name}.", status=404)


def _find_commit(repository: Repository, name: str) -> str | None:
    if SHA.fullmatch(name):
        return name if repository.has_commit(name) else None
    own = repository.resolve_ref(f"refs/heads/{validate_ref(name)}")
    return own or repository.find_branch_head(name)


def deploy_commit(
    config: Config,
    name: str,
    *,
    actor: str,
    reason: str,
    log: Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> tuple[Release, Deployment | None]:
    """Build a commit or branch and deploy it; the deployment is None if it is live already.

    Raises BuildFailed, Refused, DeploymentFailed.
    """
    report_progress = progress or (lambda text: None)
    repository = get_repository(config)
    repository.create_if_missing()
    commit = resolve_commit(config, repository, name)
    live = Release.objects.live()
    if live is not None and live.commit_sha == commit:
        return live, None
    report_progress(f"building {commit[:12]}")
    log = log or config.var / "log" / "releases" / f"build-{commit[:12]}.log"
    release = build_release(config, repository, commit, None, log=log)
    deployment = deploy_and_rollback.deploy_release(
        config,
        release.pk,
        actor=actor,
        reason=reason,
        kind=DeploymentKind.DEPLOY,
        is_gated=health_gate.is_health_gate_needed(config, repository, release),
        log=log,
        progress=progress,
    )
    deploy_and_rollback.complete_deployment(config, deployment, log=log, progress=progress)
    release.refresh_from_db()
    return release, deployment
