"""The adapters by the value of FORGE."""

from forges.adapters.forge import Forge
from forges.adapters.gitea import Forgejo, Gitea
from forges.adapters.github import GitHub
from forges.adapters.gitlab import GitLab
from forges.forge_settings import ForgeSettings

ADAPTERS: dict[str, type[Forge]] = {
    "github": GitHub,
    "gitlab": GitLab,
    "gitea": Gitea,
    "forgejo": Forgejo,
}


def create_forge(settings: ForgeSettings) -> Forge:
    """Return the adapter of the forge."""
    return ADAPTERS[settings.forge](settings)
