"""Secrets of every kind, planted in an installation: none shows where it is not needed.

It reads the commands and environments of all processes again and again, and at the end all logs,
artifacts, answers of the API, pages, mails, webhooks, and what the forge was told.
"""

import json
import os
import re
import subprocess
import threading
from dataclasses import dataclass
from html import unescape
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import oidc_provider_mock
import psutil
import pytest
import requests

from host import config as configuration
from host.masking import control_secrets
from tests.accounts.sign_in.conftest import ProviderPeople
from tests.forges import payloads
from tests.forges.fake_forge import FakeForge, Pull
from tests.notifications.receivers import receiving, receiving_mail
from tests.system.host import Host, wait_for

pytestmark = [pytest.mark.full, pytest.mark.browser]

# What a branch prints: all that it was given.
MIGRATE = "guestbook.migrate"
LEAK = f"""
import os, runpy
for name, value in os.environ.items():
    print(name, value, flush=True)
runpy.run_module({MIGRATE!r}, run_name="__main__")
"""
PLANTED = {
    "worker-preview.env": "SHOP_API_KEY",
    "app.env": "PAYMENT_SECRET",
    "build.env": "REGISTRY_TOKEN",
}
# What an operator gives the applications in the admin, by the name of the file there.
VARIABLES = {"previews": "SIGNING_KEY", "production": "MAILER_PASSWORD"}
PROVIDER = {
    "OIDC_NAME": "Example SSO",
    "OIDC_CLIENT_ID": "oroboros",
    "OIDC_VIEWER_GROUPS": "staff",
}
# The names of what the control plane itself does not know.
HASHED = "^a token$|cookie|share link|admin's password"
MAX_PAGES = 300
TARGETS = """
from django.contrib.auth.models import User
from notifications import targets
from notifications.rules import NotificationEvent
for kind, address in ADDRESSES:
    made = targets.add_target(
        name=kind, kind=kind, address=address, actor="ann", events=NotificationEvent.values
    )
targets.add_target(
    name="email", kind="email", address="ann@example.com", actor="ann",
    events=NotificationEvent.values, owner=User.objects.get(username="admin"),
)
print("SECRETS", *(t.secret for t in targets.Target.objects.all()))
"""


class PlantedSecrets:
    """The planted secrets by their names."""

    def __init__(self):
        self.values = {}

    def add(self, name, value):
        assert len(value) >= 12, name
        self.values[name] = value
        return value

    def find_in(self, data, *, but=()):
        """Return the names of those that the bytes have, as they are or quoted for a URL."""
        found = []
        for name, value in list(self.values.items()):  # another thread adds some
            forms = {value.encode(), quote(value, safe="").encode()}
            if name not in but and any(form in data for form in forms):
                found.append(name)
        return found


class ProcessWatch:
    """Reads commands and environments of all processes until it is stopped."""

    def __init__(self, planted):
        self.planted, self.found, self.seen = planted, set(), 0
        self.own = {process.pid for process in psutil.Process().parents()} | {psutil.Process().pid}
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.is_over.wait(0.3):
            self.look()

    def look(self):
        for pid in set(psutil.pids()) - self.own:
            for name in ("cmdline", "environ"):
                try:
                    with open(f"/proc/{pid}/{name}", "rb") as file:
                        data = file.read()
                except OSError:
                    continue
                self.seen += 1
                for secret in self.planted.find_in(data):
                    if name == "cmdline" or not is_given(secret, data):
                        self.found.add((name, secret, data[:200]))


def is_given(secret, environment):
    """Return whether the process has the secret because its application was given it."""
    names = {*PLANTED.values(), *VARIABLES.values(), "DATABASE_URL", "PGPASSWORD"}
    is_applications = b"OROBOROS_HOSTS=" in environment
    return is_applications and (secret in names or secret.startswith("database of"))


@pytest.fixture(scope="module")
def planted():
    return PlantedSecrets()


@pytest.fixture(scope="module")
def watch(planted):
    watch = ProcessWatch(planted)
    watch.thread.start()
    yield watch
    watch.is_over.set()
    watch.thread.join()


@dataclass
class Outside:
    """What the installation talks to: receivers of notifications, the forge, the provider."""

    hook: Any
    box: Any
    mail_port: int
    forge: FakeForge
    provider: str


@pytest.fixture(scope="module")
def outside(planted):
    with (
        receiving() as hook,
        receiving_mail(
            {"oroboros": planted.add("the mail's password", "planted-of-the-mail-44c8")}
        ) as (box, mail_port),
        oidc_provider_mock.run_server_in_thread(require_nonce=True) as provider,
    ):
        forge = FakeForge("github")
        forge.token = planted.add("the forge's token", "planted-of-the-forge-77e1")
        yield Outside(hook, box, mail_port, forge, f"http://localhost:{provider.server_port}")
        forge.close()


