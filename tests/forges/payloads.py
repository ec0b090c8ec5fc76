"""The bodies of deliveries: GitHub's published examples, and those of the other forges' pages."""

import copy
import hashlib
import hmac
import json
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "examples"
SECRET = "the-webhooks-secret"
REPOSITORY = "team/shop"
NO_COMMIT = "0" * 40


@cache
def _read(name):
    return json.loads((FOLDER / f"{name}.json").read_text())


def github_pull_request(pull, action="opened", label="preview"):
    """Return GitHub's delivery about `pull`, see `fake_forge.Pull`."""
    body = copy.deepcopy(_read("github_pull_request"))
    body["action"] = action
    body["number"] = pull.number
    body["label"]["name"] = label
    body["pull_request"] = github_pull(pull, body["pull_request"])
    body["repository"]["full_name"] = REPOSITORY
    return body


def github_pull(pull, shape=None):
    """Return a pull request as GitHub's webhooks and API have it."""
    shape = copy.deepcopy(shape or _read("github_pull_request")["pull_request"])
    shape.update(
        number=pull.number,
        title=pull.title,
        body=pull.body,
        html_url=f"https://github.com/{REPOSITORY}/pull/{pull.number}",
        draft=pull.is_draft,
        state="open" if pull.state == "open" else "closed",
        merged=pull.state == "merged",
        merged_at=pull.updated_at if pull.state == "merged" else None,
        labels=[{**shape["labels"][0], "name": name} for name in pull.labels],
        updated_at=pull.updated_at,
        author_association="CONTRIBUTOR",
    )
    shape["user"]["login"] = pull.author
    shape["head"].update(ref=pull.branch, sha=pull.sha)
    shape["base"]["ref"] = pull.base
    shape["base"]["repo"]["full_name"] = REPOSITORY
    shape["head"]["repo"]["full_name"] = "stranger/shop" if pull.is_fork else REPOSITORY
    return shape


def github_push(branch, sha):
    body = copy.deepcopy(_read("github_push"))
    body.update(ref=f"refs/heads/{branch}", after=sha)
    body["repository"]["full_name"] = REPOSITORY
    return body


def github_ping():
    return _read("github_ping")


def comment(kind, pull, text, comment_id, login):
    """Return the event's name and the delivery of a new comment on `pull`."""
    if kind == "gitlab":
        return "Note Hook", {
            "object_kind": "note",
            "user": {"id": 7, "username": login},
            "project": {"id": 5, "path_with_namespace": REPOSITORY},
            "object_attributes": {
                "id": comment_id,
                "note": text,
                "noteable_type": "MergeRequest",
                "author_id": 7,
                "action": "create",
            },
            "merge_request": {"iid": pull.number},
        }
    body = copy.deepcopy(_read("github_issue_comment"))
    body["action"] = "created"
    body["repository"]["full_name"] = REPOSITORY
    body["issue"].update(number=pull.number, pull_request={"url": "https://api.github.com/"})
    body["comment"].update(id=comment_id, body=text)
    body["comment"]["user"]["login"] = login
    return "issue_comment", body


def gitea_pull_request(pull, action="opened"):
    """Return Gitea's and Forgejo's delivery (docs.gitea.com, webhooks; models/api PullRequest)."""
    return {
        "action": action,
        "number": pull.number,
        "pull_request": gitea_pull(pull),
        "repository": {"id": 140, "full_name": REPOSITORY},
        "sender": {"login": pull.author},
    }


def gitea_pull(pull):
    head = "stranger/shop" if pull.is_fork else REPOSITORY
    return {
        "id": 1000 + pull.number,
        "number": pull.number,
        "html_url": f"https://git.example.com/{REPOSITORY}/pulls/{pull.number}",
        "user": {"id": 7, "login": pull.author},
        "title": f"WIP: {pull.title}" if pull.is_draft else pull.title,
        "body": pull.body,
        "labels": [{"id": 1, "name": name, "color": "00aabb"} for name in pull.labels],
        "state": "open" if pull.state == "open" else "closed",
        "merged": pull.state == "merged",
        "merged_at": pull.updated_at if pull.state == "merged" else None,
        "base": {"label": pull.base, "ref": pull.base, "repo": {"full_name": REPOSITORY}},
        "head": {
            "label": pull.branch,
            "ref": pull.branch,
            "sha": pull.sha,
            "repo": {"full_name": head},
        },
        "updated_at": pull.updated_at,
    }


