"""The OpenAPI 3.1 document, made from the operations: what they read and answer, how they refuse, how they follow.

A link says which operation may follow an answer, and which value of the answer that one needs. Links follow from the
models: an answer's `id` names what its model says (`identifies`), and a field `batch_id` names a batch.
"""

import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from retint_web.api.openapi import JSON, OCTETS, PATH_PARAMETER, Header, NoQuery, Operation
from retint_web.api.responses import Answer, NotYet, Page, Problem
from retint_web.api.samples import add_samples
from retint_web.security import describe_duties

SCOPES: Final = (
    "A token, made on the page Account or by an administrator. It has scopes, of which each operation needs the one "
    "that it names: `read` to see, `deposit` to deposit, pause and cancel, `review` to judge, `handover` to take "
    "originals and results home, `admin` for what administrators and operators do. It never may more than its person."
)
BINARY: Final = {"type": "string", "format": "binary"}
RETRY_AFTER: Final = Header("Seconds after which it is worth trying again.", schema={"type": "integer", "minimum": 0})
RANGE: Final = Header("One range of bytes, such as `bytes=0-1023`.", schema={"type": "string"})
ERRORS: Final[Mapping[int, str]] = {
    400: "The address, a header or the body does not fit what is described here; `detail` names the first fault.",
    401: "The token is missing, wrong, revoked, or its person may not sign in any more.",
    403: "The token lacks the scope, or its person the role; `detail` says which.",
    404: "Something that the request names does not exist, or belongs to another institution.",
    408: "The rest of the body did not come.",
    413: "The body is larger than the portal accepts.",
    415: "The body is of another kind than the one described here.",
    416: "The file has no such bytes.",
    422: "The request is well-formed, but what it asks for is not possible; `detail` says why.",
    429: "Too much is asked at once. Wait as long as `Retry-After` says.",
    500: "An error occurred in the portal and was logged under the `request_id`.",
    503: "The database, the store, or the queue does not answer. Try again.",
}
"""Refusals and failures that follow from what an operation reads."""
HEADERS: Final[Mapping[int, Mapping[str, Header]]] = {
    401: {"WWW-Authenticate": Header("How to show who you are.")},
    429: {
        "Retry-After": RETRY_AFTER,
        "RateLimit-Policy": Header("How many requests may be sent: `q` in `w` seconds."),
        "RateLimit": Header("How many are left, `r`; there are more after `t` seconds."),
    },
    503: {"Retry-After": RETRY_AFTER},
}


