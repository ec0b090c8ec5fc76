"""What `oroboros.toml` and `app.json` may hold, as pydantic models.

`python -m host.app.manifest_schema` prints docs/oroboros.schema.json. Import this module only to
read a manifest: pydantic takes 0.1 to 0.2 s to import.
"""

import json
import re
import sys
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    field_validator,
    model_validator,
)
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import PydanticCustomError

from host.app import command_line, command_policy, environment_policy
from host.app.command_line import Argv, CommandLineInvalid
from host.app.manifest import CHECK_SECONDS, PROCESS_STOP_SECONDS
from host.app.process_types.background import MAX_PROCESSES, NOT_IN_THE_BACKGROUND, TYPE_NAME
from host.app.resources import extensions, storage
from host.app.resources.tables import HEALTH_PATH, Screenshots, Services, Table
from host.errors import Refused

MAX_CHECK_SECONDS = 3600
MAX_STOP_SECONDS = 300
CHECK_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$"
VARIABLE_NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"
# `*` only as the last part: a pattern of a path's middle would need a language of its own.
ROUTE_PART = "/[A-Za-z0-9._~!$&'()+,;=:@-]+"
ROUTE_PATH = rf"^(?=/)(?!(.*/)?\.\.?(/|$))({ROUTE_PART})*(/\*?)?$"
# Which the surface answers itself.
SURFACE_PATHS = ("/health", "/healthz", "/readyz", "/.well-known/oroboros")
ITEM = r"^[^\s\x00-\x1f\x7f]([^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f])?$"
STORAGE_NAME = r"^[a-z][a-z0-9_]{0,29}$"
RELATIVE_PATH = r"^(?!/)(?!(.*/)?\.\.(/|$))[^\\\u0000-\u001f]+$"


def _invalid(problem: str, code: str = "manifest_invalid", *key: str) -> PydanticCustomError:
    """Return an error whose `ctx` has our own text; its location is to be continued by `key`."""
    return PydanticCustomError(code, "{problem}", {"problem": problem, "key": key})


def _read_text(text: str) -> str:
    if "\0" in text:
        raise _invalid("there is a NUL in it: take it out")
    # JSON can write it, pydantic lets it pass, and UTF-8 cannot encode it.
    if command_line.SURROGATE.search(text):
        raise _invalid("there is half of a surrogate pair in it: take it out")
    return text


def _read_path(path: str) -> str:
    # Not pydantic's own `pattern`: its regular expressions have no look-ahead.
    if not re.fullmatch(RELATIVE_PATH, path):
        raise _invalid("give a path within the tree, relative, without `..`")
    return str(PurePosixPath(path))


def _read_command(value: object) -> Argv:
    try:
        return command_policy.parse_command(value)
    except CommandLineInvalid as error:
        raise _invalid(str(error)) from None
    except Refused as refused:
        raise _invalid(refused.detail.removesuffix("."), refused.code) from None


def _read_commands(value: object) -> tuple[Argv, ...]:
    # A list of strings is one command, a list of lists is several.
    if isinstance(value, list) and value and all(isinstance(item, list) for item in value):
        return tuple(_read_command(item) for item in value)
    return (_read_command(value),)


def _read_route_path(path: str) -> str:
    if not re.fullmatch(ROUTE_PATH, path):
        raise _invalid("give a path such as /admin/* or /graphql; a * is only its last part")
    if path in SURFACE_PATHS:
        raise _invalid("the surface answers this path itself: take it out")
    return path


def _read_variable_name(name: str) -> str:
    if not environment_policy.can_manifest_set(name):
        hint = command_line.SCRIPT_EXAMPLE.format(name=name)
        raise _invalid(
            "Oroboros sets it or forbids it: take it out. A command that needs it goes into an "
            f"executable file of the tree, {hint}"
        )
    return name


def _read_process_type(name: str) -> str:
    if name in NOT_IN_THE_BACKGROUND:
        raise _invalid(f"{name} is not described here: write its keys under [backend]")
    return name


def _read_extension(name: str) -> str:
    if not re.fullmatch(extensions.NAME, name):
        raise _invalid(f"{name!r} is not the name of an extension of PostgreSQL, such as citext")
    return name


def _read_check(value: object) -> object:
    """Read a command that stands for a whole check."""
    return value if isinstance(value, dict) else {"run": value}


Line = Annotated[str, Field(min_length=1)]
Item = Annotated[str, Field(min_length=1, max_length=200, pattern=ITEM)]
Words = Annotated[list[str], Field(min_length=1)]
SeveralWords = Annotated[list[Words], Field(min_length=1)]
Text = Annotated[str, AfterValidator(_read_text)]
RelativePath = Annotated[
    str, AfterValidator(_read_path), Field(json_schema_extra={"pattern": RELATIVE_PATH})
]
ExtensionName = Annotated[
    str, AfterValidator(_read_extension), Field(json_schema_extra={"pattern": extensions.NAME})
]
Command = Annotated[Argv, PlainValidator(_read_command, json_schema_input_type=Line | Words)]
Commands = Annotated[
    tuple[Argv, ...],
    PlainValidator(_read_commands, json_schema_input_type=Line | Words | SeveralWords),
]


