"""What an adapter does, and the values that all adapters have in common."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Any

from forges.adapters.http_client import Client
from forges.forge_settings import ForgeSettings
from host.errors import Refused


class PullRequestState(StrEnum):
    """Whether a pull request is open, and if not how it ended."""

    OPEN = "open"
    CLOSED = "closed"
    MERGED = "merged"


class StatusState(StrEnum):
    """The state of a commit status, in GitHub's words."""

    PENDING = "pending"
    SUCCESS = "success"
    FAILURE = "failure"
    ERROR = "error"


class CheckState(StrEnum):
    """The state of an external check."""

    PENDING = "pending"
    SUCCESS = "success"
    FAILURE = "failure"


# The words of all forges for states of checks; every other one is of a check that goes on.
CHECK_STATES = {
    **dict.fromkeys(("success", "neutral", "skipped"), CheckState.SUCCESS),
    **dict.fromkeys(("failure", "failed", "error", "timed_out"), CheckState.FAILURE),
    **dict.fromkeys(("canceled", "cancelled", "action_required"), CheckState.FAILURE),
}


def read_check_state(word: str) -> CheckState:
    """Return the state that a forge's word stands for."""
    return CHECK_STATES.get(word, CheckState.PENDING)


@dataclass(frozen=True)
class PullRequestFacts:
    """A pull request as the forge describes it at `updated_at`.

    `has_access` is whether its author may write to the repository; None if that is not known.
    """

    number: int
    title: str
    body: str
    url: str
    author: str
    head_branch: str
    head_sha: str
    base_branch: str
    is_fork: bool
    is_draft: bool
    state: PullRequestState
    labels: tuple[str, ...]
    updated_at: datetime
    has_access: bool | None = None

    def with_access(self, has_access: bool | None) -> "PullRequestFacts":
        return replace(self, has_access=has_access)


@dataclass(frozen=True)
class DeliveryHead:
    """What the headers of a delivery say: its id, and the forge's name of the event."""

    delivery_id: str
    event: str


@dataclass(frozen=True)
class PullRequestEvent:
    """Something happened to a pull request.

    `is_request`: it asks for a preview, as opening, reopening and labelling do.
    """

    repository: str
    action: str
    facts: PullRequestFacts
    is_request: bool


@dataclass(frozen=True)
class PushEvent:
    """A branch has a new head; `sha` is empty for one that was deleted."""

    repository: str
    branch: str
    sha: str


@dataclass(frozen=True)
class CommentEvent:
    """A new comment on a pull request.

    `author` is what `has_write_access` takes, `login` the account's name.
    """

    repository: str
    number: int
    comment_id: int
    author: str
    login: str
    text: str


@dataclass(frozen=True)
class ReviewEvent:
    """A person approved a pull request."""

    repository: str
    number: int


@dataclass(frozen=True)
class ChecksEvent:
    """The state of an external check of a commit has changed."""

    repository: str
    sha: str


@dataclass(frozen=True)
class OtherEvent:
    """An event that leads to nothing; `reason` says why, as a sentence."""

    reason: str


ForgeEvent = PullRequestEvent | PushEvent | CommentEvent | ReviewEvent | ChecksEvent | OtherEvent


@dataclass(frozen=True)
class Review:
    """An approval of one commit; `author` and `login` as in `CommentEvent`."""

    author: str
    login: str
    sha: str


@dataclass(frozen=True)
class CommitStatus:
    """A commit status: `context` is its name, `text` is for people, `url` its details."""

    context: str
    state: StatusState
    text: str
    url: str


class DeploymentState(StrEnum):
    """The state of a deployment; INACTIVE: what it deployed is not served any more."""

    PENDING = "pending"
    SUCCESS = "success"
    FAILURE = "failure"
    INACTIVE = "inactive"


@dataclass(frozen=True)
class DeploymentReport:
    """The state of a commit in an environment.

    `url` is where it is served, "" if it is not, and `log_url` the run's page.
    """

    environment: str
    sha: str
    branch: str
    state: DeploymentState
    text: str
    url: str
    log_url: str


