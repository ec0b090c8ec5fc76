"""Files that hold one secret, which a setting names."""

from pathlib import Path

from host.errors import Refused

SECRET_BYTES = 4096


def read_secret(name: str, path: Path | None) -> str:
    """Return the first line of the setting's file, without blanks at its ends.

    Raises Refused `secret_unreadable` without a file, for one that cannot be read, or an empty one.
    """
    if path is None:
        raise Refused("secret_unreadable", f"{name} is not set.")
    try:
        with path.open("rb") as file:
            first, *_ = [*file.read(SECRET_BYTES).decode(errors="replace").splitlines(), ""]
    except OSError as error:
        raise Refused("secret_unreadable", f"{name}: {path}: {error.strerror}.") from None
    if not first.strip():
        raise Refused("secret_unreadable", f"{name}: {path} is empty.")
    return first.strip()
