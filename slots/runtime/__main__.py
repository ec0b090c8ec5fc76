"""The commands of a slot: one JSON object on stdout, logs on stderr.

python -m slots.runtime start|stop|restart|status|health|logs|migrate|reset --slot preview-1

The exit code is 0 only if the command did what it says.
"""

import argparse
import codecs
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from host import config as configuration
from host import service_user
from host.app.process_types.process_environment import WEB
from host.config import Config, SlotConfig
from host.errors import Refused
from host.files import safe_files
from host.masking.masks import Masks
from host.postgres import guard
from host.terminal import protect_streams
from slots.runtime import backend, backend_log, processes, worktree
from slots.runtime import spec as specs
from slots.runtime.processes import BackendStatus, ProcessStatus
from slots.runtime.spec import Spec

FOLLOW_INTERVAL_SECONDS = 0.2
JsonObject = dict[str, Any]


def describe(config: Config, slot: SlotConfig, status: BackendStatus) -> JsonObject:
    """Return the fields that describe a slot's backend."""
    log, warning = backend_log.ensure_link(config, slot)
    spec, unit = status.spec, status.unit_status
    tree = worktree.path(slot)
    if warning:
        print(warning, file=sys.stderr)
    return {
        "run": spec.run_id,
        "commit": spec.commit or None,
        "fence": spec.fence or None,
        # The key is older than the word "backend"; scripts read it.
        "occupant": status.kind,
        "wanted": spec.wanted,
        "pid": unit.pid if unit.is_active else None,
        "port": slot.backend_port,
        "worktree_path": str(tree) if tree.is_dir() else None,
        "db_name": _read_database_name(slot, spec),
        "log_file": str(log),
        "health": _format_health(status),
        "health_detail": _describe_health(status),
        "processes": [_describe_process(config, slot, one) for one in status.all_processes],
    }


def _describe_process(config: Config, slot: SlotConfig, process: ProcessStatus) -> JsonObject:
    is_web = process.name == WEB
    return {
        "type": process.name,
        "state": "running" if process.is_active else "ended",
        "pid": process.unit_status.pid if process.is_active else None,
        "detail": _describe_process_detail(process),
        "log_file": str(backend_log.path(config, slot, "" if is_web else process.name)),
    }


def _describe_process_detail(process: ProcessStatus) -> str:
    if process.is_active:
        return "" if process.health is None else process.health.reason
    return "" if process.name == WEB else process.failure


def _describe_health(status: BackendStatus) -> str:
    """Return the reason of the backend's health, or of the first server that is not healthy."""
    for process in status.silent_servers if status.health.ok else ():
        return f"The process {process.name}: {_describe_process_detail(process)}"
    return status.health.reason


def _read_database_name(slot: SlotConfig, spec: Spec) -> str | None:
    """Return the database in the backend's environment; None for the idle page."""
    if spec.is_idle:
        return None
    try:
        return guard.database_name(specs.read_environment(slot))
    except Refused:  # `status` also describes a backend that cannot be started
        return None


def _format_health(status: BackendStatus) -> str:
    if status.health.ok and not status.silent_servers:
        return "healthy"
    is_wanted = status.unit_status.is_active or status.spec.wanted == "up"
    return "unhealthy" if is_wanted else "stopped"


def start(config: Config, slot: SlotConfig, options: argparse.Namespace) -> JsonObject:
    # Imported only by the commands that need it, because it takes longer than the rest of them.
    from slots.runtime import database_commands

    database_commands.check_database(config, slot)
    status = backend.start(config, slot, seconds=options.timeout)
    return describe(config, slot, status) | {"already_running": status.was_running}


def stop(config: Config, slot: SlotConfig, options: argparse.Namespace) -> JsonObject:
    return describe(config, slot, backend.stop(config, slot))


def restart(config: Config, slot: SlotConfig, options: argparse.Namespace) -> JsonObject:
    from slots.runtime import database_commands

    # Before the stop: a refused restart leaves the backend as it is.
    database_commands.check_database(config, slot)
    found = backend.restart(config, slot, options.process, seconds=options.timeout)
    return describe(config, slot, found)


def status(config: Config, slot: SlotConfig, options: argparse.Namespace) -> JsonObject:
    return describe(config, slot, backend.status(config, slot))


def health(config: Config, slot: SlotConfig, options: argparse.Namespace) -> JsonObject:
    answer = status(config, slot, options)
    if answer["health"] != "healthy":
        answer |= {"ok": False, "error": "backend_unhealthy", "detail": answer["health_detail"]}
    return answer


