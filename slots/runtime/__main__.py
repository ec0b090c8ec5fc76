"""The commands of a slot: one JSON object on stdout, logs on stderr, exit 0 only if it is now so.

python -m slots.runtime start|stop|restart|status|health|logs|migrate|reset --slot preview-1
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from host import config as configuration
from host import service_user
from host.config import Config, SlotConfig
from host.errors import Refused
from host.files import safe_files
from slots.runtime import backend, backend_log, worktree
from slots.runtime.backend import Occupant

FOLLOW_SECONDS = 0.2
Answer = dict[str, Any]


def described(config: Config, slot: SlotConfig, found: Occupant) -> Answer:
    """Return what is known of a slot's occupant, as programs read it."""
    log, warning = backend_log.link(config, slot)
    spec, status = found.spec, found.status
    tree = worktree.path(slot)
    if warning:
        print(warning, file=sys.stderr)
    return {
        "run": spec.run_id,
        "commit": spec.commit or None,
        "fence": spec.fence or None,
        "occupant": found.kind,
        "wanted": spec.wanted,
        "pid": status.pid if status.active else None,
        "port": slot.backend_port,
        "worktree_path": str(tree) if tree.is_dir() else None,
        "db_name": slot.database,
        "log_file": str(log),
        "health": _health(found),
        "health_detail": found.health.reason,
    }


def _health(found: Occupant) -> str:
    if found.health.ok:
        return "healthy"
    return "unhealthy" if found.status.active or found.spec.wanted == "up" else "stopped"


def start(config: Config, slot: SlotConfig, options: argparse.Namespace) -> Answer:
    found = backend.start(config, slot, seconds=options.timeout)
    return described(config, slot, found) | {"already_running": found.already}


def stop(config: Config, slot: SlotConfig, options: argparse.Namespace) -> Answer:
    return described(config, slot, backend.stop(config, slot))


def restart(config: Config, slot: SlotConfig, options: argparse.Namespace) -> Answer:
    return described(config, slot, backend.restart(config, slot, seconds=options.timeout))


def status(config: Config, slot: SlotConfig, options: argparse.Namespace) -> Answer:
    return described(config, slot, backend.status(config, slot))


def health(config: Config, slot: SlotConfig, options: argparse.Namespace) -> Answer:
    answer = status(config, slot, options)
    if answer["health"] != "healthy":
        answer |= {"ok": False, "error": "backend_unhealthy", "detail": answer["health_detail"]}
    return answer


def logs(config: Config, slot: SlotConfig, options: argparse.Namespace) -> Answer:
    path = backend_log.path(config, slot)
    text = safe_files.read_tail(path, options.lines)
    print(text, file=sys.stderr, flush=True)
    if options.follow:
        _follow(path)
    return {"log_file": str(backend_log.link(config, slot)[0]), "lines": len(text.splitlines())}


def _follow(path: Path) -> None:
    """Go on printing what is written, through rotations, until Ctrl-C."""
    place = path.stat().st_size if path.exists() else 0
    try:
        while True:
            size = path.stat().st_size if path.exists() else 0
            place = 0 if size < place else place
            if size > place:
                with path.open("rb") as file:
                    file.seek(place)
                    sys.stderr.buffer.write(file.read(size - place))
                    sys.stderr.flush()
                place = size
            time.sleep(FOLLOW_SECONDS)
    except KeyboardInterrupt:
        return


def migrate(config: Config, slot: SlotConfig, options: argparse.Namespace) -> Answer:
    from slots.runtime import migrate as migration

    return migration.migrate(config, slot, dry_run=options.dry_run)


def reset(config: Config, slot: SlotConfig, options: argparse.Namespace) -> Answer:
    from slots.runtime import migrate as migration

    return migration.reset(config, slot)


COMMANDS: dict[str, Callable[[Config, SlotConfig, argparse.Namespace], Answer]] = {
    "start": start,
    "stop": stop,
    "restart": restart,
    "status": status,
    "health": health,
    "logs": logs,
    "migrate": migrate,
    "reset": reset,
}


class _Usage(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Refused("usage", f"{message}. {self.format_usage().strip()}", status=400)


def _parser() -> argparse.ArgumentParser:
    parser = _Usage(prog="slots.runtime", description=__doc__, allow_abbrev=False)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--slot", required=True, metavar="preview-N")
    parser.add_argument("--dry-run", action="store_true", help="migrate: look, change nothing")
    parser.add_argument("--timeout", type=float, default=backend.START_SECONDS, metavar="SECONDS")
    parser.add_argument("-n", "--lines", type=int, default=200, help="logs: so many last lines")
    parser.add_argument("-f", "--follow", action="store_true", help="logs: go on until Ctrl-C")
    return parser


def answer(words: list[str]) -> Answer:
    """Do what the words ask; a refusal is an answer too."""
    said: Answer = {"ok": True, "command": words[0] if words else None, "slot_id": None}
    try:
        options = _parser().parse_args(words)
        config = configuration.load()
        service_user.become_service(config)
        slot = config.slot(options.slot)
        said["slot_id"] = slot.slot_id
        return said | COMMANDS[options.command](config, slot, options)
    except Refused as refusal:
        fields = {"fields": refusal.fields} if refusal.fields else {}
        return said | {"ok": False, "error": refusal.code, "detail": refusal.detail} | fields
    except OSError as error:  # not our file, no room
        return said | {"ok": False, "error": "host_error", "detail": f"{error}."}


def main() -> int:
    said = answer(sys.argv[1:])
    print(json.dumps(said), flush=True)
    if not said["ok"]:
        print(said["detail"], file=sys.stderr)
    return 0 if said["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
