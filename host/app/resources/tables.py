"""The tables of `oroboros.toml`: what they have in common, and the one of services.

As `host.app.manifest_schema`, import it only to read a manifest: it needs pydantic.
"""

from pydantic import BaseModel, ConfigDict, Field


class Table(BaseModel):
    """A table of `oroboros.toml`. Its fields have the manifest's names, their aliases the file's.

    A field that the file does not set stays unset: another file or detection may decide it.
    """

    model_config = ConfigDict(extra="forbid")


class Services(Table):
    """Servers that the application has for itself, in each preview and in production."""

    redis: bool = Field(
        default=False, strict=True, description="whether it has a Redis server, at REDIS_URL"
    )
