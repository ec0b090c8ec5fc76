"""The argv of git's commands as lists, and git's environment. Pure functions: git is not run here.

Git's environment is built from empty: no hooks, no system or user configuration, no prompts, and
only the protocol of the remote in use.
"""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from host.config import Config
from host.git.validation import validate_ref, validate_sha

# The id of the tree without files, which every repository knows.
EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
ABSENT = "0" * 40  # git's id for a ref that does not exist
# How this host reaches other hosts: passed on only for an https remote.
NETWORK = (
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
)


def git_argv(repository: Path, *arguments: str) -> list[str]:
    """Return the argv of a git command on that bare repository."""
    return ["git", f"--git-dir={repository}", *arguments]


def fetch_argv(repository: Path, remote: str) -> list[str]:
    """Fetch all branches to refs/remotes/origin/*, and delete those `remote` no longer has."""
    return git_argv(
        repository,
        "fetch",
        "--quiet",
        "--prune",
        "--no-tags",
        # A submodule's URL comes from the branch: it must not make us contact another host.
        "--no-recurse-submodules",
        # FETCH_HEAD is one file for all fetches, and we read none of it.
        "--no-write-fetch-head",
        "--",
        remote,
        "+refs/heads/*:refs/remotes/origin/*",
    )


def fetch_ref_argv(repository: Path, remote: str, ref: str) -> list[str]:
    """Fetch one ref of `remote`, a branch as `heads/main`, to refs/oroboros/fetched/<ref>.

    All other refs stay.
    """
    refspec = f"+refs/{validate_ref(ref)}:refs/oroboros/fetched/{ref}"
    return [*fetch_argv(repository, remote)[:-1], refspec]


def push_argv(
    repository: Path, remote: str, source: str, branch: str, *, dry_run: bool = False
) -> list[str]:
    """Push the commit `source` to `branch` of `remote`, fast-forward only, and no other ref."""
    # Explicit, because the remote's or a user's configuration could set the opposite.
    options = ["--porcelain", "--no-follow-tags", "--recurse-submodules=no"]
    if dry_run:
        options.append("--dry-run")
    refspec = f"{validate_sha(source)}:refs/heads/{validate_ref(branch)}"
    return git_argv(repository, "push", *options, "--", remote, refspec)


def remote_head_argv(repository: Path, remote: str, branch: str) -> list[str]:
    """Read the head of `branch` at `remote` without fetching it."""
    ref = f"refs/heads/{validate_ref(branch)}"
    return git_argv(repository, "ls-remote", "--quiet", "--", remote, ref)


def remote_refs_argv(repository: Path, remote: str) -> list[str]:
    """Read all branches of `remote`, and which of them its HEAD names."""
    options = ["--quiet", "--symref", "--", remote, "HEAD", "refs/heads/*"]
    return git_argv(repository, "ls-remote", *options)


def merge_argv(repository: Path, base: str, commit: str) -> list[str]:
    """Merge in the object database; exit code 1 means conflicts, whose paths are printed."""
    # merge-tree --write-tree needs git 2.38; it needs no working tree and no index.
    options = ["--write-tree", "--name-only", "--no-messages", "-z"]
    return git_argv(repository, "merge-tree", *options, validate_sha(base), validate_sha(commit))


def attribute_files_argv(repository: Path, commit: str) -> list[str]:
    """List the commit's .gitattributes files, those of folders too, as raw records with NULs."""
    options = ["-r", "--raw", "-z", "--no-renames", EMPTY_TREE, validate_sha(commit)]
    return git_argv(repository, "diff-tree", *options, "--", ":(glob)**/.gitattributes")


def _diff_tree_argv(
    repository: Path, options: Sequence[str], old: str, new: str, paths: Sequence[str]
) -> list[str]:
    # External diffs and textconv run programs. diff-tree reads no diff.* settings of a user.
    safe = ["-r", "--no-ext-diff", "--no-textconv", "--no-color", "--ignore-submodules=none"]
    trees = [validate_sha(old), validate_sha(new)]
    return git_argv(repository, "diff-tree", *safe, *options, *trees, "--", *paths)


def list_changes_argv(
    repository: Path, old: str, new: str, paths: Sequence[str] = (), *, find_moves: bool
) -> list[str]:
    """List the files that differ: raw records, then numbers of lines, all separated by NULs."""
    options = ["--raw", "--numstat", "-z", "--no-abbrev", *_move_options(find_moves)]
    return _diff_tree_argv(repository, options, old, new, paths)


def patch_argv(
    repository: Path, old: str, new: str, paths: Sequence[str] = (), *, find_moves: bool
) -> list[str]:
    """Print the patch from one tree to the other, of all files or of `paths`."""
    options = ["--patch", "--full-index", *_move_options(find_moves)]
    return _diff_tree_argv(repository, options, old, new, paths)


def _move_options(find_moves: bool) -> list[str]:
    return ["--find-renames", "--find-copies"] if find_moves else ["--no-renames"]


