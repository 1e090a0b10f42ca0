"""How positions, times and decimals go in and out."""

from datetime import UTC, datetime
from decimal import Decimal as Exact

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse.graphql.errors import UserError
from alphapulse.graphql.scalars import (
    datetime_of,
    decimal_of,
    parse_position,
    parse_time,
    time_of,
    write_time,
)

YEAR_1, YEAR_10000 = -62_135_596_800 * 10**9, 253_402_300_800 * 10**9


@given(st.integers(YEAR_1, YEAR_10000 - 1))
def test_a_time_survives_being_written_and_read(time: int) -> None:
    assert parse_time(write_time(time)) == time


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("1970-01-01", 0),
        ("1970-01-01T00:01", 60 * 10**9),
        ("1970-01-01T00:00:01", 10**9),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1970-01-01T00:00:00.000000001Z", 1),
        ("1970-01-01t00:00:00.5z", 500_000_000),
        ("1970-01-01T00:00:00.1234567899Z", 123_456_789),
        ("1969-12-31T23:59:59.75Z", -250_000_000),
    ],
)
def test_times_are_read_as_iso_8601(text: str, time: int) -> None:
    assert parse_time(text) == time


@pytest.mark.parametrize(
    "value",
    ["", "yesterday", "2026-13-01", "2026-02-30T00:00Z", "2026-01-01T25:00Z", 5, None, True, "9" * 50],
)
def test_what_is_no_time_is_refused_with_its_value(value: object) -> None:
    with pytest.raises(UserError, match="time"):
        parse_time(value)


def test_times_show_as_many_decimals_as_they_need() -> None:
    assert write_time(0) == "1970-01-01T00:00:00Z"
    assert write_time(5 * 10**8) == "1970-01-01T00:00:00.500Z"
    assert write_time(1_000) == "1970-01-01T00:00:00.000001Z"
    assert write_time(1) == "1970-01-01T00:00:00.000000001Z"


def test_a_datetime_becomes_nanoseconds_exactly() -> None:
    moment = datetime(2026, 1, 31, 12, 34, 56, 789_012, tzinfo=UTC)
    assert datetime_of(time_of(moment)) == moment
    assert time_of(moment) % 1000 == 0


@pytest.mark.parametrize("value", [0, 1, 2**63 - 1, "0", "42"])
def test_positions_are_read_from_integers_and_digits(value: object) -> None:
    assert parse_position(value) == int(str(value))


@pytest.mark.parametrize("value", [-1, 2**63, True, 1.0, "", "1.5", "-1", "٣", None, [1]])
def test_what_is_no_position_is_refused_with_its_value(value: object) -> None:
    with pytest.raises(UserError, match="position"):
        parse_position(value)


def test_decimals_are_written_without_an_exponent() -> None:
    assert decimal_of(Exact("1E+3")) == "1000"
    assert decimal_of(Exact("1E-8")) == "0.00000001"
    assert decimal_of(Exact("123.4500")) == "123.4500"
