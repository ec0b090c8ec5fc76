"""The folder that a surface's web server reads: numbered versions, and a link to the current one.

    <root>/current         -> activations/<n>, replaced by one rename
    <root>/current.changed when the link was removed, or what listens at its address was replaced
    <root>/activations/<n>/live       one line, see `LiveFile`
                           public     the built frontend (a folder, or a link to one)
                           previous   production: hashed assets of the release before
                           hashed     production: empty files, named as those of public that
                                      browsers may keep for long
                           page.html  a slot that is free or preparing
                           labels/<label>  a slot: an empty file named for its run's label

Production's root is `var`, a slot's is `var/slots/<id>`. `infra/caddy/Surface.Caddyfile` reads
`current/live` once per request and takes everything else from the version that it names; so one
rename switches files, backend and headers together (see docs/decisions/0006). A version never
changes after it was written, except for page.html.
"""

import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from host.files import ownership, safe_files
from host.files.site_fallback import Fallback

# As many as the surface's configuration can try, one after the other.
MAX_LAYERS = 6
UNFINISHED_PREFIX = "fresh-"
CHANGED = "current.changed"
NONE = "-"
LIVE = re.compile(
    r"(?P<number>[0-9]+) (?P<address>127\.0\.0\.1:[0-9]+) (?P<commit>[0-9a-f]{40}|-)"
    r"(?: (?P<run_id>\S+) (?P<mode>live|preparing|free))?"
    r"(?: health=(?P<health>\S+) public=(?P<public>yes|no))?"
    r"(?: label=(?P<label>[a-z0-9-]+))?"
    r"(?: fallback=(?P<fallback>index|backend|none))?(?: previous_until=(?P<until>[0-9]+))?"
    r"(?: check=(?P<check>2xx|any),(?P<scheme>https?))?"
    r"(?P<routes>(?: (?:routes|routes_after_files|server|via)=\S+)*)\n"
)


def build_route_pattern(paths: Iterable[str]) -> str:
    """Return the regular expression (RE2) of the paths that these routes stand for; "" for none.

    A path stands for itself, and with /* at its end for all below it too.
    """
    parts = []
    for path in paths:
        below = "(?:/.*)?" if path.endswith("/*") else ""
        parts.append(re.escape(path.removesuffix("/*")) + below)
    return f"^(?:{'|'.join(parts)})$" if parts else ""


@dataclass(frozen=True)
class ServerProbe:
    """How a server beside `web` is probed: a guessed path need only answer below 500."""

    address: str
    path: str
    is_guess: bool

    def __str__(self) -> str:
        return f"{self.address},{'any' if self.is_guess else '2xx'},{self.path}"

    @classmethod
    def parse(cls, text: str) -> "ServerProbe":
        address, accepted, path = text.split(",", 2)
        return cls(address, path, accepted == "any")


@dataclass(frozen=True)
class LiveRoutes:
    """Where requests go, by patterns of their paths; "" for none.

    `backend` and `after_files` lead to the backend, in place of the frontend and where that has no
    such file. `layers` are tried before all else, in their order: the address of a server, and the
    paths that it answers (`host.app.process_types.route_layers`). `servers` are those beside `web`.
    """

    backend: str = ""
    after_files: str = ""
    layers: tuple[tuple[str, str], ...] = ()
    servers: tuple[ServerProbe, ...] = ()

    def __str__(self) -> str:
        parts = [f"routes={self.backend}"] if self.backend else []
        parts += [f"routes_after_files={self.after_files}"] if self.after_files else []
        parts += [f"server={server}" for server in self.servers]
        parts += [f"via={address},{pattern}" for address, pattern in self.layers]
        return "".join(f" {part}" for part in parts)

    @classmethod
    def parse(cls, text: str) -> "LiveRoutes":
        entries = [part.split("=", 1) for part in text.split()]
        named = dict(entries)
        layers = [value.split(",", 1) for name, value in entries if name == "via"]
        return cls(
            named.get("routes", ""),
            named.get("routes_after_files", ""),
            tuple((address, pattern) for address, pattern in layers),
            tuple(ServerProbe.parse(value) for name, value in entries if name == "server"),
        )


NO_ROUTES = LiveRoutes()