def read_sizes_argv(repository: Path) -> list[str]:
    """Print the sizes of the blobs whose ids are on stdin."""
    return git_argv(repository, "cat-file", "--batch-check=%(objectname) %(objectsize)")


def list_tree_argv(repository: Path, commit: str) -> list[str]:
    """List the commit's files, links and submodules with their sizes, as records with NULs."""
    return git_argv(repository, "ls-tree", "-r", "-l", "-z", "--full-tree", validate_sha(commit))


def read_blobs_argv(repository: Path) -> list[str]:
    """Print the contents of the blobs whose ids are on stdin, each after a line with its size."""
    return git_argv(repository, "cat-file", "--batch")


def check_attributes_argv(repository: Path, names: Sequence[str]) -> list[str]:
    """Print the attributes `names` of the paths on stdin; both are separated by NULs."""
    return git_argv(repository, "check-attr", "--stdin", "-z", *names)


def blob_argv(repository: Path, blob: str) -> list[str]:
    """Print the content of a file by the id of its blob."""
    return git_argv(repository, "cat-file", "blob", validate_sha(blob))


def commit_argv(repository: Path, tree: str, parents: Sequence[str]) -> list[str]:
    """Create a commit of `tree`; git reads its message from stdin."""
    options = [part for parent in parents for part in ("-p", validate_sha(parent))]
    return git_argv(repository, "commit-tree", "-F", "-", *options, validate_sha(tree))


def update_ref_argv(repository: Path, ref: str, new: str | None, old: str | None) -> list[str]:
    """Move `ref` from `old` to `new` if it is at `old`; None stands for an absent ref."""
    # --no-deref: a symbolic ref must not redirect the update to another branch.
    if new is None:
        return git_argv(repository, "update-ref", "--no-deref", "-d", ref, old or ABSENT)
    return git_argv(repository, "update-ref", "--no-deref", ref, new, old or ABSENT)


def ssh_command(config: Config) -> str:
    """Return GIT_SSH_COMMAND: no prompts, known hosts only, and only the configured key."""
    options = ["ssh", "-F", "/dev/null", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"]
    if config.get("GIT_SSH_KNOWN_HOSTS_FILE"):
        options += ["-o", f'UserKnownHostsFile="{config.get("GIT_SSH_KNOWN_HOSTS_FILE")}"']
    if config.get("GIT_SSH_KEY_FILE"):
        options += ["-o", "IdentitiesOnly=yes", "-i", config.get("GIT_SSH_KEY_FILE")]
    return shlex.join(options)


def credential_helper(path: str) -> str:
    """Return the helper that reads the credentials in that file, and never changes it.

    git asks a helper to store what was accepted and to erase what was refused, as a remote that is
    in trouble refuses good ones: git-credential-store would then delete the operator's line.
    """
    return f'!f() {{ test "$1" != get || git credential-store --file={shlex.quote(path)} get; }}; f'


def build_environment(config: Config, global_config: Path, remote: str = "") -> dict[str, str]:
    """Return git's whole environment; without a `remote` every protocol is refused.

    `global_config` is a file with `safe.directory` only: git does not pass `-c` settings on to
    the process in a local remote, so a remote of another owner can be trusted in a file only.
    The remote's own hooks run, ours do not.
    """
    settings = {
        "core.hooksPath": "/dev/null",
        "core.fsmonitor": "false",  # its value may be a program that git runs
        # A background gc would outlive the command, and its lock would stop the next ones.
        "gc.auto": "0",
        "maintenance.auto": "false",
        # A bare repository has no .mailmap of its own: that of the target branch is used.
        "mailmap.blob": f"refs/remotes/origin/{config.target_branch}:.mailmap",
    }
    if config.get("GIT_CREDENTIALS_FILE"):
        settings["credential.helper"] = credential_helper(config.get("GIT_CREDENTIALS_FILE"))
    env = {
        "PATH": config.get("PATH", os.defpath),
        "LC_ALL": "C",  # git_process searches the English messages
        "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": str(global_config),
        "GIT_ATTR_NOSYSTEM": "1",  # /etc/gitattributes of this host says nothing about the branch
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/false",  # a prompt would wait until the timeout
        "GIT_ALLOW_PROTOCOL": _protocol(remote),
        "GIT_SSH_COMMAND": ssh_command(config),
        "GIT_CONFIG_COUNT": str(len(settings)),
    }
    # A proxy's address may hold a password: only git's https helper needs it.
    if env["GIT_ALLOW_PROTOCOL"] == "https":
        env |= {name: config.get(name) for name in NETWORK if config.get(name)}
        # git built with GnuTLS, as Debian's is, does not read SSL_CERT_FILE.
        if "SSL_CERT_FILE" in env:
            env.setdefault("GIT_SSL_CAINFO", env["SSL_CERT_FILE"])
    for number, (key, value) in enumerate(settings.items()):
        env[f"GIT_CONFIG_KEY_{number}"] = key
        env[f"GIT_CONFIG_VALUE_{number}"] = value
    return env


def _protocol(remote: str) -> str:
    if not remote:
        return ""
    return "file" if remote.startswith("/") else urlsplit(remote).scheme
