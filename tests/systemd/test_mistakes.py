"""Thirty mistakes on a host with systemd: the doctor says each, and its advice repairs it."""

import re

import pytest

from tests.systemd.machine import wait_for

pytestmark = [pytest.mark.root, pytest.mark.full]

API, WORKER = "/etc/oroboros/api.env", "/etc/oroboros/worker.env"
# A line that is added to an env file, or a command, and what the doctor says at once: it cannot
# read the configuration, and nothing would start with it.
REFUSED = {
    f"echo PREVIEW_TTL_SECONDS=4h >>{WORKER}": f"PREVIEW_TTL_SECONDS must be .* {WORKER}",
    f"echo GIT_REMOTE_URL >>{WORKER}": f"{WORKER} line \\d+: not KEY=value",
    f"echo 'RELEASES_KEEP=\"5' >>{WORKER}": f"{WORKER} line \\d+: a quote is opened",
    f"echo OROBOROS_HOME=/srv >>{API}": f"{API} line \\d+: OROBOROS_HOME again",
    f"echo OROBOROS_SLOTS=none >>{API}": f"OROBOROS_SLOTS must be .* {API}",
    f"echo OROBOROS_HTTPS=maybe >>{API}": f"OROBOROS_HTTPS must be true or false.* {API}",
    f"echo OROBOROS_DOMAIN=a/b >>{API}": f"OROBOROS_DOMAIN must be a name.* {API}",
    f"echo TIME_ZONE=Mars/Base >>{API}": f"TIME_ZONE must be a time zone.* {API}",
    f"echo CORS_APP_ORIGINS=https://x/y >>{API}": f"CORS_APP_ORIGINS: write .* {API}",
    f"sed -i s#postgresql://#mysql://# {API}": f"DATABASE_URL must be postgresql.* {API}",
    f"sed -i 's#^SECRET_KEY=.*#SECRET_KEY=changeme#' {API}": "SECRET_KEY looks like a placeholder",
    f"printf '\\xff' >>{WORKER}": f"{WORKER} is not UTF-8",
    f"chown root: {WORKER}; chmod 600 {WORKER}": f"{WORKER} cannot be read by oroboros",
    f"chmod 644 {API}": f"{API} holds secrets and other users can open it",
}
KEY, CREDENTIALS = "/etc/oroboros/deploy_key", "/etc/oroboros/git-credentials"
IN_PSQL = "runuser -u postgres -- psql -q -c"
# What breaks something, the subject of the doctor's finding, and what it says there.
FAULTS = [
    # First: without the polkit rule the control plane can stop nothing.
    ("./scripts/preview-backend-runtime.sh stop --slot preview-3", "Slot backend preview-3",
     "stopped by hand"),
    (f"echo MERGE_GATE_GIT_PUSH_MOD=auto >>{WORKER}", f"names in {WORKER}",
     "did you mean MERGE_GATE_GIT_PUSH_MODE?"),
    (f"echo DEPLOY_HEALTH_SECONDS=soon >>{WORKER}", "shipping's settings", "DEPLOY_HEALTH_SECONDS"),
    (f"echo ADMISSION_FREE_DISK_MB=1000000000 >>{WORKER}", "disk", "the floor is 1000000000"),
    (f"echo ADMISSION_FREE_MEMORY_MB=1000000000 >>{WORKER}", "memory", "the floor is 1000000000"),
    (f"echo GIT_SSH_KEY_FILE={KEY} >>{WORKER}; install -m 644 -o oroboros /dev/null {KEY}",
     "GIT_SSH_KEY_FILE", "644, of oroboros"),
    (f"echo GIT_CREDENTIALS_FILE={CREDENTIALS} >>{WORKER}; install -m 600 /dev/null {CREDENTIALS}",
     "GIT_CREDENTIALS_FILE", "600, of root"),
    (f"echo GIT_SSH_KNOWN_HOSTS_FILE=/etc/oroboros/gone >>{WORKER}",
     "GIT_SSH_KNOWN_HOSTS_FILE", "is not found"),
    (f"echo MERGE_GATE_GIT_PUSH_BRANCH=mian >>{WORKER}", "git remote", "mian"),
    (f"echo CORS_APP_ORIGINS=https://new.example.net >>{API}", "settings in effect",
     "ouroboros-api runs with an earlier"),
    ("chmod g+w /srv/oroboros", "/srv/oroboros", "775"),
    ("gpasswd -d oroboros ouroboros-app", "user ouroboros-app", "not in its group"),
    ("echo >>/etc/systemd/system/ouroboros-api.service", "installed files", "ouroboros-api"),
    ("systemctl -q disable ouroboros-caddy", "ouroboros-caddy.service", "disabled"),
    ("systemctl stop ouroboros-reaper.timer", "ouroboros-reaper.timer", "inactive"),
    ("rm /etc/polkit-1/rules.d/50-oroboros.rules", "right ouroboros-preview@preview-1.service",
     "may not be started"),
    ("rm .venv/bin/caddy", "Caddy", "is missing"),
    ("rm -r /tmp/oroboros-preview-backend", "the runbook's log paths", "preview-1.log"),
    ("systemctl stop ouroboros-web@preview2", "Web preview-2", "does not run"),
    (f"{IN_PSQL} 'GRANT CONNECT ON DATABASE oroboros TO PUBLIC'", "closed databases", "oroboros"),
    (f"{IN_PSQL} 'ALTER ROLE oroboros_admin SUPERUSER'", "admin's role", "is superuser"),
]  # fmt: skip
LINE = re.compile(r"^FAIL  (.{32,}?) (.*)$\n      -> (.*)$", re.MULTILINE)
COMMANDS = re.compile(
    r"(?:\./scripts/(?!quickstart)[\w-]+\.sh(?: start --slot [\w-]+)?"
    r"|(?:chown|chmod|systemctl) [^;,]+|(?:REVOKE|ALTER ROLE) .*)"
)
# What a person corrects by hand comes first; a start comes last.
ORDER = ("chown", "chmod", "systemctl", "./scripts/systemd-install", "./scripts/apply", "./scripts")


