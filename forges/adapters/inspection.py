"""What the doctor is told of the access to the forge, and of the webhook there: no I/O."""

from collections.abc import Iterable, Mapping
from typing import Any

from forges.adapters.forge import Access, Hook
from forges.adapters.payload import find, read_list, read_text


def judge_repository(value: Any, scopes: str | None, expires: str) -> Access:
    """Judge what the forge says of the repository to whom it may be shown.

    `scopes` are those of a classic token of GitHub, None where the forge does not list them.
    """
    missing = [] if find(value, "permissions.push") is not False else ["write access"]
    if scopes is not None:
        known = {one.strip() for one in scopes.split(",")}
        enough = {"repo"} if find(value, "private") else {"repo", "public_repo"}
        missing += [] if known & enough else ["the scope repo"]
    parts = [
        f"scopes {scopes}" if scopes else "its rights are not listed by the forge",
        f"expires {expires}" if expires else "",
    ]
    return Access(", ".join(filter(None, parts)), tuple(missing))


def judge_permissions(has: Mapping[str, Any], needs: Mapping[str, str]) -> Access:
    """Judge the permissions of a GitHub App: read or write, by their names."""
    missing = [
        f"{name}: {level}" for name, level in needs.items() if has.get(name) not in (level, "write")
    ]
    listed = ", ".join(f"{name}: {has[name]}" for name in sorted(has))
    return Access(f"a GitHub App with {listed}", tuple(missing))


def judge_gitlab_token(token: Any, project: Any, developer: int) -> Access:
    """Judge a token of GitLab by its scopes and its role in the project."""
    scopes = [str(one) for one in read_list(token, "scopes")]
    levels = (
        find(project, f"permissions.{kind}.access_level")
        for kind in ("project_access", "group_access")
    )
    level = max((one for one in levels if isinstance(one, int)), default=0)
    missing = [] if "api" in scopes else ["the scope api"]
    missing += [] if level >= developer else ["the role Developer"]
    expires = read_text(token, "expires_at")
    text = f"scopes {', '.join(scopes)}" + (f", expires {expires}" if expires else "")
    return Access(text, tuple(missing))


def judge_hook(
    hooks: Iterable[tuple[str, bool, set[str], str]], path: str, needs: Iterable[str]
) -> Hook:
    """Judge the webhook whose address ends with `path`.

    Each of `hooks` is its address, whether the forge sends to it, its events, and what the last
    delivery was answered with.
    """
    ours = [one for one in hooks if one[0].rstrip("/").endswith(path)]
    if not ours:
        return Hook("none on the forge", f"The repository has no webhook to an address …{path}.")
    url, is_active, events, last = ours[0]
    observed = f"{url} on the forge" + (f", last answer {last}" if last else "")
    if not is_active:
        return Hook(observed, "The forge sends nothing to it any more: enable it there.")
    missing = [] if "*" in events else [one for one in needs if one not in events]
    if missing:
        return Hook(observed, f"It lacks the events {', '.join(missing)}.")
    return Hook(observed)
