"""Which branch names, commit ids and remotes git may be given. A refusal has status 400."""

import re
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from host.config import Config
from host.errors import Refused

SHA = re.compile(r"[0-9a-f]{40}")
# A ref is a file: 255 bytes at most for a name, with room for git's `.lock` suffix.
REF_LENGTH = 200
REF_PUNCTUATION = frozenset("._/+@#=,%-")
# HEAD, FETCH_HEAD, ORIG_HEAD: git resolves these names before branches.
PSEUDO_REF = re.compile(r"(.*_)?HEAD")


def validate_ref(name: str) -> str:
    """Return `name` if it can only be read as a branch name.

    Stricter than `git check-ref-format`: letters, digits and a few signs. An option, a revision
    expression, a pseudo-ref such as HEAD or a word with a meaning for a shell is refused. Raises
    Refused `ref_invalid` or `ref_too_long`.
    """
    if len(name) > REF_LENGTH:
        raise Refused(
            "ref_too_long", f"A branch name has at most {REF_LENGTH} characters.", status=400
        )
    parts = name.split("/")
    is_bad = (
        any(not (sign.isalnum() or sign in REF_PUNCTUATION) for sign in name)
        or any(not part or part.startswith(".") or part.endswith((".lock", ".")) for part in parts)
        or ".." in name
        or name.startswith(("-", "refs/"))
        or name == "@"
        or PSEUDO_REF.fullmatch(name) is not None
    )
    if is_bad:
        raise Refused(
            "ref_invalid",
            "That is not a branch name: write it as `git branch` lists it.",
            status=400,
        )
    return name


def validate_sha(sha: str) -> str:
    """Return `sha` if it is a full lower-case commit id. Raises Refused `sha_invalid`."""
    if not SHA.fullmatch(sha):
        raise Refused(
            "sha_invalid", "A commit is named by its full 40 lower-case hex digits.", status=400
        )
    return sha


def validate_remote(url: str, config: Config) -> str:
    """Return `url` if this host may fetch from it and push to it.

    An absolute path under one of GIT_LOCAL_ROOTS, or an https/ssh URL whose host is in
    GIT_ALLOWED_HOSTS (default: the host of the configured GIT_REMOTE_URL). Raises Refused
    `git_url_invalid`, `git_url_scheme`, `git_url_host` or `git_url_path`.
    """
    if not url or not url.isprintable() or (" " in url and not url.startswith("/")):
        detail = "The git remote is empty, or has control characters, or a blank in a URL."
        raise _url_refusal("git_url_invalid", detail)
    if url.startswith("/"):
        return _validate_local_remote(url, config)
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname or "", parts.port
    except ValueError:
        raise _url_refusal("git_url_invalid", "The git remote is not a URL.") from None
    if parts.scheme not in ("https", "ssh") or not url.startswith(f"{parts.scheme}://"):
        raise _url_refusal(
            "git_url_scheme",
            "The git remote must be https://host/path, ssh://user@host/path or an absolute path.",
        )
    # ssh would take a host or user that starts with "-" for an option (CVE-2017-1000117).
    if host.startswith("-") or not host or (parts.username or "").startswith("-"):
        raise _url_refusal("git_url_invalid", "The git remote has no valid host name.")
    if host not in _allowed_hosts(config):
        raise _url_refusal("git_url_host", f"The host {host} is not in GIT_ALLOWED_HOSTS.")
    if parts.password is not None or parts.query or parts.fragment:
        raise _url_refusal(
            "git_url_invalid",
            "The git remote must hold no password, query or fragment: put credentials into the "
            "file that GIT_CREDENTIALS_FILE names.",
        )
    return url


def _url_refusal(code: str, detail: str) -> Refused:
    return Refused(code, detail, status=400)


def _validate_local_remote(url: str, config: Config) -> str:
    # Resolved: a link below an allowed root may lead out of it.
    path = Path(url).resolve()
    if not any(path.is_relative_to(root.resolve()) for root in config.git_local_roots):
        raise _url_refusal("git_url_path", "The git remote's path is not under GIT_LOCAL_ROOTS.")
    return url


def _allowed_hosts(config: Config) -> set[str]:
    allowed = {
        host for host in re.split(r"[,\s]+", config.get("GIT_ALLOWED_HOSTS").lower()) if host
    }
    return allowed or {_split(config.git_remote_url).hostname or ""}


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")
