"""The drop-ins that open the folders of local git remotes to the control plane's units.

The units see the host's files read-only (ProtectSystem=strict), and neither homes nor the host's
/tmp: a push to a path would fail, and a remote below /home would not be found. See systemd.exec(5).
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from host.units.unit_files import HIDDEN

# All that fetch from the remote or push to it.
UNITS = tuple(
    f"ouroboros-{name}.service"
    for name in ("api", "worker", "migrate", "reaper", "reconciler", "retention")
)
# Those that push.
PUSHING = frozenset(f"ouroboros-{name}.service.d" for name in ("api", "worker"))
NAME = "git-local-roots.conf"
HEADER = (
    "# Written by systemd-install-runtime.sh from GIT_LOCAL_ROOTS; run it again after a change.\n"
)
HOMES = tuple(map(Path, ("/home", "/root", "/run/user")))


def list_drop_ins(units: Path) -> list[Path]:
    """Return the paths of the drop-ins below the folder of systemd's units."""
    return [units / f"{unit}.d" / NAME for unit in UNITS]


def render_drop_in(roots: Sequence[Path], path: Path) -> str:
    """Return the drop-in at that path, of a unit of the control plane; "" without local remotes."""
    if not roots:
        return ""
    hidden = [root for root in roots if _is_below(root, HIDDEN)]
    lines = [f"ReadWritePaths={_quote(root)}\n" for root in roots if root not in hidden]
    lines += [f"BindPaths={_quote(root)}\n" for root in hidden]
    # With `yes` nothing can be mounted below a home; with tmpfs every other file stays hidden.
    homes = "ProtectHome=tmpfs\n" if any(_is_below(root, HOMES) for root in hidden) else ""
    # In a repository that a group shares (git init --shared) git makes folders with the setgid bit.
    shared = "RestrictSUIDSGID=no\n" if path.parent.name in PUSHING else ""
    return f"{HEADER}[Service]\n{homes}{''.join(lines)}{shared}"


def _is_below(path: Path, folders: Iterable[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def is_written(path: Path, text: str) -> bool:
    """Return whether the drop-in has the text, or does not exist if that is empty."""
    return (path.read_text() if path.is_file() else "") == text


def _quote(path: Path) -> str:
    """Return the path as a value of a unit file; one that does not exist is ignored (-)."""
    text = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"-{text}"'
