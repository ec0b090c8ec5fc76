"""Every setting that the code reads is in .env.example, and nothing else is."""

import ast
import importlib
import re

from host import config as configuration

READ = re.compile(
    r"""(?:\benv(?:\.\w+)?|\bget|\bseconds|_integer|_argv)\(\s*(?:values,|config,)?\s*"""
    r"""["']([A-Z][A-Z0-9_]+)["']"""
)
# What the host, a web server, a service manager or a script of ours says, and which surface it is.
NOT_OURS = re.compile(
    r"HTTP_.*|WEB_.*|PG.*|PATH|CI|NOTIFY_SOCKET|SUDO_USER|DJANGO_SETTINGS_MODULE|OROBOROS_ONLY"
)
# Read by name from pieces, or by a script.
PIECED = {
    "WORKER_SUBPROCESS_ENV_ALLOWLIST",
    "WORKER_SUBPROCESS_ENV_BLOCKLIST",
    "WORKER_ALLOWED_COMMANDS",
    "OROBOROS_PYTHON",
}


def test_the_example_has_exactly_the_names_that_are_read():
    read = set(PIECED)
    for room in ("oroboros", "slots", "releases", "runs"):
        for path in (configuration.HOME / room).rglob("*.py"):
            read |= {name for name in READ.findall(path.read_text()) if not NOT_OURS.match(name)}
    text = (configuration.HOME / ".env.example").read_text()
    told = re.findall(r"^#?([A-Z][A-Z0-9_]+)=", text, re.MULTILINE)
    assert sorted(told) == sorted(read)


def test_the_example_can_be_used_as_it_is():
    text = (configuration.HOME / ".env.example").read_text()
    uncommented = re.sub(r"^#(?=[A-Z_]+=)", "", text, flags=re.MULTILINE)
    configuration.load(configuration.parse_env(uncommented, ".env.example"))


def test_the_defaults_shown_are_those_of_the_code():
    """Those that are written as a value or a constant; others depend on the host."""
    text = (configuration.HOME / ".env.example").read_text()
    shown = dict(re.findall(r"^#([A-Z][A-Z0-9_]+)=(.*)$", text, re.MULTILINE))
    known = {
        name: default
        for room in ("oroboros", "slots", "releases", "runs")
        for path in (configuration.HOME / room).rglob("*.py")
        for name, default in defaults(path, set(shown))
    }
    assert {"WORKER_ALLOWED_COMMANDS", "OROBOROS_SLOTS", "RELEASES_KEEP", "ALLOWED_HOSTS"} <= set(
        known
    )
    assert {name: shown[name] for name in known} == known


def defaults(path, names):
    """Yield each of the names that the file reads with a default, and how an env file has it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            words = [one.value if isinstance(one, ast.Constant) else None for one in node.args]
            place = next((n for n, word in enumerate(words[:2]) if word in names), None)
            if place is None:
                continue
            named = [one.value for one in node.keywords if one.arg == "default"]
            for default in (named or node.args[place + 1 :])[:1]:
                value = constant(path, default)
                if value not in (None, "", []):
                    yield words[place], written(value)


def constant(path, node):
    """Return what the expression is where it needs nothing but its module's own names."""
    module = ".".join(path.relative_to(configuration.HOME).with_suffix("").parts)
    try:
        return eval(  # the project's own code
            compile(ast.Expression(node), path, "eval"), vars(importlib.import_module(module))
        )
    except NameError:
        return None


def written(value):
    """Return a value as an env file has it."""
    if isinstance(value, list):
        return ",".join(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
