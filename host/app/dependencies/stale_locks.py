"""Finds what a project asks for and its lock file does not have: such an install lacks it silently.

Only for lock files whose tool is not asked to compare them: uv, which would compare the addresses
of the index too (the operator may have another one), and Pipenv, whose lock file uv reads.
"""

import re
from collections.abc import Iterator
from typing import Any

from host.app.dependencies.project_files import Table, get_table
from host.app.dependencies.version_ranges import is_satisfied, parse_version

# A requirement of PEP 508: its name, extras, and versions in parentheses or not.
REQUIREMENT = re.compile(r"\s*([\w.-]+)\s*(?:\[([^]]*)\])?\s*\(?([^;@)]*)")
# Others, such as `==1.0-alpha`, uv writes in another form than the project.
PLAIN_SPECIFIER = re.compile(r"(?:[<>=!~]=|[<>])\d+(?:\.\d+)*(?:\.\*)?")
# Keys of uv's requirements that come from elsewhere than an index: they have no version.
UV_SOURCES = frozenset({"git", "url", "path", "directory", "editable", "virtual", "workspace"})


def find_missing_in_uv_lock(project: Table, lock: Table, path: str = ".") -> list[str]:
    """Return the dependencies of the `[project]` that its package in uv.lock does not have.

    `path` is the project's folder, relative to the lock file's.
    """
    wanted = get_table(project, "project").get("dependencies")
    locked = _find_uv_requirements(lock, path)
    if not isinstance(wanted, list) or locked is None:
        return []
    return [str(text) for text in wanted if not any(_is_locked(str(text), one) for one in locked)]


def _find_uv_requirements(lock: Table, path: str) -> list[Table] | None:
    """Return what uv.lock says that the project itself requires; None if it is not in it."""
    packages = lock.get("package")
    for package in packages if isinstance(packages, list) else []:
        source = get_table(package, "source")
        if path in (source.get("virtual"), source.get("editable"), source.get("directory")):
            listed = get_table(package, "metadata").get("requires-dist")
            return [one for one in listed if isinstance(one, dict)] if listed else []
    return None


def _is_locked(text: str, locked: Table) -> bool:
    match = REQUIREMENT.match(text)
    if match is None:
        return True  # which uv reports
    if _normalize(match[1]) != _normalize(str(locked.get("name", ""))):
        return False
    extras = _split(match[2] or "") <= {str(extra) for extra in locked.get("extras", [])}
    return extras and (bool(UV_SOURCES & locked.keys()) or _has_specifier(locked, match[3]))


def _has_specifier(locked: Table, text: str) -> bool:
    wanted, found = _split(text), _split(str(locked.get("specifier", "")))
    return wanted == found or not all(map(PLAIN_SPECIFIER.fullmatch, wanted | found))


def _normalize(name: str) -> str:
    """Return the name of a package as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _split(text: str) -> set[str]:
    """Return the parts of a specifier or of extras, whose order and blanks say nothing."""
    return {"".join(part.split()) for part in text.split(",") if part.strip()}


def find_missing_in_pipfile_lock(pipfile: Table, lock: Table) -> list[str]:
    """Return the `[packages]` of a Pipfile that its lock file does not have in such a version."""
    locked = {_normalize(name): one for name, one in get_table(lock, "default").items()}
    return list(_list_missing_packages(get_table(pipfile, "packages"), locked))


def _list_missing_packages(wanted: Table, locked: dict[Any, Any]) -> Iterator[str]:
    for name, value in wanted.items():
        text = value.get("version", "*") if isinstance(value, dict) else value
        specifier = "" if text == "*" else str(text)
        found = locked.get(_normalize(name))
        if found is None or not _is_in(specifier, found):
            yield f"{name}{specifier}"


def _is_in(specifier: str, package: Any) -> bool:
    version = package.get("version") if isinstance(package, dict) else None
    if not (version and specifier):  # a package of a version control or of a file has no version
        return True
    return is_satisfied(parse_version(version), specifier) is not False
