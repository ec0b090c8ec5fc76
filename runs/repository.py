"""The control plane's own repository, where runs' commits are fetched to and merged."""

from oroboros.lib.config import Config
from oroboros.lib.git import Repository


def repository(config: Config) -> Repository:
    """Return it, made if it is not there."""
    found = Repository(config.var / "repo.git", config)
    found.ensure()
    return found
