"""What a slot's web port shows: free, preparing or a preview.

The slot's folder is a `SurfaceFolder`, which `infra/caddy/Surface.Caddyfile` serves. The page of a
slot that is preparing is replaced within its version, as a whole.
"""

import html
import re
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from string import Template

from host import loopback
from host.config import Config, SlotConfig
from host.env_file import parse_env
from host.files import public_folder, safe_files, site_fallback
from host.files.file_lock import file_lock
from host.files.surface_folder import NO_ROUTES, NONE, LiveFile, LiveRoutes, SurfaceFolder
from slots.runtime import idle_page, surface_env_files, worktree

# A request that has read the link may still open files of the version that was current then.
GRACE_SECONDS = 10.0
PORT_REUSE_SECONDS = 0.5
# The surface tries a server beside `web` for two seconds (lb_try_duration), and nothing else
# listens on its port between two runs.
SERVER_PORT_REUSE_SECONDS = 2.5
LABEL_PATTERN = "[a-z0-9-]+"


def read_state(slot: SlotConfig) -> LiveFile | None:
    """Return what the slot's surface shows, as its web server reads it; None if nothing."""
    return SurfaceFolder(slot.folder).read_current()


def wait_until_port_is_quiet(slot: SlotConfig, *, has_servers: bool = False) -> None:
    """Wait until no request of an earlier run or commit waits for the slot's backend port.

    The idle page answers them once it listens there (`replace_with_idle_page` restarts the age):
    the surface tries again every 50 ms. Their headers name the earlier run. `has_servers`: the same
    for the ports of the servers beside `web`.
    """
    seconds = SERVER_PORT_REUSE_SECONDS if has_servers else PORT_REUSE_SECONDS
    remaining = seconds - SurfaceFolder(slot.folder).read_age()
    time.sleep(min(max(remaining, 0.0), seconds))


def show_free(config: Config, slot: SlotConfig) -> None:
    """Show the page of a free slot. May be repeated."""
    with _surface_lock(config, slot) as folder:
        state = folder.read_current()
        if state is None or state.mode != "free":
            health_url = f"127.0.0.1:{slot.backend_port}/health"
            free = _live_file(slot, NONE, NONE, "free", health_url)
            _switch(slot, free, idle_page.render_page(slot.slot_id))
        folder.remove_superseded(GRACE_SECONDS)


def show_preparing(
    config: Config,
    slot: SlotConfig,
    run_id: object,
    commit: str,
    progress: Iterable[tuple[str, str]] = (),
    *,
    label: str | None = None,
) -> None:
    """Show that the run is being prepared; `progress` has the name and the state of each step."""
    preparing = _live_file(slot, commit, str(run_id), "preparing", None, label)
    page = _render_preparing_page(slot, preparing, progress)
    with _surface_lock(config, slot) as folder:
        state = folder.read_current()
        # The same page with more progress needs no new version, which would be removed again.
        if state is not None and replace(state, number=0) == preparing:
            path = folder.version(state.number) / "page.html"
            safe_files.write_atomic(path, page, survives_reboot=False)
        else:
            _switch(slot, preparing, page)


def show_live(
    config: Config,
    slot: SlotConfig,
    run_id: object,
    commit: str,
    public: Path | None,
    health_path: str | None = "/health",
    *,
    is_single_page: bool | None = None,
    label: str | None = None,
    is_health_guess: bool = False,
    routes: LiveRoutes = NO_ROUTES,
) -> list[str]:
    """Show the run's preview: its built frontend, copied from `public`, or its backend alone.

    Host names with a label show the run with that `label` only; without one only the slot's shared
    names show it.
    `public` is a folder in the slot's worktree. `health_path` is the backend's, stated or a guess;
    None if the preview has no backend. `is_single_page` is the manifest's. Returns the
    paths that were not copied (links and the like). Raises Refused `build_failed` as
    `find_fallback`.
    """
    # The Host header of the health check is the run's own, as in `backend.status`.
    host = config.frontend_address(slot, label)
    health_url = f"{host}{health_path}" if health_path is not None else None
    preview = replace(
        _live_file(slot, commit, str(run_id), "live", health_url, label),
        is_health_guess=is_health_guess,
        is_https=config.is_https,
        routes=routes,
    )
    if public is not None:
        root = worktree.path(slot)
        fallback = site_fallback.find_fallback(
            root, public.relative_to(root), is_single_page, has_backend=health_path is not None
        )
        preview = replace(preview, has_public=True, fallback=fallback)
    with _surface_lock(config, slot):
        return _switch(slot, preview, None, public)


