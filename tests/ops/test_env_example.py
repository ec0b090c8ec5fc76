"""Every setting that the code reads is in .env.example, with its default, and no other is."""

import ast
import importlib
import re

from host import config as configuration
from host.masking import control_secrets
from host.operator_settings import run_time
from tests.packages import PACKAGES

NAME = re.compile(r"[A-Z][A-Z0-9_]+")
# The functions that read a setting: its name is their first or second argument.
READERS = {
    "get", "get_seconds", "get_integer", "get_boolean", "get_choice", "get_names",
    "read_integer", "read_boolean", "read_choice", "read_origins", "read_networks",
    "env", "list", "db", "_words", "_read_argv",
}  # fmt: skip
# Variables of the host, of a web server, of a service manager, of a surface or of our scripts, and
# other constants that are looked up in a mapping.
NOT_SETTINGS = re.compile(
    r"HTTP_.*|NO_PROXY|WEB_.*|PG.*|PATH|CI|NOTIFY_SOCKET|JOURNAL_STREAM|MAINPID|SUDO_USER|DJANGO_SETTINGS_MODULE"
    r"|OROBOROS_ONLY|HOST_REFUSED|REQUEST_METHOD|CONTENT_TYPE|CONTENT_LENGTH|PORT|RAW_URI|SERVER_PROTOCOL"
)
# Names that the code builds from parts, or that only a script reads.
BUILT_NAMES = {
    "WORKER_SUBPROCESS_ENV_ALLOWLIST",
    "WORKER_SUBPROCESS_ENV_BLOCKLIST",
    "OROBOROS_PYTHON",
    "OIDC_VIEWER_GROUPS",
    "OIDC_APPROVER_GROUPS",
    "OIDC_OPERATOR_GROUPS",
}
# Names that only look like those of secrets.
NO_SECRETS = {
    "API_REQUESTS_PER_TOKEN",
    "GIT_SSH_KNOWN_HOSTS_FILE",
    "PASSWORD_SIGN_IN",
    "TOKEN_LIFETIME_DAYS",
}
EXAMPLE = (configuration.HOME / ".env.example").read_text()


def test_the_example_has_exactly_the_settings_that_are_read():
    built = BUILT_NAMES | set(run_time.NAMES)
    read = built | {name for _, name, _ in find_reads() if not NOT_SETTINGS.fullmatch(name)}
    listed = re.findall(r"^#?([A-Z][A-Z0-9_]+)=", EXAMPLE, re.MULTILINE)
    assert sorted(listed) == sorted(read)


def test_the_example_can_be_loaded_with_every_line_uncommented():
    uncommented = re.sub(r"^#(?=[A-Z_]+=)", "", EXAMPLE, flags=re.MULTILINE)
    configuration.load(configuration.parse_env(uncommented, ".env.example"))


def test_the_defaults_in_the_example_are_those_of_the_code():
    """For defaults that are a value or a constant; others depend on the host."""
    listed = dict(re.findall(r"^#([A-Z][A-Z0-9_]+)=(.*)$", EXAMPLE, re.MULTILINE))
    defaults = {
        name: format_value(value)
        for path, name, default in find_reads()
        if name in listed and default is not None
        and (value := evaluate(path, default)) not in (None, "", [])
    }  # fmt: skip
    assert {"WORKER_ALLOWED_COMMANDS", "OROBOROS_SLOTS", "RELEASES_KEEP", "ALLOWED_HOSTS"} <= set(
        defaults
    )
    assert {name: listed[name] for name in defaults} == defaults


def test_each_setting_whose_name_or_value_says_so_is_on_the_list_of_secrets():
    listed = dict(re.findall(r"^#?([A-Z][A-Z0-9_]+)=(.*)$", EXAMPLE, re.MULTILINE))
    suspicious = {
        name
        for name, value in listed.items()
        if re.search(r"SECRET|PASS|TOKEN|KEY|CREDENTIAL|_FILE$|DATABASE_URL|REMOTE", name)
        or re.search(r"://.*@", value)
    }
    secrets = {*control_secrets.VALUES, *control_secrets.ADDRESSES, *control_secrets.FILES}
    assert suspicious - secrets == NO_SECRETS
    assert secrets <= set(listed)


def find_reads():
    """Yield for each reading of a setting: the file, the name, and the default's node or None."""
    for package in PACKAGES:
        for path in (configuration.HOME / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and find_function_name(node) in READERS:
                    yield from find_setting(path, node)


def find_function_name(call):
    return getattr(call.func, "id", None) or getattr(call.func, "attr", None)


def find_setting(path, call):
    for position, argument in enumerate(call.args[:2]):
        is_text = isinstance(argument, ast.Constant) and isinstance(argument.value, str)
        if is_text and NAME.fullmatch(argument.value):
            keyword = [one.value for one in call.keywords if one.arg == "default"]
            defaults = keyword or call.args[position + 1 :]
            yield path, argument.value, defaults[0] if defaults else None
            return


def evaluate(path, node):
    """Return the value of an expression that needs only its module's names; else None."""
    module = ".".join(path.relative_to(configuration.HOME).with_suffix("").parts)
    try:
        return eval(  # the project's own code
            compile(ast.Expression(node), path, "eval"), vars(importlib.import_module(module))
        )
    except NameError:
        return None


def format_value(value):
    """Return a value as it is written in an env file."""
    if isinstance(value, list):
        return ",".join(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
