"""What a document may ask for, at each limit and one past it; nothing of it is executed."""

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest
import strawberry
from graphql import get_introspection_query
from strawberry.schema.config import StrawberryConfig

from alphapulse.graphql.access import READ, READ_PAGE, Principal
from alphapulse.graphql.documents import Documents, Operation, Refused
from alphapulse.graphql.limits import Limits, paged
from alphapulse.graphql.scalars import SCALARS, Column, Position

READER = Principal("reader", frozenset({"read"}))


@strawberry.type
class Bar:
    close: str = strawberry.field(metadata=READ)
    secret: str = strawberry.field(default="", metadata={"scope": "trade"})
    forgotten: str = "no scope at all"


@strawberry.type
class Page:
    bars: list[Bar] = strawberry.field(metadata=READ_PAGE)
    close: Column = strawberry.field(metadata=READ)
    position: Position = strawberry.field(metadata=READ)

    @strawberry.field(metadata=READ)
    def again(self) -> "Page":
        return self


@strawberry.type
class Query:
    @strawberry.field(metadata={**READ, "size": paged("first", 1000, 10)})
    def bars(self, first: int = 10) -> list[Bar]:
        raise AssertionError("executed")

    @strawberry.field(metadata={**READ, "size": paged("last", 50_000, 100)})
    def series(self, last: int = 100) -> Page:
        raise AssertionError("executed")

    @strawberry.field(metadata=READ)
    def page(self) -> Page:
        raise AssertionError("executed")


SCHEMA = strawberry.Schema(Query, config=StrawberryConfig(scalar_map=SCALARS))


def prepare(text: str, variables: Mapping[str, Any] | None = None, **limits: Any) -> Operation:
    return Documents(SCHEMA._schema, Limits(**limits)).prepare(text, variables or {}, None, READER)


def cost(text: str, variables: Mapping[str, Any] | None = None) -> int:
    return prepare(text, variables, cost=10**9).weight.cost


def refusal(text: str, variables: Mapping[str, Any] | None = None, **limits: Any) -> str:
    with pytest.raises(Refused) as refused:
        prepare(text, variables, **limits)
    return str(refused.value)


def test_a_list_multiplies_the_cost_of_what_is_inside_it() -> None:
    assert cost("{ bars(first: 50) { close } }") == 1 + 50
    assert cost("{ bars { close } }") == 1 + 10
    assert cost("query($n: Int! = 7) { bars(first: $n) { close } }") == 1 + 7
    assert cost("query($n: Int! = 7) { bars(first: $n) { close } }", {"n": 30}) == 1 + 30


def test_a_column_costs_one_and_one_more_for_each_hundred_rows() -> None:
    assert cost("{ series(last: 10000) { close } }") == 1 + 1 + 100
    assert cost("{ series(last: 10000) { position } }") == 1 + 1


def test_a_list_inside_a_page_is_as_long_as_the_page() -> None:
    assert cost("{ series(last: 200) { bars { close } } }") == 1 + 1 + 200


def test_fragments_cost_what_they_hold_each_time_they_are_spread() -> None:
    spread = "{ series { ...P again { ...P } } } fragment P on Page { position }"
    assert cost(spread) == cost("{ series { position again { position } } }")


def test_a_size_that_is_nonsense_counts_as_the_cap() -> None:
    for first in ('"x"', "1e9", "[1]", "true"):
        assert "cost 1001" in refusal(f"{{ bars(first: {first}) {{ close }} }}", cost=1000)


@pytest.mark.parametrize(
    ("limit", "at_limit", "over"),
    [
        ({"cost": 101}, "{ bars(first: 100) { close } }", "{ bars(first: 101) { close } }"),
        ({"depth": 3}, "{ page { again { position } } }", "{ page { again { again { position } } } }"),
        ({"aliases": 2}, "{ a: page { b: position } }", "{ a: page { b: position c: position } }"),
        (
            {"fields": 3},
            "{ page { position close } }",
            "{ page { position close ...F } } fragment F on Page { position }",
        ),
        ({"repeats": 2}, "{ page { position position } }", "{ page { position position position } }"),
        (
            {"fragments": 1},
            "{ page { ...F } } fragment F on Page { position }",
            "{ page { ...F ...G } } fragment F on Page { position } fragment G on Page { close }",
        ),
        ({"tokens": 6}, "{ page { position } }", "{ page { position close } }"),
    ],
)
def test_a_document_at_its_limit_is_taken_and_one_past_it_refused(
    limit: dict[str, int], at_limit: str, over: str
) -> None:
    prepare(at_limit, **limit)
    (value,) = limit.values()
    assert str(value) in refusal(over, **limit)


