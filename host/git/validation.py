"""Which branch names, commit ids and remotes git may be given. A refusal has status 400."""

import re
import unicodedata
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from host.config import Config
from host.errors import Refused
from host.visible_text import is_hidden

SHA = re.compile(r"[0-9a-f]{40}")
NULL_ID = "0" * 40
OBJECT_ID = re.compile(r"[0-9A-Fa-f]{40}(?:[0-9A-Fa-f]{24})?")  # of SHA-1, of SHA-256
# The column of the runs' table.
REF_LENGTH = 200
# Each part of a ref is a file or folder: 255 bytes at most, with room for git's `.lock` suffix.
REF_PART_BYTES = 250
# git-check-ref-format(1); control characters are among `is_hidden`.
REF_REFUSED = frozenset("\t\n ~^:?*[\\")
# Joins emoji and letters of Indic and Persian words; after ASCII they are invisible.
JOINERS = frozenset("\u200c\u200d\ufe0f")
# How a byte that is not UTF-8 is decoded.
UNDECODABLE = "\ufffd"
# HEAD, FETCH_HEAD, ORIG_HEAD: git resolves these names before branches.
PSEUDO_REF = re.compile(r"(.*_)?HEAD")


def validate_ref(name: str) -> str:
    """Return `name` if git takes it for a branch name, and it can be read as nothing else.

    The rules are those of git-check-ref-format(1). An option, a full ref, a pseudo-ref such as HEAD
    and a name with characters that a page would not show are refused too. Raises Refused
    `ref_invalid`, which names the character or the rule, or `ref_too_long`.
    """
    if len(name) > REF_LENGTH:
        raise _too_long(f"A branch name has at most {REF_LENGTH} characters.")
    if (character := _find_refused_character(name)) is not None:
        raise Refused(
            "ref_invalid",
            f"A branch name must not contain {describe_character(character)}.",
            status=400,
        )
    if rule := _find_broken_rule(name):
        raise Refused(
            "ref_invalid",
            f"That is not a branch name: {rule}. Write it as `git branch` lists it.",
            status=400,
        )
    if any(len(part.encode()) > REF_PART_BYTES for part in name.split("/")):
        raise _too_long(f"A part of a branch name has at most {REF_PART_BYTES} bytes.")
    return name


def describe_character(character: str) -> str:
    """Return the character as a person can find it: its mark, code point and name."""
    code, name = f"U+{ord(character):04X}", unicodedata.name(character, "")
    if character == UNDECODABLE:
        return "a byte that is not UTF-8"
    shown = "" if is_hidden(character) or character == " " else f"{character!r}, "
    return f"{shown}{code}{f' ({name})' if name else ''}"


def _find_refused_character(name: str) -> str | None:
    before = ""
    for character in name:
        is_joined = character in JOINERS and not before.isascii()
        if character in REF_REFUSED or character == UNDECODABLE:
            return character
        if is_hidden(character) and not is_joined:
            return character
        before = character
    return None


def _find_broken_rule(name: str) -> str:
    """Return the rule that the name breaks, to follow a colon; "" if none."""
    parts = name.split("/")
    rules = {
        "it is empty": not name,
        "it begins or ends with a slash, or has two in a row": any(not part for part in parts),
        "a part of it begins with a dot": any(part.startswith(".") for part in parts),
        "a part of it ends with .lock": any(part.endswith(".lock") for part in parts),
        "it ends with a dot": name.endswith("."),
        "it contains two dots in a row": ".." in name,
        "it contains @{": "@{" in name,
        "@ alone stands for HEAD": name == "@",
        "it begins with -, as an option": name.startswith("-"),
        "it begins with refs/, as a full ref": name.startswith("refs/"),
        "git takes 40 hexadecimal digits for a commit's id": OBJECT_ID.fullmatch(name) is not None,
        f"git has another meaning for {name}": PSEUDO_REF.fullmatch(name) is not None,
    }
    return next((rule for rule, is_broken in rules.items() if is_broken), "")


def _too_long(detail: str) -> Refused:
    return Refused("ref_too_long", detail, status=400)


def validate_sha(sha: str) -> str:
    """Return `sha` if it is a full lower-case commit id. Raises Refused `sha_invalid`.

    Forty zeros are git's id of what does not exist.
    """
    if sha == NULL_ID:
        detail = "Forty zeros are git's id of no commit."
        raise Refused("sha_invalid", detail, status=400)
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
