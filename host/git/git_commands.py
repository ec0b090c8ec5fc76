"""What git is told: the names it may be given, its argv as lists, its environment. All pure.

Git's environment is built from empty: no hooks, no system or user configuration, no prompts, and
only the protocol of the remote at hand.
"""

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from host.config import Config
from host.errors import Refused

ZERO = "0" * 40
SHA = re.compile(r"[0-9a-f]{40}")
REF_LENGTH = 200
REF_PUNCTUATION = frozenset("._/+@#=,%-")
# How this host reaches the outside: passed on only when an https remote is asked.
NETWORK = (
    "HTTPS_PROXY",
    "https_proxy",
    "NO_PROXY",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
)
PSEUDO_REF = re.compile(r"(.*_)?HEAD")


def validate_ref(name: str) -> str:
    """Return `name` if it can only be read as a branch name.

    Stricter than `git check-ref-format`: letters, digits and a few signs, so that no option, no
    revision syntax, no pseudo-ref and nothing for a shell fits in. Raises Refused `ref_invalid`
    or `ref_too_long` (400).
    """
    if len(name) > REF_LENGTH:
        raise Refused(
            "ref_too_long", f"A branch name has at most {REF_LENGTH} characters.", status=400
        )
    parts = name.split("/")
    bad = (
        any(not (sign.isalnum() or sign in REF_PUNCTUATION) for sign in name)
        or any(not part or part.startswith(".") or part.endswith((".lock", ".")) for part in parts)
        or ".." in name
        or name.startswith(("-", "refs/"))
        or name == "@"
        or PSEUDO_REF.fullmatch(name) is not None
    )
    if bad:
        raise Refused(
            "ref_invalid", "That is not a branch name: name a branch as git lists it.", status=400
        )
    return name


def validate_sha(sha: str) -> str:
    """Return `sha` if it is a full lower-case commit id. Raises Refused `sha_invalid` (400)."""
    if not SHA.fullmatch(sha):
        raise Refused(
            "sha_invalid", "A commit is named by its full 40 lower-case hex digits.", status=400
        )
    return sha


def validate_remote(url: str, config: Config) -> str:
    """Return `url` if this host may fetch from it and push to it.

    An absolute path under one of GIT_LOCAL_ROOTS, or an https/ssh URL whose host is in
    GIT_ALLOWED_HOSTS (default: the host of the configured GIT_REMOTE_URL). Raises Refused
    `git_url_invalid`, `git_url_scheme`, `git_url_host` or `git_url_path` (400).
    """
    if not url or not url.isprintable() or " " in url:
        raise _bad_url("git_url_invalid", "The git remote is empty or has control characters.")
    if url.startswith("/"):
        return _local_remote(url, config)
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname or "", parts.port
    except ValueError:
        raise _bad_url("git_url_invalid", "The git remote is not a URL.") from None
    if parts.scheme not in ("https", "ssh") or not url.startswith(f"{parts.scheme}://"):
        raise _bad_url(
            "git_url_scheme",
            "The git remote must be https://host/path, ssh://user@host/path or an absolute path.",
        )
    if host.startswith("-") or not host or (parts.username or "").startswith("-"):
        raise _bad_url("git_url_invalid", "The git remote has no proper host.")
    if host not in _allowed_hosts(config):
        raise _bad_url("git_url_host", f"The host {host} is not in GIT_ALLOWED_HOSTS.")
    if parts.password is not None or parts.query or parts.fragment:
        raise _bad_url(
            "git_url_invalid",
            "The git remote must hold no password, query or fragment: put credentials into the "
            "file that GIT_CREDENTIALS_FILE names.",
        )
    return url


def _bad_url(code: str, detail: str) -> Refused:
    return Refused(code, detail, status=400)


def _local_remote(url: str, config: Config) -> str:
    path = Path(url).resolve()
    if not any(path.is_relative_to(root.resolve()) for root in config.git_local_roots):
        raise _bad_url("git_url_path", "The git remote's path is not under GIT_LOCAL_ROOTS.")
    return url


def _allowed_hosts(config: Config) -> set[str]:
    named = {host for host in re.split(r"[,\s]+", config.get("GIT_ALLOWED_HOSTS").lower()) if host}
    return named or {_split(config.git_remote_url).hostname or ""}


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


# What git is told, as lists


def command(repository: Path, *arguments: str) -> list[str]:
    """Return the argv of git on that bare repository."""
    return ["git", f"--git-dir={repository}", *arguments]