class Frontend(Table):
    """The part that is built once and served as files."""

    frontend_dir: RelativePath = Field(
        default="", alias="directory", description="the folder that has the frontend"
    )
    frontend_install: Commands = Field(
        default=(), alias="install", description="runs in place of the detected install"
    )
    frontend_build: Commands = Field(default=(), alias="build", description="makes the output")
    frontend_output: RelativePath = Field(
        default="", alias="output", description="the folder that is served, within `directory`"
    )
    frontend_spa: bool = Field(
        default=False,
        strict=True,
        alias="spa",
        description="whether a path that is no file shows index.html (a single-page application); "
        "else 404.html",
    )


class Backend(Table):
    """The part that runs as processes."""

    backend_dir: RelativePath = Field(
        default="", alias="directory", description="the folder that has the backend"
    )
    backend_install: Commands = Field(
        default=(), alias="install", description="runs in place of the detected install"
    )
    backend_build: Commands = Field(default=(), alias="build", description="runs after the install")
    web: Command = Field(default=(), description="starts the backend; wins over the Procfile")
    release: Command = Field(
        default=(), description="migrates the database; wins over the Procfile"
    )
    health_path: Annotated[str, Field(pattern=HEALTH_PATH)] = Field(
        default="", description="answers 2xx when the backend is healthy"
    )
    stop_timeout: float = Field(
        default=0,
        strict=True,
        ge=1,
        le=MAX_STOP_SECONDS,
        description="the seconds that its requests have to end when another release replaces it",
    )


class Database(Table):
    """The database of the target branch, which previews are cloned from."""

    seed: Command = Field(default=(), description="fills that database once, after `release`")
    extensions: tuple[ExtensionName, ...] = Field(
        default=(), description="PostgreSQL's extensions that exist before `release` runs"
    )


class Approval(Table):
    """What an approver confirms; that of the target branch counts, not the branch's own."""

    checklist: Annotated[list[Item], Field(max_length=20)] = Field(
        default=[], description="sentences, each of which an approver has to tick"
    )


class CheckTable(Table):
    """A command that must succeed before a branch ships."""

    run: Command
    timeout: float = Field(default=CHECK_SECONDS, strict=True, ge=1, le=MAX_CHECK_SECONDS)
    directory: RelativePath = "."


class ProcessTable(Table):
    """What neither Procfile nor app.json can say about a process other than `web`."""

    run: Command = Field(default=(), description="starts it; wins over the Procfile")
    preview: bool = Field(
        default=True, strict=True, description="whether previews start it; production always does"
    )
    stop_timeout: float = Field(
        default=PROCESS_STOP_SECONDS,
        strict=True,
        ge=1,
        le=MAX_STOP_SECONDS,
        description="the seconds that it has to end after SIGTERM; at most 10 in a preview",
    )
    directory: RelativePath = Field(default=".", description="the folder in which it runs")
    port: bool = Field(
        default=False,
        strict=True,
        description="whether it is a server: it gets a PORT of its own, and [routes] lead to it",
    )
    health_path: Annotated[str, Field(pattern=HEALTH_PATH)] = Field(
        default="", description="answers 2xx when a process with a port is healthy"
    )

    @model_validator(mode="after")
    def check_port(self) -> "ProcessTable":
        if self.port and not self.preview:
            raise _invalid("a process with a port runs in previews too: take `preview` out")
        if self.health_path and not self.port:
            raise _invalid("only a process with a port has a health_path: add `port = true`")
        if self.port and "stop_timeout" in self.model_fields_set:
            raise _invalid("a process with a port has the stop_timeout of [backend]: set that")
        return self


CheckEntry = Annotated[
    CheckTable, BeforeValidator(_read_check, json_schema_input_type=Line | Words | CheckTable)
]
CheckName = Annotated[str, Field(pattern=CHECK_NAME)]
ProcessType = Annotated[str, Field(pattern=TYPE_NAME), AfterValidator(_read_process_type)]
MappedName = Annotated[str, Field(pattern=VARIABLE_NAME), AfterValidator(_read_variable_name)]
RoutePath = Annotated[
    str, AfterValidator(_read_route_path), Field(json_schema_extra={"pattern": ROUTE_PATH})
]
StorageName = Annotated[str, Field(pattern=STORAGE_NAME)]
ONLY_SUCH_NAMES: dict[str, Any] = {"additionalProperties": False}


