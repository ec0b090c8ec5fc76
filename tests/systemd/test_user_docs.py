"""The pages of docs/ for operators: each is followed from top to bottom, as it is written."""

import re

import pytest

from tests.systemd.docs_commands import DOCS, read_commands, run_commands
from tests.systemd.machine import DEMO, wait_for

pytestmark = pytest.mark.root

FOLLOWED = {"operate.md", "install.md", "upgrade.md", "backup-and-restore.md", "uninstall.md"}
# Commands that the sandbox cannot run, with the reason.
LEFT_OUT = {
    "apt-get update": "the sandbox reaches no mirror of Debian's packages",
    "apt-get install -y git curl python3 python3-venv postgresql polkitd": "they are installed",
    "curl -fsS -X POST http://127.0.0.1:8000/api/runs/<run_id>/approve -H 'Content-Type:"
    """ application/json' -d '{"checklist": ["tested on a phone"]}'""": "the demo has no checklist",
    "./scripts/upgrade-postgres.sh": "under systemd PostgreSQL is the host's",
}
LIST = "./scripts/release-registry.sh list"
REPLACEMENTS = {"ssh://git@git.example.com/team/app.git": f"{DEMO}/guestbook.git"}
AUTHOR = "-c user.name=x -c user.email=x@example.com"
UPSTREAM = "/root/upstream.git"
# A copy of the git remote, which in reality is on another host and survives the uninstallation.
REMOTE_COPY = "/root/demo"
BACKED_UP = (
    "var/app var/storage var/redis var/repo.git var/releases var/activations var/current "
    "var/restore var/secrets var/settings"
)
WORKER = {
    "Procfile": "web: python -m guestbook\nrelease: python -m guestbook.migrate\n"
    "worker: python work.py\n",
    "backend/work.py": "import time\nprint('begins', flush=True)\ntime.sleep(3600)\n",
}
NEW_START = "From a version before 0.1, under systemd"


@pytest.fixture(scope="module")
def host(machine):
    """Return the machine after two releases were shipped."""
    if machine.run_unchecked("test -e /etc/oroboros/api.env").returncode != 0:
        machine.install()
    machine.run("./scripts/runtime-up.sh")
    if not list_releases(machine):
        machine.run_json("./scripts/deploy.sh main --reason first")
    if len(list_releases(machine)) < 2:
        machine.ship(machine.make_run("feature/reactions"))
    return machine


def list_releases(host):
    """Return the status of each release by its id."""
    return {one["release_id"]: one["status"] for one in host.run_json(LIST)["releases"]}


def list_slot_states(host):
    return [slot["state"] for slot in host.get("/api/slots")]


def wait_until_healthy(host):
    """Wait until the doctor finds no fault; fail with its output otherwise."""
    results = []

    def run_doctor():
        results.append(host.run_unchecked("./scripts/doctor.sh"))
        return results[-1].returncode == 0

    try:
        wait_for(run_doctor, 60, "the doctor finds a fault")
    except AssertionError:
        pytest.fail(results[-1].stdout.decode())


def install_again(host):
    """Follow the page of the installation; create the remote once its owner exists."""
    for heading, commands in read_commands("install.md").items():
        if heading.startswith("5."):
            host.make_remote()
        run_commands(host, commands, REPLACEMENTS, LEFT_OUT, **host.install_environment)


def list_traces(host):
    """Return the units, processes and files of the system's folders that belong to Oroboros.

    Without systemd's own links to the fields of the units' lines, which it keeps until a reboot.
    """
    units = host.run("systemctl list-units --all --plain --no-legend 'ouroboros*'", cwd="/")
    files = host.run("find /etc/systemd /etc/polkit-1 /etc/sysusers.d /etc/tmpfiles.d /run /tmp"
                     " -iname '*roboros*' -not -path '/run/systemd/units/*'", cwd="/")  # fmt: skip
    command = "ps -eo user:32,args | grep -E '^ou?roboros|[/]srv/oroboros/' || true"
    processes = host.run(command, cwd="/")
    return units.splitlines() + files.splitlines() + processes.splitlines()


def test_all_pages_with_commands_are_followed_and_each_left_out_command_is_in_one():
    assert {path.name for path in DOCS.glob("*.md") if read_commands(path.name)} == FOLLOWED
    lines = [line for page in FOLLOWED for block in read_commands(page).values() for line in block]
    assert len(lines) > 50
    assert set(LEFT_OUT) <= set(lines)
    assert list(read_commands("backup-and-restore.md")) == ["Back up", "Restore"]
    # The last section is for a stack without systemd: its commands are not followed here.
    without_systemd = "From a version before 0.1, embedded"
    assert list(read_commands("upgrade.md")) == ["", NEW_START, without_systemd]


