"""The examples of docs/reference/manifest.md: a tree's files, and what is recognized in them."""

import re
from dataclasses import dataclass
from pathlib import Path

from host.app.dependencies.install import Tools
from host.app.inspection import report, table

PAGE = Path(__file__).parents[4] / "docs/reference/manifest.md"
TOOLS = Tools(
    "/v/uv", "/usr/bin/python3", "/usr/bin/python3 Python 3.12.3", "/usr/bin/npm", "v22.1"
)
TITLE = re.compile(r"^### (.+)$", re.MULTILINE)
BLOCK = re.compile(r"^`([^`\n]+)`( prints)?:\n\n```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Example:
    """One example; `printed` is what `detect.sh` prints on a host that has all that is needed."""

    title: str
    files: dict[str, str]
    printed: str

    def write(self, root: Path) -> None:
        """Write the files below `root`."""
        for name, text in self.files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


def read_examples() -> list[Example]:
    """Return the examples of the page."""
    text = PAGE.read_text().partition("\n## Examples\n")[2].partition("\n## ")[0]
    titles = list(TITLE.finditer(text))
    ends = [*(match.start() for match in titles[1:]), len(text)]
    return [
        _read_example(match[1], text[match.end() : end])
        for match, end in zip(titles, ends, strict=True)
    ]


def _read_example(title: str, text: str) -> Example:
    blocks = BLOCK.findall(text)
    files = {name: body for name, prints, body in blocks if not prints}
    [printed] = [body for _, prints, body in blocks if prints]
    return Example(title, files, printed)


def print_report(root: Path) -> str:
    """Return what `detect.sh` prints for the folder on a host with `TOOLS` and every program."""
    found = report.build_report(root, TOOLS, lambda name: f"/usr/bin/{name}")
    return "".join(f"{line}\n" for line in table.format_report(found))
