"""The API's operations, each defined once: Flask's route, request parsing and the OpenAPI document follow from it."""

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
from retint_web.api.responses import NotYet, Problem
from retint_web.security import Role, accepts_uploads, moves_bytes, require

JSON: Final = "application/json"
OCTETS: Final = "application/octet-stream"
BINARY: Final = {"type": "string", "format": "binary"}
PATH_PARAMETER: Final = re.compile(r"<(?:(\w+):)?(\w+)>")

View = Callable[..., Any]


@dataclass(frozen=True)
class Operation:
    """One method of one path."""

    name: str
    method: str
    path: str
    """In the syntax of Flask's rules: `/batches/<uuid:batch_id>`."""
    summary: str
    answer: type[BaseModel] | str | None
    """Model of a JSON answer, or the media type of any other; None for an empty one."""
    status: int
    query: type[BaseModel] | None
    body: type[BaseModel] | str | None
    """Model of a JSON body, or the media type of any other."""
    needs_body: bool
    """Whether a request without the body is refused."""
    headers: dict[str, str]
    """Request headers and their descriptions; one that is required says so first."""
    answer_headers: dict[str, str]
    """Headers of the answer and their descriptions."""
    roles: tuple[Role, ...]
    """Of which the caller must have one; empty if every token will do."""
    not_yet: str | None
    """What it means that the answer is 202 and `NotYet`; None where it never is."""
    view: View


@dataclass(frozen=True)
class Api:
    """The operations of one blueprint."""

    blueprint: Blueprint
    operations: list[Operation] = field(default_factory=list)

    def operation(
        self,
        method: str,
        path: str,
        answer: type[BaseModel] | str | None,
        *,
        status: int = 200,
        query: type[BaseModel] | None = None,
        body: type[BaseModel] | str | None = None,
        needs_body: bool = True,
        headers: dict[str, str] | None = None,
        answer_headers: dict[str, str] | None = None,
        roles: tuple[Role, ...] = (),
        not_yet: str | None = None,
    ) -> Callable[[View], View]:
        """Register a function as an operation. It receives `query` and `body` as models and returns the answer's model.

        The function's name is the operation's id, the first line of its docstring the summary.
        """

        def register(view: View) -> View:
            summary = (view.__doc__ or "").partition("\n")[0]
            operation = Operation(
                name=view.__name__,
                method=method,
                path=path,
                summary=summary,
                answer=answer,
                status=status,
                query=query,
                body=body,
                needs_body=needs_body,
                headers=headers or {},
                answer_headers=answer_headers or {},
                roles=roles,
                not_yet=not_yet,
                view=view,
            )
            self.operations.append(operation)
            _add_route(self.blueprint, operation)
            return view

        return register

    def offer(self, blueprint: Blueprint, *views: View) -> None:
        """Offer operations under another blueprint, too: with its prefix, to those whom it lets in."""
        for operation in self.operations:
            if operation.view in views:
                _add_route(blueprint, operation)

    def document(self, title: str, version: str, server: str) -> dict[str, Any]:
        """Build the OpenAPI 3.1 document."""
        models = {Problem: "serialization", NotYet: "serialization"} | {
            model: mode
            for operation in self.operations
            for model, mode in ((operation.body, "validation"), (operation.answer, "serialization"))
            if isinstance(model, type)
        }
        refs, definitions = models_json_schema(list(models.items()), ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
        schemas = {model: schema for (model, _), schema in refs.items()}
        paths: dict[str, dict[str, Any]] = {}
        for operation in self.operations:
            path = PATH_PARAMETER.sub(r"{\2}", operation.path)
            paths.setdefault(path, {})[operation.method.lower()] = _describe_operation(operation, schemas)
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


def _add_route(blueprint: Blueprint, operation: Operation) -> None:
    route = _make_route(operation)
    if isinstance(operation.body, str):
        route = accepts_uploads(route)
    if isinstance(operation.answer, str):
        route = moves_bytes(route)
    blueprint.add_url_rule(operation.path, operation.name, route, methods=[operation.method])


def _make_route(operation: Operation) -> Callable[..., ResponseReturnValue]:
    """Wrap a view: check permissions, parse query and body, serialize the answer."""

    @functools.wraps(operation.view)
    def route(**values: Any) -> ResponseReturnValue:
        if operation.roles:
            require(*operation.roles)
        if operation.query is not None:
            values["query"] = _parse(operation.query, request.args.to_dict())
        if isinstance(operation.body, type):
            values["body"] = _parse(operation.body, request.get_data(cache=False) or b"{}")
        answer = operation.view(**values)
        if isinstance(answer, BaseModel):
            return Response(answer.model_dump_json(), operation.status, content_type=JSON)
        return answer  # type: ignore[no-any-return]

    return route


def _parse(model: type[BaseModel], values: dict[str, str] | bytes) -> BaseModel:
    """Parse a query or a JSON body.

    Raises:
        InvalidRequest: a value is not valid; the message names the first such field.
    """
    try:
        return model.model_validate_json(values) if isinstance(values, bytes) else model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidRequest(f"{where}: {first['msg']}." if where else f"{first['msg']}.") from error


def _describe_operation(operation: Operation, schemas: dict[Any, Any]) -> dict[str, Any]:
    """Build the Operation Object of the OpenAPI specification."""
    answer: dict[str, Any] = {"description": "Success."}
    if operation.answer is not None:
        answer |= _content_object(operation.answer, schemas)
    if operation.answer_headers:
        answer["headers"] = {
            name: {"description": meaning, "schema": {"type": "string"}}
            for name, meaning in operation.answer_headers.items()
        }
    problem = {"description": "The request was refused or failed."} | {
        "content": {"application/problem+json": {"schema": schemas[Problem]}}
    }
    description: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": [*_path_parameters(operation), *_query_parameters(operation), *_header_parameters(operation)],
        "responses": {str(operation.status): answer, "429": _describe_too_many(problem), "default": problem},
    }
    if operation.not_yet is not None:
        description["responses"]["202"] = {
            "description": operation.not_yet,
            "headers": {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}},
        } | _content_object(NotYet, schemas)
    if operation.answer == OCTETS:
        description["responses"]["302"] = {"description": "The file is at the signed address in `Location`."}
    if operation.body is not None:
        description["requestBody"] = {"required": operation.needs_body} | _content_object(operation.body, schemas)
    if operation.roles:
        description["tags"] = ["administration"]
        description["description"] = f"Only {' or '.join(operation.roles)} may do this."
    return description


