"""Gitea and Forgejo, whose webhooks and API follow GitHub's. Source: their API, /api/swagger."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from forges.adapters.forge import CheckState, ForgeEvent, OtherEvent, ReviewEvent
from forges.adapters.github import GitHub
from forges.adapters.http_client import Client
from forges.adapters.payload import find, read, read_text

# Its draft pull requests are those with such a title, as its setting WORK_IN_PROGRESS_PREFIXES has.
DRAFT_PREFIXES = ("wip:", "[wip]", "draft:")


class Gitea(GitHub):
    """Gitea's webhooks and API."""

    EVENT_HEADER = "x-gitea-event"
    DELIVERY_HEADER = "x-gitea-delivery"
    SIGNATURE_HEADER = "x-gitea-signature"
    SIGNATURE_PREFIX = ""
    HOOK_PATH = "/hooks/gitea"
    HOOK_EVENTS: ClassVar[tuple[str, ...]] = (
        "push",
        "pull_request",
        "pull_request_sync",
        "pull_request_label",
        "pull_request_comment",
    )
    REVIEW_HOOK_EVENTS: ClassVar[tuple[str, ...]] = ("pull_request_review_approved",)
    CHECK_HOOK_EVENTS: ClassVar[tuple[str, ...]] = ("status",)
    REQUESTS: ClassVar[tuple[str, ...]] = ("opened", "reopened", "label_updated")
    LABELLED: ClassVar[tuple[str, ...]] = ()
    PAGE_SIZE_NAME = "limit"
    STATUS_NAME = "status"
    COMMENT_EVENTS: ClassVar[tuple[str, ...]] = ("issue_comment", "pull_request_comment")

    def parse_event(self, event: str, payload: Mapping[str, Any]) -> ForgeEvent:
        # Labels, pushes and others have the header pull_request in older versions, then names such
        # as pull_request_sync; the payload is the same.
        if event in ("pull_request_sync", "pull_request_label"):
            event = "pull_request"
        if event.startswith("pull_request") and read_text(payload, "action") == "reviewed":
            return self._parse_review(event, payload)
        return super().parse_event(event, payload)

    def _parse_review(self, event: str, payload: Mapping[str, Any]) -> ForgeEvent:
        if not read_text(payload, "review.type").endswith("_approved"):
            return OtherEvent("Only approving reviews lead to something.")
        repository = read(payload, "repository.full_name", str)
        return ReviewEvent(repository, read(payload, "pull_request.number", int))

    def merge(self, number: int, sha: str) -> None:
        path = f"{self._repository_path}/pulls/{number}/merge"
        self.client.post(path, {"Do": "merge", "head_commit_id": sha})

    def _list_comments(self, path: str) -> Iterable[Any]:
        # In one piece: its API has no pages of comments, and would answer each with all.
        return self.client.get(path) or ()

    def list_checks(self, sha: str) -> dict[str, CheckState]:
        return self._list_statuses(f"{self._repository_path}/commits/{sha}")

    def parse_pull_request(self, value: Mapping[str, Any]) -> Any:
        is_draft = read_text(value, "title").lower().startswith(DRAFT_PREFIXES)
        return super().parse_pull_request({**value, "draft": find(value, "draft") or is_draft})

    def _read_access(self, value: Mapping[str, Any]) -> bool | None:
        return None

    def _create_client(self, token: str) -> Client:
        return Client(f"{self.settings.url}/api/v1", {"Authorization": f"token {token}"})


class Forgejo(Gitea):
    """Forgejo's webhooks and API."""

    EVENT_HEADER = "x-forgejo-event"
    DELIVERY_HEADER = "x-forgejo-delivery"
    SIGNATURE_HEADER = "x-forgejo-signature"
    HOOK_PATH = "/hooks/forgejo"