def fetch_argv(repository: Path, remote: str) -> list[str]:
    """Take all branches of `remote` as refs/remotes/origin/*, dropping those it no longer has."""
    return command(
        repository,
        "fetch",
        "--quiet",
        "--prune",
        "--no-tags",
        "--no-recurse-submodules",
        "--no-write-fetch-head",
        "--",
        remote,
        "+refs/heads/*:refs/remotes/origin/*",
    )


def fetch_branch_argv(repository: Path, remote: str, branch: str) -> list[str]:
    """Take one branch of `remote` as refs/oroboros/fetched/<branch>; all other refs stay."""
    refspec = f"+refs/heads/{validate_ref(branch)}:refs/oroboros/fetched/{branch}"
    return [*fetch_argv(repository, remote)[:-1], refspec]


def push_argv(
    repository: Path, remote: str, source: str, branch: str, *, dry_run: bool = False
) -> list[str]:
    """Move `branch` of `remote` forward to the commit `source`: never forced, nothing else."""
    options = ["--porcelain", "--no-follow-tags", "--recurse-submodules=no"]
    if dry_run:
        options.append("--dry-run")
    refspec = f"{validate_sha(source)}:refs/heads/{validate_ref(branch)}"
    return command(repository, "push", *options, "--", remote, refspec)


def remote_head_argv(repository: Path, remote: str, branch: str) -> list[str]:
    """Ask `remote` where `branch` is, without fetching."""
    ref = f"refs/heads/{validate_ref(branch)}"
    return command(repository, "ls-remote", "--quiet", "--", remote, ref)


def merge_argv(repository: Path, base: str, commit: str) -> list[str]:
    """Merge in the object database; exit 1 means conflicts, listed by name."""
    options = ["--write-tree", "--name-only", "--no-messages", "-z"]
    return command(repository, "merge-tree", *options, validate_sha(base), validate_sha(commit))


def commit_argv(repository: Path, tree: str, parents: Sequence[str]) -> list[str]:
    """Make a commit of `tree` (its message comes on stdin)."""
    options = [part for parent in parents for part in ("-p", validate_sha(parent))]
    return command(repository, "commit-tree", "-F", "-", *options, validate_sha(tree))


def update_ref_argv(repository: Path, ref: str, new: str | None, old: str | None) -> list[str]:
    """Move `ref` from `old` to `new`; None stands for "no such ref" on either side."""
    if new is None:
        return command(repository, "update-ref", "--no-deref", "-d", ref, old or ZERO)
    return command(repository, "update-ref", "--no-deref", ref, new, old or ZERO)


def ssh_command(config: Config) -> str:
    """Return GIT_SSH_COMMAND: never asks, believes only known hosts, offers only our key."""
    options = ["ssh", "-F", "/dev/null", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"]
    if config.get("GIT_SSH_KNOWN_HOSTS_FILE"):
        options += ["-o", f'UserKnownHostsFile="{config.get("GIT_SSH_KNOWN_HOSTS_FILE")}"']
    if config.get("GIT_SSH_KEY_FILE"):
        options += ["-o", "IdentitiesOnly=yes", "-i", config.get("GIT_SSH_KEY_FILE")]
    return shlex.join(options)


def environment(config: Config, global_config: Path, remote: str = "") -> dict[str, str]:
    """Return git's whole environment; without a `remote` no protocol is allowed at all.

    `global_config` holds only `safe.directory`: git passes its own `-c` settings on to no other
    repository, so a local remote of another owner can be trusted in a file alone, while its
    hooks keep running and ours never do.
    """
    settings = {
        "core.hooksPath": "/dev/null",
        "core.fsmonitor": "false",
        "gc.auto": "0",
        "maintenance.auto": "false",
    }
    if config.get("GIT_CREDENTIALS_FILE"):
        path = shlex.quote(config.get("GIT_CREDENTIALS_FILE"))
        settings["credential.helper"] = f"store --file={path}"
    env = {
        "PATH": config.get("PATH", os.defpath),
        "LC_ALL": "C",
        "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": str(global_config),
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/false",
        "GIT_ALLOW_PROTOCOL": _protocol(remote),
        "GIT_SSH_COMMAND": ssh_command(config),
        "GIT_CONFIG_COUNT": str(len(settings)),
    }
    if env["GIT_ALLOW_PROTOCOL"] == "https":
        env |= {name: config.get(name) for name in NETWORK if config.get(name)}
    for number, (key, value) in enumerate(settings.items()):
        env[f"GIT_CONFIG_KEY_{number}"] = key
        env[f"GIT_CONFIG_VALUE_{number}"] = value
    return env


def _protocol(remote: str) -> str:
    if not remote:
        return ""
    return "file" if remote.startswith("/") else urlsplit(remote).scheme
