"""Which files of the release before the surface still serves, for pages that are still open.

A page that was loaded before a deploy asks for its own scripts and styles, which the new build has
under other names. Only files that were made anew under a new name are such: see `hashed_names`.
"""

import os
import time
from collections.abc import Collection, Iterable, Iterator
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
    present = public_folder(config, deployment.release_id)
    current = _list_files(present) if present is not None else ()
    paths = tuple(select_assets(_list_files(folder), current, deleted))
    return PreviousAssets(folder, paths, int(begin + settings.asset_seconds)) if paths else None


def select_assets(
    paths: Iterable[str], current: Iterable[str], deleted: Collection[str]
) -> Iterator[str]:
    """Yield the hashed files that the new release replaced, and did not take away.

    Code stays, since a new build may divide it otherwise, unless a source file of its name, with
    any ending, was `deleted` and the `current` files have none of that name: `About-<hash>.js` of
    `About.vue`. Of all else, such as tables, pictures and source maps, only what is among them
    too, whatever its hash, stays: what the build no longer makes was taken away, even if no source
    file was deleted. Files are compared by their names, because a build may move them.
    """
    names = {PurePosixPath(path).name for path in deleted}
    stems = {_find_stem(name) for name in names}
    present = {_strip_hash(PurePosixPath(path).name) for path in current}
    for path in paths:
        name = PurePosixPath(path).name
        plain = split_hash(name)
        is_code = name.rpartition(".")[2].lower() in SCRIPTS - {"map"}
        if plain is None or name in names:
            continue
        is_kept_code = is_code and (plain in present or _find_stem(plain) not in stems)
        if is_kept_code or (plain in present and plain not in names):
            yield path


def _find_stem(name: str) -> str:
    """Return what a bundler takes from a source file's name for that of its output."""
    return name.partition(".")[0].lower()


def _strip_hash(name: str) -> str:
    return split_hash(name) or name


def _list_files(folder: Path) -> Iterator[str]:
    for root, _, names in os.walk(folder):
        base = Path(root).relative_to(folder)
        for name in names:
            yield str(base / name)