@dataclass(frozen=True)
class LiveFile:
    """The content of `live`: what the surface serves, and how its health is checked.

    `commit` and `run_id` are "-" for a free slot; `run_id` and `mode` (live, preparing, free) are
    None for production. `health_url` is the Host header and the path of the backend's health check;
    None if there is no backend to check. `has_public`: a built frontend belongs to it,
    and `fallback` answers a path that is none of its files. Until the Unix time `previous_until`,
    `previous` counts. `label` is the run's part of its host name; None for production
    and a free slot. `is_health_guess` and `is_https` are those of `host.units.unit.HealthCheck`.
    """

    number: int
    address: str
    commit: str
    run_id: str | None = None
    mode: str | None = None
    health_url: str | None = None
    has_public: bool = False
    label: str | None = None
    fallback: Fallback = Fallback.INDEX
    previous_until: int = 0
    is_health_guess: bool = False
    is_https: bool = False
    routes: LiveRoutes = NO_ROUTES

    def __str__(self) -> str:
        slot = f" {self.run_id} {self.mode}" if self.mode else ""
        health = f" health={self.health_url or NONE} public={'yes' if self.has_public else 'no'}"
        label = f" label={self.label}" if self.label else ""
        previous = f" previous_until={self.previous_until}" if self.previous_until else ""
        files = f"{label} fallback={self.fallback}{previous}{self._check}"
        return f"{self.number} {self.address} {self.commit}{slot}{health}{files}{self.routes}\n"

    @property
    def _check(self) -> str:
        """How the health is checked; empty for the strict check over http."""
        if not (self.is_health_guess or self.is_https):
            return ""
        accepted = "any" if self.is_health_guess else "2xx"
        return f" check={accepted},{'https' if self.is_https else 'http'}"

    @classmethod
    def parse(cls, text: str) -> "LiveFile | None":
        """Return what the file says; None if it is not complete."""
        match = LIVE.fullmatch(text)
        if match is None:
            return None
        health = match["health"]
        return cls(
            number=int(match["number"]),
            address=match["address"],
            commit=match["commit"],
            run_id=match["run_id"],
            mode=match["mode"],
            health_url=health if health != NONE else None,
            has_public=match["public"] == "yes",
            label=match["label"],
            # Versions that were written before there was a choice had index.html.
            fallback=Fallback(match["fallback"] or Fallback.INDEX),
            previous_until=int(match["until"] or 0),
            is_health_guess=match["check"] == "any",
            is_https=match["scheme"] == "https",
            routes=LiveRoutes.parse(match["routes"]),
        )


@dataclass(frozen=True)
class SurfaceFolder:
    """The folder of one surface. Callers that may run at the same time hold a lock of their own."""

    root: Path

    @property
    def link(self) -> Path:
        return self.root / "current"

    @property
    def versions(self) -> Path:
        return self.root / "activations"

    def version(self, number: int) -> Path:
        """Return the path of the folder of that version."""
        return self.versions / str(number)

    def read_current(self) -> LiveFile | None:
        """Return what the surface serves now; None if the link is missing or names nothing."""
        return _read_live(self.link)

    def read_version(self, number: int) -> LiveFile | None:
        """Return what that version serves; None if it does not exist or is not complete."""
        return _read_live(self.version(number))

    def next_number(self) -> int:
        """Return the number after the largest one in use."""
        return max((int(entry.name) for entry in self._numbered()), default=0) + 1

    @contextmanager
    def write_version(self, live: LiveFile, *, survives_reboot: bool = True) -> Iterator[Path]:
        """Yield an empty folder to fill; after the block it becomes `activations/<number>`.

        If the block raises, no version is created. One that exists already is replaced.
        """
        self.versions.mkdir(parents=True, exist_ok=True)
        unfinished = self.versions / f"{UNFINISHED_PREFIX}{os.urandom(6).hex()}"
        unfinished.mkdir(mode=0o755)
        yield unfinished
        if live.label:
            # The router looks for the slot that has this file.
            (unfinished / "labels").mkdir()
            (unfinished / "labels" / live.label).touch()
        data = str(live).encode()
        safe_files.write_atomic(unfinished / "live", data, survives_reboot=survives_reboot)
        # Production's numbers begin at 1 again if its database was created anew.
        ownership.delete_tree(self.version(live.number))
        unfinished.rename(self.version(live.number))

    def switch(self, number: int) -> None:
        """Make that version the current one: one rename, kept by an fsync of the folder."""
        # Relative, so that the link holds if the checkout is moved.
        safe_files.replace_link(f"activations/{number}", self.link)

    def clear(self) -> None:
        """Remove the link, so that the surface serves nothing. May be repeated."""
        self.link.unlink(missing_ok=True)
        self.restart_age()

    def restart_age(self) -> None:
        """Have `read_age` count from now, as after a switch. The folder must exist."""
        self._changed.touch()

    def read_age(self) -> float:
        """Return for how many seconds the surface has served the same version, or none.

        A request that read the link before that may still wait for the address of an earlier one.
        """
        changes = [0.0]
        for path in (self.link, self._changed):
            with suppress(FileNotFoundError):
                changes.append(path.lstat().st_mtime)
        return time.time() - max(changes)

    @property
    def _changed(self) -> Path:
        return self.root / CHANGED

    def remove_superseded(self, grace_seconds: float) -> None:
        """Remove versions whose successor is older than `grace_seconds`, and unfinished ones.

        A request that has read the link may still open files of the version it named.
        """
        entries = sorted(self._numbered(), key=lambda entry: int(entry.name))
        limit = time.time() - grace_seconds
        old = [entry for entry, later in pairwise(entries) if later.stat().st_mtime < limit]
        unfinished = self.versions.glob(f"{UNFINISHED_PREFIX}*")
        for entry in [*unfinished, *old]:
            ownership.delete_tree(entry)

    def remove_all_except(self, numbers: Iterable[int]) -> list[int]:
        """Remove the other versions, and unfinished ones; return the numbers removed.

        Nothing else may write a version meanwhile.
        """
        kept = {str(number) for number in numbers}
        removed = []
        for entry in self.versions.iterdir() if self.versions.exists() else ():
            if entry.name not in kept:
                ownership.delete_tree(entry)
                removed += [int(entry.name)] if entry.name.isdigit() else []
        return sorted(removed)

    def _numbered(self) -> list[Path]:
        if not self.versions.exists():
            return []
        return [entry for entry in self.versions.iterdir() if entry.name.isdigit()]


def _read_live(folder: Path) -> LiveFile | None:
    try:
        return LiveFile.parse((folder / "live").read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
