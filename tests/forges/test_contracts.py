"""Our requests against what GitLab, Gitea and Forgejo say of their APIs."""

import pytest

from tests.forges import descriptions
from tests.forges.test_github_contract import use_every_request

pytestmark = [pytest.mark.full, pytest.mark.django_db]


@pytest.mark.parametrize(("kind", "count"), [("gitlab", 21), ("gitea", 13), ("forgejo", 13)])
def test_every_request_is_one_that_the_forge_describes(world, kind, count, tmp_path_factory):
    read = getattr(descriptions, f"read_{kind}")
    operations = list(read(tmp_path_factory.mktemp(kind)))
    sent = use_every_request(world)
    assert len(sent) == count, sorted(sent)
    for method, path, query, body in world.forge.requests:
        # The project is one part of a path, in which its / is written %2F.
        descriptions.check_request(operations, method, path, query, body)


@pytest.mark.parametrize("kind", ["gitlab", "gitea"])
def test_a_request_that_is_not_described_fails(kind, tmp_path):
    operations = list(getattr(descriptions, f"read_{kind}")(tmp_path))
    path = {"gitlab": "/projects/a%2Fb/statuses/c", "gitea": "/repos/a/b/statuses/c"}[kind]
    good = {"state": "success", "description": "x"}
    descriptions.check_request(operations, "POST", path, {}, good)
    for method, query, body in (
        ("DELETE", {}, None),
        ("POST", {"force": "1"}, good),
        ("POST", {}, {"status": "x"}),
    ):
        with pytest.raises(AssertionError):
            descriptions.check_request(operations, method, path, query, body)
