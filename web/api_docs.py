"""The API's documentation as a page: made from its schema, with nothing loaded from elsewhere."""

from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.views import APIView

from web.permissions import VIEW


class Docs(APIView):
    """Every address of the API with what it takes and answers."""

    abilities = {"GET": VIEW}

    @extend_schema(exclude=True)
    def get(self, request: Request) -> HttpResponse:
        schema = SchemaGenerator().get_schema(request=request, public=True)
        context = {
            "title": schema["info"]["title"],
            "description": schema["info"]["description"],
            "operations": list(_operations(schema)),
        }
        return render(request, "docs.html", context)


def _operations(schema: dict[str, Any]) -> Any:
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            yield {
                "method": method.upper(),
                "path": path,
                "text": operation.get("description", ""),
                "parameters": [
                    {**one, "type": one["schema"].get("type", "")}
                    for one in operation.get("parameters", ())
                    if one["in"] != "path"
                ],
                "takes": _fields(schema, operation.get("requestBody", {})),
                "gives": _fields(schema, next(iter(operation["responses"].values()))),
            }


def _fields(schema: dict[str, Any], holder: dict[str, Any]) -> list[dict[str, Any]]:
    """Return name, type and need of each field of a body; a list's are its items'."""
    content: dict[str, Any] = {}
    for body in holder.get("content", {}).values():
        content = body.get("schema", {})
    found = _resolved(schema, content)
    if found.get("type") == "array":
        found = _resolved(schema, found["items"])
    needed = found.get("required", ())
    return [
        {"name": name, "type": _type(schema, kind), "is_needed": name in needed}
        for name, kind in found.get("properties", {}).items()
    ]


def _resolved(schema: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in part:
        return part
    return schema["components"]["schemas"][part["$ref"].rsplit("/", 1)[1]]


def _type(schema: dict[str, Any], kind: dict[str, Any]) -> str:
    for alternative in (*kind.get("allOf", ()), *kind.get("oneOf", ())):
        kind = {**kind, **_resolved(schema, alternative)}
    kind = _resolved(schema, kind)
    if "enum" in kind:
        return " | ".join(map(str, kind["enum"]))
    name = kind.get("format") or kind.get("type", "any")
    if name == "array":
        name = f"list of {_type(schema, kind['items'])}"
    return f"{name} or null" if kind.get("nullable") else name
