"""The pages for who keeps a host, each from top to bottom, every command as it stands there."""

import re

import pytest

from tests.systemd.machine import DEMO, HOME, wait_for
from tests.systemd.pages import DOCS, follow, sections

pytestmark = pytest.mark.root

FOLLOWED = {"operate.md", "install.md", "upgrade.md", "backup-and-restore.md", "uninstall.md"}
# What the sandbox cannot do, with the reason.
LEFT_OUT = {
    "apt-get update": "no mirror of packages is reached from the sandbox",
    "apt-get install -y git curl python3 python3-venv postgresql polkitd": "they are there",
}
LIST = "./scripts/release-registry.sh list"
GIVEN = {"ssh://git@git.example.com/team/app.git": f"{DEMO}/guestbook.git"}
WHO = "-c user.name=x -c user.email=x@example.com"
UPSTREAM = "/root/upstream.git"
KEPT = "/root/demo"  # the team's repository outlives our host: it has what was pushed
SAVED = "app repo.git releases activations current restore secrets"


@pytest.fixture(scope="module")
def host(machine):
    """Return the machine with two releases shipped."""
    if machine.start("test -e /etc/oroboros/api.env").returncode != 0:
        machine.install()
    machine.run("./scripts/runtime-up.sh")
    if not releases(machine):
        machine.answer("./scripts/deploy.sh main --reason first")
    if len(releases(machine)) < 2:
        machine.ship(machine.make_run("feature/reactions"))
    return machine


def releases(host):
    return {one["release_id"]: one["status"] for one in host.answer(LIST)["releases"]}


def states(host):
    return [slot["state"] for slot in host.get("/api/slots")]


def is_well(host):
    """Wait until the doctor finds nothing wrong."""
    asked = []

    def doctor():
        asked.append(host.start("./scripts/doctor.sh"))
        return asked[-1].returncode == 0

    try:
        wait_for(doctor, 60, "the doctor finds something wrong")
    except AssertionError:
        pytest.fail(asked[-1].stdout.decode())


def install_again(host):
    """Follow the page of the installation; the remote is made as soon as its owner is there."""
    for heading, commands in sections("install.md").items():
        if heading.startswith("5."):
            host.make_remote()
        follow(host, commands, GIVEN, LEFT_OUT, **host.asked)


def traces(host):
    """Return what of ours systemd, the table of processes and the folders of the system know."""
    units = host.run("systemctl list-units --all --plain --no-legend 'ouroboros*'", cwd="/")
    files = host.run("find /etc/systemd /etc/polkit-1 /etc/sysusers.d /etc/tmpfiles.d /run /tmp"
                     " -iname '*roboros*'", cwd="/")  # fmt: skip
    ours = "ps -eo user:32,args | grep -E '^ou?roboros|[/]srv/oroboros/' || true"
    processes = host.run(ours, cwd="/")
    return units.splitlines() + files.splitlines() + processes.splitlines()


def test_every_page_with_commands_is_followed_and_what_is_left_out_stands_in_one():
    assert {path.name for path in DOCS.glob("*.md") if sections(path.name)} == FOLLOWED
    lines = [line for page in FOLLOWED for block in sections(page).values() for line in block]
    assert len(lines) > 50
    assert set(LEFT_OUT) <= set(lines)
    assert list(sections("backup-and-restore.md")) == ["Back up", "Restore"]
    assert list(sections("upgrade.md")) == [""]


def test_every_command_of_the_operators_page_succeeds(host):
    run = host.make_run("feature/failing-check")
    earlier = next(name for name, status in releases(host).items() if status == "retired")
    given = {"<slot_id>": run["slot_id"], "<run_id>": run["id"], "<release_id>": earlier}
    for commands in sections("operate.md").values():
        follow(host, commands, given)
        # A slot that was taken back is cleaned: nobody restarts its backend in that moment.
        wait_for(lambda: "cleaning" not in states(host), 30, "a slot is not cleaned")
    assert releases(host)[earlier] == "live"
    assert host.get(f"/api/runs/{run['id']}")["status"] == "canceled"
    is_well(host)


# What is broken, and what the doctor then calls it.
BROKEN = {
    "chmod 644 /etc/oroboros/api.env": "/etc/oroboros/api.env",
    "chmod g+w /srv/oroboros": "/srv/oroboros",
    "gpasswd -d oroboros ouroboros-app": "user ouroboros-app",
    "echo >>/etc/systemd/system/ouroboros-api.service": "installed files",
    "systemctl -q disable ouroboros-caddy": "ouroboros-caddy.service",
    "rm /etc/polkit-1/rules.d/50-oroboros.rules": "right ouroboros-preview@preview-1.service",
    "mv /srv/oroboros/var/demo/guestbook.git /srv/oroboros/var/demo/gone.git": "git remote",
    "systemctl stop ouroboros-web@preview2": "Web preview-2",
}
MEND = re.compile(r"^      -> (.*)$", re.MULTILINE)


