"""Which files of the release before the surface still serves, for pages that are still open.

A page that was loaded before a deploy asks for its own scripts and styles, which the new build has
under other names. Only files that were made anew under a new name are such: see `hashed_names`.
"""

import os
import time
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

from host.config import Config
from host.errors import Refused
from host.files.hashed_names import SCRIPTS, split_hash
from host.git.bare_repository import get_repository
from releases.builds.build_folders import public_folder
from releases.models import Deployment
from releases.production.current_link import PreviousAssets
from releases.production.deploy_settings import DeploySettings
from releases.rules import DeploymentKind


def find_previous_assets(config: Config, deployment: Deployment) -> PreviousAssets | None:
    """Return what stays of the release before the deployment; None if that is no file.

    It is none after a rollback, which takes a release back, and if the repository cannot say what
    the new release deleted. The time counts from the switch, or from now if it is still to come.
    """
    previous = deployment.previous
    settings, _ = DeploySettings.read_or_default(config)
    if previous is None or deployment.kind != DeploymentKind.DEPLOY or not settings.asset_seconds:
        return None
    folder = public_folder(config, previous.pk)
    if folder is None:
        return None
    try:
        deleted = get_repository(config).list_deleted_files(
            previous.commit_sha, deployment.release.commit_sha
        )
    except Refused:
        return None
    switched_at = deployment.switched_at
    begin = switched_at.timestamp() if switched_at is not None else time.time()
    paths = tuple(select_assets(_list_files(folder), deleted))
    return PreviousAssets(folder, paths, int(begin + settings.asset_seconds)) if paths else None


def select_assets(paths: Iterator[str], deleted: Collection[str]) -> Iterator[str]:
    """Yield the hashed files, except those that are, or were made from, a `deleted` source file.

    Sources are compared by their file names, because a build may move them. A script or style is
    made from many sources, so only its own name counts.
    """
    names = {PurePosixPath(path).name for path in deleted}
    for path in paths:
        name = PurePosixPath(path).name
        plain = split_hash(name)
        is_script = name.rpartition(".")[2].lower() in SCRIPTS
        if plain is not None and name not in names and (is_script or plain not in names):
            yield path


def _list_files(folder: Path) -> Iterator[str]:
    for root, _, names in os.walk(folder):
        base = Path(root).relative_to(folder)
        for name in names:
            yield str(base / name)
