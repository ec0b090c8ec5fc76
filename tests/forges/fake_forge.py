"""A forge on loopback: the parts of GitHub's, Gitea's, Forgejo's and GitLab's APIs that we use."""

import json
import re
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import jwt

from tests.forges import payloads

TOKEN = "the-token-of-the-tests"
PREFIXES = {"github": "/api/v3", "gitea": "/api/v1", "forgejo": "/api/v1", "gitlab": "/api/v4"}


@dataclass
class Pull:
    """A pull request; the tests change it as people do."""

    number: int
    branch: str
    sha: str
    title: str = "Add reactions"
    body: str = ""
    author: str = "alice"
    base: str = "main"
    is_fork: bool = False
    is_draft: bool = False
    state: str = "open"
    labels: list = field(default_factory=list)
    updated_at: str = "2026-11-28T10:00:00Z"
    comments: dict = field(default_factory=dict)
    merge_commit: str = ""
    reviews: list = field(default_factory=list)  # (login, state, commit), the oldest first

    def later(self, minute, **changes):
        """Change it at that minute of the hour."""
        self.updated_at = f"2026-11-28T10:{minute:02}:00Z"
        for name, value in changes.items():
            setattr(self, name, value)
        return self


class FakeForge:
    """The state of the forge, and a server that answers as its API does."""

    def __init__(self, kind):
        self.kind = kind
        self.pulls = {}
        self.writers = {"alice"}
        self.statuses = []  # (sha, context, state, description, url), the latest last
        self.refusals = []  # the answers to the next merges instead: (status, words)
        self.on_merge = lambda pull: "c" * 40  # merges it, and returns the commit
        self.checks = {}  # the state of each check of any commit
        self.reactions = []  # (comment, reaction)
        self.deployments = {}  # by id: {environment, sha, state, url, ...}
        self.environments = {}  # GitLab's, by name: {id, name, state, external_url}
        self.may_push, self.scopes = True, "api"
        self.hooks = []  # as the forge's API has them; None: the token may not read them
        self.permissions = {"metadata": "read", "pull_requests": "write", "issues": "write"}
        self.app_key = None  # the public key of a GitHub App
        self.token_lifetime = timedelta(hours=1)
        self.tokens = 0  # how many the App was given
        self.requests = []  # (method, path, query, body)
        self.next_comment = 1
        # What the next requests are answered with instead: (status, headers), or None to hang up.
        self.failures = []
        self.is_down = False
        self.token = TOKEN
        self.repository = payloads.REPOSITORY
        handler = type("Handler", (_Handler,), {"forge": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_port}"

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def add(self, pull):
        self.pulls[pull.number] = pull
        return pull

    def latest_statuses(self, sha):
        """Return the latest state of each context of the commit."""
        return {context: state for one, context, state, *_ in self.statuses if one == sha}

    # --- answers: (status, JSON)

    def answer(self, method, path, query, body):
        path = path.replace(f"/repos/{self.repository}", REPO, 1)
        routes = GITLAB_ROUTES if self.kind == "gitlab" else GITHUB_ROUTES
        for wanted, pattern, function in routes:
            match = re.fullmatch(pattern, path)
            if match and wanted == method:
                return function(self, *map(unquote, match.groups()), query=query, body=body)
        return 404, {"message": "Not Found"}

    def shape(self, pull):
        shapes = {"github": payloads.github_pull, "gitlab": payloads.gitlab_pull}
        shape = shapes.get(self.kind, payloads.gitea_pull)(pull)
        # Of an open one GitHub's is a commit that tries the merge.
        return {**shape, "merge_commit_sha": pull.merge_commit or "7" * 40}

    def list_pulls(self, query, body):
        found = [self.shape(one) for one in self.pulls.values() if one.state == "open"]
        return 200, page(found, query)

    def get_pull(self, number, query, body):
        pull = self.pulls.get(int(number))
        return (200, self.shape(pull)) if pull else (404, {"message": "Not Found"})

    def permission(self, login, query, body):
        if login not in self.writers:
            return 404, {"message": "Not Found"}
        return 200, {"permission": "write", "user": {"login": login}}

    def member(self, number, query, body):
        is_member = number == "7" and "alice" in self.writers
        return (200, {"id": 7, "access_level": 30}) if is_member else (404, {"message": "404"})

    def set_status(self, sha, query, body):
        name = body.get("context") or body.get("name")
        self.statuses.append((sha, name, body["state"], body["description"], body["target_url"]))
        return 201, {"id": len(self.statuses), "state": body["state"]}

    def list_comments(self, number, query, body):
        pull = self.pulls[int(number)]
        found = [{"id": key, "body": text} for key, text in pull.comments.items()]
        return 200, found if self.kind in ("gitea", "forgejo") else page(found, query)

    def create_comment(self, number, query, body):
        comment_id, self.next_comment = self.next_comment, self.next_comment + 1
        self.pulls[int(number)].comments[comment_id] = body["body"]
        return 201, {"id": comment_id, "body": body["body"]}

    def edit_comment(self, comment_id, query, body):
        for pull in self.pulls.values():
            if int(comment_id) in pull.comments:
                pull.comments[int(comment_id)] = body["body"]
                return 200, {"id": int(comment_id), "body": body["body"]}
        return 404, {"message": "Not Found"}

    def react(self, comment_id, query, body):
        self.reactions.append((int(comment_id), body.get("content") or body.get("name")))
        return 201, {"id": 1}

    def award(self, number, comment_id, query, body):
        return self.react(comment_id, query, body)

    def merge(self, number, query, body):
        pull = self.pulls[int(number)]
        if self.refusals:
            status, words = self.refusals.pop(0)
            return status, {"message": words}
        if (body.get("sha") or body.get("head_commit_id")) != pull.sha:
            return 409, {"message": "Head branch was modified. Review and try the merge again."}
        pull.merge_commit, pull.state = self.on_merge(pull), "merged"
        return 200, {} if self.kind.startswith(("gitea", "forgejo")) else {"merged": True}

    def list_reviews(self, number, query, body):
        found = [
            {"id": index, "user": {"login": login}, "state": state, "commit_id": sha}
            for index, (login, state, sha) in enumerate(self.pulls[int(number)].reviews)
        ]
        return 200, page(found, query)

    def list_approvals(self, number, query, body):
        pull = self.pulls[int(number)]
        people = [
            {
                "user": {"id": 7, "username": login},
                "approved_at": f"2026-11-28T{'12' if sha == pull.sha else '08'}:00:00Z",
            }
            for login, _, sha in pull.reviews
        ]
        return 200, {"approved": bool(people), "approved_by": people}

    def list_versions(self, number, query, body):
        pushed = [(self.pulls[int(number)].sha, "10"), ("0" * 40, "07")]
        return 200, [
            {"head_commit_sha": sha, "created_at": f"2026-11-28T{hour}:00:00Z"}
            for sha, hour in pushed
        ]

    def combined_status(self, sha, query, body):
        name = "state" if self.kind == "github" else "status"
        found = [{"context": key, name: value} for key, value in self.checks.items()]
        return 200, {"state": "pending", "sha": sha, "statuses": page(found, query)}

    def check_runs(self, sha, query, body):
        run = {"name": "lint", "status": "completed", "conclusion": "skipped"}
        return 200, {"total_count": 1, "check_runs": page([run], query)}

    def list_statuses(self, sha, query, body):
        return 200, page([{"name": key, "status": one} for key, one in self.checks.items()], query)

    # --- deployments: GitHub's, then GitLab's

    def list_deployments(self, query, body):
        found = [
            {**one, "id": key}
            for key, one in sorted(self.deployments.items(), reverse=True)
            if all(one.get(name) == query[name][0] for name in FILTERS if name in query)
        ]
        return 200, page(found, query)

    def create_deployment(self, query, body):
        key = len(self.deployments) + 1
        self.deployments[key] = {**body, "sha": body.get("sha") or body["ref"], "state": ""}
        if self.kind == "gitlab":
            self.deployments[key].update(deployable=None, state=body["status"])
            known = {"id": 70 + key, "name": body["environment"], "external_url": None}
            self.environments.setdefault(body["environment"], known)["state"] = "available"
        return 201, {"id": key}

    def set_deployment_status(self, key, query, body):
        url = body["environment_url"]
        self.deployments[int(key)].update(state=body["state"], url=url, log_url=body["log_url"])
        return 201, {"id": 1, "state": body["state"]}

    def update_deployment(self, key, query, body):
        one = self.deployments[int(key)]
        if one["state"] == body["status"]:
            return 400, {"message": "Status cannot transition via :succeed from :success"}
        one["state"] = body["status"]
        return 200, {"id": int(key)}

    def list_environments(self, query, body):
        found = self.environments.get(query["name"][0])
        return 200, [found] if found else []

    def update_environment(self, key, query, body):
        [found] = [one for one in self.environments.values() if one["id"] == int(key)]
        found.update(body)
        return 200, found

    def stop_environment(self, key, query, body):
        return self.update_environment(key, query, {"state": "stopped"})

    # --- for the doctor

    def get_repository(self, query, body):
        access = {"project_access": {"access_level": 30}, "group_access": None}
        permissions = access if self.kind == "gitlab" else {"push": self.may_push}
        return 200, {"id": 5, "private": True, "permissions": permissions}

    def own_token(self, query, body):
        return 200, {"scopes": self.scopes.split(), "expires_at": "2027-01-31", "active": True}

    def list_hooks(self, query, body):
        if self.hooks is None:
            return 403, {"message": "no"}
        return 200, page(self.hooks, query)

    def app_hook(self, query, body):
        return 200, {"url": "https://api.example.com/hooks/github", "content_type": "json"}

    def app_deliveries(self, query, body):
        return 200, [{"id": 1, "status_code": 202, "event": "ping"}]

    # --- GitHub Apps

    def installation(self, query, body):
        return 200, {"id": 5, "app_id": 77}

    def create_token(self, query, body):
        assert body == {"repositories": ["shop"]}
        self.tokens += 1
        self.token = f"installation-token-{self.tokens}"
        expires = datetime.now(UTC) + self.token_lifetime
        return 201, {
            "token": self.token,
            "expires_at": f"{expires:%Y-%m-%dT%H:%M:%SZ}",
            "permissions": self.permissions,
        }

    def edit_note(self, number, comment_id, query, body):
        return self.edit_comment(comment_id, query, body)


def page(items, query):
    """Return one page of a list, as `page` and the size in the query have it."""
    size = int(query.get("per_page", query.get("limit", ["30"]))[0])
    start = (int(query.get("page", ["1"])[0]) - 1) * size
    return items[start : start + size]


FILTERS = ("sha", "environment", "task")
REPO = "/repos/team/shop"
PROJECT = "/projects/team%2Fshop"
GITHUB_ROUTES = (
    ("GET", f"{REPO}/pulls", FakeForge.list_pulls),
    ("GET", f"{REPO}/pulls/([0-9]+)", FakeForge.get_pull),
    ("PUT", f"{REPO}/pulls/([0-9]+)/merge", FakeForge.merge),
    ("POST", f"{REPO}/pulls/([0-9]+)/merge", FakeForge.merge),
    ("GET", f"{REPO}/pulls/([0-9]+)/reviews", FakeForge.list_reviews),
    ("GET", f"{REPO}/commits/([0-9a-f]+)/status", FakeForge.combined_status),
    ("GET", f"{REPO}/commits/([0-9a-f]+)/check-runs", FakeForge.check_runs),
    ("GET", f"{REPO}/collaborators/([^/]+)/permission", FakeForge.permission),
    ("POST", f"{REPO}/statuses/([0-9a-f]+)", FakeForge.set_status),
    ("GET", f"{REPO}/issues/([0-9]+)/comments", FakeForge.list_comments),
    ("POST", f"{REPO}/issues/([0-9]+)/comments", FakeForge.create_comment),
    ("PATCH", f"{REPO}/issues/comments/([0-9]+)", FakeForge.edit_comment),
    ("POST", f"{REPO}/issues/comments/([0-9]+)/reactions", FakeForge.react),
    ("GET", f"{REPO}/deployments", FakeForge.list_deployments),
    ("POST", f"{REPO}/deployments", FakeForge.create_deployment),
    ("POST", f"{REPO}/deployments/([0-9]+)/statuses", FakeForge.set_deployment_status),
    ("GET", f"{REPO}/installation", FakeForge.installation),
    ("POST", "/app/installations/5/access_tokens", FakeForge.create_token),
    ("GET", "/app/hook/config", FakeForge.app_hook),
    ("GET", "/app/hook/deliveries", FakeForge.app_deliveries),
    ("GET", REPO, FakeForge.get_repository),
    ("GET", f"{REPO}/hooks", FakeForge.list_hooks),
)
NOTES = f"{PROJECT}/merge_requests/([0-9]+)/notes"
GITLAB_ROUTES = (
    ("GET", f"{PROJECT}/merge_requests", FakeForge.list_pulls),
    ("GET", f"{PROJECT}/merge_requests/([0-9]+)", FakeForge.get_pull),
    ("PUT", f"{PROJECT}/merge_requests/([0-9]+)/merge", FakeForge.merge),
    ("GET", f"{PROJECT}/merge_requests/([0-9]+)/approvals", FakeForge.list_approvals),
    ("GET", f"{PROJECT}/merge_requests/([0-9]+)/versions", FakeForge.list_versions),
    ("GET", f"{PROJECT}/repository/commits/([0-9a-f]+)/statuses", FakeForge.list_statuses),
    ("GET", f"{PROJECT}/members/all/([^/]+)", FakeForge.member),
    ("POST", f"{PROJECT}/statuses/([0-9a-f]+)", FakeForge.set_status),
    ("GET", NOTES, FakeForge.list_comments),
    ("POST", NOTES, FakeForge.create_comment),
    ("PUT", f"{NOTES}/([0-9]+)", FakeForge.edit_note),
    ("POST", f"{NOTES}/([0-9]+)/award_emoji", FakeForge.award),
    ("GET", f"{PROJECT}/deployments", FakeForge.list_deployments),
    ("POST", f"{PROJECT}/deployments", FakeForge.create_deployment),
    ("PUT", f"{PROJECT}/deployments/([0-9]+)", FakeForge.update_deployment),
    ("GET", f"{PROJECT}/environments", FakeForge.list_environments),
    ("GET", PROJECT, FakeForge.get_repository),
    ("GET", f"{PROJECT}/hooks", FakeForge.list_hooks),
    ("GET", "/personal_access_tokens/self", FakeForge.own_token),
    ("PUT", f"{PROJECT}/environments/([0-9]+)", FakeForge.update_environment),
    ("POST", f"{PROJECT}/environments/([0-9]+)/stop", FakeForge.stop_environment),
)


def is_proof(token, key):
    """Return whether the App with that key signed the token, for at most ten minutes."""
    try:
        claims = jwt.decode(
            token, key, ["RS256"], issuer="77", options={"require": ["iat", "exp", "iss"]}
        )
    except jwt.PyJWTError:
        return False
    return claims["exp"] - claims["iat"] <= 600


class _Handler(BaseHTTPRequestHandler):
    forge: FakeForge

    def handle_request(self):
        forge, parts = self.forge, urlsplit(self.path)
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body, query = json.loads(raw) if raw else None, parse_qs(parts.query)
        prefix = PREFIXES[forge.kind]
        path = parts.path.removeprefix(prefix)
        forge.requests.append((self.command, path, query, body))
        if forge.is_down:
            self.close_connection = True
            return
        if forge.failures:
            self.send(*forge.failures.pop(0), {"message": "no"})
        elif not parts.path.startswith(prefix) or not self.has_token(path):
            self.send(401, {}, {"message": "Bad credentials"})
        else:
            status, answer = forge.answer(self.command, path, query, body)
            self.send(status, {}, answer)

    do_GET = do_POST = do_PATCH = do_PUT = handle_request  # noqa: N815

    def has_token(self, path):
        sent = self.headers.get("PRIVATE-TOKEN") or self.headers.get("Authorization", "")
        token = sent.rpartition(" ")[2]
        if path.startswith("/app/") or path.endswith("/installation"):
            return is_proof(token, self.forge.app_key)
        return token == self.forge.token

    def send(self, status, headers, answer):
        raw = json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(raw))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, format, *args):
        """Log nothing."""
