"""What differs between two commits, from git's machine formats.

The list of files comes from NUL-separated records, and the lines of a patch from the counts in its
hunks' headers, so that no content and no file name can be taken for another file or line.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from host.git.git_commands import ABSENT, list_changes_argv, patch_argv, read_sizes_argv
from host.git.git_process import GitProcess, to_text
from host.visible_text import decode

STATUSES = {
    "A": "added",
    "C": "copied",
    "D": "deleted",
    "M": "modified",
    "R": "renamed",
    "T": "type changed",
}
KINDS = {"120000": "link", "160000": "submodule"}
HUNK = re.compile(rb"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
LINE_KINDS = {b"+": "add", b"-": "del", b"\\": "note"}
LIST_BYTES = 16 * 1024 * 1024  # of the list of the files that differ: about 100,000 of them
# Of a patch, with its context: what is shown of a difference is less.
PATCH_BYTES = 48 * 1024 * 1024
# A pathspec names the path itself, whatever characters it has.
LITERAL = {"GIT_LITERAL_PATHSPECS": "1"}

# The kind of a line ("hunk", "add", "del", "note", or "" for context), and the line with its sign.
PatchLine = tuple[str, bytes]


@dataclass(frozen=True)
class ChangedFile:
    """A file, link or submodule that two commits have differently.

    Modes are git's, "" where it does not exist. `added` and `deleted` are numbers of lines, None
    if git takes it for binary. `old_path` is that of a renamed or copied file, else None.
    """

    path: str
    status: str
    old_path: str | None = None
    old_mode: str = ""
    new_mode: str = ""
    old_id: str = ABSENT
    new_id: str = ABSENT
    added: int | None = 0
    deleted: int | None = 0

    @property
    def is_binary(self) -> bool:
        return self.added is None

    @property
    def kind(self) -> str:
        """`file`, `link` or `submodule`: what it is afterwards, or what was deleted."""
        return KINDS.get(self.new_mode or self.old_mode, "file")

    @property
    def has_new_mode(self) -> bool:
        return bool(self.old_mode and self.new_mode) and self.old_mode != self.new_mode

    @property
    def line_count(self) -> int:
        return (self.added or 0) + (self.deleted or 0)

    @property
    def is_moved(self) -> bool:
        """Whether it was renamed or copied."""
        return self.old_path is not None


def list_changes(
    git: GitProcess, old: str, new: str, *, paths: Sequence[str] = (), find_moves: bool = True
) -> list[ChangedFile]:
    """Return every file that differs, or those of `paths`; without `find_moves` none is renamed.

    Raises Refused `git_output_too_large` for a list that is longer than LIST_BYTES.
    """
    argv = list_changes_argv(git.path, old, new, paths, find_moves=find_moves)
    return parse_changes(git.read_bytes(argv, more_env=LITERAL, limit=LIST_BYTES))


def read_patches(
    git: GitProcess, old: str, new: str, files: Sequence[ChangedFile], *, is_all: bool
) -> dict[str, list[PatchLine]]:
    """Return the lines of the files' patches by path. `is_all`: the two commits differ in no other.

    A file without lines, such as a binary one or a link whose mode alone changed, has none.
    """
    if is_all:
        return _read_patches(git, old, new, files, paths=(), find_moves=True)
    # With some of the paths git might find other renames, so moved files are read one by one.
    plain = [file.path for file in files if file.line_count and not file.is_moved]
    found = _read_selected(git, old, new, plain, find_moves=False) if plain else {}
    for file in files:
        if file.is_moved and file.line_count:
            both = [file.old_path or "", file.path]
            lines = _read_selected(git, old, new, both, find_moves=True)
            found[file.path] = lines.get(file.path, [])
    return found


def _read_selected(
    git: GitProcess, old: str, new: str, paths: Sequence[str], *, find_moves: bool
) -> dict[str, list[PatchLine]]:
    # A path that was a file and is a folder now selects the files in it too, so git says which
    # files the patch has.
    files = list_changes(git, old, new, paths=paths, find_moves=find_moves)
    return _read_patches(git, old, new, files, paths=paths, find_moves=find_moves)


def _read_patches(
    git: GitProcess,
    old: str,
    new: str,
    files: Sequence[ChangedFile],
    *,
    paths: Sequence[str],
    find_moves: bool,
) -> dict[str, list[PatchLine]]:
    argv = patch_argv(git.path, old, new, paths, find_moves=find_moves)
    return assign_sections(
        files, split_patch(git.read_bytes(argv, more_env=LITERAL, limit=PATCH_BYTES))
    )


def read_sizes(git: GitProcess, files: Iterable[ChangedFile]) -> dict[str, int]:
    """Return the sizes in bytes of the files' blobs, by id."""
    ids = {blob for file in files for blob in (file.old_id, file.new_id)} - {ABSENT}
    words = "".join(f"{blob}\n" for blob in sorted(ids)).encode()
    lines = git.run(read_sizes_argv(git.path), stdin=words).split("\n") if ids else []
    # A submodule's commit is not here: "<id> missing".
    pairs = (line.split(" ") for line in lines if line)
    return {blob: int(size) for blob, size in pairs if size.isdecimal()}