@pytest.mark.full
def test_the_doctor_tells_what_is_broken_and_what_it_says_mends_it(host):
    for command in BROKEN:
        host.run(command, cwd="/")
    done = host.start("./scripts/doctor.sh")
    said = done.stdout.decode()
    assert done.returncode != 0
    assert [what for what in BROKEN.values() if f"FAIL  {what} " not in said] == [], said
    host.run("mv var/demo/gone.git var/demo/guestbook.git")
    for mend in dict.fromkeys(MEND.findall(said)):
        if mend.startswith(("chown", "systemctl")):
            host.run(mend)
    host.run("./scripts/systemd-install-runtime.sh && ./scripts/runtime-up.sh")
    is_well(host)


def test_what_was_backed_up_is_there_again_after_a_disaster(host):
    sign(host, "before the backup")
    run = host.make_run("feature/failing-check")
    had = releases(host)
    page = sections("backup-and-restore.md")
    follow(host, page["Back up"], {})
    sign(host, "after the backup")
    host.run("./scripts/runtime-down.sh && rm /etc/oroboros/*.env")
    host.run(f"rm -rf {SAVED}", cwd=f"{HOME}/var")
    for name in ("oroboros", "app_production"):
        host.run(f"runuser -u postgres -- dropdb {name}", cwd="/")
    follow(host, page["Restore"], {})
    assert releases(host) == had
    assert host.get(f"/api/runs/{run['id']}")["commit_sha"] == run["commit_sha"]
    said = host.curl("3100/api/entries")
    assert "before the backup" in said
    assert "after the backup" not in said
    is_well(host)


def sign(host, message):
    """Leave an entry in production's guestbook."""
    entry = f'{{"name": "Ada", "message": "{message}"}}'
    host.curl("3100/api/entries", "-X POST -H 'Content-Type: application/json'", f"-d '{entry}'")


@pytest.fixture(scope="module")
def newer(host):
    """Have the checkout be a clone whose remote knows a newer version; returns its name."""
    host.run(f"git init -q && git add -A && git {WHO} commit -qm old")
    host.run(f"git clone -q --bare . {UPSTREAM} && git remote add origin {UPSTREAM}")
    host.run(f"git clone -q {UPSTREAM} /root/work", cwd="/")
    unit = "infra/systemd/units/ouroboros-api.service"
    host.run(f"sed -i 's/^Description=.*/Description=Newer/' {unit}", cwd="/root/work")
    host.run(f"git {WHO} commit -qam new && git tag v9 && git push -q origin v9", cwd="/root/work")
    return "v9"


@pytest.mark.full
def test_an_upgrade_keeps_runs_their_previews_and_what_is_live(host, newer):
    run = host.make_run("feature/failing-check")
    had, secrets = releases(host), host.run("sha256sum /etc/oroboros/*.env")
    backend = host.pid(f"ouroboros-preview@{run['slot_id']}")
    api, worker = host.pid("ouroboros-api"), host.pid("ouroboros-worker")
    follow(host, sections("upgrade.md")[""], {"<version>": newer})
    assert "Newer" in host.run("systemctl show -p Description ouroboros-api")
    assert {host.pid("ouroboros-api"), host.pid("ouroboros-worker")}.isdisjoint({api, worker, 0})
    assert host.pid(f"ouroboros-preview@{run['slot_id']}") == backend
    assert host.get(f"/api/runs/{run['id']}")["status"] == "preview_ready"
    assert (releases(host), host.run("sha256sum /etc/oroboros/*.env")) == (had, secrets)


@pytest.mark.full
def test_uninstalled_nothing_is_left_that_runs_and_installed_again_all_is_there(host):
    run, had = host.get("/api/runs")["results"][0], releases(host)
    commands = sections("uninstall.md")["Stop it and take it out of systemd"]
    kill = "until systemctl kill -s KILL ouroboros-reaper; do sleep 0.1; done"
    host.run(f"systemctl start --no-block ouroboros-reaper && {kill}")  # at work as it is stopped
    for _ in range(2):
        follow(host, commands, {})
        assert traces(host) == []
    install_again(host)
    assert host.get(f"/api/runs/{run['id']}")["commit_sha"] == run["commit_sha"]
    assert set(had) <= set(releases(host))
    is_well(host)


@pytest.mark.full
def test_removed_for_good_nothing_is_left_and_a_backup_brings_it_to_a_new_host(host):
    had = releases(host)
    follow(host, sections("backup-and-restore.md")["Back up"], {})
    host.run(f"cp -a {DEMO} {KEPT}")
    for commands in sections("uninstall.md").values():
        follow(host, commands, {})
    elsewhere = " ".join(f"-not -path '{path}/*'" for path in ("/var/backups", "/root", "/work"))
    assert host.run(f"find / -xdev -iname '*roboros*' {elsewhere}", cwd="/") == ""
    assert traces(host) == []
    assert host.run("getent passwd | grep -E '^ou?roboros' || true", cwd="/") == ""
    roles = "SELECT rolname FROM pg_roles WHERE rolname ~ '^(oroboros|app_)'"
    assert host.run(f'runuser -u postgres -- psql -At -c "{roles}"', cwd="/") == ""
    host.copy_checkout()
    install_again(host)
    assert releases(host) != had
    host.run(f"rm -r {DEMO} && cp -a {KEPT} {DEMO} && chown -R oroboros: {DEMO}")
    follow(host, sections("backup-and-restore.md")["Restore"], {})
    assert releases(host) == had
    is_well(host)