class _Schemas(GenerateJsonSchema):
    """Schemas without titles that only repeat the fields' names; where keys have a pattern, no others are allowed."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def dict_schema(self, schema: Any) -> dict[str, Any]:
        made = super().dict_schema(schema)
        return made | ({"additionalProperties": False} if "patternProperties" in made else {})


def build(operations: Sequence[Operation], title: str, version: str, server: str) -> dict[str, Any]:
    """Build the document of some operations; `server` is the address that all paths begin with."""
    models = {Problem: "serialization", NotYet: "serialization"} | {
        model: mode
        for operation in operations
        for model, mode in ((operation.body, "validation"), (operation.answer, "serialization"))
        if isinstance(model, type)
    }
    refs, definitions = models_json_schema(
        list(models.items()),  # type: ignore[arg-type]
        ref_template="#/components/schemas/{model}",
        schema_generator=_Schemas,
    )
    schemas = {model: schema for (model, _), schema in refs.items()}
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        described = _describe(operation, schemas)
        described["responses"][str(operation.status)] |= _describe_links(operation, operations)
        paths.setdefault(_path(operation), {})[operation.method.lower()] = described
    document = {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        "servers": [{"url": server}],
        "security": [{"token": []}],
        "tags": [{"name": name, "description": meaning} for name, meaning in _list_tags(operations).items()],
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "responses": {_error_name(status): _describe_error(status, ERRORS[status], schemas) for status in ERRORS},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": SCOPES}},
        },
    }
    add_samples(document)
    return document


def _path(operation: Operation) -> str:
    return PATH_PARAMETER.sub(r"{\2}", operation.path)


def _tag(operation: Operation) -> str:
    return str(operation.view.__module__).rpartition(".")[2]


def _list_tags(operations: Sequence[Operation]) -> dict[str, str]:
    """Return the modules that operations stand in, and what each says of them."""
    return {_tag(each): _read_docstring(sys.modules[each.view.__module__])[0] for each in operations}


def _read_docstring(described: object) -> tuple[str, str]:
    """Return the first line of a docstring, and the rest without what is meant for callers of the function."""
    summary, _, rest = (inspect.getdoc(described) or "").partition("\n")
    return summary, rest.partition("\nRaises:")[0].partition("\nArgs:")[0].strip()


# --- one operation ----------------------------------------------------------------------------------------------------


def _describe(operation: Operation, schemas: Mapping[Any, Any]) -> dict[str, Any]:
    """Build the Operation Object of the OpenAPI specification."""
    summary, text = _read_docstring(operation.view)
    who = f"Only {describe_duties(operation.roles)} may do this." if operation.roles else ""
    description: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [_tag(operation)],
        "summary": summary,
        "description": "\n\n".join(filter(None, (text, who))) or summary,
        "parameters": [*_path_parameters(operation), *_query_parameters(operation), *_header_parameters(operation)],
        "responses": _describe_successes(operation, schemas) | _describe_refusals(operation, schemas),
        "security": [] if operation.is_public else [{"token": [operation.scope]}],
    }
    if operation.body is not None:
        content = _content(operation.body, schemas) or {OCTETS: {"schema": BINARY}}
        description["requestBody"] = {"required": _needs_body(operation), "content": content}
    return description


def _describe_successes(operation: Operation, schemas: Mapping[Any, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": "Success."}
    if operation.answer is not None:
        answer["content"] = _content(operation.answer, schemas) or {"*/*": {}}
    if operation.answer_headers:
        answer["headers"] = _describe_headers(operation.answer_headers)
    described = {str(operation.status): answer}
    if operation.answer == OCTETS:
        described["206"] = answer | {"description": "The range of bytes that was asked for."}
        described["304"] = {"description": "The file is still the one that `If-None-Match` names."}
        described["302"] = {"description": "The file is at the signed address in `Location`."}
    if operation.not_yet is not None:
        described["202"] = {
            "description": operation.not_yet,
            "headers": _describe_headers({"Retry-After": RETRY_AFTER}),
            "content": _content(NotYet, schemas),
        }
    return described


def _describe_refusals(operation: Operation, schemas: Mapping[Any, Any]) -> dict[str, Any]:
    """Describe what follows from what the operation reads, and what it says itself."""
    named = {str(each) for each in (operation.query or NoQuery).model_fields} & {"after", "batch"}
    applies = {
        400: True,
        401: not operation.is_public,
        403: not operation.is_public,
        404: bool(PATH_PARAMETER.search(operation.path) or named),
        408: operation.body is not None,
        413: operation.body is not None,
        415: operation.body is not None,
        416: operation.answer == OCTETS,
        422: operation.body is not None,
        429: not operation.is_public,
        500: True,
        503: True,
    }
    common = {
        str(status): {"$ref": f"#/components/responses/{_error_name(status)}"}
        for status, does_apply in applies.items()
        if does_apply
    }
    own = {str(status): _describe_error(status, meaning, schemas) for status, meaning in operation.errors.items()}
    return common | own


def _error_name(status: int) -> str:
    return f"Error{status}"


def _describe_error(status: int, meaning: str, schemas: Mapping[Any, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "description": meaning,
        "content": {"application/problem+json": {"schema": schemas[Problem]}},
    }
    if status in HEADERS:
        described["headers"] = _describe_headers(HEADERS[status])
    return described


def _describe_headers(headers: Mapping[str, Header]) -> dict[str, Any]:
    return {name: {"description": each.description, "schema": dict(each.schema)} for name, each in headers.items()}


def _content(kind: type[BaseModel] | str, schemas: Mapping[Any, Any]) -> dict[str, Any]:
    """Describe a body; empty for one of any bytes."""
    if isinstance(kind, str):
        return {} if kind == OCTETS else {kind: {"schema": BINARY}}
    return {JSON: {"schema": schemas[kind]}}


def _needs_body(operation: Operation) -> bool:
    """Whether a request without a body is refused: an empty object stands for a missing one."""
    if not isinstance(operation.body, type):
        return operation.needs_body
    try:
        operation.body.model_validate({})
    except ValidationError:
        return True
    return False


# --- parameters -------------------------------------------------------------------------------------------------------


def _path_parameters(operation: Operation) -> Iterator[dict[str, Any]]:
    for kind, name in PATH_PARAMETER.findall(operation.path):
        described = {"name": name, "in": "path", "required": True, "description": f"Which {name.removesuffix('_id')}."}
        if kind == "uuid":
            yield described | {"schema": {"type": "string", "format": "uuid"}}
            continue
        values = operation.path_values.get(name, ())
        among = f" Such as {', '.join(f'`{value}`' for value in values)}." if values else ""
        yield described | {
            "description": described["description"] + among,
            "schema": {"type": "string", "minLength": 1},
            **({"example": values[0]} if values else {}),
        }


def _query_parameters(operation: Operation) -> Iterator[dict[str, Any]]:
    schema = (operation.query or NoQuery).model_json_schema(schema_generator=_Schemas)
    definitions, required = schema.get("$defs", {}), schema.get("required", [])
    for name, property_ in schema.get("properties", {}).items():
        described = _without_null(_inline_references(property_, definitions))
        meaning = {"description": described.pop("description")} if "description" in described else {}
        yield {"name": name, "in": "query", "required": name in required, "schema": described} | meaning


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Take the null out of what a parameter may be: one that is not given is not there."""
    kinds = [kind for kind in schema.get("anyOf", []) if kind != {"type": "null"}]
    if len(kinds) != 1:
        return schema
    rest = {name: value for name, value in schema.items() if name not in ("anyOf", "default")}
    return {**kinds[0], **rest}


