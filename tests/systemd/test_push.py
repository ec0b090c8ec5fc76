"""Pushes to a path, over ssh and over https, in each mode, from the command, API and dashboard.

The remote is what an administrator would set up: Debian's sshd with a deploy key, git's own program
for http behind TLS and a password, a repository of another user. Needs Debian's openssh-server.
"""

import secrets

import pytest

from tests.runs.lifecycle.https_remote import PASSWORD, USER
from tests.systemd.machine import DEMO, wait_for

pytestmark = [pytest.mark.root, pytest.mark.full]

WORKER_ENV = "/etc/oroboros/worker.env"
REPOSITORY = "/home/git/app.git"
KEY, KNOWN_HOSTS = "/etc/oroboros/deploy_key", "/etc/oroboros/known_hosts"
CREDENTIALS, AUTHORITIES = "/etc/oroboros/git-credentials", "/etc/oroboros-authorities.pem"
HTTPS_PORT = 8443
SSH_URL = f"ssh://git@127.0.0.1{REPOSITORY}"
HTTPS_URL = f"https://localhost:{HTTPS_PORT}/app.git"
TRANSPORTS = {
    "path": {"GIT_REMOTE_URL": REPOSITORY, "GIT_LOCAL_ROOTS": "/home/git"},
    "ssh": {
        "GIT_REMOTE_URL": SSH_URL,
        "GIT_SSH_KEY_FILE": KEY,
        "GIT_SSH_KNOWN_HOSTS_FILE": KNOWN_HOSTS,
    },
    "https": {
        "GIT_REMOTE_URL": HTTPS_URL,
        "GIT_CREDENTIALS_FILE": CREDENTIALS,
        "SSL_CERT_FILE": AUTHORITIES,
        "NO_PROXY": "localhost",
    },
}
SSH_SERVER = f"""
ssh-keygen -q -t ed25519 -N '' -f {KEY} && chown oroboros: {KEY}
install -d -m 700 -o git -g git /home/git/.ssh
install -m 600 -o git -g git {KEY}.pub /home/git/.ssh/authorized_keys
systemctl start ssh
echo "127.0.0.1 $(cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub)" >{KNOWN_HOSTS}
"""
HTTPS_SERVER = f"""
install -d -o git -g git /home/git/https
systemd-run -q --unit git-https --uid git --working-directory /srv/oroboros \
  .venv/bin/python -m tests.runs.lifecycle.https_remote /home/git /home/git/https {HTTPS_PORT}
timeout 30 sh -c 'until [ -s /home/git/https/certificate.pem ]; do sleep 0.1; done' || exit 1
cat /etc/ssl/certs/ca-certificates.crt /home/git/https/certificate.pem >{AUTHORITIES}
echo 'https://{USER}:{PASSWORD}@localhost:{HTTPS_PORT}' >{CREDENTIALS}
chown oroboros: {CREDENTIALS} && chmod 600 {CREDENTIALS}
"""
# Logs in as a person does, and presses "Push now" of the dashboard.
PRESS_BUTTON = """
import re, sys, requests
session, site = requests.Session(), "http://127.0.0.1:8000"
def post(path, **fields):
    page = session.get(site + path)
    token = re.search('name="csrfmiddlewaretoken" value="([^"]+)"', page.text)[1]
    answer = session.post(site + path, {"csrfmiddlewaretoken": token, **fields})
    assert answer.ok, answer.text
    return answer.text
post("/admin/login/", username=sys.argv[1], password=sys.argv[2], next="/admin/")
address = "/admin/runs/run/push/"
print(address in session.get(site + "/admin/").text, post(address))
"""
PASSWORD_OF_PERSON, PERSON = "a person's own 7 words", f"olga-{secrets.token_hex(4)}"


def press_button(host):
    """Press "Push now"; returns whether the dashboard offers it, and the page that it leads to."""
    argv = f'.venv/bin/python - {PERSON} "{PASSWORD_OF_PERSON}"'
    return host.run(argv, stdin=PRESS_BUTTON.encode())


def call_endpoint(host):
    return host.post("/api/shipping/push")


def run_command(host):
    return host.run_json("./scripts/push.sh")


WAYS = (press_button, call_endpoint, run_command)


@pytest.fixture(scope="module")
def remote(host):
    """The host, and the team's repository on the same machine, of the user `git`."""
    assert host.run_unchecked("test -x /usr/sbin/sshd").returncode == 0, "install openssh-server"
    host.run("useradd --system -m -d /home/git -s /usr/bin/git-shell git && chmod 755 /home/git")
    clone = f"runuser -u oroboros -- git clone -q --bare {DEMO}/guestbook.git /tmp/app.git"
    host.run(f"{clone} && mv /tmp/app.git {REPOSITORY}")
    host.run(f"git --git-dir {REPOSITORY} config core.sharedRepository group")
    host.run(f"chown -R git:git {REPOSITORY} && chmod -R g+rwX {REPOSITORY}")
    host.run(f"find {REPOSITORY} -type d -exec chmod g+s {{}} + && usermod -aG git oroboros")
    host.run(SSH_SERVER)
    host.run(HTTPS_SERVER)
    create = ".venv/bin/python manage.py createsuperuser --noinput --email olga@example.com"
    host.run(f"{create} --username {PERSON}", DJANGO_SUPERUSER_PASSWORD=PASSWORD_OF_PERSON)
    host.run(f"cp -a {WORKER_ENV} /root/worker.env")
    yield host
    host.run(f"cp -a /root/worker.env {WORKER_ENV} && ./scripts/apply-settings.sh")
    host.run("systemctl stop git-https ssh")
    host.run_json("./scripts/push.sh")  # other tests ship from the demo's repository


