"""What git and ssh print about a remote becomes the line of the cause and what repairs it."""

import pytest

from host.config import load
from host.git.remote_errors import explain_remote_error

FRAME = "@" * 59
KEY_TOO_OPEN = f"""{FRAME}
@         WARNING: UNPROTECTED PRIVATE KEY FILE!          @
{FRAME}
Permissions 0644 for '/etc/oroboros/key' are too open.
It is required that your private key files are NOT accessible by others.
This private key will be ignored.
Load key "/etc/oroboros/key": bad permissions
git@git.example.com: Permission denied (publickey).
fatal: Could not read from remote repository.
"""
HOST_KEY_CHANGED = f"""{FRAME}
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
{FRAME}
IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!
The fingerprint for the ED25519 key sent by the remote host is
SHA256:abc.
Offending ED25519 key in /etc/oroboros/known_hosts:1
Host key for [git.example.com]:2222 has changed and you have requested strict checking.
Host key verification failed.
fatal: Could not read from remote repository.
"""
NO_HOST_KEY = """No ED25519 host key is known for git.example.com and you have requested strict.
Host key verification failed.
fatal: Could not read from remote repository.
"""
CASES = {
    KEY_TOO_OPEN: ("Permissions 0644 for '/etc/oroboros/key'", "chmod 600 /etc/oroboros/key"),
    HOST_KEY_CHANGED: ("Host key for [git.example.com]:2222 has changed", "ssh-keygen -R"),
    NO_HOST_KEY: ("No ED25519 host key is known", "ssh-keyscan -p 2222 git.example.com >>/known"),
    'Load key "/k": Permission denied\ngit@h: Permission denied (publickey).': (
        'Load key "/k": Permission denied',
        "chmod 600 /k",
    ),
    "Warning: Identity file /k not accessible: No such file or directory.\n"
    "git@h: Permission denied (publickey).": ("Identity file /k not", "GIT_SSH_KEY_FILE"),
    'Load key "/k": error in libcrypto\ngit@h: Permission denied (publickey).': (
        "error in libcrypto",
        "unencrypted private key",
    ),
    "git@h: Permission denied (publickey,password).": ("Permission denied", "public key"),
    "ERROR: The key you are authenticating with has been marked as read only.\nfatal: Could": (
        "read only",
        "right to push",
    ),
    "fatal: could not read Username for 'https://h': terminal prompts disabled": (
        "could not read Username",
        "GIT_CREDENTIALS_FILE (/credentials)",
    ),
    "remote: Invalid\nfatal: Authentication failed for 'https://h/x.git/'": (
        "Authentication failed",
        "https://<user>:<token>@git.example.com",
    ),
    "fatal: unable to access 'https://h/': SSL certificate problem: self-signed certificate": (
        "SSL certificate problem",
        "SSL_CERT_FILE",
    ),
    "ssh: Could not resolve hostname h: Name or service not known\nfatal: Could not read": (
        "Could not resolve hostname",
        "HTTPS_PROXY",
    ),
    "ssh: connect to host h port 22: Connection refused\nfatal: Could not": (
        "Connection refused",
        "firewall",
    ),
    "remote: fatal: unable to create temporary object directory\n"
    "error: remote unpack failed: unable to create temporary object directory": (
        "unable to create temporary object directory",
        "./scripts/systemd-install-runtime.sh",
    ),
    "To h\n! [remote rejected] main -> main (protected branch hook declined)": (
        "[remote rejected]",
        "remote's settings",
    ),
    "To h\n!\tmain:refs/heads/main\t[rejected] (non-fast-forward)\nDone": (
        "non-fast-forward",
        "retry",
    ),
}


@pytest.mark.parametrize(("text", "expected"), CASES.items(), ids=[c[0] for c in CASES.values()])
def test_the_cause_and_what_mends_it_are_named(text, expected):
    config = load({"GIT_SSH_KNOWN_HOSTS_FILE": "/known", "GIT_CREDENTIALS_FILE": "/credentials"})
    found = explain_remote_error(text, config, "ssh://git@git.example.com:2222/x.git")
    cause, _, remedy = found.partition(". To fix it: ")
    assert expected[0] in cause
    assert expected[1] in remedy
    assert "\n" not in found
    assert "@@" not in found


def test_an_unknown_error_is_its_first_line_without_frames_and_warnings():
    text = f"{FRAME}\nwarning: redirecting\nfatal: the remote is odd\nhint: try later\n"
    assert explain_remote_error(text, load({}), "/r") == "fatal: the remote is odd"
    assert explain_remote_error("", load({}), "/r") == ""
