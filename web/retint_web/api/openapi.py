"""The API's operations, each defined once: Flask's route, request parsing and the OpenAPI document follow from it."""

import functools
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, get_args

from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core.core_schema import ErrorType

from retint.errors import InvalidRequest, Refused
from retint.roles import Duty, Scope
from retint_web.security import accepts_uploads, moves_bytes, public, require, require_scope

JSON: Final = "application/json"
OCTETS: Final = "application/octet-stream"
"""Media type of a body of any bytes; an answer of this kind has the media type of the file that it is."""
PATH_PARAMETER: Final = re.compile(r"<(?:(\w+):)?(\w+)>")
STRING: Final[Mapping[str, Any]] = {"type": "string"}
SCHEMA_FAULTS: Final = frozenset(get_args(ErrorType)) - {"value_error", "assertion_error"}
"""Kinds of pydantic's faults that the schema in the OpenAPI document tells; others are found by functions of ours."""

View = Callable[..., Any]


class WrongContentType(Refused):
    """The body is of another kind than the operation takes."""

    code = "content_type"
    status = 415


class Contradiction(InvalidRequest):
    """The values fit the schema, but not each other, or not what they describe."""

    code = "contradiction"
    status = 422


class NoQuery(BaseModel):
    """The query of an operation that has no parameters."""

    model_config = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class Header:
    """A header of a request or of an answer."""

    description: str
    is_required: bool = False
    schema: Mapping[str, Any] = field(default_factory=lambda: STRING)


@dataclass(frozen=True)
class Operation:
    """One method of one path."""

    name: str
    method: str
    path: str
    """In the syntax of Flask's rules: `/batches/<uuid:batch_id>`."""
    answer: type[BaseModel] | str | None
    """Model of a JSON answer, or the media type of any other; None for an empty one."""
    status: int
    query: type[BaseModel] | None
    body: type[BaseModel] | str | None
    """Model of a JSON body, or the media type of any other."""
    needs_body: bool
    """Whether a request without the body is refused."""
    path_values: dict[str, tuple[str, ...]]
    """Values that parameters of the path may have; of one that names a row, none are known."""
    headers: dict[str, Header]
    """Of the request."""
    answer_headers: dict[str, Header]
    errors: dict[int, str]
    """Statuses of refusals that not every operation has, and what each means."""
    is_public: bool
    """Whether it needs no token."""
    scope: Scope
    """Which a token needs."""
    scope_of: Callable[[str], Scope] | None
    """Which it needs instead for the `name` in the path; None where it is always the same."""
    roles: tuple[Duty, ...]
    """Of which the caller must have one; empty if everybody may."""
    not_yet: str | None
    """What it means that the answer is 202 and `NotYet`; None where it never is."""
    view: View


