"""What a run changes: the one source for its page, the approval page and the API; and what lies
between two commits.

Every changed file is listed. The lines of a file are left out if it is binary, too large, or if
the difference has too many lines in all; the file then says so, with the command that shows it.
"""

import shlex
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from django.conf import settings

from host.errors import Refused
from host.files.source_tree import FILE_BYTES
from host.git.bare_repository import Repository
from host.git.changes import ChangedFile, PatchLine
from host.git.commit_log import LogEntry
from host.postgres.schema_diff import Change
from host.visible_text import decode, make_line_visible, make_visible
from releases.rules import filter_migrations
from runs.models import Run
from runs.pipelines import schema_changes

MANIFEST = "oroboros.toml"
COMMITS = 200
# In a shell's single quotes a newline or an escape character would be hidden from its reader.
GLOB_CHARACTERS = frozenset("*?[\\:")


@dataclass(frozen=True)
class Limits:
    """How much of a difference is shown. Lines are added and deleted ones, without context."""

    file_lines: int
    total_lines: int
    file_bytes: int  # before and after
    total_bytes: int
    files: int
    line_characters: int


OVERVIEW = Limits(
    file_lines=1000,
    total_lines=4000,
    file_bytes=1024 * 1024,
    total_bytes=8 * 1024 * 1024,
    files=400,
    line_characters=2000,
)
SINGLE_FILE = Limits(
    file_lines=50_000,
    total_lines=50_000,
    file_bytes=16 * 1024 * 1024,
    total_bytes=16 * 1024 * 1024,
    files=10,
    line_characters=1_000_000,
)


@dataclass(frozen=True)
class ChangedCheck:
    """A check that the run changes: its text in oroboros.toml before and after; None: absent."""

    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class FileChange:
    """A changed file as people see it: what a name or a line would hide is marked.

    `lines` are pairs of kind and text, which is as it is and has to be marked where it is shown;
    they are empty if they are left out. `omitted` says what is left out and why, "" if all lines
    are shown. `command` shows the file in a clone.
    """

    path: str
    status: str
    kind: str = "file"
    old_path: str | None = None
    old_mode: str = ""
    new_mode: str = ""
    added: int | None = None
    deleted: int | None = None
    is_binary: bool = False
    is_migration: bool = False
    omitted: str = ""
    command: str = ""
    lines: Sequence[tuple[str, str]] = ()

    @property
    def has_new_mode(self) -> bool:
        return bool(self.old_mode and self.new_mode) and self.old_mode != self.new_mode

    @property
    def mode_change(self) -> str:
        """How the mode was changed, such as "mode 100644 → 100755"; "" if it was not."""
        return f"mode {self.old_mode} → {self.new_mode}" if self.has_new_mode else ""

    @property
    def patch(self) -> str:
        """The patch in git's form. It is to be read: marks keep it from being applied."""
        headers = [f"diff --git a/{self.old_path or self.path} b/{self.path}"]
        if self.has_new_mode:
            headers += [f"old mode {self.old_mode}", f"new mode {self.new_mode}"]
        elif self.status in ("added", "deleted"):
            mode = self.new_mode or self.old_mode
            headers.append(f"{'new' if self.status == 'added' else 'deleted'} file mode {mode}")
        if self.old_path is not None:
            move = "rename" if self.status == "renamed" else "copy"
            headers += [f"{move} from {self.old_path}", f"{move} to {self.path}"]
        if self.omitted:
            headers.append(f"[{self.omitted} {self.command}]")
        if self.lines:
            before = "/dev/null" if self.status == "added" else f"a/{self.old_path or self.path}"
            after = "/dev/null" if self.status == "deleted" else f"b/{self.path}"
            headers += [f"--- {before}", f"+++ {after}"]
        return "".join(
            f"{line}\n" for line in (*headers, *(make_visible(text) for _, text in self.lines))
        )


