"""GitHub: github.com and GitHub Enterprise Server. Source: docs.github.com, REST API 2022-11-28."""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar
from urllib.parse import quote

from forges.adapters import github_app
from forges.adapters.forge import (
    Access,
    ChecksEvent,
    CheckState,
    CommentEvent,
    CommitStatus,
    DeliveryHead,
    DeploymentReport,
    DeploymentState,
    Forge,
    ForgeEvent,
    Hook,
    OtherEvent,
    PullRequestEvent,
    PullRequestFacts,
    PullRequestState,
    Review,
    ReviewEvent,
    read_check_state,
)
from forges.adapters.http_client import Client, ForgeFailed
from forges.adapters.inspection import judge_hook, judge_permissions, judge_repository
from forges.adapters.payload import find, read, read_list, read_push, read_text, read_time

DESCRIPTION_LENGTH = 140
# The relation of an author to the repository in a payload, with which GitHub lets people push.
# MEMBER is of the organization and may have read access only: then the API is asked.
WRITING_ASSOCIATIONS = ("OWNER",)
# The events about external checks, each with the path of its commit.
CHECK_EVENTS = {
    "status": "sha",
    "check_run": "check_run.head_sha",
    "check_suite": "check_suite.head_sha",
}
# GitHub's words, and Gitea's for the second.
REVIEW_VERDICTS = ("APPROVED", "CHANGES_REQUESTED", "REQUEST_CHANGES", "DISMISSED")
# Ours among the deployments of a commit to an environment.
DEPLOYMENT_TASK = "deploy:oroboros"
DEPLOYMENT_STATES = {
    DeploymentState.PENDING: "in_progress",
    DeploymentState.SUCCESS: "success",
    DeploymentState.FAILURE: "failure",
    DeploymentState.INACTIVE: "inactive",
}
WRITING_PERMISSIONS = ("owner", "admin", "write")