def gitlab_merge_request(pull, action="open"):
    """Return GitLab's delivery (docs.gitlab.com, webhook events, merge request events)."""
    states = {"open": "opened", "closed": "closed", "merged": "merged"}
    labels = [{"id": 206, "title": name, "color": "#ffffff"} for name in pull.labels]
    return {
        "object_kind": "merge_request",
        "event_type": "merge_request",
        "user": {"id": 7, "username": pull.author},
        "project": {"id": 5, "path_with_namespace": REPOSITORY},
        "labels": labels,
        "changes": {"labels": {"previous": [], "current": labels}} if action == "update" else {},
        "object_attributes": {
            "id": 99,
            "iid": pull.number,
            "target_branch": pull.base,
            "source_branch": pull.branch,
            "source_project_id": 6 if pull.is_fork else 5,
            "target_project_id": 5,
            "author_id": 7,
            "title": pull.title,
            "description": pull.body,
            "updated_at": pull.updated_at.replace("T", " ").replace("Z", " UTC"),
            "state": states[pull.state],
            "draft": pull.is_draft,
            "url": f"https://gitlab.example.com/{REPOSITORY}/-/merge_requests/{pull.number}",
            "last_commit": {"id": pull.sha},
            "action": action,
        },
    }


def gitlab_pull(pull):
    """Return a merge request as GitLab's API has it."""
    states = {"open": "opened", "closed": "closed", "merged": "merged"}
    return {
        "id": 99,
        "iid": pull.number,
        "project_id": 5,
        "title": pull.title,
        "description": pull.body,
        "state": states[pull.state],
        "updated_at": pull.updated_at,
        "target_branch": pull.base,
        "source_branch": pull.branch,
        "author": {"id": 7, "username": pull.author},
        "source_project_id": 6 if pull.is_fork else 5,
        "target_project_id": 5,
        "labels": list(pull.labels),
        "draft": pull.is_draft,
        "sha": pull.sha,
        "web_url": f"https://gitlab.example.com/{REPOSITORY}/-/merge_requests/{pull.number}",
    }


def review(forge, pull):
    """Return the event and the delivery of an approving review."""
    if forge == "gitlab":
        return "Merge Request Hook", gitlab_merge_request(pull, "approved")
    if forge == "github":
        body = github_pull_request(pull, "submitted")
        body["review"] = {"state": "approved", "commit_id": pull.sha}
        return "pull_request_review", body
    body = gitea_pull_request(pull, "reviewed")
    body["review"] = {"type": "pull_request_review_approved", "content": ""}
    return "pull_request_approved", body


def checks(forge, sha):
    """Return the event and the delivery of a check that ended."""
    if forge == "gitlab":
        project = {"path_with_namespace": REPOSITORY}
        return "Pipeline Hook", {"project": project, "object_attributes": {"sha": sha}}
    return "status", {"repository": {"full_name": REPOSITORY}, "sha": sha, "state": "success"}


def sign(forge, event, body, delivery_id, secret=SECRET):
    """Return the raw body, and the headers with which the forge sends it."""
    raw = json.dumps(body).encode()
    digest = hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest()
    headers = {
        "github": {
            "X-GitHub-Event": event,
            "X-GitHub-Delivery": delivery_id,
            "X-Hub-Signature-256": f"sha256={digest}",
            "User-Agent": "GitHub-Hookshot/044aadd",
        },
        "gitlab": {
            "X-Gitlab-Event": event,
            "Idempotency-Key": delivery_id,
            "X-Gitlab-Token": secret,
            "User-Agent": "GitLab/18.0",
        },
        "gitea": {
            "X-Gitea-Event": event,
            "X-Gitea-Delivery": delivery_id,
            "X-Gitea-Signature": digest,
            "X-Hub-Signature-256": f"sha256={digest}",
        },
        "forgejo": {
            "X-Forgejo-Event": event,
            "X-Forgejo-Delivery": delivery_id,
            "X-Forgejo-Signature": digest,
            "X-Gitea-Event": event,
        },
    }
    return raw, headers[forge]
