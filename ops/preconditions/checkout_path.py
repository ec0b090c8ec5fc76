"""Which paths a checkout, and its var, can have."""

from collections.abc import Iterator
from pathlib import Path

from host.units.unit_files import find_hidden_folder

# What PATH is separated by, what programs that we start expand or unquote (pg_ctl uses a shell,
# Caddy has placeholders and patterns, env files comments), and what few people type.
REFUSED = frozenset(':"\\`$#{}[]*?<>|')
# Unit files split values at blanks, unquote them, and replace specifiers (%). See systemd.unit(5).
REFUSED_IN_UNITS = frozenset(" %'")
# Installs add up to 150 bytes, npm's packages much more, of the kernel's 4096.
MAX_BYTES = 400


def find_unit_path_problems(path: Path) -> Iterator[str]:
    """Yield why systemd's units cannot have that path and what to do."""
    yield from find_path_problems(path)
    bad = sorted(REFUSED_IN_UNITS & set(str(path)))
    if bad:
        shown = " and ".join("a blank" if sign == " " else f"'{sign}'" for sign in bad)
        yield (
            f"The path {_show(str(path))} has {shown}, which unit files cannot hold: use a folder "
            "without, such as /srv/oroboros; ./scripts/quickstart.sh runs in this one."
        )
    hidden = find_hidden_folder(path)
    if hidden is not None:
        yield (
            f"The path {_show(str(path))} is below {hidden}, which the units do not see: use a "
            "folder elsewhere, such as /srv/oroboros; ./scripts/quickstart.sh runs in this one."
        )


def find_path_problems(path: Path) -> Iterator[str]:
    """Yield why a checkout cannot run in that folder and what to do. Blanks are no problem."""
    text = str(path)
    bad = sorted({sign for sign in text if sign in REFUSED or not sign.isprintable()})
    if bad:
        shown = " ".join(f"'{_show(sign)}'" for sign in bad)
        yield (
            f"The path {_show(text)} has {shown}, which some of the programs here cannot read: "
            "clone into a folder without, such as /srv/oroboros."
        )
    elif len(text.encode()) > MAX_BYTES:
        yield (
            f"The path {text} is longer than {MAX_BYTES} bytes, too long for the paths below it: "
            "clone into a folder nearer to the root, such as /srv/oroboros."
        )


def _show(text: str) -> str:
    """Return the text with what cannot be printed as an escape."""
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape", "replace").decode()
        for sign in text
    )
