"""One table of the API's operations: Flask's routes, the reading of requests and the OpenAPI document come from it."""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, ValidationError
from pydantic.json_schema import models_json_schema

from retint.errors import InvalidRequest
from retint_web.api.messages import Problem
from retint_web.security import require_admin, takes_files

JSON: Final = "application/json"
OCTETS: Final = "application/octet-stream"
BINARY: Final = {"type": "string", "format": "binary"}
PARAMETER: Final = re.compile(r"<(?:(\w+):)?(\w+)>")

View = Callable[..., Any]


@dataclass(frozen=True)
class Operation:
    """One thing that the API can do."""

    name: str
    method: str
    path: str
    """As Flask's rules: `/batches/<uuid:batch_id>`."""
    summary: str
    answer: type[BaseModel] | str
    """The answer's model, or the media type of what is no JSON."""
    status: int
    query: type[BaseModel] | None
    body: type[BaseModel] | str | None
    """The body's model, or the media type of a raw one."""
    headers: dict[str, str]
    """Optional headers that it reads, each with its meaning."""
    for_admins: bool


@dataclass(frozen=True)
class Table:
    """The operations of one blueprint."""

    blueprint: Blueprint
    operations: list[Operation] = field(default_factory=list)

    def operation(
        self,
        method: str,
        path: str,
        answer: type[BaseModel] | str,
        *,
        status: int = 200,
        query: type[BaseModel] | None = None,
        body: type[BaseModel] | str | None = None,
        headers: dict[str, str] | None = None,
        for_admins: bool = False,
    ) -> Callable[[View], View]:
        """Make a function an operation. It gets `query` and `body` as models, and returns the answer's model.

        The function's name and the first line of its docstring name and explain the operation.
        """

        def register(view: View) -> View:
            summary = (view.__doc__ or "").partition("\n")[0]
            entry = Operation(
                view.__name__, method, path, summary, answer, status, query, body, headers or {}, for_admins
            )
            self.operations.append(entry)
            serve = takes_files(_serving(entry, view)) if isinstance(body, str) else _serving(entry, view)
            self.blueprint.add_url_rule(path, view.__name__, serve, methods=[method])
            return view

        return register

    def document(self, title: str, version: str, server: str) -> dict[str, Any]:
        """Write the OpenAPI 3.1 document."""
        models = {Problem: "serialization"} | {
            model: mode
            for entry in self.operations
            for model, mode in ((entry.body, "validation"), (entry.answer, "serialization"))
            if isinstance(model, type)
        }
        refs, definitions = models_json_schema(list(models.items()), ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
        schemas = {model: schema for (model, _), schema in refs.items()}
        paths: dict[str, dict[str, Any]] = {}
        for entry in self.operations:
            path = PARAMETER.sub(r"{\2}", entry.path)
            paths.setdefault(path, {})[entry.method.lower()] = _described(entry, schemas)
        return {
            "openapi": "3.1.0",
            "info": {"title": title, "version": version},
            "servers": [{"url": server}],
            "security": [{"token": []}],
            "paths": paths,
            "components": {
                "schemas": definitions["$defs"],
                "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            },
        }


def _serving(entry: Operation, view: View) -> Callable[..., ResponseReturnValue]:
    @functools.wraps(view)
    def serve(**values: Any) -> ResponseReturnValue:
        if entry.for_admins:
            require_admin()
        if entry.query is not None:
            values["query"] = _read(entry.query, request.args.to_dict())
        if isinstance(entry.body, type):
            values["body"] = _read(entry.body, request.get_data(cache=False) or b"{}")
        answer = view(**values)
        if isinstance(answer, BaseModel):
            return Response(answer.model_dump_json(), entry.status, content_type=JSON)
        return answer  # type: ignore[no-any-return]

    return serve


def _read(model: type[BaseModel], given: dict[str, str] | bytes) -> BaseModel:
    """Read a query or a JSON body.

    Raises:
        InvalidRequest: names the first field that does not fit.
    """
    try:
        return model.model_validate_json(given) if isinstance(given, bytes) else model.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidRequest(f"{where}: {first['msg']}." if where else f"{first['msg']}.") from error


def _described(entry: Operation, schemas: dict[Any, Any]) -> dict[str, Any]:
    answer = {"description": "Done."} | _content(entry.answer, schemas)
    problem = {"description": "Refused, or not possible now."} | {
        "content": {"application/problem+json": {"schema": schemas[Problem]}}
    }
    described: dict[str, Any] = {
        "operationId": entry.name,
        "summary": entry.summary,
        "parameters": [*_path_parameters(entry), *_query_parameters(entry), *_header_parameters(entry)],
        "responses": {str(entry.status): answer, "default": problem},
    }
    if entry.answer == OCTETS:
        described["responses"]["302"] = {"description": "The file is at the signed address in `Location`."}
    if entry.body is not None:
        described["requestBody"] = {"required": True} | _content(entry.body, schemas)
    if entry.for_admins:
        described["tags"] = ["administration"]
    return described


def _content(kind: type[BaseModel] | str, schemas: dict[Any, Any]) -> dict[str, Any]:
    if isinstance(kind, str):
        return {"content": {kind: {"schema": BINARY}}}
    return {"content": {JSON: {"schema": schemas[kind]}}}


def _path_parameters(entry: Operation) -> list[dict[str, Any]]:
    kinds = {"uuid": {"type": "string", "format": "uuid"}}
    return [
        {"name": name, "in": "path", "required": True, "schema": kinds.get(kind, {"type": "string"})}
        for kind, name in PARAMETER.findall(entry.path)
    ]


def _query_parameters(entry: Operation) -> list[dict[str, Any]]:
    if entry.query is None:
        return []
    schema = entry.query.model_json_schema()
    definitions, required = schema.get("$defs", {}), schema.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in required, "schema": _inlined(property_, definitions)}
        for name, property_ in schema["properties"].items()
    ]


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """Put definitions where they are referred to: a parameter's schema stands alone."""
    if isinstance(schema, list):
        return [_inlined(part, definitions) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return {name: _inlined(part, definitions) for name, part in schema.items()}


def _header_parameters(entry: Operation) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "header", "required": False, "description": meaning, "schema": {"type": "string"}}
        for name, meaning in entry.headers.items()
    ]
