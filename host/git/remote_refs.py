"""What a git remote is: the branch of its HEAD, its branches, and why they cannot be used."""

from dataclasses import dataclass, field

SHA1_LENGTH = 40
# More branches than these are only counted.
NAMED_BRANCHES = 5


@dataclass(frozen=True)
class RemoteRefs:
    """The branch that the remote's HEAD names ("" without one), and each branch's commit."""

    head_branch: str = ""
    branches: dict[str, str] = field(default_factory=dict)


def parse_remote_refs(text: str) -> RemoteRefs:
    """Parse the output of `git ls-remote --symref`.

    A HEAD that names a branch without a commit is not listed by git, nor is a detached one.
    """
    head, branches = "", {}
    for line in filter(None, text.split("\n")):
        value, _, name = line.partition("\t")
        if name == "HEAD" and value.startswith("ref: refs/heads/"):
            head = value.removeprefix("ref: refs/heads/")
        elif name.startswith("refs/heads/"):
            branches[name.removeprefix("refs/heads/")] = value
    return RemoteRefs(head, branches)


def has_rejected_shallow_roots(errors: str) -> bool:
    """Return whether git, with LC_ALL=C, reported that it left out branches of a shallow remote.

    It exits with 0 all the same.
    """
    return any(
        line.startswith("warning: rejected ") and "shallow roots" in line
        for line in errors.split("\n")
    )


def describe_shallow_remote(url: str) -> str:
    """Return why a shallow remote cannot be fetched, and what to do."""
    return (
        f"The git remote {url} is a shallow clone, whose branches cannot be fetched: complete it "
        "there with git fetch --unshallow, or name the repository that it was cloned from."
    )


def describe_partial_remote(url: str) -> str:
    """Return why a remote that lacks files of its commits cannot be fetched, and what to do."""
    return (
        f"The git remote {url} is a partial clone (--filter), which lacks files of its commits: "
        "complete it there with git fetch --refetch --no-filter and git config --unset "
        "remote.origin.promisor, or name the repository that it was cloned from."
    )


def explain_remote(refs: RemoteRefs, url: str, target: str) -> str:
    """Return why runs cannot be merged into `target` of the remote and what to do; "" if they can.

    `target` is the branch that MERGE_GATE_GIT_PUSH_BRANCH names.
    """
    if not refs.branches:
        return (
            f"The git remote {url} is empty: push a first commit to it, "
            f"git push {url} HEAD:refs/heads/{target}"
        )
    if any(len(commit) != SHA1_LENGTH for commit in refs.branches.values()):
        return (
            f"The git remote {url} has SHA-256 commit ids, which are not supported: convert the "
            "repository to SHA-1."
        )
    if target in refs.branches:
        return ""
    names = sorted(refs.branches)
    listed = ", ".join(names[:NAMED_BRANCHES])
    others = len(names) - NAMED_BRANCHES
    more = f" and {others} more" if others > 0 else ""
    choice = refs.head_branch or (names[0] if len(names) == 1 else "")
    advice = (
        f"set MERGE_GATE_GIT_PUSH_BRANCH={choice}"
        if choice
        else "set MERGE_GATE_GIT_PUSH_BRANCH to the branch that runs are merged into"
    )
    head = f", and its HEAD is {refs.head_branch}" if refs.head_branch else ""
    return (
        f"The git remote {url} has no branch {target}; it has {listed}{more}{head}: {advice}, "
        f"or push the branch {target}."
    )
