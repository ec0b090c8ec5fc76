"""Reads which settings a Django project uses, and what they need. Nothing of it is executed."""

import ast
import re
from collections.abc import Iterator, Mapping, Sequence

from host.app.command_line import Argv
from host.errors import ApplicationRefused
from host.files.source_tree import SourceTree

COLLECT_STATIC = ("python", "manage.py", "collectstatic", "--noinput")
SETTINGS_NAME = "DJANGO_SETTINGS_MODULE"
# `os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site.settings")`, or an assignment.
NAMED_SETTINGS = re.compile(rf"{SETTINGS_NAME}['\"]\]?\s*[,=]\s*['\"]([\w.]+)['\"]")
STATIC_ROOT = re.compile(r"^STATIC_ROOT\s*[:=]", re.MULTILINE)
SERVED_MODULE = re.compile(r"([\w.]+\.[wa]sgi)(?::\w+)?")
# `from channels.routing import ProtocolTypeRouter`; `INSTALLED_APPS = ["daphne", "channels"]`.
IMPORTED_CHANNELS = re.compile(r"^\s*(?:from|import)\s+channels\b", re.MULTILINE)
INSTALLED_CHANNELS = re.compile(r"""^[^#\n]*["']channels["']""", re.MULTILINE)
MANAGE_FILES = ("manage.py", "./manage.py")
# What may leave out a call in a statement, so that its variable is not needed.
BRANCHES = (ast.IfExp, ast.BoolOp, ast.Lambda, ast.comprehension)


def read_settings(tree: SourceTree, folder: str) -> tuple[str, str]:
    """Return the settings module that manage.py names, and its text with those that it imports."""
    module = _read_named_settings(tree, f"{folder}/manage.py")
    texts = _read_settings(tree, folder, module).values() if module else ()
    return module, "\n".join(texts)


def find_collect_static(tree: SourceTree, folder: str) -> tuple[Argv, ...]:
    """Return the build that collects static files, if the settings say where to.

    Heroku's buildpack runs it for each Django project; DISABLE_COLLECTSTATIC is its way out.
    Source: https://devcenter.heroku.com/articles/django-assets
    """
    _, text = read_settings(tree, folder)
    if STATIC_ROOT.search(text) and "django.contrib.staticfiles" in text:
        return (COLLECT_STATIC,)
    return ()


def uses_channels(tree: SourceTree, folder: str, asgi: str) -> bool:
    """Return whether there is an ASGI application at that path, and it uses channels.

    Also if the settings do. gunicorn serves no WebSocket; a project without channels has none.
    """
    if not tree.has_file(asgi):
        return False
    _, settings = read_settings(tree, folder)
    is_imported = IMPORTED_CHANNELS.search(tree.read_source(asgi))
    return bool(is_imported or INSTALLED_CHANNELS.search(settings))


def check_settings(
    tree: SourceTree, folder: str, commands: Sequence[Argv], known: Mapping[str, str]
) -> None:
    """Check that a Django project's commands use one settings module, and that it has its values.

    `known` are the variables that are set. Raises Refused `manifest_invalid` for settings that the
    server does not use, or that fail for want of a variable, with the line to write.
    """
    managed = _read_named_settings(tree, f"{folder}/manage.py")
    served = _find_served_settings(tree, folder, commands)
    module = known.get(SETTINGS_NAME) or (served[1] if served else managed)
    if SETTINGS_NAME not in known and managed and served and managed != served[1]:
        _refuse_other_settings(managed, served, commands)
    # A file of their own may have the values.
    if managed and module and not tree.has_file(f"{folder}/.env"):
        missing = {
            path: [name for name in list_required_variables(text) if name not in known]
            for path, text in _read_settings(tree, folder, module).items()
        }
        _refuse_missing({path: names for path, names in missing.items() if names})


def _refuse_other_settings(managed: str, served: tuple[str, str], commands: Sequence[Argv]) -> None:
    if not any(set(MANAGE_FILES) & set(argv) for argv in commands):
        return
    detail = (
        f"manage.py uses {managed}, and {served[0]} uses {served[1]}, so migrations would run with "
        f'other settings than the server: write {SETTINGS_NAME} = "{served[1]}" below [env] in '
        "oroboros.toml."
    )
    raise _refuse("manage.py", detail)