def _live_file(
    slot: SlotConfig,
    commit: str,
    run_id: str,
    mode: str,
    health_url: str | None,
    label: str | None = None,
) -> LiveFile:
    """Return the state without its number, which `_switch` chooses."""
    address = f"127.0.0.1:{slot.backend_port}"
    return LiveFile(0, address, commit, run_id, mode, health_url, label=label)


def _switch(
    slot: SlotConfig, state: LiveFile, page: bytes | None, public: Path | None = None
) -> list[str]:
    """Write a new version and switch to it; return the paths that were not copied."""
    folder = SurfaceFolder(slot.folder)
    state = replace(state, number=folder.next_number())
    skipped: list[str] = []
    # Not synced to the disk: after a restart of the machine the slot is set up again.
    with folder.write_version(state, survives_reboot=False) as unfinished:
        if public is not None:
            root = worktree.path(slot)
            relative, copy = public.relative_to(root), unfinished / "public"
            skipped = public_folder.copy_public_folder(root, relative, copy)
        if page is not None:
            (unfinished / "page.html").write_bytes(page)
    folder.switch(state.number)
    folder.remove_superseded(GRACE_SECONDS)
    return skipped


@contextmanager
def _surface_lock(config: Config, slot: SlotConfig) -> Iterator[SurfaceFolder]:
    worktree.prepare_folder(config, slot)
    folder = SurfaceFolder(slot.folder)
    # The web server may enter the folder but not list it.
    folder.versions.mkdir(mode=0o711, exist_ok=True)
    with file_lock(slot.folder / "surface.lock", seconds=None):
        yield folder


def _render_preparing_page(
    slot: SlotConfig, state: LiveFile, progress: Iterable[tuple[str, str]]
) -> bytes:
    steps = "\n".join(
        f'<li class="{html.escape(status)}"><span>{html.escape(name)}</span>'
        f"<span>{html.escape(status)}</span></li>"
        for name, status in progress
    )
    template = Template((idle_page.PAGES_FOLDER / "preparing.html").read_text())
    page = template.substitute(
        slot_id=slot.slot_id,
        run_id=html.escape(state.run_id or NONE),
        short=state.commit[:12],
        steps=steps,
        style=(idle_page.PAGES_FOLDER / "style.css").read_text(),
    )
    return page.encode()


def build_environment(config: Config, name: str) -> dict[str, str]:
    """Return the environment of a surface's web server; `name` is main, preview1 and so on.

    It is the env file's content with the ports and the `var` of this checkout. Raises Refused as
    `parse_env`.
    """
    path = surface_env_files.find_path(config, name)
    values = parse_env(surface_env_files.render(config, name), str(path))
    root = Path(values.get("WEB_ROOT", ""))
    if root.parts[:1] == ("var",):
        values["WEB_ROOT"] = str(config.var.joinpath(*root.parts[1:]))
    values["WEB_ORIGINS"] = build_origin_pattern(config)
    values["LOOPBACKS"] = loopback.format_hosts()
    # Caddy keeps a lock there; without a home it would use its working directory.
    values["XDG_DATA_HOME"] = str(config.var / "caddy")
    return values


def build_origin_pattern(config: Config) -> str:
    """Return the pattern of the origins that may read a surface's answers.

    These are the previews' and production's own, and the operator's CORS_APP_ORIGINS.
    """
    label = f"(?:{LABEL_PATTERN}\\.)"
    previews = (f"preview{slot.number}" for slot in config.slots)
    names = "|".join(["app", f"{label}preview", *previews])
    local = [f"http://(?:127\\.0\\.0\\.1|localhost|{label}?preview{slot.number}\\.localhost):{slot.web_port}"
             for slot in config.slots]  # fmt: skip
    if config.is_protected:
        local.append(rf"http://{label}preview\.localhost:{config.router_port}")
    configured = [re.escape(origin) for origin in config.app_origins]
    domain = re.escape(config.domain) + config.https_suffix
    return "|".join([f"https://(?:{names})\\.{domain}", *local, *configured])


def build_command(config: Config) -> list[str]:
    """Return the argv of a surface's web server, the same for all: the environment differs."""
    caddy = Path(sys.executable).parent / "caddy"
    caddyfile = config.home / "infra" / "caddy" / "Surface.Caddyfile"
    return [str(caddy), "run", "--config", str(caddyfile), "--adapter", "caddyfile"]