@dataclass(frozen=True)
class Difference:
    """What changes from `base_sha` to `commit_sha`.

    `files` are the paths of all changed files; `changes` are the same files, or those that were
    requested. `commits` are the newest of `commit_count`.
    """

    base_sha: str
    commit_sha: str
    commits: list[LogEntry] = field(default_factory=list)
    commit_count: int = 0
    files: list[str] = field(default_factory=list)
    migrations: list[str] = field(default_factory=list)
    checks: list[ChangedCheck] = field(default_factory=list)
    # What the migrations changed in the preview's schema; None until its backend was started.
    schema_changes: list[Change] | None = None
    changes: list[FileChange] = field(default_factory=list)

    @property
    def patch(self) -> str:
        return "".join(change.patch for change in self.changes)

    @property
    def omitted_count(self) -> int:
        """How many of the changes are not shown in full."""
        return sum(1 for change in self.changes if change.omitted)

    @property
    def omitted_commits(self) -> int:
        return self.commit_count - len(self.commits)

    @property
    def is_cut(self) -> bool:
        """Whether any line, file or commit is left out."""
        return bool(self.omitted_count or self.omitted_commits)


def compute_difference(run: Run, repo: Repository, path: str | None = None) -> Difference:
    """Return what the run's commit changes compared with the target branch; after shipping, what
    it changed then. With a `path`, as `files` has it, that file alone is shown, with larger limits.

    Raises Refused `no_commit` for a run that only holds a slot, `sha_unknown` (404) if git no
    longer has the commit, `target_unknown` if the target branch has not been fetched yet,
    `unrelated_history`, `path_unknown` (404).
    """
    if not run.commit_sha:
        raise Refused("no_commit", "The run only holds a slot and has no commit.")
    commit = repo.require_commit(run.candidate_sha or run.commit_sha)
    # Once the candidate is merged, the target branch contains the commit, and a merge base with it
    # would show no difference.
    base = run.base_sha if run.candidate_sha else _find_base(commit, repo)
    schema = schema_changes.read_schema_diff(run)
    compared = compare_commits(repo, base, commit, path)
    return replace(compared, schema_changes=schema.changes if schema else None)


def compare_commits(
    repo: Repository, base: str, commit: str, path: str | None = None
) -> Difference:
    """Return what changes from one commit to another that the repository has, related or not.

    `commits` are those that `commit` has and `base` has not. With a `path`, as `files` has it,
    that file alone is shown, with larger limits. Raises Refused `path_unknown` (404).
    """
    listed = repo.list_changes(base, commit)
    names = [make_line_visible(file.path) for file in listed]
    return Difference(
        base_sha=base,
        commit_sha=commit,
        commits=list_commits(repo, base, commit),
        commit_count=repo.count_commits(base, commit),
        files=names,
        migrations=filter_migrations(names),
        checks=_compare_checks(repo, base, commit) if MANIFEST in names else [],
        changes=_describe_changes(repo, base, commit, listed, path),
    )


def list_commits(repo: Repository, base: str, commit: str) -> list[LogEntry]:
    """Return the newest commits that `commit` has and `base` has not, to be shown as they are."""
    return [
        replace(
            entry,
            author=make_line_visible(entry.author),
            subject=make_line_visible(entry.subject),
        )
        for entry in repo.list_commits(base, commit, limit=COMMITS)
    ]


def _describe_changes(
    repo: Repository, base: str, commit: str, listed: Sequence[ChangedFile], path: str | None
) -> list[FileChange]:
    files = [file for file in listed if path in (None, make_line_visible(file.path))]
    if not files and path is not None:
        raise Refused("path_unknown", "No file of that path is changed.", status=404)
    limits = OVERVIEW if path is None else SINGLE_FILE
    sizes = repo.read_sizes(files)
    omitted = choose_omitted(files, sizes, limits)
    shown = [file for file in files if file.path not in omitted]
    patches = repo.read_patches(base, commit, shown, is_all=len(shown) == len(listed))
    return [
        describe_file(
            file, omitted.get(file.path, ""), patches.get(file.path, ()), limits, (base, commit)
        )
        for file in files
    ]


def choose_omitted(
    files: Iterable[ChangedFile], sizes: Mapping[str, int], limits: Limits
) -> dict[str, str]:
    """Return the files whose lines are left out, by path, each with the reason as a sentence.

    A file that is too large leaves the room to those after it.
    """
    omitted = {}
    lines = size = count = 0
    for file in files:
        if not file.line_count and not file.is_binary:  # renamed, or with another mode
            continue
        own = sizes.get(file.old_id, 0) + sizes.get(file.new_id, 0)
        if file.is_binary:
            omitted[file.path] = _describe_binary(file, sizes)
        elif file.line_count > limits.file_lines:
            omitted[file.path] = f"{file.line_count:,} changed lines are not shown."
        elif own > limits.file_bytes:
            omitted[file.path] = f"The lines of a file of {own:,} bytes are not shown."
        elif (
            lines + file.line_count > limits.total_lines
            or size + own > limits.total_bytes
            or count >= limits.files
        ):
            omitted[file.path] = "Not shown, because the run changes too much in all."
        else:
            lines, size, count = lines + file.line_count, size + own, count + 1
    return omitted


