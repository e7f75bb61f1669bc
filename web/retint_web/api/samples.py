"""Samples: each operation of an OpenAPI document, called with curl and with Python (httpx).

A value that only the reader knows stands as a variable: `$BATCH_ID` and `batch_id`, `$SHA256` and `sha256`. The tests
run every sample against a real portal.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

JSON: Final = "application/json"
FILES: Final = {"text/csv": "catalogue.csv"}
"""The file that a sample sends, by its media type; else it is a photo."""
SAVED: Final = {"application/zip": "results.zip", "text/csv": "table.csv", "image/png": "picture.png"}
"""The file that a sample writes an answer to, by the answer's media type."""
HASH: Final = "^[0-9a-f]{64}$"

Schema = Mapping[str, Any]


@dataclass(frozen=True)
class Variable:
    """A value that only the reader knows."""

    name: str

    def __str__(self) -> str:
        return f"${self.name.upper()}"

    def __repr__(self) -> str:
        return self.name


def add_samples(document: dict[str, Any]) -> None:
    """Add samples to every operation of a document, as `x-codeSamples`."""
    schemas = document["components"]["schemas"]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            call = _Call(method.upper(), path, operation, schemas)
            operation["x-codeSamples"] = [
                {"lang": "Shell", "label": "curl", "source": call.to_curl()},
                {"lang": "Python", "label": "httpx", "source": call.to_python()},
            ]


class _Call:
    """One call of an operation, with what is required and no more."""

    def __init__(self, method: str, path: str, operation: dict[str, Any], schemas: Schema) -> None:
        self.method, self.path = method, path
        places: dict[str, dict[str, Any]] = {"path": {}, "query": {}, "header": {}}
        for parameter in operation["parameters"]:
            if parameter["required"]:
                name = parameter["name"]
                places[parameter["in"]][name] = parameter.get("example") or _choose(parameter["schema"], name, schemas)
        self.values, self.query, self.headers = places.values()
        self.needs_token = operation.get("security") != []
        self.body: Any = None
        self.file = ""
        for kind, content in operation.get("requestBody", {}).get("content", {}).items():
            if kind == JSON:
                self.body = _choose(content["schema"], "body", schemas)
            elif operation["requestBody"]["required"]:
                self.headers["Content-Type"] = kind
                self.file = FILES.get(kind, "photo.jpg")
        success = min(status for status in operation["responses"] if status.startswith("2") and status != "202")
        [self.kind] = operation["responses"][success].get("content", {"": {}})
        self.is_elsewhere = "302" in operation["responses"]

    def to_curl(self) -> str:
        """Write the call for a shell."""
        path = _fill(self.path, {name: str(value) for name, value in self.values.items()})
        query = "&".join(f"{name}={value}" for name, value in self.query.items())
        parts = ["curl --fail-with-body" + (" --location" if self.is_elsewhere else "")]
        parts += [] if self.method == "GET" else [f"--request {self.method}"]
        parts += [f'"$RETINT{path}{"?" if query else ""}{query}"']
        parts += ['--header "Authorization: Bearer $TOKEN"'] if self.needs_token else []
        parts += [f'--header "{name}: {value}"' for name, value in self.headers.items()]
        parts += [f"--data-binary @{self.file}"] if self.file else []
        parts += [f"--output {self._target}"] if self._is_saved else []
        if self.body is None:
            return " \\\n  ".join(parts)
        return " \\\n  ".join([*parts, f"--json @- <<JSON\n{json.dumps(self.body, default=str)}\nJSON"])

    def to_python(self) -> str:
        """Write the call for Python."""
        path = _fill(
            self.path,
            {name: f"{{{value!r}}}" if isinstance(value, Variable) else value for name, value in self.values.items()},
        )
        is_formatted = "{" in path
        arguments = [f'{"f" if is_formatted else ""}"{path}"']
        arguments += [f"params={_spell(self.query)}"] if self.query else []
        arguments += [f"headers={_spell(self.headers, as_text=True)}"] if self.headers else []
        arguments += [f"json={_spell(self.body)}"] if self.body is not None else []
        arguments += [f'content=Path("{self.file}").read_bytes()'] if self.file else []
        arguments += ["follow_redirects=True"] if self.is_elsewhere else []
        name = self.method.lower()
        call = f"api.{name}({', '.join(arguments)})"
        if self.method == "DELETE" and self.body is not None:
            call = f'api.request("DELETE", {", ".join(arguments)})'
        if len(call) > 100:
            call = f"api.{name}(\n    " + ",\n    ".join(arguments) + ",\n)"
        lines = [f"answer = {call}", "answer.raise_for_status()"]
        if self._is_saved:
            lines.append(f'Path("{self._target}").write_bytes(answer.content)')
        else:
            lines.append("print(answer.json())" if self.kind == JSON else "print(answer.headers)")
        return "\n".join(lines)

    @property
    def _is_saved(self) -> bool:
        return self.kind not in ("", JSON)

    @property
    def _target(self) -> str:
        return SAVED.get(self.kind, "file")


def _fill(path: str, values: Mapping[str, str]) -> str:
    return re.sub(r"{(\w+)}", lambda found: values[found[1]], path)


def _spell(value: Any, *, as_text: bool = False) -> str:
    """Write a value as Python; numbers that a variable holds become text where headers need it."""
    if isinstance(value, Mapping):
        return (
            "{" + ", ".join(f"{json.dumps(key)}: {_spell(each, as_text=as_text)}" for key, each in value.items()) + "}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(_spell(each) for each in value) + "]"
    if isinstance(value, Variable):
        return f"str({value!r})" if as_text else repr(value)
    return json.dumps(value) if isinstance(value, str) else repr(value)


def _choose(schema: Schema, name: str, schemas: Schema) -> Any:
    """Choose a value that fits a schema: an example if it has one, a variable where only the reader knows."""
    if "$ref" in schema:
        return _choose(schemas[schema["$ref"].rpartition("/")[2]], name, schemas)
    if "examples" in schema:
        return schema["examples"][0]
    if schema.get("format") == "uuid" or schema.get("pattern") == HASH or (name[:1].isupper() and "minimum" in schema):
        return Variable(name.lower().replace("-", "_"))
    choices = schema.get("anyOf", schema.get("oneOf", [{}]))
    if "properties" in schema:
        required = [*schema.get("required", []), *choices[0].get("required", [])]
        return {field: _choose(schema["properties"][field], field, schemas) for field in required}
    if choices[0]:
        return _choose(choices[0], name, schemas)
    kind = schema.get("type")
    if kind == "array":
        return [_choose(schema["items"], name, schemas)]
    simple = {"boolean": True, "integer": schema.get("minimum", 1), "number": schema.get("minimum", 1)}
    return schema.get("default", schema.get("const", (schema.get("enum") or [simple.get(str(kind), "text")])[0]))
