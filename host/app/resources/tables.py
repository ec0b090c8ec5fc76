"""The tables of `oroboros.toml`: what they have in common, and those of services and pictures.

As `host.app.manifest_schema`, import it only to read a manifest: it needs pydantic.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

HEALTH_PATH = r"^/[!-~]{0,199}$"
MAX_SCREENSHOTS = 5


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


class Screenshots(Table):
    """The pages of which the run's page has pictures, of its preview and of production."""

    paths: Annotated[
        list[Annotated[str, Field(pattern=HEALTH_PATH)]], Field(max_length=MAX_SCREENSHOTS)
    ] = Field(default=["/"], description="their paths; by default / alone, with [] none")
