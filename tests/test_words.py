"""One word for one thing: the words that the code, its pages and its documentation do not use.

The list on the left is what a name must not contain; CONTRIBUTING.md has the words to use.
"""

import ast
import re
from pathlib import Path

import pytest

from tests.packages import PACKAGES

ROOT = Path(__file__).resolve().parents[1]
TEXTS = ("*.py", "*.html", "*.js", "*.css", "*.md", "*.sh", "*.service", "*.timer", "*.conf")

# Parts of the names of modules, functions, classes, arguments and variables.
NOT_IN_NAMES = {
    "activation": "deployment",
    "activations": "deployments",
    "ask": "request, acquire",
    "beat": "heartbeat",
    "beaten": "heartbeat",
    "beating": "heartbeat",
    "bell": "enqueue",
    "bells": "enqueue",
    "canary": "heartbeat",
    "carried": "execute",
    "carrier": "context",
    "carry": "execute",
    "chore": "periodic task",
    "chores": "periodic tasks",
    "desk": "admin actions",
    "doorbell": "enqueue",
    "habits": "detection",
    "mend": "fix, repair",
    "mended": "fix, repair",
    "netowner": "socket owner",
    "nobody": "none",
    "noted": "record",
    "nothing": "empty",
    "occupant": "backend",
    "offers": "available actions",
    "pointer": "current link",
    "rehearsal": "merge gate",
    "rehearse": "merge gate",
    "ring": "enqueue",
    "sing": "heartbeat",
    "somebody": "a user, a process",
    "standing": "queue status",
    "told": "report, record",
    "turns": "merge queue",
    "upkeep": "maintenance",
    "verb": "admin action",
    "verbs": "admin actions",
    "wayback": "rollback plan",
    "whoever": "the user, the process",
    "whose": "owner",
    "wish": "request",
    "workshop": "application commands",
}
# Names that are allowed nevertheless: keys of the API, and the Unix user `nobody`.
ALLOWED_NAMES = {"activation", "activations", "find_nobody"}
# Whole names of modules that held another thing than their name says; others hold it now.
NOT_MODULES = {
    "carrier",
    "ends",
    "gate",
    "habits",
    "holding",
    "launch",
    "line",
    "logins",
    "migrated",
    "names",
    "people",
    "policy",
    "pool",
    "seal",
    "shape",
    "shown",
    "statements",
    "tree",
    "variables",
    "walk",
    "way",
    "work",
    "workshop",
}
# Participles that do not say what a function does.
NOT_FUNCTIONS = {
    "carried",
    "entered",
    "given",
    "held",
    "kept",
    "known",
    "left",
    "made",
    "noted",
    "opened",
    "passed",
    "shown",
    "told",
}
# In prose, anywhere: docstrings, comments, messages, pages, documents.
NOT_IN_PROSE = (
    r"activations?(?=[\s.,;:)])(?<!/activations)(?! = Deployment)",
    r"anybody",
    r"bells?",
    r"canar(?:y|ies)",
    r"chores?",
    r"doorbells?",
    r"everybody",
    r"front page",
    r"for good",
    r"goes away",
    r"idle responder",
    r"in vain",
    r"line to ship",
    r"in the line for",
    r"machine said no",
    r"(?<![`\"'])(?:mends?|mended|mending)(?![`\"'])",
    r"(?<![`\"'=@/])nobody(?![`\"'@])",
    r"(?<![`\"'])occupants?(?![`\"'])",
    r"noted",
    r"rehears\w+",
    r"somebody",
    r"whoever",
    r"sings?",
    r"the machine said",
    r"upkeep",
    r"way ?back",
)
PROSE = re.compile(rf"\b(?:{'|'.join(NOT_IN_PROSE)})\b", re.IGNORECASE)
# What another program, the runbook or a contract calls so.
ALLOWED = ("uv_build", "DATABASE_URL", "test_words")


def python_files():
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


def text_files():
    folders = (*PACKAGES, "templates", "static", "docs", "scripts", "infra", "bench", "tests")
    for folder in folders:
        for pattern in TEXTS:
            yield from sorted((ROOT / folder).rglob(pattern))
    yield from sorted(ROOT.glob("*.md"))


def names(tree):
    """Return the names that a module defines, binds or takes, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno


def function_names(tree):
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return [node.name for node in ast.walk(tree) if isinstance(node, kinds)]


def parts(name):
    return [part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)]


def short(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", list(python_files()), ids=short)
def test_names_use_the_words_of_the_glossary(path):
    found = [(path.stem, 0), *names(ast.parse(path.read_text()))]
    wrong = {
        f"{name} (line {line}): say {NOT_IN_NAMES[part]}"
        for name, line in found
        for part in parts(name)
        if part in NOT_IN_NAMES and name not in ALLOWED_NAMES
    }
    assert not wrong
    assert path.stem not in NOT_MODULES
    functions = {name.lstrip("_") for name in function_names(ast.parse(path.read_text()))}
    assert not functions & NOT_FUNCTIONS


@pytest.mark.parametrize("path", list(text_files()), ids=short)
def test_prose_uses_the_words_of_the_glossary(path):
    if path == Path(__file__):
        return
    wrong = [
        f"line {number}: {match.group()}"
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1)
        for match in PROSE.finditer(line)
        if not any(allowed in line for allowed in ALLOWED)
    ]
    assert not wrong
