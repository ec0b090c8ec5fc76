"""The variables by which an application finds its mail server: in previews our SMTP sink.

Pure functions. See `runs.mail.sink`.
"""

HOST = "127.0.0.1"
BANNER = "Oroboros mail sink"
# Under these names frameworks and their tutorials read the server: Django and django-environ
# (EMAIL_*), Rails (SMTP_ADDRESS), Node and FastAPI's template (SMTP_HOST, SMTP_TLS).
HOST_NAMES = ("SMTP_HOST", "SMTP_ADDRESS", "EMAIL_HOST")
PORT_NAMES = ("SMTP_PORT", "EMAIL_PORT")
# The sink has no certificate. "0": what reads a number accepts it, and so does what reads a word.
TLS_NAMES = ("SMTP_TLS", "SMTP_SSL", "EMAIL_USE_TLS", "EMAIL_USE_SSL")
NAMES = frozenset((*HOST_NAMES, *PORT_NAMES, *TLS_NAMES, "EMAIL_URL"))


def build_variables(port: int) -> dict[str, str]:
    """Return the variables of an application whose mail goes to the sink on that port."""
    return {
        **dict.fromkeys(HOST_NAMES, HOST),
        **dict.fromkeys(PORT_NAMES, str(port)),
        **dict.fromkeys(TLS_NAMES, "0"),
        # Source: django-environ, `email_url`; dj-email-url reads the same.
        "EMAIL_URL": f"smtp://{HOST}:{port}",
    }
