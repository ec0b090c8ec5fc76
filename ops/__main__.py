"""The commands behind the scripts: `python -m ops <command>`.

Each function imports its module itself: `preflight` and `install` run before any package is
installed, and the other modules import packages.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from host import config as configuration
from host.config import Config
from host.errors import Refused
from host.terminal import protect_streams

Options = argparse.Namespace


def check_host(config: Config, options: Options) -> int:
    """Print every problem that prevents a start; exit 1 if there is one."""
    from ops import preflight

    problems = preflight.find_problems(config, os.environ)
    if problems:
        print("Not ready, nothing was started:", file=sys.stderr)
        print(*(f"- {problem}" for problem in problems), sep="\n", file=sys.stderr)
    return 1 if problems else 0


def install_requirements(config: Config, options: Options) -> int:
    """Install the pinned requirements into .venv."""
    from ops import virtualenv

    virtualenv.install_requirements(config, options.kind)
    return 0


def detect_application(config: Config, options: Options) -> int:
    """Print how a folder's application would be installed, built and started, and why."""
    from ops import detect

    # The script changes the working directory; the path is relative to the caller's.
    path = Path(options.started_in, options.path)
    return detect.print_folder(config, path, as_json=options.json)


def run_quickstart(config: Config, options: Options) -> int:
    """Set everything up, start it, and prepare the preview of a branch."""
    from ops import quickstart

    return quickstart.run_quickstart(os.environ, ship=options.ship)


def run_tests(config: Config, options: Options) -> int:
    """Run all checks and all tests."""
    from ops import project_checks

    return project_checks.run_all(
        config, os.environ, full=options.full, pytest_arguments=options.pytest_arguments
    )


def start_stack(config: Config, options: Options) -> int:
    """Start the whole stack and wait until it is healthy."""
    from ops import stack

    return print_result("up", stack.start_all(config, os.environ))


def stop_stack(config: Config, options: Options) -> int:
    """Stop the whole stack."""
    from ops import stack

    return print_result("down", stack.stop_all(config))


def print_health(config: Config, options: Options) -> int:
    """Print a line for each row of the startup matrix; exit 1 if one is not healthy."""
    from host import service_user
    from ops import stack

    service_user.switch_to_service_user(config)
    rows = stack.check_health(config)
    for row in rows:
        print(row)
    return 0 if all(row.is_ok for row in rows) else 1


def start_slots(config: Config, options: Options) -> int:
    """Start in each slot what its spec says."""
    from ops import stack

    return print_result("slots", stack.start_slots(config))


def manage_units(config: Config, options: Options) -> int:
    """Install this checkout's systemd units, or remove them."""
    from ops import systemd

    action = systemd.uninstall if options.uninstall else systemd.install
    return print_result("systemd", action(config, dry_run=options.dry_run))


def apply_settings(config: Config, options: Options) -> int:
    """Make changed settings take effect; restart only what reads them."""
    from ops.installed import apply_settings

    detail = apply_settings.apply_settings(config, os.environ, dry_run=options.dry_run)
    return print_result("apply", detail)


def upgrade_postgres(config: Config, options: Options) -> int:
    """Move the embedded PostgreSQL to the newer version of this host; the stack must be stopped."""
    from ops import stack
    from ops.postgres import cluster_upgrade

    detail = cluster_upgrade.upgrade_cluster(stack.get_cluster(config))
    return print_result("upgrade-postgres", detail)


def print_result(command: str, detail: str) -> int:
    """Print the JSON object of a command that succeeded; returns the exit code 0."""
    print(json.dumps({"ok": True, "command": command, "error": None, "detail": detail}))
    return 0


COMMANDS: dict[str, Callable[[Config, Options], int]] = {
    "preflight": check_host,
    "install": install_requirements,
    "detect": detect_application,
    "quickstart": run_quickstart,
    "test": run_tests,
    "up": start_stack,
    "down": stop_stack,
    "health": print_health,
    "slots": start_slots,
    "systemd": manage_units,
    "apply": apply_settings,
    "upgrade-postgres": upgrade_postgres,
}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="ops")
    commands = parser.add_subparsers(dest="command", required=True)
    subparsers = {
        name: commands.add_parser(name, help=function.__doc__)
        for name, function in COMMANDS.items()
    }
    subparsers["install"].add_argument("kind", choices=["embedded", "dev"])
    subparsers["detect"].add_argument("path", help="the folder that has the application")
    subparsers["detect"].add_argument(
        "--from", dest="started_in", default="", help=argparse.SUPPRESS
    )
    subparsers["detect"].add_argument("--json", action="store_true", help="print a JSON object")
    subparsers["quickstart"].add_argument(
        "--ship", action="store_true", help="also approve the run and wait until it is merged"
    )
    subparsers["systemd"].add_argument("--dry-run", action="store_true", help="change nothing")
    subparsers["systemd"].add_argument("--uninstall", action="store_true", help="remove the units")
    subparsers["apply"].add_argument("--dry-run", action="store_true", help="only say what differs")
    subparsers["test"].add_argument("--full", action="store_true", help="run the long tests too")
    return parser


def main() -> int:
    """Run one command; a refusal is a sentence on stderr, and for some commands JSON on stdout."""
    protect_streams()
    parser = build_parser()
    # `test` hands what it does not know to pytest.
    options, others = parser.parse_known_args()
    if others and options.command != "test":
        parser.error(f"unknown: {' '.join(others)}")
    options.pytest_arguments = others
    # The slots' users read what is installed and written out; files with secrets have own modes.
    os.umask(0o022)
    try:
        return COMMANDS[options.command](configuration.load(), options)
    except Refused as refusal:
        print(refusal.detail, file=sys.stderr)
        if options.command in ("up", "down", "systemd", "apply") or vars(options).get("json"):
            result = {"ok": False, "command": options.command}
            print(json.dumps({**result, "error": refusal.code, "detail": refusal.detail}))
        return 1
    except ModuleNotFoundError as error:  # an installation that was interrupted or failed
        print(f"{error}: run ./scripts/quickstart.sh to complete the installation", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
