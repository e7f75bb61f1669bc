"""The page that describes the API to people. It is made from the OpenAPI document, so it says what that says."""

import re
from typing import Any, Final

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue
from markupsafe import Markup, escape

from retint_web.api import blueprint as api
from retint_web.security import public

blueprint = Blueprint("reference", __name__)

CODE: Final = re.compile("`([^`]+)`")
FORMATS: Final = {"uuid": "id (UUID)", "date-time": "time (RFC 3339)", "binary": "bytes"}
HASH: Final = "^[0-9a-f]{64}$"


@blueprint.get("/api")
@public
def show() -> ResponseReturnValue:
    """Show every operation of the API with its samples, to anyone."""
    document = api.describe()
    operations = [
        {"method": method.upper(), "path": path, "address": f"{method.upper()} {path}", **operation}
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    return render_template(
        "reference/show.html",
        document=document,
        server=document["servers"][0]["url"],
        errors=document["components"]["responses"],
        schemas=document["components"]["schemas"],
        by_tag={tag["name"]: [each for each in operations if tag["name"] in each["tags"]] for tag in document["tags"]},
        names={operation["operationId"]: operation for operation in operations},
    )


@blueprint.app_template_filter()
def list_fields(body: dict[str, Any], schemas: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the fields of a JSON body, as parameters are described."""
    [content] = body["content"].values()
    schema = schemas.get(content["schema"].get("$ref", "").rpartition("/")[2], {})
    required = schema.get("required", [])
    fields = schema.get("properties", {}).items()
    return [{"name": name, "required": name in required, "schema": field} for name, field in fields]


@blueprint.app_template_filter()
def mark_code(text: str) -> Markup:
    """Show what stands in backticks as code."""
    return Markup(CODE.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704  escaped before


@blueprint.app_template_filter()
def describe_schema(schema: dict[str, Any]) -> Markup:
    """Say in words what fits a schema, with links to those that have names."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return Markup('<a href="#schema-{0}">{0}</a>').format(name)
    for kinds in (schema.get("anyOf"), schema.get("oneOf")):
        if kinds and "properties" not in schema:
            return Markup(" or ").join(describe_schema(kind) for kind in kinds)
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return Markup(", ").join(Markup("<code>{}</code>").format(value) for value in values)
    if schema.get("type") == "array":
        parts = schema.get("items") or (schema.get("prefixItems") or [{}])[0]
        return Markup("list of ") + (describe_schema(parts) if parts else Markup("values")) + _bounds(schema, "Items")
    if isinstance(schema.get("additionalProperties"), dict):
        return Markup("object of names and ") + describe_schema(schema["additionalProperties"])
    return _describe_simple(schema)


def _describe_simple(schema: dict[str, Any]) -> Markup:
    kind = schema.get("type")
    if kind == "string":
        known = FORMATS.get(schema.get("format", ""), "SHA-256 in hex" if schema.get("pattern") == HASH else "text")
        return escape(known) + _bounds(schema, "Length")
    words = {"integer": "whole number", "boolean": "true or false", "null": "null", None: "anything"}
    return escape(words.get(kind, str(kind))) + _bounds(schema, "imum")


def _bounds(schema: dict[str, Any], ending: str) -> Markup:
    """Say from where to where a number goes, or how many characters or items there may be."""
    least, most = schema.get(f"min{ending}"), schema.get(f"max{ending}")
    unit = {"Items": " items", "Length": " characters", "imum": ""}[ending]
    if most is not None and least == most:
        return escape(f", {most:,}{unit}")
    if most is not None:
        return escape(f", {least} to {most:,}{unit}" if least is not None else f", at most {most:,}{unit}")
    return escape(f", at least {least}{unit}" if least else "")