@pytest.fixture(scope="module")
def host(planted, watch, outside):
    """Return a running stack with the secrets planted."""
    host = Host("oroboros-planted-")
    del host.environ["PREVIEW_SCREENSHOTS"]  # a browser's processes are read too
    try:
        output = host.script("quickstart")
        planted.add("the admin's password", re.search(r"user admin, password (\S+)", output)[1])
        plant_settings(host, planted, outside.mail_port)
        plant_files(host, planted, outside)
        host.script("apply-settings")
        plant_targets(host, planted, outside.hook.url)
        plant_variables(host, planted)
        yield host
    finally:
        host.close()


def plant_settings(host, planted, mail_port):
    folder = host.home / "var/env"
    for name in ("api.env", "worker.env"):
        for key, value in configuration.read_env_file(folder / name).items():
            if key == "SECRET_KEY":
                planted.add(key, value)
            elif key.endswith("DATABASE_URL") and (password := urlsplit(value).password):
                planted.add(f"password in {key}", password)
    superuser = host.config.var / control_secrets.SUPERUSER_FILE
    planted.add("the superuser's password", superuser.read_text())
    for file, name in PLANTED.items():
        planted.add(name, f"planted-{name.lower()}-9f31c07e")
        append(folder / file, f"{name}={planted.values[name]}\n")
    mail = {
        "NOTIFICATION_NETWORKS": "127.0.0.0/8",
        "NOTIFICATION_SMTP_HOST": "127.0.0.1",
        "NOTIFICATION_SMTP_PORT": mail_port,
        "NOTIFICATION_SMTP_SECURITY": "none",
        "NOTIFICATION_SMTP_USER": "oroboros",
        "NOTIFICATION_MAIL_FROM": "oroboros@example.com",
    }
    append(folder / "worker.env", "".join(f"{key}={value}\n" for key, value in mail.items()))
    for name in ("api.env", "worker.env"):
        append(folder / name, "PREVIEW_PROTECTION=protected\n")


def plant_files(host, planted, outside):
    """Plant the secrets that settings name a file of."""
    folder = host.home / "var/env"

    def write(name, value):
        path = folder / name
        path.touch(0o600)
        path.write_text(f"{value}\n")
        return path

    git = planted.add("git's password", "planted-of-the-git-remote-51d2")
    key = planted.add("git's key", "planted-of-the-ssh-key-c0d9")
    webhook = planted.add("the secret of the forge's webhook", "planted-of-the-webhook-a930")
    client = planted.add("the client's secret", "planted-of-the-client-0b8d")
    both = {
        "FORGE": "github",
        "FORGE_URL": outside.forge.url,
        "FORGE_REPOSITORY": payloads.REPOSITORY,
        "FORGE_TOKEN_FILE": write("forge-token", outside.forge.token),
        "FORGE_WEBHOOK_SECRET_FILE": write("forge-secret", webhook),
        "OIDC_ISSUER": outside.provider,
        "OIDC_CLIENT_SECRET_FILE": write("client-secret", client),
        **PROVIDER,
    }
    for name in ("api.env", "worker.env"):
        append(folder / name, "".join(f"{key}={value!s}\n" for key, value in both.items()))
    own = {
        "GIT_CREDENTIALS_FILE": write("git-credentials", f"https://bot:{git}@git.example.com"),
        "GIT_SSH_KEY_FILE": write("git-key", key),
        "NOTIFICATION_SMTP_PASSWORD_FILE": write("mail", planted.values["the mail's password"]),
    }
    append(folder / "worker.env", "".join(f"{name}={path}\n" for name, path in own.items()))
    # In place of the forge's token an installation has the key of an app: one of the two is read.
    assert {*own, *both, "FORGE_APP_KEY_FILE"} >= {*control_secrets.FILES}


def plant_variables(host, planted):
    """Give the applications variables as an operator does in the admin."""
    for file, name in VARIABLES.items():
        value = planted.add(name, f"planted-{name.lower()}-6d20")
        body = {"name": name, "value": value, "reason": "needed"}
        answer = host.api(f"/api/variables/{file}", body)
        assert answer.status_code == 200, answer.text
        assert planted.find_in(answer.content) == []


def append(path, text):
    path.touch(0o600)
    path.write_text(path.read_text() + text)


