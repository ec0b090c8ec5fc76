"""The commands of the docs: the lines of a page's fenced bash blocks, by their headings."""

import re

from host import config

DOCS = config.HOME / "docs"
FENCED = re.compile(r"^## ([^\n]*)$|^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def read_commands(page):
    """Return the page's commands, one a line, by the heading above them ("" is the title)."""
    found, heading = {}, ""
    for title, block in FENCED.findall((DOCS / page).read_text()):
        heading = title or heading
        if block:
            found.setdefault(heading, []).extend(block.splitlines())
    return found


def run_commands(machine, commands, replacements, left_out=(), **environ):
    """Run the commands in order, as a person would: each must succeed, and `cd` stays in effect.

    `replacements` are the values of the page's placeholders; commands in `left_out` are not run.
    """
    folder = "/srv/oroboros"
    for command in commands:
        if command in left_out:
            continue
        for placeholder, value in replacements.items():
            command = command.replace(placeholder, value)
        if command.startswith("cd "):
            folder = command.removeprefix("cd ")
        machine.run(command, cwd=folder, **environ)
