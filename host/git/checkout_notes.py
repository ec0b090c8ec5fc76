"""What the files of an exported commit lack in comparison with a developer's checkout.

Git runs no filters here, since a filter is a program that the configuration of a checkout names;
submodules and the contents of Git LFS are not fetched.
"""

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from host.git.git_commands import (
    attribute_files_argv,
    blob_argv,
    check_attributes_argv,
    list_tree_argv,
    read_blobs_argv,
)
from host.git.git_process import GitProcess, to_text
from host.visible_text import decode, make_line_visible

# https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md, "The Pointer"
LFS_HEADER = b"version https://git-lfs.github.com/spec/v1\n"
# The header, the hash and the size take 120 bytes at least; each extension adds about 80.
LFS_BYTES = range(100, 400)
BLOBS_AT_ONCE = 10_000  # of that size: their contents are in memory together
SUBMODULE_MODE = "160000"
# Attributes with an effect that is missing here.
ATTRIBUTES = ("filter", "export-ignore", "export-subst")
NAMED_FILES = 10


@dataclass(frozen=True)
class TreeEntry:
    """A file, link or submodule of a commit; `size` in bytes, None for a submodule."""

    mode: str
    object_id: str
    size: int | None
    path: bytes


@dataclass(frozen=True)
class LeftOut:
    """What a commit's files lack: paths, by kind. `attributes` has them by (name, value)."""

    submodules: list[str] = field(default_factory=list)
    pointers: list[str] = field(default_factory=list)
    attributes: Mapping[tuple[str, str], list[str]] = field(default_factory=dict)


def find_left_out(git: GitProcess, commit: str) -> LeftOut:
    """Return what the commit's files lack when they are exported."""
    entries = parse_tree(git.read_bytes(list_tree_argv(git.path, commit)))
    small = [entry for entry in entries if entry.size in LFS_BYTES]
    blobs = _read_blobs(git, [entry.object_id for entry in small])
    pointers = [
        entry.path
        for entry, blob in zip(small, blobs, strict=True)
        if blob.startswith(LFS_HEADER) and entry.mode.startswith("100")
    ]
    return LeftOut(
        submodules=[decode(one.path) for one in entries if one.mode == SUBMODULE_MODE],
        pointers=[decode(path) for path in pointers],
        attributes=_find_attributes(git, commit, entries),
    )


def _read_blobs(git: GitProcess, ids: Sequence[str]) -> Iterator[bytes]:
    for start in range(0, len(ids), BLOBS_AT_ONCE):
        names = "".join(f"{name}\n" for name in ids[start : start + BLOBS_AT_ONCE])
        yield from parse_blobs(git.read_bytes(read_blobs_argv(git.path), stdin=names.encode()))


def describe(left_out: LeftOut) -> list[str]:
    """Return a sentence for each kind of thing that is missing."""
    notes = [
        f"The submodule {make_line_visible(path)} was left out: previews and releases have no "
        "submodules."
        for path in left_out.submodules
    ]
    if left_out.pointers:
        contain = "contains" if len(left_out.pointers) == 1 else "contain"
        notes.append(
            f"Git LFS is not supported: {name_files(left_out.pointers)} {contain} the pointer that "
            "git has in place of the file. To show the files themselves, take them out of LFS: "
            "git lfs migrate export --include='<pattern>'."
        )
    for (name, value), paths in sorted(left_out.attributes.items()):
        effect = (
            f"The filter {make_line_visible(value)!r} does not run here, so these are as committed"
            if name == "filter"
            else f"{name} has an effect in `git archive` only; here these are as committed"
        )
        notes.append(f"{effect}: {name_files(paths)}.")
    return notes


def name_files(paths: Sequence[str]) -> str:
    """Return the paths as a list for a sentence, with the number of those that it omits."""
    named = ", ".join(make_line_visible(path) for path in paths[:NAMED_FILES])
    more = len(paths) - NAMED_FILES
    return f"{named} and {more} more" if more > 0 else named


def parse_tree(raw: bytes) -> list[TreeEntry]:
    """Return the entries that `git ls-tree -r -l -z` printed."""
    entries = []
    for record in raw.split(b"\0")[:-1]:
        header, _, path = record.partition(b"\t")
        mode, _, object_id, size = to_text(header).split()
        entries.append(TreeEntry(mode, object_id, int(size) if size != "-" else None, path))
    return entries


def parse_blobs(raw: bytes) -> Iterator[bytes]:
    """Yield the contents that `git cat-file --batch` printed."""
    position = 0
    while position < len(raw):
        end = raw.index(b"\n", position)
        start = end + 1
        size = int(raw[position:end].split(b" ")[2])
        yield raw[start : start + size]
        position = start + size + 1  # a line feed follows each content


def write_attribute_files(git: GitProcess, commit: str, folder: Path) -> bytes:
    """Write the commit's .gitattributes files below `folder`, which is empty.

    Returns their contents, one after the other.
    """
    records = git.read_bytes(attribute_files_argv(git.path, commit)).split(b"\0")
    contents = []
    for header, name in zip(records[::2], records[1::2], strict=False):
        _, mode, _, blob, _ = to_text(header).split(" ")
        if not mode.startswith("100"):  # git reads no attributes through a link
            continue
        path = folder / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        contents.append(git.read_bytes(blob_argv(git.path, blob)))
        path.write_bytes(contents[-1])
    return b"\n".join(contents)


def _find_attributes(
    git: GitProcess, commit: str, entries: Iterable[TreeEntry]
) -> dict[tuple[str, str], list[str]]:
    with tempfile.TemporaryDirectory(prefix="attributes-", dir=git.path) as scratch:
        texts = write_attribute_files(git, commit, Path(scratch))
        # Without this test each file of a large tree would be looked up three times.
        if not any(name.encode() in texts for name in ATTRIBUTES):
            return {}
        paths = b"".join(entry.path + b"\0" for entry in entries)
        raw = git.read_bytes(
            check_attributes_argv(git.path, ATTRIBUTES),
            more_env={"GIT_WORK_TREE": scratch},
            stdin=paths,
            cwd=Path(scratch),
        )
    return select_attributes(raw)


def select_attributes(raw: bytes) -> dict[tuple[str, str], list[str]]:
    """Return the paths by attribute and value from what `git check-attr -z` printed.

    Files of Git LFS are found by their content, so its filter is omitted.
    """
    words = raw.split(b"\0")
    found: dict[tuple[str, str], list[str]] = {}
    for path, name, value in zip(words[::3], words[1::3], words[2::3], strict=False):
        if value not in (b"unspecified", b"unset") and (name, value) != (b"filter", b"lfs"):
            found.setdefault((decode(name), decode(value)), []).append(decode(path))
    return found