class GitHub(Forge):
    """GitHub's webhooks and API. Gitea and Forgejo have much of both."""

    EVENT_HEADER = "x-github-event"
    DELIVERY_HEADER = "x-github-delivery"
    SIGNATURE_HEADER = "x-hub-signature-256"
    SIGNATURE_PREFIX = "sha256="
    HOOK_PATH = "/hooks/github"
    HOOK_EVENTS: ClassVar[tuple[str, ...]] = ("pull_request", "push", "issue_comment")
    REVIEW_HOOK_EVENTS: ClassVar[tuple[str, ...]] = ("pull_request_review",)
    CHECK_HOOK_EVENTS: ClassVar[tuple[str, ...]] = ("status", "check_run")
    REQUESTS: ClassVar[tuple[str, ...]] = ("opened", "reopened", "ready_for_review", "labeled")
    LABELLED: ClassVar[tuple[str, ...]] = ("labeled",)
    PAGE_SIZE_NAME = "per_page"
    STATUS_NAME = "state"
    COMMENT_EVENTS: ClassVar[tuple[str, ...]] = ("issue_comment",)

    # --- deliveries

    def read_head(self, headers: Mapping[str, str]) -> DeliveryHead:
        event = headers.get(self.EVENT_HEADER, "")
        return DeliveryHead(headers.get(self.DELIVERY_HEADER, ""), event)

    def has_valid_signature(self, headers: Mapping[str, str], body: bytes, secret: str) -> bool:
        digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        sent = headers.get(self.SIGNATURE_HEADER, "")
        return hmac.compare_digest(f"{self.SIGNATURE_PREFIX}{digest}".encode(), sent.encode())

    def parse_event(self, event: str, payload: Mapping[str, Any]) -> ForgeEvent:
        if event == "pull_request" or event.startswith("pull_request_"):
            return self._parse_pull_request_event(event, payload)
        if event == "push":
            return read_push(payload, "repository.full_name")
        if event in CHECK_EVENTS:
            repository = read(payload, "repository.full_name", str)
            return ChecksEvent(repository, read(payload, CHECK_EVENTS[event], str))
        if event in self.COMMENT_EVENTS:
            return self._parse_comment(payload)
        if event == "ping":
            return OtherEvent("The forge tested the webhook; its signature is right.")
        return OtherEvent(f"Events of the kind {event} lead to nothing.")

    def _parse_pull_request_event(self, event: str, payload: Mapping[str, Any]) -> ForgeEvent:
        if event != "pull_request":
            return self._parse_review(event, payload)
        action = read_text(payload, "action")
        return PullRequestEvent(
            repository=read(payload, "repository.full_name", str),
            action=action,
            facts=self.parse_pull_request(read(payload, "pull_request", dict)),
            is_request=self._is_request(action, payload),
        )

    def _parse_review(self, event: str, payload: Mapping[str, Any]) -> ForgeEvent:
        is_new = event == "pull_request_review" and read_text(payload, "action") == "submitted"
        if not is_new or read_text(payload, "review.state").lower() != "approved":
            return OtherEvent("Only approving reviews lead to something.")
        repository = read(payload, "repository.full_name", str)
        return ReviewEvent(repository, read(payload, "pull_request.number", int))

    def _is_request(self, action: str, payload: Mapping[str, Any]) -> bool:
        if action in self.LABELLED:  # another label asks for nothing
            return read_text(payload, "label.name") == self.settings.label
        return action in self.REQUESTS

    def _parse_comment(self, payload: Mapping[str, Any]) -> ForgeEvent:
        if read_text(payload, "action") != "created":
            return OtherEvent("Only new comments can have a command.")
        if not find(payload, "issue.pull_request"):
            return OtherEvent("It is a comment on an issue.")
        login = read(payload, "comment.user.login", str)
        return CommentEvent(
            repository=read(payload, "repository.full_name", str),
            number=read(payload, "issue.number", int),
            comment_id=read(payload, "comment.id", int),
            author=login,
            login=login,
            text=read_text(payload, "comment.body"),
        )

    def parse_pull_request(self, value: Mapping[str, Any]) -> PullRequestFacts:
        """Return the facts of a pull request as webhooks and the API have it."""
        return PullRequestFacts(
            number=read(value, "number", int),
            title=read_text(value, "title"),
            body=read_text(value, "body"),
            url=read_text(value, "html_url"),
            author=read_text(value, "user.login"),
            head_branch=read(value, "head.ref", str),
            head_sha=read(value, "head.sha", str),
            base_branch=read(value, "base.ref", str),
            is_fork=self._is_fork(value),
            is_draft=find(value, "draft") is True,
            state=_read_state(value),
            labels=tuple(read_text(one, "name") for one in read_list(value, "labels")),
            updated_at=read_time(value, "updated_at"),
            has_access=self._read_access(value),
        )

    def _is_fork(self, value: Mapping[str, Any]) -> bool:
        # A fork that was deleted is null.
        return find(value, "head.repo.full_name") != find(value, "base.repo.full_name")

    def _read_access(self, value: Mapping[str, Any]) -> bool | None:
        return True if find(value, "author_association") in WRITING_ASSOCIATIONS else None

    # --- the API

    def _read_token(self) -> str:
        if not self.settings.app_id:
            return super()._read_token()
        return github_app.get_token(self.settings, self._create_client)

    def _create_client(self, token: str) -> Client:
        url = self.settings.url
        base = "https://api.github.com" if url == "https://github.com" else f"{url}/api/v3"
        headers = {
            "Authorization": f"Bearer {token}",
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
        }
        return Client(base, headers, on_unauthorized=lambda: github_app.forget_token(token))

    @property
    def _repository_path(self) -> str:
        return f"/repos/{quote(self.settings.repository)}"

    def get_pull_request(self, number: int) -> PullRequestFacts:
        return self.parse_pull_request(self.client.get(f"{self._repository_path}/pulls/{number}"))

    def list_open_pull_requests(self) -> list[PullRequestFacts]:
        path = f"{self._repository_path}/pulls"
        found = self.client.list_all(path, self.PAGE_SIZE_NAME, state="open")
        return [self.parse_pull_request(one) for one in found]

    def has_write_access(self, login: str) -> bool:
        name = quote(login, safe="")
        path = f"{self._repository_path}/collaborators/{name}/permission"
        try:
            answer = self.client.get(path)
        except ForgeFailed as failed:
            if failed.http_status == 404:  # not a collaborator, or no such account
                return False
            raise
        return find(answer, "permission") in WRITING_PERMISSIONS

    def set_status(self, sha: str, status: CommitStatus) -> None:
        body = {
            "state": str(status.state),
            "context": status.context,
            "description": status.text[:DESCRIPTION_LENGTH],
            "target_url": status.url,
        }
        self.client.post(f"{self._repository_path}/statuses/{sha}", body)

    def find_comment(self, number: int, marker: str) -> int | None:
        for comment in self._list_comments(f"{self._repository_path}/issues/{number}/comments"):
            if read_text(comment, "body").startswith(marker):
                return read(comment, "id", int)
        return None

    def _list_comments(self, path: str) -> Iterable[Any]:
        return self.client.list_all(path, self.PAGE_SIZE_NAME)

    def create_comment(self, number: int, text: str) -> int:
        path = f"{self._repository_path}/issues/{number}/comments"
        return read(self.client.post(path, {"body": text}), "id", int)

    def edit_comment(self, number: int, comment_id: int, text: str) -> None:
        path = f"{self._repository_path}/issues/comments/{comment_id}"
        self.client.patch(path, {"body": text})

    def add_reaction(self, number: int, comment_id: int, *, is_accepted: bool) -> None:
        path = f"{self._repository_path}/issues/comments/{comment_id}/reactions"
        self.client.post(path, {"content": "+1" if is_accepted else "-1"})

    def merge(self, number: int, sha: str) -> None:
        path = f"{self._repository_path}/pulls/{number}/merge"
        self.client.put(path, {"sha": sha, "merge_method": "merge"})

    def find_merge_commit(self, number: int) -> str:
        value = self.client.get(f"{self._repository_path}/pulls/{number}")
        # Of an open one GitHub's is a commit that only tries the merge.
        is_merged = _read_state(value) == PullRequestState.MERGED
        return read_text(value, "merge_commit_sha") if is_merged else ""

    def list_approvals(self, number: int) -> list[Review]:
        path = f"{self._repository_path}/pulls/{number}/reviews"
        latest: dict[str, Mapping[str, Any]] = {}
        for review in self.client.list_all(path, self.PAGE_SIZE_NAME):  # the oldest first
            # A comment changes nothing about an approval before it.
            if read_text(review, "state") in REVIEW_VERDICTS:
                latest[read_text(review, "user.login")] = review
        approving = [one for one in latest.values() if _is_approving(one)]
        logins = [read_text(one, "user.login") for one in approving]
        shas = [read_text(one, "commit_id") for one in approving]
        return [Review(login, login, sha) for login, sha in zip(logins, shas, strict=True)]

    def list_checks(self, sha: str) -> dict[str, CheckState]:
        path = f"{self._repository_path}/commits/{sha}"
        found = self._list_statuses(path)
        for run in self.client.list_all(f"{path}/check-runs", key="check_runs"):
            word = read_text(run, "conclusion") or read_text(run, "status")
            found[read_text(run, "name")] = read_check_state(word)
        return found

    def _list_statuses(self, path: str) -> dict[str, CheckState]:
        return {
            read_text(one, "context"): read_check_state(read_text(one, self.STATUS_NAME))
            for one in self.client.list_all(f"{path}/status", self.PAGE_SIZE_NAME, key="statuses")
        }

    # --- for the doctor

    def describe_access(self) -> Access:
        if self.settings.app_id:
            self.client  # noqa: B018  # which requests a token, and its permissions with it
            return judge_permissions(github_app.get_permissions(self.settings), self._list_needs())
        value, headers = self.client.get_with_headers(self._repository_path)
        # A fine-grained token has none; GitHub lists its rights nowhere.
        scopes = headers.get("X-OAuth-Scopes") or None
        expires = headers.get("GitHub-Authentication-Token-Expiration", "")
        return judge_repository(value, scopes, expires)

    def _list_needs(self) -> dict[str, str]:
        needs = dict.fromkeys(("pull_requests", "statuses", "issues"), "write")
        needs["metadata"] = "read"
        if self.settings.reports_deployments:
            needs["deployments"] = "write"
        if self.settings.reads_checks:
            needs["checks"] = "read"
        if self.settings.merges:
            needs["contents"] = "write"
        return needs

    def _list_hook_events(self) -> tuple[str, ...]:
        reviews = self.REVIEW_HOOK_EVENTS if self.settings.approves_by_review else ()
        checks = self.CHECK_HOOK_EVENTS if self.settings.reads_checks else ()
        return (*self.HOOK_EVENTS, *reviews, *checks)

    def describe_hook(self) -> Hook:
        if self.settings.app_id:
            app = github_app.create_app_client(self.settings, self._create_client)
            url = read_text(app.get("/app/hook/config"), "url")
            last = next(iter(app.get("/app/hook/deliveries", per_page=1) or ()), None)
            # Its events are those of the App's own page.
            hooks = [(url, True, {"*"}, str(find(last, "status_code") or ""))]
            return judge_hook(hooks, self.HOOK_PATH, self._list_hook_events())
        found = self.client.list_all(f"{self._repository_path}/hooks", self.PAGE_SIZE_NAME)
        hooks = [
            (
                read_text(one, "config.url"),
                find(one, "active") is True,
                {str(event) for event in read_list(one, "events")},
                str(find(one, "last_response.code") or ""),
            )
            for one in found
        ]
        return judge_hook(hooks, self.HOOK_PATH, self._list_hook_events())

    # --- deployments

    def find_deployment(self, report: DeploymentReport) -> int | None:
        found = self.client.get(
            f"{self._repository_path}/deployments",
            sha=report.sha,
            environment=report.environment,
            task=DEPLOYMENT_TASK,
        )
        return next((read(one, "id", int) for one in found or ()), None)

    def create_deployment(self, report: DeploymentReport) -> int:
        body = {
            "ref": report.sha,
            "task": DEPLOYMENT_TASK,
            "environment": report.environment,
            "description": report.text[:DESCRIPTION_LENGTH],
            "auto_merge": False,
            # Else GitHub refuses it while any status of the commit is pending, as ours are.
            "required_contexts": [],
        }
        return read(self.client.post(f"{self._repository_path}/deployments", body), "id", int)

    def set_deployment_state(self, deployment_id: int, report: DeploymentReport) -> None:
        body = {
            "state": DEPLOYMENT_STATES[report.state],
            "description": report.text[:DESCRIPTION_LENGTH],
            "log_url": report.log_url,
            "environment_url": report.url,
        }
        path = f"{self._repository_path}/deployments/{deployment_id}/statuses"
        self.client.post(path, body)

    def head_ref(self, number: int) -> str:
        return f"pull/{number}/head"


def _is_approving(review: Mapping[str, Any]) -> bool:
    # Gitea leaves the state of a review that was dismissed.
    return read_text(review, "state") == "APPROVED" and find(review, "dismissed") is not True


def _read_state(value: Mapping[str, Any]) -> PullRequestState:
    # `merged` is in webhooks and in the answer for one pull request, `merged_at` everywhere.
    if find(value, "merged") is True or find(value, "merged_at"):
        return PullRequestState.MERGED
    is_open = read(value, "state", str) == "open"
    return PullRequestState.OPEN if is_open else PullRequestState.CLOSED