def configure(host, **settings):
    """Set the lines of worker.env, those of the remote's transport and mode anew, and apply it."""
    names = {name for transport in TRANSPORTS.values() for name in transport}
    pattern = "|".join(sorted({*names, "MERGE_GATE_GIT_PUSH_MODE"}))
    lines = "".join(f"{name}={value}\n" for name, value in settings.items())
    host.run(f"grep -vE '^({pattern})=' /root/worker.env >{WORKER_ENV}")
    host.run(f"cat >>{WORKER_ENV}", stdin=lines.encode())
    host.run("./scripts/apply-settings.sh")


def read_remote_main(host):
    return host.run(f"git -c safe.directory='*' --git-dir {REPOSITORY} rev-parse main").strip()


def set_remote_main(host, commit):
    """Have the remote forget what was pushed, so that it can be pushed again."""
    host.run(f"runuser -u git -- git --git-dir {REPOSITORY} update-ref refs/heads/main {commit}")


def ship(host, name):
    branch = f"feature/push-{name}-{secrets.token_hex(4)}"
    host.make_branch(branch, {f"backend/{branch[8:]}.txt": branch}, REPOSITORY, "git")
    return host.ship(host.make_run(branch))


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_what_was_merged_is_pushed_in_each_mode_from_each_place(remote, transport):
    for mode in ("manual", "dry-run"):
        configure(remote, MERGE_GATE_GIT_PUSH_MODE=mode, **TRANSPORTS[transport])
        before = read_remote_main(remote)
        merged = ship(remote, f"{transport}-{mode}")
        assert merged["pushed"] is False
        assert merged["next_action"] == "./scripts/push.sh"
        for push in WAYS:
            set_remote_main(remote, before)
            tried = remote.run_json("./scripts/push.sh --dry-run")
            assert (tried["ok"], read_remote_main(remote)) == (True, before)
            push(remote)
            assert read_remote_main(remote) == merged["candidate_sha"]
        assert remote.get(f"/api/runs/{merged['id']}")["pushed"] is True
    configure(remote, MERGE_GATE_GIT_PUSH_MODE="auto", **TRANSPORTS[transport])
    merged = ship(remote, f"{transport}-auto")
    assert (merged["pushed"], read_remote_main(remote)) == (True, merged["candidate_sha"])
    assert "already" in press_button(remote)
    assert call_endpoint(remote)["already_there"] is True
    assert run_command(remote)["already_there"] is True


# What breaks a push, what the command then says, and what it advises.
BROKEN = {
    "ssh": [
        (f"chmod 644 {KEY}", "Permissions 0644 for", f"chmod 600 {KEY}"),
        (f"chown root: {KEY}", "Permission denied", f"chown oroboros: {KEY}"),
        (f": >{KNOWN_HOSTS}", "host key is known for 127.0.0.1", "ssh-keyscan"),
        ("rm /etc/ssh/ssh_host_*; ssh-keygen -A && systemctl restart ssh",
         "has changed", "ssh-keygen -R"),
        ("systemctl stop ssh", "Connection refused", "reaches 127.0.0.1"),
    ],
    "https": [
        (f"sed -i s/{PASSWORD}/wrong/ {CREDENTIALS}", "Authentication failed", CREDENTIALS),
        (f"cp /etc/ssl/certs/ca-certificates.crt {AUTHORITIES}", "ertificate", "SSL_CERT_FILE"),
    ],
}  # fmt: skip
# What repairs it where the advice is a text for people.
REPAIRS = {
    f"chmod 644 {KEY}": f"chmod 600 {KEY}",
    f"chown root: {KEY}": f"chown oroboros: {KEY}",
    f": >{KNOWN_HOSTS}": f"ssh-keyscan 127.0.0.1 >>{KNOWN_HOSTS}",
    "rm /etc/ssh/ssh_host_*; ssh-keygen -A && systemctl restart ssh": f"ssh-keygen -R 127.0.0.1 "
    f"-f {KNOWN_HOSTS} && ssh-keyscan 127.0.0.1 >>{KNOWN_HOSTS}",
    "systemctl stop ssh": "systemctl start ssh",
}


@pytest.mark.parametrize("transport", BROKEN)
def test_a_failed_push_names_its_cause_and_what_it_advises_repairs_it(remote, transport):
    configure(remote, MERGE_GATE_GIT_PUSH_MODE="manual", **TRANSPORTS[transport])
    merged = ship(remote, f"{transport}-broken")
    before = read_remote_main(remote)
    for command, cause, advice in BROKEN[transport]:
        remote.run(f"cp -a {CREDENTIALS} {AUTHORITIES} /root/")
        remote.run(command)
        done = remote.run_unchecked("./scripts/push.sh --dry-run")
        said = (done.stdout + done.stderr).decode()
        assert done.returncode != 0
        assert cause in said and advice in said and "@@@" not in said, (command, said)
        restore = f"cp -a /root/git-credentials {CREDENTIALS}; cp -a /root/*.pem {AUTHORITIES}"
        remote.run(REPAIRS.get(command, restore))
        accepted = lambda: remote.run_unchecked("./scripts/push.sh --dry-run").returncode == 0  # noqa: E731
        wait_for(accepted, 20, f"the advice does not repair: {command}")
    assert read_remote_main(remote) == before
    assert run_command(remote)["commit_sha"] == merged["candidate_sha"] == read_remote_main(remote)
