"""The commands of the docs: what stands in a page's fenced bash blocks, under which heading."""

import re

from host import config

DOCS = config.HOME / "docs"
FENCED = re.compile(r"^## ([^\n]*)$|^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def sections(page):
    """Return the page's commands, one a line, by the heading they stand under ("" is the title)."""
    found, heading = {}, ""
    for title, block in FENCED.findall((DOCS / page).read_text()):
        heading = title or heading
        if block:
            found.setdefault(heading, []).extend(block.splitlines())
    return found


def follow(machine, commands, given, left_out=(), **environ):
    """Run the commands from top to bottom as a person would: `cd` stays, all must succeed.

    `given` is what stands in for the page's placeholders, `left_out` is not run.
    """
    place = "/srv/oroboros"
    for command in commands:
        if command in left_out:
            continue
        for placeholder, value in given.items():
            command = command.replace(placeholder, value)
        if command.startswith("cd "):
            place = command.removeprefix("cd ")
        machine.run(command, cwd=place, **environ)
