"""The forges for which a test is repeated, and those of them that are left to the full run."""

import pytest


def _repeat_for(*kinds, full=()):
    marked = (pytest.param(kind, marks=pytest.mark.full) for kind in full)
    return pytest.mark.parametrize("kind", [*kinds, *marked])


EACH_FORGE = _repeat_for("github", "gitlab", "gitea", "forgejo")
# The API of Gitea and Forgejo is like GitHub's.
EACH_API = _repeat_for("github", "gitlab", full=("gitea", "forgejo"))
OTHER_APIS = _repeat_for("gitlab", full=("gitea", "forgejo"))
GITHUB = _repeat_for("github", full=("gitlab", "gitea", "forgejo"))
