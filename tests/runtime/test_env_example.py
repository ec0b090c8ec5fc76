"""Every setting that the code reads is in .env.example, and nothing else is."""

import re

from oroboros.lib import config as configuration

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