def _describe_too_many(problem: dict[str, Any]) -> dict[str, Any]:
    headers = {
        "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}},
        "RateLimit-Policy": {"description": "How many requests may be sent: `q` in `w` seconds."},
        "RateLimit": {"description": "How many are left, `r`; there are more after `t` seconds."},
    }
    described = {name: {"schema": {"type": "string"}} | header for name, header in headers.items()}
    return problem | {"description": "Too many requests: wait, then send it again.", "headers": described}


def _content_object(kind: type[BaseModel] | str, schemas: dict[Any, Any]) -> dict[str, Any]:
    if isinstance(kind, str):
        return {"content": {kind: {"schema": BINARY}}}
    return {"content": {JSON: {"schema": schemas[kind]}}}


def _path_parameters(operation: Operation) -> list[dict[str, Any]]:
    kinds = {"uuid": {"type": "string", "format": "uuid"}}
    return [
        {"name": name, "in": "path", "required": True, "schema": kinds.get(kind, {"type": "string"})}
        for kind, name in PATH_PARAMETER.findall(operation.path)
    ]


def _query_parameters(operation: Operation) -> list[dict[str, Any]]:
    if operation.query is None:
        return []
    schema = operation.query.model_json_schema()
    definitions, required = schema.get("$defs", {}), schema.get("required", [])
    return [
        {
            "name": name,
            "in": "query",
            "required": name in required,
            "schema": _inline_references(property_, definitions),
        }
        for name, property_ in schema["properties"].items()
    ]


def _inline_references(schema: Any, definitions: dict[str, Any]) -> Any:
    """Replace references by the definitions that they name: a parameter's schema must be self-contained."""
    if isinstance(schema, list):
        return [_inline_references(part, definitions) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inline_references(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return {name: _inline_references(part, definitions) for name, part in schema.items()}


def _header_parameters(operation: Operation) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "header",
            "required": meaning.startswith("Required"),
            "description": meaning,
            "schema": {"type": "string"},
        }
        for name, meaning in operation.headers.items()
    ]
