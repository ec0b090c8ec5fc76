"""The operator's page: every command in it, as it stands there, from top to bottom."""

import re

import pytest

from oroboros.lib import config
from tests.systemd.machine import wait_for

pytestmark = [pytest.mark.root, pytest.mark.full]

OPERATE = config.HOME / "docs" / "operate.md"
BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_every_command_of_the_operators_page_succeeds(machine):
    if machine.start("test -e /etc/oroboros/api.env").returncode != 0:
        machine.install()
    machine.run("./scripts/runtime-up.sh")
    releases = machine.answer("./scripts/release-registry.sh list")["releases"]
    if not releases:
        machine.answer("./scripts/deploy.sh main --reason first")
    if len(releases) < 2:
        machine.ship(machine.make_run("feature/reactions"))
    run = machine.make_run("feature/failing-check")
    releases = machine.answer("./scripts/release-registry.sh list")["releases"]
    earlier = next(one["release_id"] for one in releases if one["status"] == "retired")
    given = {"<slot_id>": run["slot_id"], "<run_id>": run["id"], "<release_id>": earlier}
    commands = "".join(BLOCK.findall(OPERATE.read_text())).splitlines()
    assert len(commands) > 20
    for command in commands:
        for placeholder, value in given.items():
            command = command.replace(placeholder, value)
        machine.run(command)
    wait_for(
        lambda: machine.start("./scripts/doctor.sh").returncode == 0, 60, "not all is well at last"
    )