def test_aliases_inside_fragments_count_each_time() -> None:
    text = "{ page { ...F again { ...F } } } fragment F on Page { a: position }"
    prepare(text, aliases=2)
    assert "aliases 2" in refusal(text, aliases=1)


def test_a_field_of_a_scope_that_the_principal_lacks_is_refused_by_name() -> None:
    assert "trade" in refusal("{ bars { secret } }")


def test_a_field_that_names_no_scope_is_closed_to_everybody() -> None:
    assert "nobody has" in refusal("{ bars { forgotten } }")


def test_a_scope_is_seen_through_fragments() -> None:
    assert "trade" in refusal("{ ...A } fragment A on Query { bars { ...B } } fragment B on Bar { secret }")


def test_introspection_as_tools_ask_for_it_is_allowed() -> None:
    for depth in (
        {},
        {"specified_by_url": True, "directive_is_repeatable": True, "input_value_deprecation": True},
    ):
        prepare(get_introspection_query(**depth))  # type: ignore[arg-type]


def test_introspection_that_walks_in_circles_is_too_costly() -> None:
    inner = "name"
    for _ in range(5):
        inner = f"fields {{ type {{ {inner} }} }}"
    assert "cost" in refusal(f"{{ __schema {{ types {{ {inner} }} }} }}")


BOMBS = {
    "spreads double": "{ ...f0 } "
    + " ".join(f"fragment f{i} on Query {{ ...f{i + 1} ...f{i + 1} }}" for i in range(29))
    + " fragment f29 on Query { page { position } }",
    "spreads double under fields": "{ page { ...f0 } } "
    + " ".join(f"fragment f{i} on Page {{ again {{ ...f{i + 1} ...f{i + 1} }} }}" for i in range(29))
    + " fragment f29 on Page { position }",
    "a cycle": "{ ...f0 } "
    + " ".join(f"fragment f{i} on Query {{ page {{ close }} ...f{(i + 1) % 50} }}" for i in range(30)),
    "nested braces": "{ page " + "{ again " * 400 + "{ position }" + "}" * 401,
    "nested lists": "{ bars(first: " + "[" * 700 + "]" * 700 + ") { close } }",
    "one name many times": "{ " + "page { position } " * 200 + "}",
    "names in fragments": "{ "
    + " ".join(f"...f{i}" for i in range(30))
    + " } "
    + " ".join(f"fragment f{i} on Query {{ page {{ position close }} }}" for i in range(30)),
    "many aliases": "{ " + " ".join(f"a{i}: page {{ position }}" for i in range(250)) + " }",
    "many variables": "query(" + " ".join(f"$v{i}: Int" for i in range(300)) + ") { page { position } }",
    "many directives": "{ page { position " + "@include(if: true) " * 200 + "} }",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_answered_within_fifty_milliseconds(name: str) -> None:
    prepare("{ page { position } }")  # what the first use of the library loads is not the bomb's
    times = []
    for _ in range(3):  # the best of three: the machine may be busy with something else
        documents = Documents(SCHEMA._schema, Limits())
        begun = time.process_time()
        with suppress(Refused):
            documents.prepare(BOMBS[name], {}, None, READER)
        times.append(time.process_time() - begun)
    assert min(times) < 0.05


def test_a_document_is_parsed_and_validated_once() -> None:
    documents = Documents(SCHEMA._schema, Limits())
    text = "query($n: Int!) { bars(first: $n) { close } }"
    first = documents.prepare(text, {"n": 1}, None, READER)
    second = documents.prepare(text, {"n": 2}, None, READER)
    assert first.document is second.document
    assert (first.weight.cost, second.weight.cost) == (2, 3)


def test_only_the_operation_that_would_run_is_weighed() -> None:
    documents = Documents(SCHEMA._schema, Limits(cost=20))
    text = "query Small { bars(first: 5) { close } } query Large { bars(first: 500) { close } }"
    assert documents.prepare(text, {}, "Small", READER).weight.cost == 6
    with pytest.raises(Refused, match="cost 501"):
        documents.prepare(text, {}, "Large", READER)


def test_which_operation_to_run_must_be_clear() -> None:
    two = "query A { page { position } } query B { page { position } }"
    assert "operationName" in refusal(two)
    with pytest.raises(Refused, match="'C'"):
        Documents(SCHEMA._schema, Limits()).prepare(two, {}, "C", READER)
