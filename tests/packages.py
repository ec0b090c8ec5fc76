"""The packages of the project, for the tests that read its sources."""

# A package may import those before it in the list, and itself. See docs/decisions/0014.
PACKAGES = (
    "host",
    "core",
    "web",
    "accounts",
    "slots",
    "releases",
    "runs",
    "forges",
    "notifications",
    "ops",
    "oroboros",
)