def logs(config: Config, slot: SlotConfig, options: argparse.Namespace) -> JsonObject:
    is_web = options.process in ("", WEB)
    path = _find_log(config, slot, options.process)
    from host.masking.known_secrets import read_masks

    masks = read_masks(config)
    text = masks.mask(safe_files.read_tail(path, options.lines))
    print(text, file=sys.stderr, flush=True)
    if options.follow:
        _follow_log(path, masks)
    log = backend_log.ensure_link(config, slot)[0] if is_web else path
    return {"log_file": str(log), "lines": len(text.splitlines())}


def _find_log(config: Config, slot: SlotConfig, process: str) -> Path:
    """Return the log of a process, by default the backend's. Raises Refused `process_unknown`."""
    if process in ("", WEB):
        return backend_log.path(config, slot)
    processes.require(slot, specs.read(slot), process)
    return backend_log.path(config, slot, process)


def _follow_log(path: Path, masks: Masks) -> None:
    """Print what is added to the log until Ctrl-C."""
    decoder, left = codecs.getincrementaldecoder("utf-8")("replace"), b""
    offset = path.stat().st_size if path.exists() else 0
    try:
        while True:
            size = path.stat().st_size if path.exists() else 0
            # A log that became shorter was rotated or emptied.
            offset = 0 if size < offset else offset
            if size > offset:
                with path.open("rb") as file:
                    file.seek(offset)
                    left += file.read(size - offset)
                complete = masks.split_complete(left)
                text = decoder.decode(masks.mask_bytes(left[:complete]))
                print(text, end="", file=sys.stderr, flush=True)
                offset, left = size, left[complete:]
            time.sleep(FOLLOW_INTERVAL_SECONDS)
    except KeyboardInterrupt:
        return


def migrate(config: Config, slot: SlotConfig, options: argparse.Namespace) -> JsonObject:
    from slots.runtime import database_commands

    return database_commands.migrate(config, slot, dry_run=options.dry_run)


def reset(config: Config, slot: SlotConfig, options: argparse.Namespace) -> JsonObject:
    from slots.runtime import database_commands

    return database_commands.reset(config, slot)


COMMANDS: dict[str, Callable[[Config, SlotConfig, argparse.Namespace], JsonObject]] = {
    "start": start,
    "stop": stop,
    "restart": restart,
    "status": status,
    "health": health,
    "logs": logs,
    "migrate": migrate,
    "reset": reset,
}


class _ArgumentParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Refused("usage", f"{message}. {self.format_usage().strip()}", status=400)


def _build_parser() -> argparse.ArgumentParser:
    parser = _ArgumentParser(prog="slots.runtime", description=__doc__, allow_abbrev=False)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--slot", required=True, metavar="preview-N")
    parser.add_argument("--dry-run", action="store_true", help="migrate: change nothing")
    parser.add_argument("--timeout", type=float, default=backend.START_SECONDS, metavar="SECONDS")
    parser.add_argument(
        "--process", default="", metavar="TYPE", help="restart, logs: one process, such as worker"
    )
    parser.add_argument("-n", "--lines", type=int, default=200, help="logs: number of lines")
    parser.add_argument("-f", "--follow", action="store_true", help="logs: continue until Ctrl-C")
    return parser


def run_command(argv: list[str]) -> JsonObject:
    """Run the command; return its answer, or the code and the sentence of its refusal."""
    answer: JsonObject = {"ok": True, "command": argv[0] if argv else None, "slot_id": None}
    try:
        options = _build_parser().parse_args(argv)
        config = configuration.load()
        service_user.switch_to_service_user(config)
        slot = config.slot(options.slot)
        answer["slot_id"] = slot.slot_id
        return answer | COMMANDS[options.command](config, slot, options)
    except Refused as refusal:
        fields = {"fields": refusal.fields} if refusal.fields else {}
        detail = _mask(refusal.detail)
        return answer | {"ok": False, "error": refusal.code, "detail": detail} | fields
    except OSError as error:  # such as a file of another user, or a full disk
        return answer | {"ok": False, "error": "host_error", "detail": f"{error}."}


def _mask(text: str) -> str:
    """Return the text without secrets: a refusal may quote what the application printed."""
    from host.masking.known_secrets import read_masks

    try:
        return read_masks(configuration.load()).mask(text)
    except Refused:  # the configuration cannot be read, which is what the text says
        return text


def main() -> int:
    protect_streams()
    answer = run_command(sys.argv[1:])
    print(json.dumps(answer), flush=True)
    if not answer["ok"]:
        print(answer["detail"], file=sys.stderr)
    return 0 if answer["ok"] else 1


if __name__ == "__main__":
    exit_code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Without the interpreter's own clean-up: it adds 15 ms to each command and does nothing here.
    os._exit(exit_code)