class OroborosToml(Table):
    """The whole of `oroboros.toml`."""

    model_config = ConfigDict(title="oroboros.toml")

    # Factories, because a default value would appear in the JSON Schema.
    frontend: Frontend = Field(default_factory=Frontend)
    backend: Backend = Field(default_factory=Backend)
    database: Database = Field(default_factory=Database)
    services: Services = Field(default_factory=Services)
    routes: dict[RoutePath, str] = Field(
        default={},
        json_schema_extra=ONLY_SUCH_NAMES,
        description="a path of the frontend's address, and the process type that answers it",
    )
    approval: Approval = Field(default_factory=Approval)
    screenshots: Screenshots = Field(default_factory=Screenshots)
    checks: dict[CheckName, CheckEntry] = Field(default={}, json_schema_extra=ONLY_SUCH_NAMES)
    env: dict[MappedName, Text] = Field(default={}, json_schema_extra=ONLY_SUCH_NAMES)
    processes: dict[ProcessType, ProcessTable] = Field(
        default={}, json_schema_extra=ONLY_SUCH_NAMES
    )
    storage: dict[StorageName, RelativePath] = Field(
        default={},
        json_schema_extra=ONLY_SUCH_NAMES,
        description="folders of the tree that are kept over releases, each with a name",
    )

    @field_validator("storage")
    @classmethod
    def check_folders(cls, folders: dict[str, str]) -> dict[str, str]:
        for name, path in folders.items():
            if path == ".":
                raise _invalid("name a folder of the tree, not all of it", "manifest_invalid", name)
        overlap = storage.find_overlap(folders)
        if overlap is not None:
            problem = f"it lies in the folder of {overlap[1]}: storage does not nest"
            raise _invalid(problem, "manifest_invalid", overlap[0])
        return folders


class AppVariable(BaseModel):
    """A variable of `app.json`: a default, or what to do without one."""

    default: Text | None = None
    is_generated: bool = False
    is_required: bool = False


def _read_app_variable(value: object) -> object:
    """Read Heroku's ways to write a variable: its value, or an object that describes it."""
    entry = value if isinstance(value, dict) else {"value": value}
    default = entry.get("value")
    # bool is a subclass of int.
    if isinstance(default, str | int | float) and not isinstance(default, bool):
        return {"default": str(default)}
    if entry.get("generator") == "secret":
        return {"is_generated": True}
    if default is not None or not isinstance(value, dict):
        raise _invalid("give a string, or an object with `value`")
    return {"is_required": bool(entry.get("required", True))}


def _check_keys(value: object, pattern: str, problem: str) -> object:
    for name in value if isinstance(value, dict) else ():
        if not re.fullmatch(pattern, name):
            raise _invalid(problem, "manifest_invalid", name)
    return value


class AppScripts(BaseModel):
    """The scripts of `app.json` that mean something here."""

    postdeploy: Command | None = None

    @field_validator("postdeploy", mode="before")
    @classmethod
    def ignore_empty(cls, value: object) -> object:
        return value or None


def _read_addon(value: object) -> object:
    """Read a plan, such as `heroku-redis:mini`, or an object that has one."""
    return value.get("plan") if isinstance(value, dict) else value


class AppQuantity(BaseModel):
    """How many processes of a type run; `size` is that of Heroku's machines."""

    quantity: int = Field(default=1, strict=True, ge=0, le=MAX_PROCESSES)
    size: Any = None


class AppJson(BaseModel):
    """The keys of Heroku's `app.json` that mean something here; the others are ignored.

    Source: https://devcenter.heroku.com/articles/app-json-schema
    """

    scripts: AppScripts = Field(default_factory=AppScripts)
    addons: list[Annotated[Text, BeforeValidator(_read_addon)]] = []
    env: dict[str, Annotated[AppVariable, BeforeValidator(_read_app_variable)]] = {}
    formation: dict[str, AppQuantity] = {}

    # Here and not by the keys' type: pydantic's location of a key with half of a surrogate pair,
    # which JSON can write, does not have that key.

    @field_validator("env", mode="before")
    @classmethod
    def check_names(cls, value: object) -> object:
        return _check_keys(value, VARIABLE_NAME, "that is not the name of a variable")

    @field_validator("formation", mode="before")
    @classmethod
    def check_types(cls, value: object) -> object:
        return _check_keys(value or {}, TYPE_NAME, "that is not the name of a process type")


class _SchemaGenerator(GenerateJsonSchema):
    """Leaves out titles, which repeat the keys, and defaults, which are only our markers."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def default_schema(self, schema: Any) -> dict[str, Any]:
        return self.generate_inner(schema["schema"])


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of `oroboros.toml`."""
    schema = OroborosToml.model_json_schema(schema_generator=_SchemaGenerator)
    return {"$schema": _SchemaGenerator.schema_dialect, **schema}


if __name__ == "__main__":
    json.dump(json_schema(), sys.stdout, indent=2)
    sys.stdout.write("\n")