def run_doctor(host):
    done = host.run_unchecked("./scripts/doctor.sh")
    return done.returncode, (done.stdout + done.stderr).decode()


def list_findings(output):
    """Return what the doctor observed, and its remedy, by subject."""
    return {subject.strip(): (text, remedy) for subject, text, remedy in LINE.findall(output)}


def list_commands(remedies):
    """Return the commands that the remedies name, in the order in which an operator runs them."""
    first = [text.partition("; if that does not help")[0] for text in remedies]
    found = dict.fromkeys(one.strip() for text in first for one in COMMANDS.findall(text))
    rank = {one: next((n for n, p in enumerate(ORDER) if one.startswith(p)), -1) for one in found}
    return sorted(found, key=rank.__getitem__)


@pytest.fixture
def env_files(host):
    """Restore the env files afterwards: that is what an operator does who corrects a line."""
    restore = "rm -rf /etc/oroboros && cp -a /root/etc-oroboros /etc/oroboros"
    host.run("rm -rf /root/etc-oroboros && cp -a /etc/oroboros /root/etc-oroboros", cwd="/")
    yield restore
    host.run(restore, cwd="/")


@pytest.mark.parametrize("mistake", REFUSED)
def test_a_configuration_that_cannot_be_read_is_refused_by_name(host, env_files, mistake):
    host.run(mistake, cwd="/")
    code, output = run_doctor(host)
    assert code != 0
    assert re.search(REFUSED[mistake], output), output
    assert "Traceback" not in output
    if "chmod 600" in output:  # what it advises
        for command in ("chown oroboros: ", "chmod 600 "):
            host.run(f"{command} {re.search(r'/etc/oroboros/[a-z]+.env', output)[0]}", cwd="/")
    else:
        host.run(env_files, cwd="/")
    assert "Traceback" not in run_doctor(host)[1]
    assert not re.search(REFUSED[mistake], run_doctor(host)[1])


def test_each_fault_is_said_exactly_and_the_advice_repairs_it(host, env_files):
    assert len(REFUSED) + len(FAULTS) >= 30
    for command, _, _ in FAULTS:
        host.run(command)
    _, output = run_doctor(host)
    found = list_findings(output)
    missed = [(s, text) for _, s, text in FAULTS if text not in found.get(s, ("",))[0]]
    assert missed == [], output
    host.run(env_files, cwd="/")
    for command in list_commands(remedy for _, remedy in found.values()):
        argv = f'{IN_PSQL} "{command}"' if command[0].isupper() else command
        if "deploy_key" not in command and "git-credentials" not in command:
            host.run(argv)
    repaired = lambda: run_doctor(host)[0] == 0  # noqa: E731
    try:
        wait_for(repaired, 60, "the advice does not repair")
    except AssertionError:
        pytest.fail(run_doctor(host)[1])
