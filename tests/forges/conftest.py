"""A repository with branches, the settings of a forge, and deliveries of it."""

import shutil
import subprocess
from dataclasses import replace
from functools import partial
from itertools import count

import pytest
from django.test import Client

from forges import deliveries
from forges.models import Delivery
from forges.reporting import outbox
from host.config import load
from tests.forges import payloads
from tests.forges.fake_forge import TOKEN, FakeForge, Pull
from tests.runs.conftest import cleaner, slots
from tests.runs.free_capacity import a_host_with_free_capacity

__all__ = ["a_host_with_free_capacity", "cleaner", "slots"]
GIT = ("git", "-c", "user.name=Alice", "-c", "user.email=alice@example.com")
EVENTS = {
    "github": "pull_request",
    "gitea": "pull_request",
    "forgejo": "pull_request",
    "gitlab": "Merge Request Hook",
}


def run_git(folder, *arguments):
    argv = [*GIT, *arguments]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture(scope="session")
def sample_repository(tmp_path_factory):
    """A repository with `main` and `feature/reactions`, to be copied."""
    folder = tmp_path_factory.mktemp("forges")
    run_git(folder, "init", "-q", "--initial-branch=main")
    run_git(folder, "commit", "-q", "--allow-empty", "-m", "first")
    run_git(folder, "checkout", "-q", "-b", "feature/reactions")
    (folder / "reactions.txt").write_text("one\n")
    run_git(folder, "add", "-A")
    run_git(folder, "commit", "-q", "-m", "reactions")
    return folder


@pytest.fixture
def remote(tmp_path, sample_repository, a_host_with_free_capacity):
    """A function that runs git in a copy of that repository."""
    shutil.copytree(sample_repository, tmp_path / "remote")
    return partial(run_git, tmp_path / "remote")


class World:
    """The control plane with a forge, and how the forge reaches it."""

    def __init__(self, settings, forge, remote):
        self.settings, self.forge, self.remote = settings, forge, remote
        self.client, self.ids = Client(), count(1)

    @property
    def config(self):
        return self.settings.OROBOROS

    def configure(self, **environ):
        self.settings.OROBOROS = replace(self.config, environ={**self.config.environ, **environ})

    def head(self, branch="feature/reactions"):
        return self.remote("rev-parse", branch)

    def commit(self, message="more"):
        self.remote("commit", "-q", "--allow-empty", "-m", message)
        return self.head("HEAD")

    def pull(self, **fields):
        """Add a pull request of the branch to the forge; it has the label."""
        values = {"branch": "feature/reactions", "sha": self.head(), "labels": ["preview"]}
        return self.forge.add(Pull(**{"number": 12, **values, **fields}))

    def body(self, pull, action):
        if self.forge.kind == "gitlab":
            actions = {
                "opened": "open",
                "labeled": "update",
                "closed": "close",
                "reopened": "reopen",
            }
            return payloads.gitlab_merge_request(pull, actions.get(action, action))
        if self.forge.kind == "github":
            return payloads.github_pull_request(pull, action)
        return payloads.gitea_pull_request(pull, action)

    def deliver(self, pull, action="opened", **options):
        """Send a delivery about the pull request, and return it decided."""
        return self.send(EVENTS[self.forge.kind], self.body(pull, action), **options)

    def comment(self, pull, text, login="alice"):
        """Deliver a comment by that account, and return the delivery decided."""
        kind, comment_id = self.forge.kind, 500 + next(self.ids)
        return self.send(*payloads.comment(kind, pull, text, comment_id, login))

    def send(self, event, body, delivery_id=None):
        answer = self.post(event, body, delivery_id)
        assert answer.status_code == 202, answer.content
        self.process()
        return Delivery.objects.get(delivery_id=answer.json()["delivery_id"])

    def post(self, event, body, delivery_id=None, secret=payloads.SECRET):
        delivery_id = delivery_id or f"delivery-{next(self.ids)}"
        raw, headers = payloads.sign(self.forge.kind, event, body, delivery_id, secret)
        return self.post_raw(raw, headers)

    def post_raw(self, raw, headers, content_type="application/json"):
        url = f"/hooks/{self.forge.kind}"
        return self.client.post(url, raw, content_type=content_type, headers=headers)

    def process(self):
        deliveries.process_waiting(self.config)

    def report(self):
        """Send to the forge what the supervisor would send within the next second."""
        outbox.report(self.config)


@pytest.fixture
def kind():
    """The value of FORGE; tests of several forges parametrize it."""
    return "github"


@pytest.fixture
def world(kind, settings, tmp_path, remote, slots, cleaner):
    forge = FakeForge(kind)
    for name, value in (("token", TOKEN), ("secret", payloads.SECRET)):
        (tmp_path / name).write_text(f"{value}\n")
    git = load({"GIT_LOCAL_ROOTS": str(tmp_path), "OROBOROS_VAR": str(tmp_path / "var")})
    settings.OROBOROS = replace(
        settings.OROBOROS,
        var=git.var,
        git_remote_url=str(tmp_path / "remote"),
        git_local_roots=git.git_local_roots,
    )
    made = World(settings, forge, remote)
    made.configure(
        FORGE=kind,
        FORGE_URL=forge.url,
        FORGE_REPOSITORY=payloads.REPOSITORY,
        FORGE_WEBHOOK_SECRET_FILE=str(tmp_path / "secret"),
        FORGE_TOKEN_FILE=str(tmp_path / "token"),
    )
    yield made
    forge.close()
