"""Which programs of the host an application's plan needs, and the package that brings each."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from host.app.dependencies import node_projects, toolchains
from host.app.planning import Plan
from host.errors import ApplicationRefused

# The packages of Debian and its derivatives.
PACKAGES = {
    **dict.fromkeys(node_projects.PROGRAMS, "nodejs npm"),
    "make": "make",
    "ruby": "ruby-full",
    "bundle": "ruby-bundler",
    "go": "golang-go",
    "php": "php-cli",
    "composer": "composer",
}


@dataclass(frozen=True)
class MissingProgram:
    """A program that this host lacks, what needs it, and the command that installs it."""

    name: str
    needed_by: str
    command: str


def find_missing_programs(
    plan: Plan, find_program: Callable[[str], str | None]
) -> list[MissingProgram]:
    """Return the host's programs that the plan needs and `find_program` does not find.

    Programs that the application's own packages may bring, such as gunicorn, are not listed.
    """
    needs: dict[str, str] = {}
    for program, purpose in _list_needs(plan):
        needs.setdefault(program, purpose)
    return [
        MissingProgram(name, purpose, f"apt-get install {PACKAGES[name]}")
        for name, purpose in needs.items()
        if find_program(name) is None
    ]


def require_toolchains(plan: Plan, find_program: Callable[[str], str | None]) -> None:
    """Raise ApplicationRefused `command_refused` if the host lacks the toolchain of a language.

    Of Ruby, PHP and Go: what Python and Node.js lack is found where it is needed.
    """
    names = {name for programs in toolchains.PROGRAMS.values() for name in programs}
    missing = [one for one in find_missing_programs(plan, find_program) if one.name in names]
    if missing:
        sentences = [f"{one.name}, for {one.needed_by}: {one.command}" for one in missing]
        detail = f"This host lacks {'; '.join(sentences)}. Have the operator install it."
        raise ApplicationRefused("command_refused", detail)


def _list_needs(plan: Plan) -> Iterator[tuple[str, str]]:
    """Yield the host's programs that the plan starts, and what starts each."""
    brought: set[str] = set()
    for install in plan.installs:
        for argv in (*install.commands, *install.custom_commands):
            yield from _name_host_program(argv, f"the install in {install.directory}", brought)
        if install.kind == "runtime":
            brought |= {"npm", "npx", "node"}
        if install.kind == "tool":  # npm brings the other package managers of Node.js
            brought |= {*node_projects.PROGRAMS} - {"npm", "npx", "node"}
    others = [plan.release, plan.seed, plan.web]
    background = [process.command for process in plan.processes]
    for command in (*plan.builds, *plan.checks, *(one for one in others if one), *background):
        yield from _name_host_program(command.argv, command.name, brought)


def _name_host_program(
    argv: Sequence[str], purpose: str, brought: set[str]
) -> Iterator[tuple[str, str]]:
    name = Path(argv[0]).name
    if name in PACKAGES and name not in brought:
        yield name, purpose
