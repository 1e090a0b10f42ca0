"""Targets: what clients write: documents and whole requests, cursors and other scalars."""

from collections.abc import Callable, Sequence
from typing import Any

import orjson
from graphql import get_introspection_query

from alphapulse.graphql import scalars
from alphapulse.graphql.access import anyone
from alphapulse.graphql.documents import Documents, Refused
from alphapulse.graphql.errors import UserError
from alphapulse.graphql.limits import Limits
from alphapulse.graphql.paging import Cursor
from alphapulse.graphql.requests import decode_json, request_of
from alphapulse.graphql.schema import schema
from tests.fuzz.target import Target, place_of

_READER = anyone(None)


def check_document(data: bytes) -> str:
    """``{``: a whole request as JSON. Else a document, without variables."""
    try:
        asked = request_of(
            decode_json(data) if data[:2] == b'{"' else {"query": data.decode(errors="replace")}
        )
        documents = Documents(schema._schema, Limits())
        operation = documents.prepare(asked.query, asked.variables, asked.operation_name, _READER)
    except (UserError, Refused) as error:
        return f"{place_of(error)} {str(error)[:12]}"
    assert documents.prepare(asked.query, asked.variables, asked.operation_name, _READER) == operation
    return f"taken {operation.weight.cost.bit_length()}"


def _documents() -> Sequence[bytes]:
    candles = (
        'query C($n: Int! = 5, $at: Position) { candle(instrument: "kraken:BTC/USD", timeframe: M1, '
        "first: $n, asOf: {position: $at}) { nodes { start close } pageInfo { hasNextPage } } "
        'other: candles(instrument: "x:y", timeframe: H1, last: 50) { close } }'
    )
    fragments = (
        "{ instruments { ...F ... on Instrument { venue } } } fragment F on Instrument { venue symbol }"
    )
    return [
        candles.encode(),
        fragments.encode(),
        get_introspection_query().encode(),
        b'subscription { signals(strategy: "x") { position } }',
        b"{ log { head } __typename }",
        orjson.dumps({"query": candles, "variables": {"n": 3, "at": "17"}, "operationName": "C"}),
    ]


_CURSORS: Sequence[Callable[[str], Any]] = (
    lambda text: Cursor.parse(text, 0),
    lambda text: Cursor.parse(text, 1),
    lambda text: Cursor.parse(text, 3),
    scalars.parse_time,
    scalars.parse_position,
    scalars.parse_long,
)


def check_cursor(data: bytes) -> str:
    """First byte: as what. Rest: the text, which comes back where it is taken."""
    if not data:
        return "empty"
    parse = _CURSORS[data[0] % len(_CURSORS)]
    try:
        found = parse(data[1:].decode("utf-8", "surrogatepass" if data[0] & 64 else "replace"))
    except UserError as error:
        return place_of(error)
    except UnicodeDecodeError:
        return "no text"
    if parse is scalars.parse_time:
        assert parse(scalars.write_time(found)) == found
        return "time"
    assert parse(str(found)) == found
    return "number" if isinstance(found, int) else "cursor"


def _cursors() -> Sequence[bytes]:
    cursors = [Cursor(17, ()), Cursor(2**63 - 1, (5,)), Cursor(0, (-(2**63) + 1, 2, 3))]
    texts = [str(c).encode() for c in cursors]
    times = (
        b"2026-01-31T12:00:00.123456789Z",
        b"0001-01-01",
        b"9999-12-31T23:59:59+00:00",
        b"1969-12-31t23:00-01:00",
    )
    return [
        *(bytes([i]) + text for i, text in enumerate(texts)),
        *(b"\3" + text for text in times),
        b"\4" + str(2**63 - 1).encode(),
        b"\5" + b"0042",
    ]


DOCUMENTS = Target(
    name="documents",
    check=check_document,
    seeds=_documents,
    words=(
        *(
            b"{",
            b"}",
            b"...",
            b"fragment F on Query { ...F }",
            b"@skip(if: true)",
            b"@include(if: $n)",
            b"$n",
        ),
        *(
            b'""" """',
            b'"\\u{110000}"',
            b"\\ud800",
            b"[1]",
            b"first: ",
            b"query",
            b"subscription",
            b"__schema",
        ),
    ),
)
CURSORS = Target(
    name="cursors",
    check=check_cursor,
    seeds=_cursors,
    words=(b"=", b"==", b"MTcs", b"LQ", b"XzE", b"T", b"Z", b"+23:59", b"-24:00", b"T24:00", b"2024-02-30"),
    max_bytes=6_000,
)