def test_the_page_of_the_uninstallation_names_the_backups_and_what_they_hold():
    folder = "/var/backups/oroboros"
    assert folder in "\n".join(read_commands("backup-and-restore.md")["Back up"])
    page = " ".join((DOCS / "uninstall.md").read_text().split())
    assert f"`rm -r {folder}`" in page
    for held in ("hashes of passwords and tokens", "uploads", "`/etc/oroboros`", "deploy key"):
        assert held in page


@pytest.mark.full
def test_every_command_of_the_operators_page_succeeds(host):
    # The page looks at the log of a process `worker`.
    host.make_branch("feature/with-worker", WORKER)
    host.run("rm -r /tmp/branch")
    run = host.make_run("feature/with-worker")
    statuses = list_releases(host)
    earlier = next(name for name, status in statuses.items() if status == "retired")
    replacements = {"<slot_id>": run["slot_id"], "<run_id>": run["id"], "<release_id>": earlier}
    replacements["preview-1 --process"] = f"{run['slot_id']} --process"
    for commands in read_commands("operate.md").values():
        run_commands(host, commands, replacements, LEFT_OUT)
        # While a released slot is cleaned, its backend cannot be restarted.
        wait_for(lambda: "cleaning" not in list_slot_states(host), 30, "a slot is not cleaned")
    assert list_releases(host)[earlier] == "live"
    assert host.get(f"/api/runs/{run['id']}")["status"] == "canceled"
    wait_until_healthy(host)


# Commands that break something, and the subject of the doctor's finding. An env file that others
# can read is refused by every command: see test_mistakes.
FAULTS = {
    "chmod g+w /srv/oroboros": "/srv/oroboros",
    "gpasswd -d oroboros ouroboros-app": "user ouroboros-app",
    "echo >>/etc/systemd/system/ouroboros-api.service": "installed files",
    "systemctl -q disable ouroboros-caddy": "ouroboros-caddy.service",
    "rm /etc/polkit-1/rules.d/50-oroboros.rules": "right ouroboros-preview@preview-1.service",
    "mv /srv/oroboros/var/demo/guestbook.git /srv/oroboros/var/demo/gone.git": "git remote",
    "systemctl stop ouroboros-web@preview2": "Web preview-2",
}
REMEDY = re.compile(r"^      -> (.*)$", re.MULTILINE)


@pytest.mark.full
def test_the_doctor_reports_every_fault_and_its_remedies_repair_them(host):
    for command in FAULTS:
        host.run(command, cwd="/")
    done = host.run_unchecked("./scripts/doctor.sh")
    output = done.stdout.decode()
    assert done.returncode != 0
    subjects = FAULTS.values()
    assert [subject for subject in subjects if f"FAIL  {subject} " not in output] == [], output
    host.run("mv var/demo/gone.git var/demo/guestbook.git")
    for remedy in dict.fromkeys(REMEDY.findall(output)):
        if remedy.startswith(("chown", "systemctl")) and "<" not in remedy:
            host.run(remedy)
    host.run("./scripts/systemd-install-runtime.sh && ./scripts/apply-settings.sh")
    host.run("./scripts/runtime-up.sh")
    wait_until_healthy(host)


def test_a_backup_restores_everything_after_data_and_secrets_were_lost(host):
    sign_guestbook(host, "before the backup")
    run = host.make_run("feature/failing-check")
    before = list_releases(host)
    page = read_commands("backup-and-restore.md")
    run_commands(host, page["Back up"], {})
    sign_guestbook(host, "after the backup")
    host.run("./scripts/runtime-down.sh && rm /etc/oroboros/*.env")
    host.run(f"rm -rf {BACKED_UP}")
    for name in ("oroboros", "app_production"):
        host.run(f"runuser -u postgres -- dropdb {name}", cwd="/")
    run_commands(host, page["Restore"], {})
    assert list_releases(host) == before
    assert host.get(f"/api/runs/{run['id']}")["commit_sha"] == run["commit_sha"]
    entries = host.curl("3100/api/entries")
    assert "before the backup" in entries
    assert "after the backup" not in entries
    wait_until_healthy(host)


