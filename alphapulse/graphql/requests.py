"""What a client sends, over HTTP or a WebSocket: checked for shape, nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from alphapulse.graphql.errors import UserError


@dataclass(frozen=True, slots=True)
class GraphQLRequest:
    query: str
    variables: Mapping[str, Any]
    operation_name: str | None


def decode_json(raw: bytes | str) -> Any:
    """Raises UserError unless ``raw`` is JSON."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise UserError(f"this is not JSON: {error}") from None


def request_of(payload: Any) -> GraphQLRequest:
    """Raises UserError unless ``payload`` is an object with a query."""
    if not isinstance(payload, dict):
        raise UserError(f"one request is one JSON object, not {_kind(payload)}; batches are not taken")
    return GraphQLRequest(
        _text(payload, "query") or _missing(),
        _variables(payload.get("variables")),
        _text(payload, "operationName"),
    )


def request_of_url(parameters: Mapping[str, str]) -> GraphQLRequest:
    """Raises UserError unless the parameters of a GET hold a query, and variables as JSON."""
    variables = parameters.get("variables")
    return request_of({**parameters, "variables": decode_json(variables) if variables else None})


def _text(payload: Mapping[str, Any], key: str) -> str | None:
    value = payload.get(key)
    if value is not None and not isinstance(value, str):
        raise UserError(f"{key} needs a string, not {_kind(value)}")
    return value or None


def _variables(value: Any) -> Mapping[str, Any]:
    if value is not None and not isinstance(value, dict):
        raise UserError(f"variables need a JSON object, not {_kind(value)}")
    return value or {}


def _missing() -> str:
    raise UserError("the request has no query")


def _kind(value: object) -> str:
    names = {list: "an array", dict: "an object", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
