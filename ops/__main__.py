"""What the scripts call: `python -m ops <command>`.

Each command imports what it needs itself: the first two run before anything is installed.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable

from host import config as configuration
from host.config import Config
from host.errors import Refused

Arguments = argparse.Namespace


def preflight(config: Config, given: Arguments) -> int:
    """Say what stands in the way, all of it, before anything is started."""
    from ops import preflight

    found = preflight.problems(config)
    if found:
        print("Not ready, nothing was started:", file=sys.stderr)
        print(*(f"- {problem}" for problem in found), sep="\n", file=sys.stderr)
    return 1 if found else 0


def install(config: Config, given: Arguments) -> int:
    """Install the pinned requirements."""
    from ops import install

    install.install(config, given.kind)
    return 0


def quickstart(config: Config, given: Arguments) -> int:
    """Set everything up, start it, and take a branch to its preview."""
    from ops import quickstart

    return quickstart.run(ship=given.ship)


def test(config: Config, given: Arguments) -> int:
    """Check and test everything."""
    from ops import project_checks

    return project_checks.run(config, full=given.full, more=given.more)


def up(config: Config, given: Arguments) -> int:
    """Start all that runs and wait until it is well."""
    from ops import stack

    return answer("up", stack.up(config))


def down(config: Config, given: Arguments) -> int:
    """Stop all that runs."""
    from ops import stack

    return answer("down", stack.down(config))


def health(config: Config, given: Arguments) -> int:
    """Print a line for each row of the startup matrix."""
    from host import service_user
    from ops import stack

    service_user.become_service(config)
    rows = stack.health(config)
    for row in rows:
        print(row)
    return 0 if all(row.ok for row in rows) else 1


def slots(config: Config, given: Arguments) -> int:
    """Put in what the slots' specs say."""
    from ops import stack

    return answer("slots", stack.start_slots(config))


def systemd(config: Config, given: Arguments) -> int:
    """Have systemd keep this checkout, or no longer."""
    from ops import systemd

    work = systemd.uninstall if given.uninstall else systemd.install
    return answer("systemd", work(config, dry_run=given.dry_run))


def answer(command: str, detail: str) -> int:
    """Print the one JSON object that says what is so now."""
    print(json.dumps({"ok": True, "command": command, "error": None, "detail": detail}))
    return 0


COMMANDS: dict[str, Callable[[Config, Arguments], int]] = {
    "preflight": preflight,
    "install": install,
    "quickstart": quickstart,
    "test": test,
    "up": up,
    "down": down,
    "health": health,
    "slots": slots,
    "systemd": systemd,
}


def main() -> int:
    """Run one command. A refusal is a sentence on stderr, and JSON on stdout for up and down."""
    parser = argparse.ArgumentParser(prog="ops")
    commands = parser.add_subparsers(dest="command", required=True)
    subparsers = {
        name: commands.add_parser(name, help=work.__doc__) for name, work in COMMANDS.items()
    }
    subparsers["install"].add_argument("kind", choices=["embedded", "dev"])
    subparsers["quickstart"].add_argument(
        "--ship", action="store_true", help="go on: approve, and wait until it is merged"
    )
    subparsers["systemd"].add_argument("--dry-run", action="store_true", help="change nothing")
    subparsers["systemd"].add_argument("--uninstall", action="store_true", help="take it away")
    subparsers["test"].add_argument("--full", action="store_true", help="the long matrices too")
    given, more = parser.parse_known_args()
    if more and given.command != "test":
        parser.error(f"unknown: {' '.join(more)}")
    given.more = more
    os.umask(0o022)  # other users read what we install and lay out; secrets have modes of their own
    try:
        return COMMANDS[given.command](configuration.load(), given)
    except Refused as refusal:
        print(refusal.detail, file=sys.stderr)
        if given.command in ("up", "down", "systemd"):
            said = {"ok": False, "command": given.command}
            print(json.dumps({**said, "error": refusal.code, "detail": refusal.detail}))
        return 1


if __name__ == "__main__":
    sys.exit(main())
