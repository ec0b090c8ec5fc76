"""The label of a run: the part of its preview's host name that differs from branch to branch."""

import hashlib
import re
import unicodedata

SLUG_CHARACTERS = 40  # with the digest 47 of the 63 that DNS allows in a label (RFC 1035, 2.3.4)
DIGEST_CHARACTERS = 6


def build_label(branch: str, *, commit: str = "", run_id: str = "") -> str:
    """Return the label: a slug of the branch, and the beginning of the branch's SHA-256 in hex.

    A branch always has the same label, and branches whose slugs are alike have different ones. A
    run without a branch is labelled by its commit, a reservation without either by its own id.
    """
    name, slug = branch, _build_slug(branch)
    if not branch:
        name = commit or run_id
        slug = f"commit-{commit[:12]}" if commit else "run"
    # A name from a request may hold a lone surrogate, which UTF-8 alone refuses.
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{slug or 'branch'}-{digest[:DIGEST_CHARACTERS]}"


def _build_slug(name: str) -> str:
    """Return the name in lower-case ASCII letters and digits, all else one hyphen."""
    # NFKD splits an accented letter into the letter and its accent, which is left out.
    letters = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", letters).strip("-")[:SLUG_CHARACTERS].rstrip("-")
