"""How bars, rows and what is carried along get into the tables of the feature read model."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, LiteralString

import numpy as np
from psycopg import AsyncConnection

from alphapulse.domain.analysis.closing import Closed
from alphapulse.domain.analysis.feature_rows import POSITION, Carried, FeatureRows
from alphapulse.projections.binary_rows import HEADER, TRAILER, rows

SetKey = tuple[str, int]  # name and version

_PIECE = 5_000  # rows that are made into bytes at once
_SLOTS = 32  # in one statement: some 100 kB each


async def write_bars(db: AsyncConnection[Any], closed: Sequence[Closed]) -> None:
    await _copy(db, "COPY known_bars FROM STDIN (FORMAT BINARY)", (p for c in closed for p in _bar_rows(c)))


async def write_rows(db: AsyncConnection[Any], made: Sequence[tuple[SetKey, FeatureRows]]) -> None:
    pieces = (piece for key, each in made for piece in _feature_rows(key, each))
    await _copy(db, "COPY features FROM STDIN (FORMAT BINARY)", pieces)


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


async def write_markets(db: AsyncConnection[Any], markets: Sequence[tuple[str, int, int, str, int]]) -> None:
    """Instrument, high water, late, state and position of each."""
    if markets:
        await db.execute(
            "INSERT INTO feature_markets (instrument, high_water, late, state, position) "
            "SELECT * FROM unnest(%s::text[], %s::bigint[], %s::bigint[], %s::text[], %s::bigint[]) "
            "ON CONFLICT (instrument) DO UPDATE SET high_water = excluded.high_water, late = excluded.late, "
            "state = excluded.state, position = excluded.position",
            [list(column) for column in zip(*markets, strict=True)],
        )


async def write_slots(db: AsyncConnection[Any], slots: Mapping[tuple[SetKey, str, int], Carried]) -> None:
    everything = list(slots.items())
    for at in range(0, len(everything), _SLOTS):
        some = everything[at : at + _SLOTS]
        values = [
            (*key, instrument, timeframe, carried.packed(), int(carried.bars[POSITION, -1]))
            for (key, instrument, timeframe), carried in some
        ]
        await db.execute(
            "INSERT INTO feature_slots (set_name, set_version, instrument, timeframe, carried, position) "
            "SELECT * FROM unnest(%s::text[], %s::int[], %s::text[], %s::smallint[], %b::bytea[], "
            "%s::bigint[]) "
            "ON CONFLICT (set_name, set_version, instrument, timeframe) "
            "DO UPDATE SET carried = excluded.carried, position = excluded.position",
            [list(column) for column in zip(*values, strict=True)],
        )
