"""Builds and deploys a commit without a run: the first release, and `manage.py deploy`."""

from collections.abc import Callable
from pathlib import Path

from host.config import Config
from host.errors import Refused
from host.git.bare_repository import Repository, get_repository
from host.git.remote_refs import explain_remote
from host.git.validation import SHA, validate_ref
from releases.builds.build import build_release
from releases.deployments import deploy_and_rollback
from releases.models import Deployment, Release
from releases.production import health_gate
from releases.rules import DeploymentKind


def resolve_commit(config: Config, repository: Repository, name: str) -> str:
    """Return the commit of a full id or a branch name.

    A branch is always fetched first: its head may have moved. Our own branch wins unless the
    remote's contains it. Raises Refused `ref_invalid` (400), `commit_unknown` (404).
    """
    is_commit = SHA.fullmatch(name) is not None
    if is_commit and repository.has_commit(name):
        return name
    if not is_commit:
        validate_ref(name)
    if config.git_remote_url:
        repository.fetch(config.git_remote_url)
    commit = _find_commit(repository, name, is_commit)
    if commit is None:
        raise Refused("commit_unknown", _describe_unknown(config, repository, name), status=404)
    return commit


def _find_commit(repository: Repository, name: str, is_commit: bool) -> str | None:
    if is_commit:
        return name if repository.has_commit(name) else None
    own, theirs = repository.resolve_ref(f"refs/heads/{name}"), repository.find_branch_head(name)
    is_newer = bool(own and theirs) and repository.is_ancestor(own or "", theirs or "")
    return theirs if is_newer else own or theirs


def _describe_unknown(config: Config, repository: Repository, name: str) -> str:
    if config.git_remote_url and name == config.target_branch:
        refs = repository.read_remote_refs(config.git_remote_url)
        return explain_remote(refs, config.git_remote_url, name)
    return f"Neither a commit nor a branch here or on the git remote: {name}."


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
    title = repository.read_subject(commit)
    release = build_release(config, repository, commit, None, log=log, title=title)
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
