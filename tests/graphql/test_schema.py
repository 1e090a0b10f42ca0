"""The schema as its clients see it: checked in, never broken by accident, closed by default."""

from pathlib import Path
from typing import Any

import pytest
from graphql import is_object_type, is_scalar_type

from alphapulse.graphql import sdl
from alphapulse.graphql.limits import Limits
from alphapulse.graphql.schema import schema

FILE = Path(__file__).parents[2] / "schema.graphql"


def test_the_checked_in_schema_says_what_the_code_says() -> None:
    checked_in, now = FILE.read_text(), sdl.text()
    breaking = "\n".join(sdl.breaking(checked_in, now)) or "nothing"
    assert checked_in == now, (
        f"run `python -m alphapulse.graphql.sdl schema.graphql`; what would break: {breaking}"
    )


OLD = "type Query { a: Int! b(x: Int): String }"


@pytest.mark.parametrize(
    ("new", "said"),
    [
        ("type Query { b(x: Int): String }", "Query.a"),
        ("type Query { a: Int b(x: Int): String }", "Query.a"),
        ("type Query { a: Int! b(x: Int!): String }", "Query.b(x:)"),
        ("type Query { a: Int! b: String }", "x"),
        ("type Query { a: Int! b(x: Int, y: Int!): String }", "y"),
    ],
)
def test_what_could_break_a_client_is_refused_and_named(
    tmp_path: Path, monkeypatch: Any, new: str, said: str
) -> None:
    file = tmp_path / "schema.graphql"
    file.write_text(OLD)
    monkeypatch.setattr(sdl, "text", lambda: new)
    assert sdl.main([str(file)]) == 1
    assert file.read_text() == OLD
    assert said in " ".join(sdl.breaking(OLD, new))
    assert sdl.main([str(file), "--breaking"]) == 0
    assert file.read_text() == new


def test_what_only_adds_is_written(tmp_path: Path, monkeypatch: Any) -> None:
    file = tmp_path / "schema.graphql"
    file.write_text(OLD)
    new = "type Query { a: Int! b(x: Int, y: Int = 1): String c: Float }"
    monkeypatch.setattr(sdl, "text", lambda: new)
    assert sdl.main([str(file)]) == 0
    assert file.read_text() == new


def test_every_field_names_the_scope_it_needs() -> None:
    closed = [
        f"{name}.{field}"
        for name, type_ in schema._schema.type_map.items()
        if is_object_type(type_) and not name.startswith("__")
        for field, definition in type_.fields.items()
        if "scope" not in definition.extensions["strawberry-definition"].metadata
    ]
    assert closed == []


def test_every_list_says_how_long_it_gets() -> None:
    unbounded = [
        f"{name}.{field}"
        for name, type_ in schema._schema.type_map.items()
        if is_object_type(type_) and not name.startswith("__")
        for field, definition in type_.fields.items()
        if str(definition.type).startswith("[")
        and "size" not in definition.extensions["strawberry-definition"].metadata
    ]
    assert unbounded == []


def test_every_page_has_a_size_that_its_cost_counts() -> None:
    query = schema._schema.query_type
    assert query is not None
    paged = {
        name
        for name, definition in query.fields.items()
        if callable(definition.extensions["strawberry-definition"].metadata.get("size"))
    }
    rows = {"candle", "candles", "events", "features", "indicators", "instruments", "regime", "trades"}
    detections = {"analysisSignals", "anomalies", "patterns"}
    decisions = {"decisions", "outcomes", "signals", "equityCurve", "trials", "auditTrail", "trackRecord"}
    assert paged == rows | detections | decisions | {
        "complexEvents",
        "correlation",
        "hiddenRegime",
        "latestFeatures",
        "volumeProfile",
    }


def test_scalars_of_ours_are_explained() -> None:
    for name, type_ in schema._schema.type_map.items():
        if is_scalar_type(type_) and name not in {"Int", "Float", "String", "Boolean", "ID"}:
            assert type_.description, name


def test_the_largest_pages_are_within_the_limits() -> None:
    from alphapulse.graphql.access import anyone
    from alphapulse.graphql.documents import Documents

    columns = " ".join(schema._schema.type_map["CandleSeries"].fields)  # type: ignore[attr-defined]
    candle = " ".join(schema._schema.type_map["Candle"].fields)  # type: ignore[attr-defined]
    largest = [
        f'{{ candles(instrument: "a:B", timeframe: M1, last: 10000) {{ {columns} }} }}',
        f'{{ candle(instrument: "a:B", timeframe: M1, first: 1000) {{ nodes {{ {candle} }} }} }}',
        '{ trades(instrument: "a:B", first: 1000) { nodes { id time price size side } edges { cursor } } }',
        "{ events(first: 500) { events { position stream version name payload recordedAt eventTime } } }",
        "{ instruments(first: 999) { nodes { id venue symbol tradeCount firstTime lastTime } } }",
        '{ indicators(instrument: "a:B", timeframe: M1, specs: ["rsi"], last: 9999) { columns { values } } }',
        '{ patterns(instrument: "a:B", timeframe: M1, last: 500) { detections { name signal strength } } }',
        '{ regime(instrument: "a:B", timeframe: M1, last: 10000) { regime columns { values } } }',
        '{ features(set: "s", instrument: "a:B", timeframe: M1, last: 500) { columns { name values } } }',
        '{ latestFeatures(set: "s", instruments: ["a:B"], timeframe: M1) { vectors { values } } }',
        '{ volumeProfile(instrument: "a:B", from: "2026-01-01", to: "2026-04-01") { sessions { prices } } }',
        '{ correlation(instruments: ["a:B", "a:C"], timeframe: M1) { rows { values } betas { beta } } }',
    ]
    documents = Documents(schema._schema, Limits())
    for text in largest:
        assert documents.prepare(text, {}, None, anyone(None)).weight.cost < Limits().cost
