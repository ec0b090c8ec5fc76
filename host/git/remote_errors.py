"""What git and ssh print about a remote: the line that names the cause, and what repairs it.

Sources of the messages, in English (LC_ALL=C): OpenSSH 9 (sshconnect.c, sshkey.c, authfile.c),
git 2.39 (transport.c, http.c, credential.c, receive-pack.c), libcurl with OpenSSL and GnuTLS.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from host.config import SERVICE, Config

# ssh frames its warnings with these, above the line that names the cause.
FRAME = re.compile(r"@+|@ .*@")
REMOTE_LINES = 3
NOISE = re.compile(r"warning:|hint:|Warning: Permanently added", re.IGNORECASE)
ACCESS = "add the host's public key to the repository, with the right to push"
CREDENTIALS = "put https://<user>:<token>@{host} into GIT_CREDENTIALS_FILE ({credentials})"
REACH = "check that this host reaches {host}: its name, firewall, proxy (HTTPS_PROXY) and port"
CERTIFICATE = "set SSL_CERT_FILE in worker.env to a file that has your authority's certificate"
READABLE = "chown {service}: {file} and chmod 600 {file}"
# What a line says, and what repairs it. The first rule that fits any line wins: ssh names the cause
# before its consequence ("Permission denied", "Host key verification failed").
RULES = (
    (
        r"Permissions \d+ for '(?P<file>[^']+)' are too open",
        f"make it its owner's alone: {READABLE}",
    ),
    (
        r"Host key for (?P<named>\S+) has changed",
        "if the server really has a new key: ssh-keygen -R {named} -f {known_hosts}, then "
        "ssh-keyscan {port}{named} >>{known_hosts}, and compare its fingerprint",
    ),
    (
        r"No \S+ host key is known for (?P<named>\S+) and",
        "ssh-keyscan {port}{named} >>{known_hosts}, compare its fingerprint, and name that file in "
        "GIT_SSH_KNOWN_HOSTS_FILE",
    ),
    (
        r"(?:Warning: )?Identity file (?P<file>\S+) not accessible",
        f"correct GIT_SSH_KEY_FILE, or make the key readable: {READABLE}",
    ),
    (
        r"Load key \"(?P<file>[^\"]+)\": (?:Permission denied|No such file).*",
        f"correct GIT_SSH_KEY_FILE, or make the key readable: {READABLE}",
    ),
    (
        r"Load key \"(?P<file>[^\"]+)\": .*",
        "name an unencrypted private key in GIT_SSH_KEY_FILE, in OpenSSH's format",
    ),
    (r".*marked as read.?only.*|.*deploy key.*read.?only.*", ACCESS),
    (r".*Permission denied \(.*publickey.*", ACCESS),
    (
        r".*could not read (?:Username|Password) for .*|.*Authentication failed for .*",
        CREDENTIALS,
    ),
    (r".*The requested URL returned error: 40[13].*", CREDENTIALS),
    (r".*[Ss]erver certificate verification failed.*|.*SSL certificate problem.*", CERTIFICATE),
    (r".*(?:Could not resolve (?:host|hostname|proxy)|Name or service not known).*", REACH),
    (r".*(?:Connection refused|Connection timed out|Failed to connect to|unreachable).*", REACH),
    (
        r".*(?:Repository not found|repository .* not found|does not exist).*",
        "check the address, and that the host's key or token may read the repository",
    ),
    (
        r".*does not appear to be a git repository.*|.*invalid gitfile format.*",
        "name a repository; git clone --bare <folder> <name>.git makes one from a checkout",
    ),
    (
        r".*lazy fetching disabled.*",
        "the remote is a partial clone (--filter), which lacks files of its commits: name the "
        "repository that it was cloned from",
    ),
    (
        r".*Read-only file system.*|.*unable to create temporary object directory.*",
        f"below GIT_LOCAL_ROOTS {SERVICE} must be allowed to write: chown it, then "
        "./scripts/systemd-install-runtime.sh and ./scripts/runtime-up.sh",
    ),
    (
        r".*insufficient permission for adding an object.*|.*Permission denied.*",
        f"give {SERVICE} the repository's files, or its group: chown -R {SERVICE}: <path>",
    ),
    (
        r".*(?:protected branch|GH006|not allowed to push|pre-receive hook declined).*",
        "allow the host's account to push to the branch in the remote's settings",
    ),
    (
        r".*\((?:non-fast-forward|fetch first)\).*",
        "the remote's branch has commits that are not here: retry, which merges on top of them",
    ),
)
COMPILED: Sequence[tuple[re.Pattern[str], str]] = [(re.compile(a), b) for a, b in RULES]


def explain_remote_error(text: str, config: Config, remote: str) -> str:
    """Return the line of what git printed that names the cause, and what repairs it; "" if none.

    A cause that is unknown here is the first line that is no frame and no warning.
    """
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not FRAME.fullmatch(line)]
    for pattern, remedy in COMPILED:
        for line in lines:
            match = pattern.match(line)
            if match is not None:
                values = _list_values(config, remote, match.groupdict())
                fix = f"To fix it: {remedy.format_map(values)}"
                return f"{line.rstrip('.')}{_quote_remote(lines, line)}. {fix}"
    # The first line names the error; the last lines of a remote's answer are only advice.
    return next((line for line in lines if not NOISE.match(line)), lines[0] if lines else "")


def _quote_remote(lines: Sequence[str], cause: str) -> str:
    """Return what the remote itself says, such as a hook's reason, to follow the cause."""
    said = [line for line in lines if line.startswith("remote: ") and line != cause]
    return f" ({'; '.join(said[:REMOTE_LINES])})" if said else ""


def _list_values(config: Config, remote: str, found: Mapping[str, str]) -> dict[str, str]:
    parts = urlsplit(remote) if "://" in remote else urlsplit("")
    known_hosts = config.get("GIT_SSH_KNOWN_HOSTS_FILE") or "/etc/oroboros/known_hosts"
    quoted = {name: shlex.quote(value) for name, value in found.items() if value}
    return {
        "host": parts.hostname or "the remote",
        "port": f"-p {parts.port} " if parts.port else "",
        "known_hosts": shlex.quote(known_hosts),
        "credentials": config.get("GIT_CREDENTIALS_FILE") or "not set",
        "service": SERVICE if config.is_systemd else "$(id -un)",
        **quoted,
    }
