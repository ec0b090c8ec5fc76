"""Completes the OpenAPI schema: the statuses of every view, and what its request bodies refuse."""

from collections.abc import Iterator, Mapping
from typing import Any

from drf_spectacular.plumbing import ResolvedComponent, force_instance
from rest_framework import serializers

AnyField = serializers.Field[Any, Any, Any, Any]
METHODS = {"get", "post", "put", "patch", "delete"}
STATUSES = {
    400: "The request is malformed, or a value is not allowed.",
    401: "The token or the session is missing or invalid.",
    403: "The requester may not do this.",
    404: "There is no such object.",
    406: "The requested content type is not available.",
    409: "A rule refuses this in the present state.",
    429: "Too many requests, or the queue is full; Retry-After says when to try again.",
    503: "The database or the host does not answer now.",
}
BODY_STATUSES = {
    413: "The body is too large.",
    415: "The content type of the body is not application/json.",
}
# What the addresses refuse as malformed; the views say so with 400.
PARAMETERS = {
    "run_id": {"format": "uuid", "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"},
    "release_id": {"pattern": "^r-[0-9]{14}-[0-9a-f]{12}$"},
    "slot_id": {"pattern": "^preview-?[1-9][0-9]?$"},
    "limit": {"minimum": 1},
    "from": {"minimum": -(10**15) + 1, "maximum": 10**15 - 1},
    "line": {"minimum": -(10**15) + 1, "maximum": 10**15 - 1},
    "lines": {"minimum": 1, "maximum": 9999},
    "grep": {"maxLength": 200},
    "generation": {"minimum": 0, "maximum": 10**9 - 1},
}
BODIES: dict[str, dict[str, Any]] = {
    # Only a run that is not prepared has neither.
    "CreateRunRequest": {
        "not": {"required": ["branch", "commit"]},
        "anyOf": [
            {"required": ["branch"]},
            {"required": ["commit"]},
            {"properties": {"prepare": {"const": False}}, "required": ["prepare"]},
        ],
    },
    # The host's own shell may leave it out.
    "ApproveRequest": {"required": ["commit_sha"]},
}
# drf-spectacular leaves out a body without fields.
EMPTY_BODY = {
    "content": {"application/json": {"schema": {"type": "object", "additionalProperties": False}}}
}
COMMIT = {"pattern": "^[0-9a-f]{40}$"}
# What the JSON parser refuses in any text, and what a field on a single line refuses besides.
CONTROLS = "\\u0000-\\u0008\\u000b\\u000c\\u000e-\\u001f"
LINE_CONTROLS = "\\u0000-\\u001f"
NO_NULL = "^[^\\u0000]*$"
ERROR = {
    "type": "object",
    "properties": {
        "error": {"type": "string", "description": "a stable code"},
        "detail": {"type": "string", "description": "a sentence"},
        "fields": {"type": "object", "additionalProperties": {"type": "string"}},
    },
    "required": ["error", "detail"],
}


def complete_schema(result: dict[str, Any], generator: Any, **kwargs: Any) -> dict[str, Any]:
    """drf-spectacular's hook: add the errors of every operation, and close the request bodies."""
    schemas = result["components"]["schemas"]
    schemas["Error"] = ERROR
    operations = list(_list_operations(result))
    for operation in operations:
        _add_errors(operation)
        for parameter in operation.get("parameters", ()):
            parameter["schema"] |= PARAMETERS.get(parameter["name"], {})
            _state_query_text(parameter)
    # Several operations can have the same body.
    for name in {name for operation in operations for name in _list_body_components(operation)}:
        serializer = force_instance(generator.registry[name, ResolvedComponent.SCHEMA].object)
        _close_body(schemas[name], BODIES.get(name, {}), serializer.fields)
    for operation in operations:
        _require_body(operation, schemas)
    _replace_nullable(result)
    return result


def _list_operations(result: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for methods in result["paths"].values():
        for method in METHODS & methods.keys():
            if method != "get":
                methods[method].setdefault("requestBody", EMPTY_BODY)
            yield methods[method]


def _state_query_text(parameter: dict[str, Any]) -> None:
    """State what `web.null_characters` refuses in the text of a query."""
    schema = parameter["schema"]
    is_free = schema.get("type") == "string" and not {"enum", "format", "pattern"} & schema.keys()
    if is_free and parameter["in"] == "query":
        schema["pattern"] = NO_NULL


def _add_errors(operation: dict[str, Any]) -> None:
    statuses = {**STATUSES, **(BODY_STATUSES if "requestBody" in operation else {})}
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    for status, text in statuses.items():
        answer = {"description": text, "content": content}
        if status == 401:
            answer["headers"] = {"WWW-Authenticate": {"schema": {"type": "string"}}}
        operation["responses"].setdefault(str(status), answer)


def _list_body_components(operation: dict[str, Any]) -> Iterator[str]:
    for media in operation.get("requestBody", {}).get("content", {}).values():
        reference = media["schema"].get("$ref")
        if reference:
            yield reference.rsplit("/", 1)[1]


def _close_body(
    body: dict[str, Any], rules: dict[str, Any], fields: Mapping[str, AnyField]
) -> None:
    body |= {"additionalProperties": False, **rules}
    for name, schema in body.get("properties", {}).items():
        field = fields[name]
        _state_text(field, schema, name in body.get("required", ()))
        if schema.get("type") == "array":
            _state_text(getattr(field, "child", field), schema["items"], is_required=False)


def _require_body(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    for name in _list_body_components(operation):
        if "required" in schemas[name] or "anyOf" in schemas[name]:
            operation["requestBody"]["required"] = True


def _state_text(field: AnyField, schema: dict[str, Any], is_required: bool) -> None:
    """State which text the field takes: a required one, and a branch, must not be blank."""
    if "oneOf" in schema:  # with a pattern, and as the other case the empty text, which it allows
        schema |= schema.pop("oneOf")[0]
    if schema.get("type") != "string" or "format" in schema:
        return
    name = field.field_name
    if name in ("commit", "commit_sha"):
        schema |= COMMIT
        return
    pattern = schema.get("pattern", f"^[^{CONTROLS}\\u007f]*$")
    if not getattr(field, "multiline", False):
        pattern = pattern.replace(CONTROLS, LINE_CONTROLS)
    if is_required or name == "branch":
        characters = pattern.removeprefix("^[^").removesuffix("]*$")
        pattern = f"^[^{characters}]*[^{characters}\\s][^{characters}]*$"
    schema["pattern"] = pattern


def _replace_nullable(node: Any) -> None:
    """Say `nullable`, which OpenAPI 3.1 does not have, as one of the types."""
    if isinstance(node, list):
        for item in node:
            _replace_nullable(item)
    elif isinstance(node, dict):
        if node.pop("nullable", False) and isinstance(node.get("type"), str):
            node["type"] = [node["type"], "null"]
        for item in node.values():
            _replace_nullable(item)