def _inline_references(schema: Any, definitions: dict[str, Any]) -> Any:
    """Replace references by the definitions that they name: a parameter's schema must be self-contained."""
    if isinstance(schema, list):
        return [_inline_references(part, definitions) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        rest = {name: part for name, part in schema.items() if name != "$ref"}
        return _inline_references(definitions[schema["$ref"].rpartition("/")[2]], definitions) | rest
    return {name: _inline_references(part, definitions) for name, part in schema.items()}


def _header_parameters(operation: Operation) -> Iterator[dict[str, Any]]:
    headers = operation.headers | ({"Range": RANGE} if operation.answer == OCTETS else {})
    for name, header in headers.items():
        yield {
            "name": name,
            "in": "header",
            "required": header.is_required,
            "description": header.description,
            "schema": dict(header.schema),
        }


# --- links ------------------------------------------------------------------------------------------------------------


def _describe_links(operation: Operation, operations: Sequence[Operation]) -> dict[str, Any]:
    """Link an answer to the operations on what it newly names; to those that only read where it names it beside."""
    mine = {name for _, name in PATH_PARAMETER.findall(operation.path)}
    told = {name: place for name, place in _find_names(operation.answer).items() if name not in mine}
    links = {}
    for other in operations:
        wanted = {name: other.path_values.get(name) for _, name in PATH_PARAMETER.findall(other.path)}
        new = told.keys() & wanted.keys()
        if not any(other.method == "GET" or told[name].endswith("/id") for name in new) or other.name == operation.name:
            continue
        values = {
            name: f"$response.body#{told[name]}" if name in told else f"$request.path.{name}" if name in mine else known
            for name, known in ((name, known and known[0]) for name, known in wanted.items())
        }
        if all(values.values()):
            links[other.name] = {
                "operationId": other.name,
                "parameters": {f"path.{name}": value for name, value in values.items()},
                "description": _read_docstring(other.view)[0],
            }
    return {"links": links} if links else {}


def _find_names(answer: type[BaseModel] | str | None) -> dict[str, str]:
    """Return which parameters of paths an answer tells, and where (RFC 6901)."""
    if not (isinstance(answer, type) and issubclass(answer, Answer)):
        return {}
    if issubclass(answer, Page) or answer.model_fields.keys() == {"items"}:
        return {}  # a list may be empty, and a link must lead somewhere
    names = {name: f"/{name}" for name in answer.model_fields if name.endswith("_id")}
    return names | ({answer.identifies: "/id"} if answer.identifies else {})