@dataclass(frozen=True)
class Access:
    """What the token may do, in a few words, and the rights that it lacks."""

    observed: str
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Hook:
    """The webhook as the forge has it; `problem` is "" if its deliveries arrive."""

    observed: str
    problem: str = ""


class PayloadInvalid(Refused):
    """A delivery's body is not what the forge documents for the event."""

    def __init__(self, detail: str) -> None:
        super().__init__("payload_invalid", detail, status=400)


class Forge(ABC):
    """One forge: reads its deliveries without a network, and its API over `client`."""

    def __init__(self, settings: ForgeSettings) -> None:
        self.settings = settings

    @cached_property
    def client(self) -> Client:
        """The API's client. Raises Refused `secret_unreadable`, ForgeFailed."""
        return self._create_client(self._read_token())

    def _read_token(self) -> str:
        return self.settings.read_token()

    # --- deliveries

    @abstractmethod
    def read_head(self, headers: Mapping[str, str]) -> DeliveryHead:
        """Return what the headers (lower-case names) say; a missing one is empty."""

    @abstractmethod
    def has_valid_signature(self, headers: Mapping[str, str], body: bytes, secret: str) -> bool:
        """Return whether the sender knew the secret; compares in constant time."""

    @abstractmethod
    def parse_event(self, event: str, payload: Mapping[str, Any]) -> ForgeEvent:
        """Return what happened. Raises PayloadInvalid."""

    # --- the API; all raise ForgeFailed

    @abstractmethod
    def _create_client(self, token: str) -> Client: ...

    @abstractmethod
    def get_pull_request(self, number: int) -> PullRequestFacts:
        """Return the pull request as it is now."""

    @abstractmethod
    def list_open_pull_requests(self) -> list[PullRequestFacts]:
        """Return all open pull requests of the repository."""

    @abstractmethod
    def has_write_access(self, login: str) -> bool:
        """Return whether the account may push to the repository."""

    @abstractmethod
    def set_status(self, sha: str, status: CommitStatus) -> None:
        """Set a status of the commit."""

    @abstractmethod
    def find_comment(self, number: int, marker: str) -> int | None:
        """Return the oldest comment of the pull request that begins with `marker`."""

    @abstractmethod
    def create_comment(self, number: int, text: str) -> int:
        """Add a comment in Markdown to the pull request; returns its id."""

    @abstractmethod
    def edit_comment(self, number: int, comment_id: int, text: str) -> None:
        """Replace the text of our comment."""

    @abstractmethod
    def add_reaction(self, number: int, comment_id: int, *, is_accepted: bool) -> None:
        """Answer a person's comment by thumbs up or down; once, however often it is called."""

    @abstractmethod
    def merge(self, number: int, sha: str) -> None:
        """Merge the pull request by a merge commit, if its head is `sha`."""

    @abstractmethod
    def find_merge_commit(self, number: int) -> str:
        """Return the commit as which it was merged; "" if it is not merged."""

    @abstractmethod
    def list_approvals(self, number: int) -> list[Review]:
        """Return the approving review of each person whose latest review approves."""

    @abstractmethod
    def list_checks(self, sha: str) -> dict[str, CheckState]:
        """Return the latest state of each external check of the commit, by its name."""

    # --- for the doctor

    @abstractmethod
    def describe_access(self) -> Access:
        """Return what the token may do, as far as the forge says."""

    @abstractmethod
    def describe_hook(self) -> Hook:
        """Return the webhook to us. Raises ForgeFailed, also if the token may not read webhooks."""

    # --- deployments: called for those in FORGES_WITH_DEPLOYMENTS only

    @abstractmethod
    def find_deployment(self, report: DeploymentReport) -> int | None:
        """Return our deployment of the commit to the environment."""

    @abstractmethod
    def create_deployment(self, report: DeploymentReport) -> int:
        """Create the deployment; returns its id."""

    @abstractmethod
    def set_deployment_state(self, deployment_id: int, report: DeploymentReport) -> None:
        """Set the state of the deployment."""

    @abstractmethod
    def head_ref(self, number: int) -> str:
        """Return the ref below refs/ under which git finds the pull request's head."""