def _describe_binary(file: ChangedFile, sizes: Mapping[str, int]) -> str:
    before, after = (f"{sizes.get(blob, 0):,}" for blob in (file.old_id, file.new_id))
    return f"Binary, {before} bytes before and {after} after; not shown."


def describe_file(
    file: ChangedFile,
    omitted: str,
    lines: Sequence[PatchLine],
    limits: Limits,
    commits: tuple[str, str],
) -> FileChange:
    """Return the file as people see it."""
    shown = [(kind, decode(line)) for kind, line in lines]
    if not omitted and any(len(line) > limits.line_characters for _, line in shown):
        omitted = f"Lines are shown up to their character {limits.line_characters:,}."
    path = make_line_visible(file.path)
    return FileChange(
        path=path,
        status=file.status,
        kind=file.kind,
        old_path=make_line_visible(file.old_path) if file.old_path is not None else None,
        old_mode=file.old_mode,
        new_mode=file.new_mode,
        added=file.added,
        deleted=file.deleted,
        is_binary=file.is_binary,
        is_migration=bool(filter_migrations([path])),
        omitted=omitted,
        command=format_command(file, *commits),
        lines=[(kind, _cut_line(line, limits.line_characters)) for kind, line in shown],
    )


def _cut_line(line: str, limit: int) -> str:
    more = len(line) - limit
    return line if more <= 0 else f"{line[:limit]} … {more:,} more characters"


def format_command(file: ChangedFile, base: str, commit: str) -> str:
    """Return the command that shows the file's change in a clone; a binary file's, its content."""
    if file.is_binary:
        source = base if file.status == "deleted" else commit
        return f"git show {_quote(f'{source}:{file.path}')}"
    paths = [path for path in (file.old_path, file.path) if path is not None]
    literal = "--literal-pathspecs " if any(GLOB_CHARACTERS & {*path} for path in paths) else ""
    return f"git {literal}diff {base} {commit} -- {' '.join(map(_quote, paths))}"


def _quote(word: str) -> str:
    """Quote for a shell; what would be hidden, in the escapes of bash's $'…'."""
    if make_line_visible(word) == word:
        return shlex.quote(word)
    raw = word.encode("utf-8", "surrogateescape")
    escaped = "".join(
        chr(byte) if 0x20 <= byte < 0x7F and chr(byte) not in "\\'" else f"\\x{byte:02x}"
        for byte in raw
    )
    return f"$'{escaped}'"


def _compare_checks(repo: Repository, old: str, new: str) -> list[ChangedCheck]:
    before, after = _read_checks(repo, old), _read_checks(repo, new)
    return [
        ChangedCheck(name, before.get(name), after.get(name))
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    ]


def _read_checks(repo: Repository, commit: str) -> dict[str, str]:
    """Return the commit's checks as written, by name; {} if its manifest cannot be read."""
    try:
        raw = repo.read_file(commit, MANIFEST) or b""
        table = tomllib.loads(raw[:FILE_BYTES].decode()).get("checks")
        return (
            {make_visible(name): make_visible(str(check)) for name, check in table.items()}
            if isinstance(table, dict)
            else {}
        )
    # Refused: too large for a manifest. ValueError: also an integer of too many digits for Python.
    except (Refused, ValueError, RecursionError):
        return {}


def _find_base(commit: str, repo: Repository) -> str:
    """Return the merge base of the commit and the target branch."""
    name = settings.OROBOROS.target_branch
    # Our own ref of the target branch is created with the first candidate.
    target = repo.resolve_ref(f"refs/heads/{name}") or repo.find_branch_head(name)
    if target is None:
        raise Refused(
            "target_unknown",
            f"The branch {name} has not been fetched yet, so there is nothing to compare with.",
        )
    base = repo.find_merge_base(target, commit)
    if base is None:
        raise Refused(
            "unrelated_history",
            f"{commit[:12]} shares no history with {name}, so there is no difference to show.",
        )
    return base