def sign_guestbook(host, message):
    """Add an entry to production's guestbook."""
    entry = f'{{"name": "Ada", "message": "{message}"}}'
    host.curl("3100/api/entries", "-X POST -H 'Content-Type: application/json'", f"-d '{entry}'")


@pytest.fixture(scope="module")
def newer_version(host):
    """Make the checkout a clone of a repository that has a newer version; return its name."""
    host.run(f"git init -q && git add -A && git {AUTHOR} commit -qm old")
    host.run(f"git clone -q --bare . {UPSTREAM} && git remote add origin {UPSTREAM}")
    host.run(f"git clone -q {UPSTREAM} /root/work", cwd="/")
    unit = "infra/systemd/units/ouroboros-api.service"
    host.run(f"sed -i 's/^Description=.*/Description=Newer/' {unit}", cwd="/root/work")
    tag = f"git {AUTHOR} commit -qam new && git tag v9 && git push -q origin v9"
    host.run(tag, cwd="/root/work")
    return "v9"


@pytest.mark.full
def test_an_upgrade_keeps_runs_previews_releases_and_secrets(host, newer_version):
    run = host.make_run("feature/failing-check")
    before, secrets = list_releases(host), host.run("sha256sum /etc/oroboros/*.env")
    backend = host.pid(f"ouroboros-preview@{run['slot_id']}")
    api, worker = host.pid("ouroboros-api"), host.pid("ouroboros-worker")
    run_commands(host, read_commands("upgrade.md")[""], {"<version>": newer_version})
    assert "Newer" in host.run("systemctl show -p Description ouroboros-api")
    assert {host.pid("ouroboros-api"), host.pid("ouroboros-worker")}.isdisjoint({api, worker, 0})
    assert host.pid(f"ouroboros-preview@{run['slot_id']}") == backend
    assert host.get(f"/api/runs/{run['id']}")["status"] == "preview_ready"
    assert (list_releases(host), host.run("sha256sum /etc/oroboros/*.env")) == (before, secrets)


@pytest.mark.full
def test_an_uninstallation_leaves_nothing_running_and_a_new_installation_has_all_data(host):
    run, before = host.get("/api/runs")["results"][0], list_releases(host)
    commands = read_commands("uninstall.md")["Stop it and take it out of systemd"]
    # The reaper is started and killed, so that the uninstallation finds a failed unit.
    kill = "until systemctl kill -s KILL ouroboros-reaper; do sleep 0.1; done"
    host.run("systemctl stop ouroboros-worker")  # beside a worker it does nothing
    host.run(f"systemctl start --no-block ouroboros-reaper && {kill}")
    for _ in range(2):
        run_commands(host, commands, {})
        assert list_traces(host) == []
    install_again(host)
    assert host.get(f"/api/runs/{run['id']}")["commit_sha"] == run["commit_sha"]
    assert set(before) <= set(list_releases(host))
    wait_until_healthy(host)


@pytest.mark.full
def test_removing_the_data_leaves_nothing_and_a_backup_restores_it_on_a_new_host(host):
    before = list_releases(host)
    sign_guestbook(host, "before the removal")
    run_commands(host, read_commands("backup-and-restore.md")["Back up"], {})
    host.run(f"cp -a {DEMO} {REMOTE_COPY}")
    for commands in read_commands("uninstall.md").values():
        run_commands(host, commands, {})
    elsewhere = " ".join(f"-not -path '{path}/*'" for path in ("/var/backups", "/root", "/work"))
    assert host.run(f"find / -xdev -iname '*roboros*' {elsewhere}", cwd="/") == ""
    assert list_traces(host) == []
    assert host.run("(getent passwd; getent group) | grep -E '^ou?roboros' || true", cwd="/") == ""
    roles = "SELECT rolname FROM pg_roles WHERE rolname ~ '^(oroboros|app_)'"
    assert host.run(f'runuser -u postgres -- psql -At -c "{roles}"', cwd="/") == ""
    host.copy_checkout()
    install_again(host)
    assert list_releases(host) != before
    # The production data of a version before 0.1 is restored alone, without the old releases.
    assert "before the removal" not in host.curl("3100/api/entries")
    run_commands(host, read_commands("upgrade.md")[NEW_START], {})
    assert "before the removal" in host.curl("3100/api/entries")
    assert list_releases(host) != before
    host.run(f"rm -r {DEMO} && cp -a {REMOTE_COPY} {DEMO} && chown -R oroboros: {DEMO}")
    run_commands(host, read_commands("backup-and-restore.md")["Restore"], {})
    assert list_releases(host) == before
    wait_until_healthy(host)
