"""The scalars of the schema, and how each is written in JSON.

Position, Long: integers. Time: ISO 8601 in UTC with up to nine decimals; inside ``int`` nanoseconds.
Decimal: a string with every digit. Column: one JSON array, already encoded, spliced as it is.
"""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal as Exact
from typing import Any, NewType

import orjson
import strawberry
from strawberry.types.scalar import ScalarDefinition

from alphapulse.graphql.errors import UserError

Position = NewType("Position", int)
Long = NewType("Long", int)
Time = NewType("Time", int)  # ns since 1970 UTC
Decimal = NewType("Decimal", str)
Column = NewType("Column", orjson.Fragment)
Json = NewType("Json", orjson.Fragment)

_MAX_POSITION = 2**63 - 1
_NS = 1_000_000_000
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d(?::\d\d)?)(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d\d:\d\d)?)?"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NULL_COLUMN = Column(orjson.Fragment(b"null"))


def parse_position(value: Any) -> Position:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_POSITION:
        raise UserError(f"position {value!r} needs an integer from 0 to {_MAX_POSITION}")
    return Position(value)


def parse_long(value: Any) -> Long:
    """A count from 0 up, also as a string of digits: JavaScript's numbers end at 53 bits."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_POSITION:
        raise UserError(f"{value!r} is not an integer from 0 to {_MAX_POSITION}")
    return Long(value)


def parse_time(value: Any) -> Time:
    """Nanoseconds of an ISO 8601 text; without an offset it is UTC."""
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise UserError(f"time {value!r} is not ISO 8601, such as 2026-01-31T00:00:00Z")
    day, clock, fraction, offset = match.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{clock or '00:00'}{(offset or 'Z').upper()}")
        seconds = (moment.astimezone(UTC) - _EPOCH) // timedelta(seconds=1)
    except (ValueError, OverflowError) as error:
        raise UserError(f"time {value!r} is not a moment of the calendar: {error}") from None
    return Time(seconds * _NS + int((fraction or "0").ljust(9, "0")))


def write_time(time: int) -> str:
    """ISO 8601 in UTC with as many decimals (3, 6 or 9) as the nanoseconds need, none for whole seconds."""
    seconds, nanos = divmod(time, _NS)
    text = (_EPOCH + timedelta(seconds=seconds)).replace(tzinfo=None).isoformat()
    fraction = f"{nanos:09d}"
    while fraction.endswith("000"):
        fraction = fraction[:-3]
    return f"{text}.{fraction}Z" if fraction else f"{text}Z"


def time_of(moment: datetime) -> Time:
    """``moment`` in nanoseconds, exactly: datetimes carry microseconds."""
    return Time((moment - _EPOCH) // timedelta(microseconds=1) * 1000)


def datetime_of(time: int) -> datetime:
    """``time`` cut to microseconds.

    Raises:
        UserError: the year is not between 1 and 9999.
    """
    try:
        return _EPOCH + timedelta(microseconds=time // 1000)
    except OverflowError:
        raise UserError(f"time {time} ns is outside the years 1 to 9999") from None


def decimal_of(value: Exact) -> Decimal:
    """``value`` in plain digits, never with an exponent."""
    return Decimal(format(value, "f"))


def _no_input(_value: Any) -> Any:
    raise UserError("this type is never an input")


SCALARS: dict[object, ScalarDefinition] = {
    Position: strawberry.scalar(
        name="Position",
        description="A place in the log: an integer from 1 in commit order, with gaps; 0 is before all.",
        serialize=int,
        parse_value=parse_position,
    ),
    Long: strawberry.scalar(
        name="Long",
        description="An integer of up to 63 bits.",
        serialize=int,
        parse_value=parse_long,
    ),
    Time: strawberry.scalar(
        name="Time",
        description="ISO 8601, UTC where no offset is given, up to nine decimals: 2026-01-31T12:00:00.123Z.",
        serialize=write_time,
        parse_value=parse_time,
    ),
    Decimal: strawberry.scalar(
        name="Decimal",
        description="An exact decimal number as a string: no digit is lost on the way.",
        serialize=str,
        parse_value=_no_input,
    ),
    Column: strawberry.scalar(
        name="Column",
        description="A JSON array with one entry a row of the series, null where a row has no value.",
        serialize=lambda fragment: fragment,
        parse_value=_no_input,
    ),
    Json: strawberry.scalar(
        name="JSON",
        description="Any JSON value.",
        serialize=lambda fragment: fragment,
        parse_value=_no_input,
    ),
}