def parse_changes(raw: bytes) -> list[ChangedFile]:
    """Return the files that `git diff-tree --raw --numstat -z` printed: first raw, then counts."""
    tokens = iter(raw.split(b"\0")[:-1])
    files: list[ChangedFile] = []
    counts: list[tuple[int | None, int | None]] = []
    for token in tokens:
        if token.startswith(b":"):
            files.append(_parse_record(token, tokens))
        else:
            counts.append(_parse_counts(token, tokens))
    return [
        ChangedFile(**{**vars(file), "added": added, "deleted": deleted})
        for file, (added, deleted) in zip(files, counts, strict=True)
    ]


def _parse_record(token: bytes, tokens: Iterator[bytes]) -> ChangedFile:
    old_mode, new_mode, old_id, new_id, status = to_text(token[1:]).split(" ")
    path = decode(next(tokens))
    old_path = None
    if status[0] in "RC":
        old_path, path = path, decode(next(tokens))
    return ChangedFile(
        path=path,
        status=STATUSES[status[0]],
        old_path=old_path,
        old_mode=old_mode if int(old_mode) else "",
        new_mode=new_mode if int(new_mode) else "",
        old_id=old_id,
        new_id=new_id,
    )


def _parse_counts(token: bytes, tokens: Iterator[bytes]) -> tuple[int | None, int | None]:
    added, deleted, path = token.split(b"\t", 2)
    if not path:  # a moved file: both names follow
        next(tokens)
        next(tokens)
    # "-" stands for a binary file.
    return (None, None) if added == b"-" else (int(added), int(deleted))


def split_patch(raw: bytes) -> list[list[PatchLine]]:
    """Return the lines of each file's section of a patch, without the headers.

    Lines end at line feeds only. A hunk has exactly as many lines as its header counts, so that
    content is never read as a header.
    """
    sections: list[list[PatchLine]] = []
    old = new = 0
    for line in raw.split(b"\n"):
        sign = line[:1]
        if sign == b"\\" and sections:  # "\ No newline at end of file", within a hunk or after it
            sections[-1].append(("note", line))
        elif old or new:
            old, new = old - (sign != b"+"), new - (sign != b"-")
            sections[-1].append((LINE_KINDS.get(sign, ""), line))
        elif line.startswith(b"diff --git "):
            sections.append([])
        elif match := HUNK.match(line):
            old, new = (1 if count is None else int(count) for count in match.groups())
            sections[-1].append(("hunk", line))
    return sections


def assign_sections(
    files: Sequence[ChangedFile], sections: Sequence[list[PatchLine]]
) -> dict[str, list[PatchLine]]:
    """Return the sections by path; both are in the same order.

    A file that became another type (a link, say) has two: it is deleted and added. Raises
    ValueError if the numbers do not fit.
    """
    remaining = iter(sections)
    found = {}
    for file in files:
        lines = next(remaining, None)
        more = next(remaining, None) if file.status == "type changed" else []
        if lines is None or more is None:
            raise ValueError("the patch has fewer sections than files")
        found[file.path] = lines + more
    if next(remaining, None) is not None:
        raise ValueError("the patch has more sections than files")
    return found
