"""Render `src/` into `dist/`: assets get a name made from their content, the page names them.

python build.py            makes dist/
python build.py --check    only says whether it could
"""

import hashlib
import re
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "src"
PLACE = re.compile(r"\{\{ *([\w.]+) *\}\}")


def build(output: Path) -> dict[str, str]:
    """Write the site into `output` and return which asset got which name."""
    assets = output / "assets"
    assets.mkdir(parents=True)
    names = {}
    for path in sorted(SOURCE.iterdir()):
        if path.suffix == ".html":
            continue
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:10]
        names[path.name] = f"/assets/{path.stem}.{digest}{path.suffix}"
        shutil.copyfile(path, output / names[path.name].lstrip("/"))
    for page in SOURCE.glob("*.html"):
        (output / page.name).write_text(render(page.read_text(), names))
    return names


def render(text: str, names: dict[str, str]) -> str:
    """Fill in the assets' names; an unknown one is an error."""
    return PLACE.sub(lambda match: names[match[1]], text)


def main(arguments: list[str]) -> int:
    with tempfile.TemporaryDirectory(dir=HERE, prefix=".build-") as folder:
        fresh = Path(folder) / "dist"
        try:
            names = build(fresh)
        except KeyError as error:
            print(f"src/ has no asset {error}", file=sys.stderr)
            return 1
        if "--check" not in arguments:
            shutil.rmtree(HERE / "dist", ignore_errors=True)
            fresh.rename(HERE / "dist")
    print(f"built a page and {len(names)} assets")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
