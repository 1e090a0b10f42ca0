"""How bars, rows and what is carried along get into the tables of the feature read model."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, LiteralString

import numpy as np
from psycopg import AsyncConnection

from alphapulse.domain.analysis.closing import Closed
from alphapulse.domain.analysis.feature_rows import END, POSITION, Carried, FeatureRows
from alphapulse.projections.binary_rows import HEADER, TRAILER, rows

SetKey = tuple[str, int]  # name and version

_PIECE = 5_000  # rows that are made into bytes at once
INLINE_ROWS = 64  # so few travel as parameters of one statement
_SLOTS = 32  # in one statement: some 100 kB each


async def write(
    db: AsyncConnection[Any],
    closed: Sequence[Closed],
    made: Sequence[tuple[SetKey, FeatureRows]],
    markets: Sequence[tuple[str, int, int, str, int]],
) -> None:
    """Bars, rows and markets (instrument, high water, late, state, position of each)."""
    if sum(len(each) for _, each in made) + sum(len(each.bars) for each in closed) <= INLINE_ROWS:
        await _write_inline(db, closed, made, markets)
        return
    await _copy(db, "COPY known_bars FROM STDIN (FORMAT BINARY)", (p for c in closed for p in _bar_rows(c)))
    await write_rows(db, made)
    await _write_inline(db, (), (), markets)


async def write_rows(db: AsyncConnection[Any], made: Sequence[tuple[SetKey, FeatureRows]]) -> None:
    pieces = (piece for key, each in made for piece in _feature_rows(key, each))
    await _copy(db, "COPY features FROM STDIN (FORMAT BINARY)", pieces)


async def _write_inline(
    db: AsyncConnection[Any],
    closed: Sequence[Closed],
    made: Sequence[tuple[SetKey, FeatureRows]],
    markets: Sequence[tuple[str, int, int, str, int]],
) -> None:
    """All in one statement: near the end of the log a round trip costs more than what it carries."""
    parts, values = list[LiteralString](), list[list[object]]()
    for statement, rows_ in (
        (_INSERT_BARS, [row for each in closed for row in _bar_values(each)]),
        (_INSERT_ROWS, [row for key, each in made for row in _row_values(key, each)]),
        (_UPSERT_MARKETS, list(markets)),
    ):
        if rows_:
            parts.append(statement)
            values += [list(column) for column in zip(*rows_, strict=True)]
    if parts:
        *before, last = parts
        named = ", ".join(f"part_{i} AS ({part})" for i, part in enumerate(before))
        await db.execute(f"WITH {named} {last}" if named else last, values)


_NUMBERS: LiteralString = "%s::float8[], %s::float8[], %s::float8[], %s::float8[], %s::float8[], %s::float8[]"
_INSERT_BARS: LiteralString = (
    "INSERT INTO known_bars SELECT * FROM unnest(%s::text[], %s::smallint[], %s::bigint[], "
    f"{_NUMBERS}, %s::float8[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::smallint[])"
)
_INSERT_ROWS: LiteralString = (
    "INSERT INTO features SELECT n, v, i, t, s, vals::float8[], k, p, f, l, flags FROM unnest(%s::text[], "
    "%s::int[], %s::text[], %s::smallint[], %s::bigint[], %s::text[], %s::bigint[], %s::bigint[], "
    "%s::bigint[], %s::bigint[], %s::int[]) r (n, v, i, t, s, vals, k, p, f, l, flags)"
)
_UPSERT_MARKETS: LiteralString = (
    "INSERT INTO feature_markets (instrument, high_water, late, state, position) "
    "SELECT * FROM unnest(%s::text[], %s::bigint[], %s::bigint[], %s::text[], %s::bigint[]) "
    "ON CONFLICT (instrument) DO UPDATE SET high_water = excluded.high_water, late = excluded.late, "
    "state = excluded.state, position = excluded.position"
)


def _bar_values(closed: Closed) -> Iterator[tuple[object, ...]]:
    """One tuple a bar, in the order of the columns of ``known_bars``."""
    bars = closed.bars
    columns = (
        *(bars.start, *bars.values[1:], bars.known_time, bars.position),
        *(closed.first_position, bars.input_position, bars.flags),
    )
    for row in zip(*(column.tolist() for column in columns), strict=True):
        yield (bars.instrument, bars.timeframe, *row)


def _row_values(key: SetKey, made: FeatureRows) -> Iterator[tuple[object, ...]]:
    """One tuple a row, in the order of the columns of ``features``; a vector as PostgreSQL writes it."""
    vectors = [f"{{{','.join(map(repr, vector))}}}" for vector in made.values.tolist()]
    columns = (made.known_time, made.position, made.first_position, made.input_position, made.flags)
    numbers = (column.tolist() for column in columns)
    for start, vector, *rest in zip(made.start.tolist(), vectors, *numbers, strict=True):
        yield (*key, made.instrument, made.timeframe, start, vector, *rest)


async def _copy(db: AsyncConnection[Any], statement: LiteralString, pieces: Iterator[bytes]) -> None:
    first = next(pieces, None)
    if first is None:
        return
    async with db.cursor() as cursor, cursor.copy(statement) as copy:
        await copy.write(HEADER)
        await copy.write(first)
        for piece in pieces:
            await copy.write(piece)
        await copy.write(TRAILER)


def _cuts(count: int) -> Iterator[slice]:
    return (slice(at, min(at + _PIECE, count)) for at in range(0, count, _PIECE))


def _bar_rows(closed: Closed) -> Iterator[bytes]:
    """In the order of the columns of ``known_bars``."""
    bars = closed.bars
    for cut in _cuts(len(bars)):
        start = bars.values[0, cut].astype(np.int64)
        yield rows(
            len(start),
            [
                bars.instrument,
                ("int2", bars.timeframe),
                ("int8", start),
                *(("float8", column[cut]) for column in bars.values[1:]),
                ("int8", bars.known_time[cut]),
                ("int8", bars.position[cut]),
                ("int8", closed.first_position[cut]),
                ("int8", bars.input_position[cut]),
                ("int2", bars.flags[cut]),
            ],
        )


def _feature_rows(key: SetKey, made: FeatureRows) -> Iterator[bytes]:
    """In the order of the columns of ``features``."""
    for cut in _cuts(len(made)):
        yield rows(
            len(made.start[cut]),
            [
                key[0],
                ("int4", key[1]),
                made.instrument,
                ("int2", made.timeframe),
                ("int8", made.start[cut]),
                made.values[cut],
                ("int8", made.known_time[cut]),
                ("int8", made.position[cut]),
                ("int8", made.first_position[cut]),
                ("int8", made.input_position[cut]),
                ("int4", made.flags[cut]),
            ],
        )


async def write_slots(db: AsyncConnection[Any], slots: Mapping[tuple[SetKey, str, int], Carried]) -> None:
    everything = list(slots.items())
    for at in range(0, len(everything), _SLOTS):
        values = [
            (
                *(*key, instrument, timeframe, carried.packed()),
                *(int(carried.bars[END, -1]) - timeframe, int(carried.bars[POSITION, -1])),
            )
            for (key, instrument, timeframe), carried in everything[at : at + _SLOTS]
        ]
        await db.execute(_UPSERT_SLOTS, [list(column) for column in zip(*values, strict=True)])


_UPSERT_SLOTS: LiteralString = (
    "INSERT INTO feature_slots (set_name, set_version, instrument, timeframe, carried, start, position) "
    "SELECT * FROM unnest(%s::text[], %s::int[], %s::text[], %s::smallint[], %b::bytea[], %s::bigint[], "
    "%s::bigint[]) ON CONFLICT (set_name, set_version, instrument, timeframe) "
    "DO UPDATE SET carried = excluded.carried, start = excluded.start, position = excluded.position"
)
