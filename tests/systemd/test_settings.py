"""Changed settings on a host with systemd: one command makes them take effect."""

import pytest

from tests.systemd.machine import DEMO, wait_for

pytestmark = [pytest.mark.root, pytest.mark.full]

APPLY = "./scripts/apply-settings.sh"
LOAD = """
rm -f /tmp/stop /tmp/lost
get="curl -sf -m 5 -o /dev/null -H Host:app.example.com http://127.0.0.1"
while [ ! -e /tmp/stop ]; do
  $get:3100/api/health || echo surface >>/tmp/lost
  $get:8088/api/health || echo router >>/tmp/lost
  echo . >>/tmp/asked
done
"""
ORIGIN = "https://new.example.net"


def test_new_origins_are_allowed_after_the_command_and_production_loses_no_request(host):
    host.run("cat >/tmp/load.sh", cwd="/", stdin=LOAD.encode())
    host.run("systemd-run --quiet --collect --unit load bash /tmp/load.sh", cwd="/")
    host.run(f"echo CORS_APP_ORIGINS={ORIGIN} >>/etc/oroboros/api.env")
    said = host.run(f"{APPLY} --dry-run 2>&1")
    assert "ouroboros-web@main runs with an earlier /etc/oroboros/web.env" not in said
    assert "would write /etc/oroboros/web.env" in said
    backend = host.pid("ouroboros-app@blue"), host.pid("ouroboros-app@green")
    host.run(APPLY)
    host.run("touch /tmp/stop; while systemctl -q is-active load; do sleep 0.1; done")
    assert host.run("cat /tmp/lost 2>/dev/null || true", cwd="/") == ""
    assert int(host.run("wc -l </tmp/asked", cwd="/")) > 10
    assert (host.pid("ouroboros-app@blue"), host.pid("ouroboros-app@green")) == backend
    options = f"-s -i -X OPTIONS -H 'Origin: {ORIGIN}' -H 'Access-Control-Request-Method: GET'"
    for port in (8000, 3101):
        answer = host.run(f"curl {options} http://127.0.0.1:{port}/api/slots")
        assert ORIGIN in answer
    assert "0 files and 0 units differ" in host.run(f"{APPLY} --dry-run")
    host.run(f"sed -i /CORS_APP_ORIGINS/d /etc/oroboros/api.env && {APPLY}")


def test_units_may_write_to_the_roots_of_local_remotes_and_to_nothing_else(host):
    roots = f"{DEMO}:/home/git:/tmp/git"
    host.run("install -d -o oroboros /home/git /tmp/git && touch /home/secret /tmp/secret", cwd="/")
    host.run(f"sed -i 's#^GIT_LOCAL_ROOTS=.*#GIT_LOCAL_ROOTS={roots}#' /etc/oroboros/worker.env")
    host.run(APPLY)
    inside = f"nsenter -m -t {host.pid('ouroboros-worker')} setpriv --reuid oroboros --clear-groups"
    for folder in ("/home", "/tmp"):
        host.run(f"{inside} touch {folder}/git/pushed && test -e {folder}/git/pushed", cwd="/")
        assert host.run_unchecked(f"{inside} ls {folder}/secret", cwd="/").returncode != 0
    host.run(f"sed -i 's#^GIT_LOCAL_ROOTS=.*#GIT_LOCAL_ROOTS={DEMO}#' /etc/oroboros/worker.env")
    host.run(f"{APPLY} && rm -r /home/git /home/secret /tmp/git /tmp/secret")


def test_the_admin_changes_variables_of_applications_and_no_setting_of_its_own(host):
    # Another module may have put the folder back, which a running unit does not see.
    host.run("systemctl restart ouroboros-api")
    assert host.run("stat -c '%a %U %G' /etc/oroboros").split() == ["755", "root", "root"]
    body = '{"name": "SHOP_KEY", "value": "sesame-4711", "reason": "new"}'
    post = (
        "curl -sf -X POST -H 'Content-Type: application/json' http://127.0.0.1:8000/api/variables"
    )
    for file, name in (("previews", "worker-preview"), ("builds", "build")):
        said = host.run(f"{post}/{file} -d '{body}'")
        assert ("SHOP_KEY" in said, "sesame-4711" in said) == (True, False)
        path = f"/etc/oroboros/{name}.env"
        assert "SHOP_KEY=sesame-4711" in host.run(f"cat {path}")
        assert host.run(f"stat -L -c '%a %U' {path}").split() == ["600", "oroboros"]
        assert host.run(f"readlink {path}").strip() == f"variables/{name}.env"
        # Also where the kernel has Debian's fs.protected_regular=2.
        host.run(f"sh -c 'echo BY_HAND=1 >>{path}' && echo AND=2 | tee -a {path} >/dev/null")
    host.run("sed -i '$a# replaced by hand' /etc/oroboros/api.env")
    inside = f"nsenter -m -t {host.pid('ouroboros-api')} setpriv --reuid oroboros"
    inside += " --regid oroboros --clear-groups"
    for command in (
        "sh -c 'echo A=1 >>/etc/oroboros/api.env'",
        "sh -c 'echo A=1 >>/etc/oroboros/worker.env'",
        "rm -f /etc/oroboros/worker.env",
        "mv /etc/oroboros/build.env /etc/oroboros/api.env",
        "rm -f /etc/oroboros/web.env",
        "mv /etc/oroboros/build.env /etc/oroboros/web.env",
        "touch /etc/oroboros/deploy_key",
        "ln -s /etc/shadow /etc/oroboros/planted.env",
        "rm -f /etc/oroboros/build.env",
    ):
        assert host.run_unchecked(f"{inside} {command}", cwd="/").returncode != 0, command
    host.run("sed -i '/# replaced by hand/d' /etc/oroboros/api.env")
    for name in ("worker-preview", "build"):
        words = "/SHOP_KEY/d; /BY_HAND/d; /AND=/d"
        host.run(f"sed -i --follow-symlinks '{words}' /etc/oroboros/{name}.env")
    host.run(APPLY)
    assert "0 files and 0 units differ" in host.run(f"{APPLY} --dry-run")