@dataclass(frozen=True)
class Api:
    """The operations of one blueprint."""

    blueprint: Blueprint
    operations: list[Operation] = field(default_factory=list)

    # Longer than a screen: one property of an operation after the other, twice.
    def operation(
        self,
        method: str,
        path: str,
        answer: type[BaseModel] | str | None,
        *,
        scope: Scope,
        scope_of: Callable[[str], Scope] | None = None,
        status: int = 200,
        query: type[BaseModel] | None = None,
        body: type[BaseModel] | str | None = None,
        needs_body: bool = True,
        path_values: dict[str, tuple[str, ...]] | None = None,
        headers: dict[str, Header] | None = None,
        answer_headers: dict[str, Header] | None = None,
        errors: dict[int, str] | None = None,
        is_public: bool = False,
        roles: tuple[Duty, ...] = (),
        not_yet: str | None = None,
    ) -> Callable[[View], View]:
        """Register a function as an operation. It receives `query` and `body` as models and returns the answer's model.

        The function's name is the operation's id, its docstring the summary and the description.
        """

        def register(view: View) -> View:
            operation = Operation(
                name=view.__name__,
                method=method,
                path=path,
                answer=answer,
                status=status,
                query=query,
                body=body,
                needs_body=needs_body,
                path_values=path_values or {},
                headers=headers or {},
                answer_headers=answer_headers or {},
                scope=scope,
                scope_of=scope_of,
                errors=errors or {},
                is_public=is_public,
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


def _add_route(blueprint: Blueprint, operation: Operation) -> None:
    route = _make_route(operation)
    if isinstance(operation.body, str):
        route = accepts_uploads(route)
    if isinstance(operation.answer, str):
        route = moves_bytes(route)
    if operation.is_public:
        route = public(route)
    methods = [operation.method]
    blueprint.add_url_rule(operation.path, operation.name, route, methods=methods, provide_automatic_options=False)


def _make_route(operation: Operation) -> Callable[..., ResponseReturnValue]:
    """Wrap a view: check permissions, parse query and body, serialize the answer."""

    @functools.wraps(operation.view)
    def route(**values: Any) -> ResponseReturnValue:
        if operation.roles:
            require(*operation.roles)
        if not operation.is_public:
            require_scope(operation.scope_of(values["name"]) if operation.scope_of else operation.scope)
        query = _parse(operation.query or NoQuery, _read_query())
        if operation.query is not None:
            values["query"] = query
        if isinstance(operation.body, type):
            _check_headers(operation)
            values["body"] = _parse(operation.body, _read_json())
        answer = _call(operation, values)
        if isinstance(answer, BaseModel):
            return Response(answer.model_dump_json(), operation.status, content_type=JSON)
        return answer  # type: ignore[no-any-return]

    return route


def _check_headers(operation: Operation) -> None:
    """Compare the request's headers with their patterns.

    Raises:
        InvalidRequest: one does not fit.
    """
    for name, header in operation.headers.items():
        value = request.headers.get(name)
        if value is not None and not re.fullmatch(header.schema.get("pattern", ".*"), value):
            raise InvalidRequest(f"{name}: {header.description}")


def _call(operation: Operation, values: Mapping[str, Any]) -> Any:
    """Call the view.

    Raises:
        Contradiction: the body fits its schema, and is not possible.
    """
    try:
        return operation.view(**values)
    except InvalidRequest as error:
        if isinstance(operation.body, type) and error.status == InvalidRequest.status:
            raise Contradiction(error.message, code=error.code) from error
        raise


def _read_query() -> dict[str, str]:
    """Return the parameters of the query.

    Raises:
        InvalidRequest: one is there twice.
    """
    twice = [name for name, values in request.args.lists() if len(values) > 1]
    if twice:
        raise InvalidRequest(f"{twice[0]}: The query has it more than once.")
    return request.args.to_dict()


def _read_json() -> bytes:
    """Return the JSON of the request's body; no body is an empty object.

    Raises:
        WrongContentType: it is not said to be JSON.
    """
    body = request.get_data(cache=False)
    if body and not request.is_json:
        raise WrongContentType(f"The body must be JSON: send the header Content-Type: {JSON}.")
    return _spell_whole_numbers(body) if body else b"{}"


def _spell_whole_numbers(body: bytes) -> bytes:
    """Write 8.0 as 8: JSON Schema calls both an integer, and pydantic, where it is strict, only the second."""
    try:
        return json.dumps(json.loads(body.decode(), parse_float=_read_number)).encode()
    except (ValueError, RecursionError):
        return body  # what is wrong with it is said where it is parsed


def _read_number(text: str) -> float:
    value = float(text)
    return int(value) if value.is_integer() and abs(value) < 1 << 53 else value


def _parse(model: type[BaseModel], values: dict[str, str] | bytes) -> BaseModel:
    """Parse a query or a JSON body.

    Raises:
        InvalidRequest: a value is not valid; the message names the first such field.
        Contradiction: the values fit the schema, but not each other.
    """
    try:
        if isinstance(values, bytes):  # JSON has types: `"watermark": 0` is a mistake
            return model.model_validate_json(values, strict=True)
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        kind = InvalidRequest if first["type"] in SCHEMA_FAULTS else Contradiction
        raise kind(f"{where}: {first['msg']}." if where else f"{first['msg']}.") from error