def plant_targets(host, planted, url):
    planted.add("a token in a webhook's address", "planted-in-the-path-77aa")
    address = url.replace("a-token-in-the-path", planted.values["a token in a webhook's address"])
    code = f"ADDRESSES = [('webhook', {address!r})]\n{TARGETS}"
    done = subprocess.run(
        [".venv/bin/python", "manage.py", "shell"],
        cwd=host.home, env=host.environ, input=code, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for secret in re.search(r"SECRETS (.*)", done.stdout)[1].split():
        planted.add("a webhook's secret", secret)


def open_login(browser, login):
    """Open the log-in's page; return what a form of it must send."""
    page = browser.get(login, timeout=20)
    return {"csrfmiddlewaretoken": re.search(r'csrfmiddlewaretoken" value="(\w+)"', page.text)[1]}


def log_in(host, planted):
    """Return a browser of the admin; its cookies are planted."""
    browser = requests.Session()
    login = f"http://127.0.0.1:{host.config.api_port}/admin/login/"
    password = planted.values["the admin's password"]
    form = {"username": "admin", "password": password, **open_login(browser, login)}
    browser.post(login, data=form | {"password": f"{password}x"}, headers={"Referer": login})
    browser.post(login, data=form, headers={"Referer": login}, timeout=20)
    planted.add("the session's cookie", browser.cookies["oroboros_session"])
    return browser


def log_in_at_provider(host, planted, provider):
    """Log a person in through the provider, which gets the client's secret for it."""
    ProviderPeople(provider).set_person("rita", ["staff"])
    browser, base = requests.Session(), f"http://127.0.0.1:{host.config.api_port}"
    login = f"{base}/admin/login/"
    form = open_login(browser, login)
    button = f"{base}/admin/account/sign-in/"
    page = browser.post(button, data=form, headers={"Referer": login}, timeout=20)
    address = unescape(re.search(r'url=([^"]+)"', page.text)[1])
    sent = requests.post(address, data={"sub": "rita"}, allow_redirects=False, timeout=20)
    back = urlsplit(sent.headers["Location"])
    browser.get(f"{base}{back.path}?{back.query}", timeout=20)
    planted.add("a session's cookie through the provider", browser.cookies["oroboros_session"])
    assert "rita" in browser.get(f"{base}/admin/", timeout=20).text


def make_branch(host):
    """Push a branch whose release command and web process print their whole environment."""
    work = host.home / "var/leak"
    remote = host.home / "var/demo/guestbook.git"
    git = ["git", "-c", "safe.directory=*", "-c", "user.name=x", "-c", "user.email=x@example.com"]

    def run(*arguments, cwd=work):
        argv = [*git, *arguments]
        return subprocess.run(argv, cwd=cwd, check=True, capture_output=True, text=True).stdout

    run("clone", "-q", str(remote), str(work), cwd=host.home)
    (work / "backend" / "leak.py").write_text(LEAK)
    procfile = (work / "Procfile").read_text()
    assert MIGRATE in procfile
    (work / "Procfile").write_text(procfile.replace(MIGRATE, "leak"))
    run("add", "-A")
    run("commit", "-qm", "Print all")
    run("push", "-q", "origin", "HEAD:refs/heads/feature/leak")
    commit = run("rev-parse", "HEAD")
    subprocess.run(["rm", "-r", str(work)], check=True)
    return commit


def deliver(host, planted, forge, commit):
    """Tell of a pull request of the branch, also with a wrong secret; return it."""
    pull = forge.add(Pull(12, "feature/leak", commit, labels=["preview"]))
    body = payloads.github_pull_request(pull, "opened")
    secret = planted.values["the secret of the forge's webhook"]
    for text, status in ((secret, 202), (f"{secret}x", 401)):
        raw, headers = payloads.sign("github", "pull_request", body, f"of-{status}", text)
        url = f"http://127.0.0.1:{host.config.api_port}/hooks/github"
        headers["Content-Type"] = "application/json"
        assert requests.post(url, data=raw, headers=headers, timeout=20).status_code == status
    return pull


def use_all(host, planted, outside):
    """Use each secret: previews, a merge, failures, tokens, links, wrong requests."""
    log_in_at_provider(host, planted, outside.provider)
    token = host.manage("create_token", "e2e", "view", "hold", "approve").split()[-1]
    planted.add("a token", token)
    api = f"http://127.0.0.1:{host.config.api_port}"
    for path in ("/api/me", "/api/nothing", f"/api/runs?x={'y' * 300}"):
        requests.get(api + path, headers={"Authorization": f"Bearer {token}"}, timeout=20)
    requests.post(f"{api}/api/runs", data="{", headers={"Authorization": f"Bearer {token}"})
    commit = make_branch(host).strip()
    runs = [host.start_run(name) for name in ("feature/leak", "feature/bad-migration")]
    pull = deliver(host, planted, outside.forge, commit)
    leak, _ = (host.wait_until_settled(run, 240) for run in runs)
    assert leak["status"] == "preview_ready", (leak["failure_code"], leak["failure_detail"])
    for slot in host.config.slots:
        path = slot.folder / "environment.json"
        if path.exists() and (found := re.search(r"://[^:/@]+:([^@/]+)@", path.read_text())):
            planted.add(f"database of {slot.slot_id}", found[1])
    link = host.api(f"/api/runs/{leak['id']}/share-links", {"hours": 1}).json()
    planted.add("a share link's secret", urlsplit(link["url"]).query.partition("=")[2])
    visit(host, leak, planted, link["url"], token)
    wait_for(lambda: pull.comments, 60, "the forge was told nothing")
    # Of tokens and cookies, links and log-ins the control plane has a hash only.
    told = [one for name, one in planted.values.items() if not re.search(HASHED, name)]
    assert len(told) > 12
    body = {"text": f"Are these meant? {' '.join(told)}"}
    assert host.api(f"/api/runs/{leak['id']}/comments", body).status_code == 201
    if os.geteuid() == 0:  # no other user takes pictures
        pictures = f"/api/runs/{leak['id']}/screenshots"
        wait_for(lambda: host.api(pictures).json()["status"] == "taken", 240, "no pictures")
    host.approve(leak)
    ended = host.wait_until_ended(leak["id"], 240)
    assert ended["status"] == "merged", (ended["failure_code"], ended["failure_detail"])
    return leak


def visit(host, run, planted, url, token):
    parts = urlsplit(run["frontend_url"])
    router = f"http://127.0.0.1:{host.config.router_port}"
    headers = {"Host": parts.netloc, "Sec-Fetch-Mode": "navigate"}
    opened = requests.get(
        f"{router}/?{urlsplit(url).query}", headers=headers, allow_redirects=False, timeout=20
    )
    value = opened.cookies["oroboros_preview"]
    planted.add("a visit's cookie", value)
    for more in ({"X-Oroboros-Bypass": token}, {"X-Oroboros-Bypass": f"{token}x"}):
        requests.get(f"{router}/api/health", headers=headers | more, timeout=20)
    cookie = {"Cookie": f"oroboros_preview={value}"}
    seen = requests.get(f"{router}/api/health", headers=headers | cookie, timeout=20)
    assert seen.status_code == 200
    assert planted.find_in(seen.content) == []


def crawl(browser, base, start):
    """Yield the address and the body of the pages and answers that can be reached by links."""
    waiting, seen = list(start), set()
    while waiting and len(seen) < MAX_PAGES:
        address = waiting.pop(0)
        if address in seen or "logout" in address or "/static/" in address:
            continue
        seen.add(address)
        answer = browser.get(address, timeout=40)
        yield address, answer.content
        links = re.findall(r'(?:href|src)="([^"#]+)"|"((?:/api|/admin)/[^"]+)"', answer.text)
        for pair in links:
            link = urljoin(address, (pair[0] or pair[1]).replace("&amp;", "&"))
            if link.startswith(base):
                waiting.append(link)


def list_api(run):
    parts = (
        "", "/events", "/artifacts", "/diff", "/mails", "/share-links", "/logs", "/comments",
        "/screenshots",
    )  # fmt: skip
    own = [f"runs/{run['id']}{part}" for part in parts]
    return [
        f"/api/{name}"
        for name in (
            "runs", *own, "slots", "shipping", "releases", "deliveries", "outbox", "me", "schema/",
            "pull-requests", "notification-targets", "notifications", "audit", "audit/export",
            "settings", "variables",
        )
    ]  # fmt: skip


def test_no_planted_secret_shows_anywhere(host, planted, watch, outside):
    browser = log_in(host, planted)
    run = use_all(host, planted, outside)
    hook, box = outside.hook, outside.box
    wait_for(lambda: len(hook.requests) >= 3 and box.mails, 60, "no webhook or no mail came")
    base = f"http://127.0.0.1:{host.config.api_port}"
    found = {}

    def note(where, data):
        if names := planted.find_in(data):
            found[where] = names

    for path in sorted((host.home / "var/log").rglob("*")):
        if path.is_file():
            note(str(path), path.read_bytes())
    artifacts = [path for path in (host.home / "var/artifacts").rglob("*") if path.is_file()]
    for path in artifacts:
        note(str(path), path.read_bytes())
    printed = [path for path in artifacts if b"SHOP_API_KEY" in path.read_bytes()]
    assert printed, "the branch printed nothing"
    pages = dict(crawl(browser, base, [f"{base}/admin/", *(base + one for one in list_api(run))]))
    assert len(pages) > 60, sorted(pages)
    for address, body in pages.items():
        note(address, body)
    for path, headers, body in hook.requests:
        # The receiver's own address has the token that the operator wrote into it.
        own = "a token in a webhook's address"
        assert planted.find_in(json.dumps([headers, body.decode()]).encode(), but=[own]) == [], path
    for mail in box.mails:
        note("a mail", mail.content)
    forge = outside.forge
    told = [forge.requests, forge.statuses, [one.comments for one in forge.pulls.values()]]
    note("the forge", json.dumps(told, default=str).encode())
    watch.look()
    assert watch.seen > 1000
    assert (found, watch.found) == ({}, set())
