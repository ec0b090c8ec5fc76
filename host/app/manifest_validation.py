"""Validates the data of a manifest's file, and says in our words what is wrong, and where.

Like the models it uses, import it only to read a manifest: it needs pydantic.
"""

import difflib
from collections.abc import Iterable
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from host.app.manifest_file import KeyPath, ManifestFile
from host.app.manifest_schema import (
    MAX_CHECK_SECONDS,
    MAX_STOP_SECONDS,
    AppJson,
    Approval,
    Backend,
    CheckTable,
    Database,
    Frontend,
    OroborosToml,
    ProcessTable,
    Screenshots,
    Services,
)
from host.app.process_types.background import MAX_PROCESSES
from host.app.resources.tables import MAX_SCREENSHOTS
from host.errors import Refused

Model = TypeVar("Model", bound=BaseModel)

SECONDS = "give a number of seconds from 1 to {}"
TABLES: dict[str, type[BaseModel]] = {
    "approval": Approval,
    "frontend": Frontend,
    "backend": Backend,
    "database": Database,
    "screenshots": Screenshots,
    "services": Services,
}
# What to write, by pydantic's type of the error.
# Source: https://docs.pydantic.dev/latest/errors/validation_errors/
PROBLEMS = {
    "string_type": "give a string in quotes",
    "bool_type": "give true or false",
    "tuple_type": "give a list of strings in brackets",
    "list_type": "give a list of strings in brackets",
    "string_too_short": "give a sentence of 1 to 200 characters",
    "string_too_long": "give a sentence of 1 to 200 characters",
    "too_long": "give at most 20 sentences",
    "missing": "a check needs `run`, its command",
}
# An untrusted file may have a mistake in each of 100,000 lines, and each search reads all of it.
MAX_ERRORS = 20
HEALTH_PATH_PROBLEM = "give a path that starts with / and has no blanks or control characters"


def validate_toml(file: ManifestFile, data: object) -> OroborosToml:
    """Return the data of `oroboros.toml`. Raises Refused `manifest_invalid`, `command_refused`."""
    return _validate(OroborosToml, file, data)


def validate_app_json(file: ManifestFile, data: object) -> AppJson:
    """Return the data of `app.json`. Raises Refused as `validate_toml`."""
    return _validate(AppJson, file, data)


def _validate(model: type[Model], file: ManifestFile, data: object) -> Model:
    try:
        return model.model_validate(data)
    except ValidationError as invalid:
        errors = invalid.errors(include_url=False, include_input=False)[:MAX_ERRORS]
        first = min(errors, key=lambda error: file.find_line(_key(error)))
        raise _refusal(file, first) from None


def _key(error: ErrorDetails) -> KeyPath:
    """Return the table and the key that the error is about, not what lies deeper in its value."""
    path = (*error["loc"], *error.get("ctx", {}).get("key", ()))
    return tuple(str(part) for part in path[:2])


def _refusal(file: ManifestFile, error: ErrorDetails) -> Refused:
    context = error.get("ctx", {})
    if "problem" in context:  # one of manifest_schema's own
        return file.refuse(
            _within_check(error, context["problem"]), *_key(error), code=error["type"]
        )
    return file.refuse(_within_check(error, _describe(file, error)), *_key(error))


def _within_check(error: ErrorDetails, problem: str) -> str:
    """Name the part of a check that is wrong; `run` may be a command that stands for the whole."""
    match error["loc"]:
        case ("checks", _, "timeout" | "directory" as part):
            return f"{part}: {problem}"
        case ("processes", _, str() as part) if error["type"] != "extra_forbidden":
            return f"{part}: {problem}"
    return problem


def _describe(file: ManifestFile, error: ErrorDetails) -> str:
    location = error["loc"]
    match error["type"]:
        case "extra_forbidden":
            return _describe_unknown(str(location[-1]), _known_keys(location[:-1]))
        case "string_pattern_mismatch" if location[-1] == "[key]":
            return f"a name here matches {error['ctx']['pattern']}"
        case "string_pattern_mismatch" if location[0] == "approval":
            return "give sentences on one line, without blanks at their ends"
        case "too_long" if location[0] == "screenshots":
            return f"give at most {MAX_SCREENSHOTS} paths"
        case "string_pattern_mismatch":
            return HEALTH_PATH_PROBLEM
        case "int_type" | "greater_than_equal" | "less_than_equal" if location[0] == "formation":
            return f"quantity: give a whole number from 0 to {MAX_PROCESSES}"
        case "float_type" | "greater_than_equal" | "less_than_equal":
            is_check = location[0] == "checks"
            return SECONDS.format(MAX_CHECK_SECONDS if is_check else MAX_STOP_SECONDS)
        case "model_type" | "dict_type" if file.name.endswith(".json"):
            return "give an object in braces"
        case "model_type" | "dict_type":
            return f"write it as a table: [{location[0]}]"
    # Any other error would be a constraint that was added to the models and not to PROBLEMS.
    return PROBLEMS.get(error["type"], error["msg"])


def _known_keys(table: tuple[int | str, ...]) -> list[str]:
    """Return the keys that a table of `oroboros.toml` has."""
    model: type[BaseModel] = OroborosToml
    if table[:1] == ("checks",):
        model = CheckTable
    elif table[:1] == ("processes",):
        model = ProcessTable
    elif table:
        model = TABLES[str(table[0])]
    return [field.alias or name for name, field in model.model_fields.items()]


def _describe_unknown(key: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
    return f"the key {key} is unknown; {hint}"