def test_an_installation_of_an_earlier_version_gets_its_variables_moved(host):
    host.run("systemctl stop ouroboros-api && echo KEPT=sesame >>/etc/oroboros/app.env")
    host.run("chgrp oroboros /etc/oroboros && chmod 1775 /etc/oroboros")
    for name in ("worker-preview", "app"):
        link = f"/etc/oroboros/{name}.env"
        host.run(f"file=$(readlink -f {link}) && rm {link} && mv $file {link}")
    host.run("rm /etc/oroboros/build.env && rm -r /etc/oroboros/variables")
    said = host.run("./scripts/systemd-install-runtime.sh --dry-run 2>&1")
    assert "would write /etc/oroboros/variables/" in said
    assert host.run("test -L /etc/oroboros/app.env || echo file").strip() == "file"
    host.run(APPLY)
    assert "KEPT=sesame" in host.run("cat /etc/oroboros/variables/app.env")
    assert host.run("readlink /etc/oroboros/app.env").strip() == "variables/app.env"
    assert host.run("stat -c '%a %U' /etc/oroboros").split() == ["755", "root"]
    host.run("sed -i /KEPT/d /etc/oroboros/app.env")  # puts a file in the link's place
    done = host.run_unchecked("./scripts/systemd-install-runtime.sh --dry-run")
    assert b"mv /etc/oroboros/app.env /etc/oroboros/variables/app.env" in done.stdout + done.stderr
    host.run("mv /etc/oroboros/app.env /etc/oroboros/variables/app.env")
    host.run(APPLY)
    assert "KEPT" not in host.run("cat /etc/oroboros/app.env")
    host.run("./scripts/doctor.sh")


def free_all_slots(host):
    """Cancel the runs that other tests left in slots: a slot with a run is not removed."""
    for run in host.get("/api/runs")["results"]:
        if run["slot_id"]:
            host.run_unchecked(f"curl -X POST http://127.0.0.1:8000/api/runs/{run['id']}/cancel")
    is_free = lambda: {one["state"] for one in host.get("/api/slots")} == {"free"}  # noqa: E731
    wait_for(is_free, 60, "a slot is not free")


def test_slots_shrink_and_grow_by_one_command(host):
    free_all_slots(host)
    host.run(f"echo OROBOROS_SLOTS=2 >>/etc/oroboros/api.env && {APPLY}")
    assert host.pid("ouroboros-web@preview3") == 0
    assert host.run_unchecked("curl -s http://127.0.0.1:3103/health").returncode != 0
    assert "preview-3" not in host.run("systemctl list-units --plain 'ouroboros-*'")
    app = host.pid("ouroboros-app@blue"), host.pid("ouroboros-app@green")
    host.run(f"sed -i s/OROBOROS_SLOTS=2/OROBOROS_SLOTS=4/ /etc/oroboros/api.env && {APPLY}")
    assert '"status": "idle"' in host.curl("3104/health")
    host.run("./scripts/doctor.sh")
    host.run(f"sed -i /OROBOROS_SLOTS/d /etc/oroboros/api.env && {APPLY}")
    host.run("./scripts/doctor.sh")
    assert (host.pid("ouroboros-app@blue"), host.pid("ouroboros-app@green")) == app
    states = {one["slot_id"]: one["state"] for one in host.get("/api/slots")}
    assert {states[f"preview-{number}"] for number in (1, 2, 3)} == {"free"}


def test_a_database_that_does_not_answer_stops_nothing(host):
    api, worker = host.pid("ouroboros-api"), host.pid("ouroboros-worker")
    change = "sed -i '/^DATABASE_URL=/s#127.0.0.1:5432#127.0.0.1:5999#' /etc/oroboros/api.env"
    host.run(f"cp -p /etc/oroboros/api.env /root/api.env && {change}")
    done = host.run_unchecked(APPLY)
    assert done.returncode != 0
    assert b"correct DATABASE_URL" in done.stdout + done.stderr
    assert (host.pid("ouroboros-api"), host.pid("ouroboros-worker")) == (api, worker)
    assert "ok" in host.curl("8000/health")
    host.run(f"cp -p /root/api.env /etc/oroboros/api.env && {APPLY}")