def _refuse_missing(missing: Mapping[str, Sequence[str]]) -> None:
    """Raise Refused with the variables that each file lacks, unless there are none."""
    if not missing:
        return
    required = "; ".join(f"{path} requires {', '.join(names)}" for path, names in missing.items())
    path, names = next(iter(missing.items()))
    detail = (
        f"{required}. Set each of them below [env] in oroboros.toml, such as {names[0]} = "
        '"${OROBOROS_SECRET}" for a generated secret, or have the operator set it in '
        "worker-preview.env, app.env and build.env."
    )
    raise _refuse(path, detail)


def list_required_variables(text: str) -> list[str]:
    """Return the variables that a settings module reads whatever happens, and without a default.

    It knows django-environ's `env("NAME")` and `os.environ["NAME"]`, in statements that are
    executed always.
    """
    try:
        module = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return []
    defaults = _find_declared(module)
    names = [
        name
        for statement in module.body
        if isinstance(statement, (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Expr))
        and not any(isinstance(node, BRANCHES) for node in ast.walk(statement))
        for node in ast.walk(statement)
        for name in _read_required(node)
    ]
    return [name for name in dict.fromkeys(names) if name not in defaults]


def _read_required(node: ast.AST) -> Iterator[str]:
    """Yield the variable that an expression requires."""
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
        is_environ = ast.unparse(node.value) in ("os.environ", "environ")
        arguments = [node.slice] if is_environ else []
    elif isinstance(node, ast.Call) and not node.keywords:
        is_env = re.fullmatch(r"env(\.(str|bool|int|float|list|json|url))?", ast.unparse(node.func))
        arguments = node.args if is_env and len(node.args) == 1 else []
    else:
        arguments = []
    for argument in arguments:
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            yield argument.value


def _find_declared(module: ast.Module) -> set[str]:
    """Return the names with a default in `environ.Env(NAME=(type, default))`."""
    calls = [node for node in ast.walk(module) if isinstance(node, ast.Call)]
    found = [call for call in calls if ast.unparse(call.func).endswith("Env")]
    return {keyword.arg for call in found for keyword in call.keywords if keyword.arg}


def _find_served_settings(
    tree: SourceTree, folder: str, commands: Sequence[Argv]
) -> tuple[str, str] | None:
    """Return the file of the server's application, and the settings that it names."""
    for argv in commands:
        for word in argv:
            match = SERVED_MODULE.fullmatch(word)
            path = match[1].replace(".", "/") + ".py" if match else ""
            module = _read_named_settings(tree, f"{folder}/{path}") if path else ""
            if module:
                return path, module
    return None


def _read_named_settings(tree: SourceTree, path: str) -> str:
    match = NAMED_SETTINGS.search(tree.read_source(path))
    return match[1] if match else ""


def _read_settings(tree: SourceTree, folder: str, module: str) -> dict[str, str]:
    """Return the texts of the settings module and of those that it imports all names of."""
    texts: dict[str, str] = {}
    waiting = [module]
    while waiting:
        path = waiting.pop().replace(".", "/")
        for name in (f"{path}.py", f"{path}/__init__.py"):
            if name in texts or not tree.has_file(f"{folder}/{name}"):
                continue
            texts[name] = tree.read_source(f"{folder}/{name}")
            package = name.rpartition("/")[0].replace("/", ".")
            waiting += _list_imported(texts[name], package)
    return texts


def _list_imported(text: str, package: str) -> list[str]:
    """Return the modules that a text of the package has an `import *` of."""
    found = re.findall(r"^from (\.?)([\w.]+) import \*", text, re.MULTILINE)
    return [f"{package}.{name}".strip(".") if dot else name for dot, name in found]


def _refuse(path: str, detail: str) -> ApplicationRefused:
    return ApplicationRefused("manifest_invalid", detail, fields={"file": path})
