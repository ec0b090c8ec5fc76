"""GitLab: gitlab.com and self-managed. Source: docs.gitlab.com, webhook events and REST API v4."""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

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
    StatusState,
    read_check_state,
)
from forges.adapters.http_client import Client, ForgeFailed
from forges.adapters.inspection import judge_gitlab_token, judge_hook
from forges.adapters.payload import find, read, read_list, read_push, read_text, read_time

# The lowest access level that may push branches: Developer.
DEVELOPER = 30
DESCRIPTION_LENGTH = 255
HOOK_EVENTS = ("push", "merge_requests", "note")
STATES = {
    "opened": PullRequestState.OPEN,
    "reopened": PullRequestState.OPEN,
    "locked": PullRequestState.OPEN,
    "merged": PullRequestState.MERGED,
    "closed": PullRequestState.CLOSED,
}
STATUS_STATES = {
    StatusState.PENDING: "pending",
    StatusState.SUCCESS: "success",
    StatusState.FAILURE: "failed",
    StatusState.ERROR: "canceled",
}


class GitLab(Forge):
    """GitLab's webhooks and API; a pull request is a merge request there."""

    # --- deliveries

    def read_head(self, headers: Mapping[str, str]) -> DeliveryHead:
        # The key stays the same when GitLab sends a delivery again; older versions have none.
        names = ("idempotency-key", "x-gitlab-event-uuid")
        delivery_id = next((headers[name] for name in names if headers.get(name)), "")
        return DeliveryHead(delivery_id, headers.get("x-gitlab-event", ""))

    def has_valid_signature(self, headers: Mapping[str, str], body: bytes, secret: str) -> bool:
        # GitLab does not sign the body: it sends the secret itself. Hashed, since `compare_digest`
        # would show the length.
        sent, known = (
            hashlib.sha256(one.encode()).digest()
            for one in (headers.get("x-gitlab-token", ""), secret)
        )
        return hmac.compare_digest(sent, known)

    def parse_event(self, event: str, payload: Mapping[str, Any]) -> ForgeEvent:
        if event == "Merge Request Hook":
            return self._parse_merge_request(payload)
        if event == "Pipeline Hook":
            repository = read(payload, "project.path_with_namespace", str)
            return ChecksEvent(repository, read(payload, "object_attributes.sha", str))
        if event == "Push Hook":
            return read_push(payload, "project.path_with_namespace")
        if event == "Note Hook":
            return self._parse_note(payload)
        return OtherEvent(f"Events of the kind {event} lead to nothing.")

    def _parse_merge_request(self, payload: Mapping[str, Any]) -> ForgeEvent:
        attributes = read(payload, "object_attributes", dict)
        action = read_text(attributes, "action")
        repository = read(payload, "project.path_with_namespace", str)
        if action in ("approved", "approval"):
            return ReviewEvent(repository, read(attributes, "iid", int))
        return PullRequestEvent(
            repository=repository,
            action=action,
            facts=self._parse_attributes(payload, attributes),
            is_request=action in ("open", "reopen") or self._has_new_label(payload),
        )

    def _has_new_label(self, payload: Mapping[str, Any]) -> bool:
        before, now = (
            _read_titles(payload, f"changes.labels.{side}") for side in ("previous", "current")
        )
        return self.settings.label in set(now) - set(before)

    def _parse_attributes(
        self, payload: Mapping[str, Any], attributes: Mapping[str, Any]
    ) -> PullRequestFacts:
        return PullRequestFacts(
            number=read(attributes, "iid", int),
            title=read_text(attributes, "title"),
            body=read_text(attributes, "description"),
            url=read_text(attributes, "url"),
            # The payload's `user` is who acted: the author has a number only.
            author=str(read(attributes, "author_id", int)),
            head_branch=read(attributes, "source_branch", str),
            head_sha=read(attributes, "last_commit.id", str),
            base_branch=read(attributes, "target_branch", str),
            is_fork=_is_fork(attributes),
            is_draft=_is_draft(attributes),
            state=_read_state(attributes),
            labels=_read_titles(payload, "labels"),
            updated_at=read_time(attributes, "updated_at"),
        )

    def _parse_note(self, payload: Mapping[str, Any]) -> ForgeEvent:
        if find(payload, "object_attributes.noteable_type") != "MergeRequest":
            return OtherEvent("It is no comment on a merge request.")
        if find(payload, "object_attributes.action") == "update":
            return OtherEvent("Only new comments can have a command.")
        return CommentEvent(
            repository=read(payload, "project.path_with_namespace", str),
            number=read(payload, "merge_request.iid", int),
            comment_id=read(payload, "object_attributes.id", int),
            author=str(read(payload, "object_attributes.author_id", int)),
            login=read(payload, "user.username", str),
            text=read_text(payload, "object_attributes.note"),
        )

    # --- the API

    def _create_client(self, token: str) -> Client:
        return Client(f"{self.settings.url}/api/v4", {"PRIVATE-TOKEN": token})

    @property
    def _project_path(self) -> str:
        return f"/projects/{quote(self.settings.repository, safe='')}"

    def _merge_request_path(self, number: int) -> str:
        return f"{self._project_path}/merge_requests/{number}"

    def parse_pull_request(self, value: Mapping[str, Any]) -> PullRequestFacts:
        """Return the facts of a merge request as the API has it."""
        return PullRequestFacts(
            number=read(value, "iid", int),
            title=read_text(value, "title"),
            body=read_text(value, "description"),
            url=read_text(value, "web_url"),
            author=str(read(value, "author.id", int)),
            head_branch=read(value, "source_branch", str),
            head_sha=read(value, "sha", str),
            base_branch=read(value, "target_branch", str),
            is_fork=_is_fork(value),
            is_draft=_is_draft(value),
            state=_read_state(value),
            labels=tuple(read_text({"name": one}, "name") for one in read_list(value, "labels")),
            updated_at=read_time(value, "updated_at"),
        )

    def get_pull_request(self, number: int) -> PullRequestFacts:
        return self.parse_pull_request(self.client.get(self._merge_request_path(number)))

    def list_open_pull_requests(self) -> list[PullRequestFacts]:
        found = self.client.list_all(f"{self._project_path}/merge_requests", state="opened")
        return [self.parse_pull_request(one) for one in found]

    def has_write_access(self, login: str) -> bool:
        """`login` is the number of the account, as in this forge's facts."""
        try:
            path = f"{self._project_path}/members/all/{quote(login, safe='')}"
            member = self.client.get(path)
        except ForgeFailed as failed:
            if failed.http_status == 404:
                return False
            raise
        return read(member, "access_level", int) >= DEVELOPER

    def set_status(self, sha: str, status: CommitStatus) -> None:
        body = {
            "state": STATUS_STATES[status.state],
            "name": status.context,
            "description": status.text[:DESCRIPTION_LENGTH],
            "target_url": status.url,
        }
        try:
            self.client.post(f"{self._project_path}/statuses/{sha}", body)
        except ForgeFailed as failed:
            # GitLab refuses a status that is the present one.
            if "Cannot transition status" not in failed.detail:
                raise

    def find_comment(self, number: int, marker: str) -> int | None:
        path = f"{self._merge_request_path(number)}/notes"
        for note in self.client.list_all(path, sort="asc", order_by="created_at"):
            if read_text(note, "body").startswith(marker):
                return read(note, "id", int)
        return None

    def create_comment(self, number: int, text: str) -> int:
        answer = self.client.post(f"{self._merge_request_path(number)}/notes", {"body": text})
        return read(answer, "id", int)

    def edit_comment(self, number: int, comment_id: int, text: str) -> None:
        path = f"{self._merge_request_path(number)}/notes/{comment_id}"
        self.client.put(path, {"body": text})

    def add_reaction(self, number: int, comment_id: int, *, is_accepted: bool) -> None:
        path = f"{self._merge_request_path(number)}/notes/{comment_id}/award_emoji"
        try:
            self.client.post(path, {"name": "thumbsup" if is_accepted else "thumbsdown"})
        except ForgeFailed as failed:
            # GitLab refuses a reaction that is there already.
            if "has already been taken" not in failed.detail:
                raise

    def merge(self, number: int, sha: str) -> None:
        self.client.put(f"{self._merge_request_path(number)}/merge", {"sha": sha})

    def find_merge_commit(self, number: int) -> str:
        value = self.client.get(self._merge_request_path(number))
        if _read_state(value) != PullRequestState.MERGED:
            return ""
        names = ("merge_commit_sha", "squash_commit_sha", "sha")
        return next(filter(None, (read_text(value, name) for name in names)), "")

    def list_approvals(self, number: int) -> list[Review]:
        """Return the approvals that were given after the last push, as of the head.

        GitLab says when, and not of which commit. An older GitLab does not say when: then none.
        """
        path = self._merge_request_path(number)
        found = read_list(self.client.get(f"{path}/approvals"), "approved_by")
        if not found:
            return []
        # Asked for last: a push in between voids the approvals that were read.
        newest = next(iter(self.client.get(f"{path}/versions")), None)
        if newest is None:  # GitLab is still preparing it
            return []
        sha, pushed_at = read(newest, "head_commit_sha", str), read_time(newest, "created_at")
        return [
            Review(str(read(one, "user.id", int)), read_text(one, "user.username"), sha)
            for one in found
            if read_text(one, "approved_at") and read_time(one, "approved_at") > pushed_at
        ]

    def list_checks(self, sha: str) -> dict[str, CheckState]:
        found = self.client.list_all(f"{self._project_path}/repository/commits/{sha}/statuses")
        return {read_text(one, "name"): read_check_state(read_text(one, "status")) for one in found}

    # --- for the doctor

    def describe_access(self) -> Access:
        token = self.client.get("/personal_access_tokens/self")
        return judge_gitlab_token(token, self.client.get(self._project_path), DEVELOPER)

    def describe_hook(self) -> Hook:
        # Reviews are among the events of merge requests.
        needs = (*HOOK_EVENTS, *(("pipeline",) if self.settings.reads_checks else ()))
        hooks = [
            (
                read_text(one, "url"),
                # Of a version that does not say so, each is.
                (read_text(one, "alert_status") or "executable") == "executable",
                {name for name in needs if find(one, f"{name}_events") is True},
                "",
            )
            for one in self.client.list_all(f"{self._project_path}/hooks")
        ]
        return judge_hook(hooks, "/hooks/gitlab", needs)

    # --- deployments

    def find_deployment(self, report: DeploymentReport) -> int | None:
        found = self.client.list_all(
            f"{self._project_path}/deployments",
            environment=report.environment,
            order_by="id",
            sort="desc",
        )
        for one in found:
            # One of a pipeline has a job, which sets its state.
            if find(one, "sha") == report.sha and find(one, "deployable") is None:
                return read(one, "id", int)
        return None

    def create_deployment(self, report: DeploymentReport) -> int:
        body = {
            "environment": report.environment,
            "sha": report.sha,
            "ref": report.branch,
            "tag": False,
            "status": "running",
        }
        return read(self.client.post(f"{self._project_path}/deployments", body), "id", int)

    def set_deployment_state(self, deployment_id: int, report: DeploymentReport) -> None:
        if report.state == DeploymentState.PENDING:
            return  # it was created so
        if report.state == DeploymentState.INACTIVE:
            self._stop_environment(report.environment)
            return
        if report.url:
            self._set_address(report)
        state = "success" if report.state == DeploymentState.SUCCESS else "failed"
        try:
            self.client.put(f"{self._project_path}/deployments/{deployment_id}", {"status": state})
        except ForgeFailed as failed:
            # GitLab refuses a state that is the present one.
            if "cannot transition" not in failed.detail.lower():
                raise

    def _find_environment(self, name: str) -> Mapping[str, Any] | None:
        found = self.client.get(f"{self._project_path}/environments", name=name)
        return next(iter(found or ()), None)

    def _set_address(self, report: DeploymentReport) -> None:
        environment = self._find_environment(report.environment)
        if environment is not None and find(environment, "external_url") != report.url:
            path = f"{self._project_path}/environments/{read(environment, 'id', int)}"
            self.client.put(path, {"external_url": report.url})

    def _stop_environment(self, name: str) -> None:
        environment = self._find_environment(name)
        if environment is not None and find(environment, "state") == "available":
            path = f"{self._project_path}/environments/{read(environment, 'id', int)}/stop"
            self.client.post(path, {})

    def head_ref(self, number: int) -> str:
        return f"merge-requests/{number}/head"


def _is_fork(value: Mapping[str, Any]) -> bool:
    return find(value, "source_project_id") != find(value, "target_project_id")


def _is_draft(value: Mapping[str, Any]) -> bool:
    return True in (find(value, "draft"), find(value, "work_in_progress"))


def _read_state(value: Mapping[str, Any]) -> PullRequestState:
    return STATES.get(read(value, "state", str), PullRequestState.CLOSED)


def _read_titles(payload: Mapping[str, Any], path: str) -> tuple[str, ...]:
    return tuple(read_text(one, "title") for one in read_list(payload, path))
