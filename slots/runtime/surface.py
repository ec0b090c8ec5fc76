"""What a slot's web port shows: free, preparing or a preview; switched by one rename of a link.

`<slot>/current` leads to `<slot>/activations/<n>`, which holds the line `live` and the files that
`infra/caddy/Surface.Caddyfile` serves. An activation never changes once it is current, except for
the page of a slot that is preparing, which is replaced whole.
"""

import fcntl
import html
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from string import Template

from host.config import Config, SlotConfig, read_env_file
from host.files import file_lock, ownership, publish, safe_files
from slots.runtime import idle_page, worktree

# A request that has read the link may still be opening files of what was current then.
GRACE_SECONDS = 10.0
LINE = re.compile(r"([0-9]+) (\S+) ([0-9a-f]{40}|-) (\S+) (live|preparing|free)\n")
LOCAL_PORT = re.compile(r"127\.0\.0\.1:([0-9]+)")


@dataclass(frozen=True)
class Shown:
    """What the link names now: `mode` is live, preparing or free."""

    number: int
    commit: str
    run_id: str
    mode: str


def shown(slot: SlotConfig) -> Shown | None:
    """Read what the slot's surface shows, as its web server does; None if nothing whole."""
    try:
        match = LINE.fullmatch((slot.folder / "current" / "live").read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    return match and Shown(int(match[1]), match[3], match[4], match[5])


def show_free(config: Config, slot: SlotConfig) -> None:
    """Show the page of a free slot. May be repeated."""
    with _locked(config, slot):
        now = shown(slot)
        if now is None or now.mode != "free":
            _activate(slot, Shown(0, "-", "-", "free"), idle_page.page(slot.slot_id))
        _drop_old(slot)


def show_preparing(
    config: Config,
    slot: SlotConfig,
    run_id: object,
    commit: str,
    progress: Iterable[tuple[str, str]] = (),
) -> None:
    """Show that the run is being prepared; `progress` has a step's name and its state each."""
    wanted = Shown(0, commit, str(run_id), "preparing")
    page = _preparing_page(slot, wanted, progress)
    with _locked(config, slot):
        now = shown(slot)
        if now is not None and (now.commit, now.run_id, now.mode) == (
            wanted.commit, wanted.run_id, wanted.mode
        ):  # fmt: skip
            shown_now = _activations(slot) / str(now.number) / "page.html"
            safe_files.write_atomic(shown_now, page, outlasts_boot=False)
        else:
            _activate(slot, wanted, page)


def show_live(
    config: Config, slot: SlotConfig, run_id: object, commit: str, public: Path | None
) -> list[str]:
    """Show the run's preview: its built frontend, copied from `public`, or its backend alone.

    `public` is a folder in the slot's worktree. Returns what was left out of it (links and the
    like). Raises Refused `build_failed` if it cannot be served, as `publish.copy_public`.
    """
    with _locked(config, slot):
        return _activate(slot, Shown(0, commit, str(run_id), "live"), None, public)


def _activate(
    slot: SlotConfig, wanted: Shown, page: bytes | None, public: Path | None = None
) -> list[str]:
    """Write an activation whole, then switch to it."""
    activations = _activations(slot)
    number = max((int(entry.name) for entry in _numbered(activations)), default=0) + 1
    fresh = activations / f"fresh-{os.urandom(6).hex()}"
    fresh.mkdir()
    left_out: list[str] = []
    if public is not None:
        root = worktree.path(slot)
        left_out = publish.copy_public(root, public.relative_to(root), fresh / "public")
    if page is not None:
        (fresh / "page.html").write_bytes(page)
    address = f"127.0.0.1:{slot.backend_port}"
    line = f"{number} {address} {wanted.commit} {wanted.run_id} {wanted.mode}\n"
    (fresh / "live").write_text(line)
    fresh.rename(activations / str(number))
    safe_files.replace_link(f"activations/{number}", slot.folder / "current")
    _drop_old(slot)
    return left_out


def _drop_old(slot: SlotConfig) -> None:
    entries = sorted(_numbered(_activations(slot)), key=lambda entry: int(entry.name))
    stray = [entry for entry in _activations(slot).iterdir() if entry.name.startswith("fresh-")]
    over = time.time() - GRACE_SECONDS
    old = [entry for entry, later in pairwise(entries) if later.stat().st_mtime < over]
    for entry in [*stray, *old]:
        ownership.delete(entry)


def _numbered(activations: Path) -> list[Path]:
    return [entry for entry in activations.iterdir() if entry.name.isdigit()]


def _activations(slot: SlotConfig) -> Path:
    return slot.folder / "activations"


@contextmanager
def _locked(config: Config, slot: SlotConfig) -> Iterator[None]:
    worktree.prepare_folder(config, slot)
    _activations(slot).mkdir(mode=0o711, exist_ok=True)
    with file_lock.opened(slot.folder / "surface.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _preparing_page(slot: SlotConfig, run: Shown, progress: Iterable[tuple[str, str]]) -> bytes:
    steps = "\n".join(
        f'<li class="{html.escape(state)}"><span>{html.escape(name)}</span>'
        f"<span>{html.escape(state)}</span></li>"
        for name, state in progress
    )
    template = Template((idle_page.PAGES / "preparing.html").read_text())
    page = template.substitute(
        slot_id=slot.slot_id,
        run_id=html.escape(run.run_id),
        short=run.commit[:12],
        steps=steps,
        style=(idle_page.PAGES / "style.css").read_text(),
    )
    return page.encode()


def environment(config: Config, name: str) -> dict[str, str]:
    """Return what tells the Caddyfile which surface it is; `name` is main, preview1 and so on.

    It is the env file's content, with the ports of this checkout and its `var`.
    """
    values = read_env_file(config.home / "infra" / "systemd" / "env" / f"web-{name}.env")
    web_port, backend_port, number = config.web_port, 0, 0
    if name != "main":
        slot = config.slot(name)
        web_port, backend_port, number = slot.web_port, slot.backend_port, slot.number
    if web_port != 3100 + number:  # a checkout beside another one: OROBOROS_PORT_OFFSET
        values["WEB_PORT"] = str(web_port)
        target = values.get("WEB_API_PROXY_TARGET", "")
        values["WEB_API_PROXY_TARGET"] = LOCAL_PORT.sub(f"127.0.0.1:{backend_port}", target)
    root = Path(values.get("WEB_ROOT", ""))
    if root.parts[:1] == ("var",):
        values["WEB_ROOT"] = str(config.var.joinpath(*root.parts[1:]))
    values["WEB_ORIGINS"] = origins(config)
    # Caddy keeps a lock there; without a home it would use its working directory.
    values["XDG_DATA_HOME"] = str(config.var / "caddy")
    return values


def origins(config: Config) -> str:
    """Return the pattern of the origins that may read a surface's answers: ours, the operator's."""
    names = "|".join(["app", *(f"preview{slot.number}" for slot in config.slots)])
    local = [f"http://(?:127\\.0\\.0\\.1|localhost|preview{slot.number}\\.localhost):{slot.web_port}"
             for slot in config.slots]  # fmt: skip
    more = [re.escape(origin) for origin in config.app_origins]
    return "|".join([f"https://(?:{names})\\.{re.escape(config.domain)}", *local, *more])


def command(config: Config) -> list[str]:
    """Return the argv of every surface's web server; which one it is, `environment` says."""
    caddy = Path(sys.executable).parent / "caddy"
    caddyfile = config.home / "infra" / "caddy" / "Surface.Caddyfile"
    return [str(caddy), "run", "--config", str(caddyfile), "--adapter", "caddyfile"]
