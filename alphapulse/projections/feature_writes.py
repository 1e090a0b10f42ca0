"""How bars, rows and what is carried along get into the tables of the feature read model."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, LiteralString

import numpy as np
from psycopg import AsyncConnection

from alphapulse.domain.analysis.closing import Closed
from alphapulse.domain.analysis.feature_rows import END, POSITION, Carried, FeatureRows
from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.projections.at_once import Part
from alphapulse.projections.binary_rows import (
    HEADER,
    TRAILER,
    bytea_array,
    float8_array,
    int8_array,
    rows,
    text_array,
)

SetKey = tuple[str, int]  # name and version

_PIECE = 5_000  # rows that are made into bytes at once
INLINE_ROWS = 256  # so few travel as parameters of one statement
SLOTS = 32  # in one statement: some 100 kB each


Slots = Mapping[tuple[SetKey, str, int], Carried]  # with instrument and timeframe
Market = tuple[str, int, int, str, int]  # instrument, high water, late, state, position


async def write(
    db: AsyncConnection[Any],
    closed: Sequence[Closed],
    made: Sequence[tuple[SetKey, FeatureRows]],
    markets: Sequence[Market],
) -> None:
    await _copy(db, "COPY known_bars FROM STDIN (FORMAT BINARY)", (p for c in closed for p in _bar_rows(c)))
    await write_rows(db, made)
    for part in _market_parts(markets):
        await part.execute(db)


def parts(
    closed: Sequence[Closed],
    made: Sequence[tuple[SetKey, FeatureRows]],
    markets: Sequence[Market],
    slots: Slots,
) -> Sequence[Part] | None:
    """What ``write`` and ``write_slots`` do, as parts of one statement; None where it is too much."""
    count = sum(len(each) for _, each in made) + sum(len(each.bars) for each in closed)
    if count > INLINE_ROWS or len(slots) > SLOTS:
        return None
    return [*_bar_parts(closed), *_row_parts(made), *_market_parts(markets), *_slot_parts(slots)]


async def write_rows(db: AsyncConnection[Any], made: Sequence[tuple[SetKey, FeatureRows]]) -> None:
    pieces = (piece for key, each in made for piece in _feature_rows(key, each))
    await _copy(db, "COPY features FROM STDIN (FORMAT BINARY)", pieces)


# Numbers of all rows stand one behind the other: three arrays cost less than fifteen. PostgreSQL takes an
# array that is unnested for ten rows, whatever it holds, and so keeps one plan; with ``generate_series`` it
# would make a new one for each batch, which takes longer than to write it.

_INSERT_BARS: LiteralString = (
    "INSERT INTO known_bars SELECT instrument, n[7*i-6], n[7*i-5], v[7*i-6], v[7*i-5], v[7*i-4], v[7*i-3], "
    "v[7*i-2], v[7*i-1], v[7*i], n[7*i-4], n[7*i-3], n[7*i-2], n[7*i-1], n[7*i] "
    "FROM (SELECT %s::bigint[] AS n, %s::float8[] AS v) numbers, "
    "unnest(%s::text[]) WITH ORDINALITY AS bars (instrument, i)"
)
_INSERT_ROWS: LiteralString = (
    "INSERT INTO features SELECT sets[i], n[10*i-9], instrument, n[10*i-8], n[10*i-7], "
    "v[n[10*i-1]:n[10*i]], n[10*i-6], n[10*i-5], n[10*i-4], n[10*i-3], n[10*i-2] "
    "FROM (SELECT %s::text[] AS sets, %s::bigint[] AS n, %s::float8[] AS v) given, "
    "unnest(%s::text[]) WITH ORDINALITY AS rows (instrument, i)"
)
_UPSERT_MARKETS: LiteralString = (
    "INSERT INTO feature_markets (instrument, high_water, late, state, position) "
    "SELECT instrument, n[3*i-2], n[3*i-1], states[i], n[3*i] "
    "FROM (SELECT %s::text[] AS states, %s::bigint[] AS n) given, "
    "unnest(%s::text[]) WITH ORDINALITY AS markets (instrument, i) "
    "ON CONFLICT (instrument) DO UPDATE SET high_water = excluded.high_water, late = excluded.late, "
    "state = excluded.state, position = excluded.position"
)


def _bar_parts(closed: Sequence[Closed]) -> Iterator[Part]:
    if not closed:
        return
    names, numbers, values = list[str](), list[Int64s](), list[Floats]()
    for each in closed:
        bars = each.bars
        names += [bars.instrument] * len(bars)
        timeframe = np.full(len(bars), bars.timeframe)
        whole = (bars.known_time, bars.position, each.first_position, bars.input_position, bars.flags)
        numbers.append(np.stack([timeframe, bars.start, *whole], axis=1).reshape(-1))
        values.append(bars.values[1:].T.reshape(-1))
    flat = np.concatenate(numbers), np.concatenate(values)
    yield Part(_INSERT_BARS, (int8_array(flat[0]), float8_array(flat[1]), text_array(names)))


def _row_parts(made: Sequence[tuple[SetKey, FeatureRows]]) -> Iterator[Part]:
    if not made:
        return
    sets, names, numbers, values, end = list[str](), list[str](), list[Int64s](), list[Floats](), 0
    for (name, version), each in made:
        count, width = each.values.shape
        sets += [name] * count
        names += [each.instrument] * count
        ends = end + width * np.arange(1, count + 1)
        end += width * count
        key = np.full(count, version), np.full(count, each.timeframe)
        whole = (each.known_time, each.position, each.first_position, each.input_position, each.flags)
        numbers.append(np.stack([*key, each.start, *whole, ends - width + 1, ends], axis=1).reshape(-1))
        values.append(each.values.reshape(-1))
    flat = np.concatenate(numbers), np.concatenate(values)
    arrays = text_array(sets), int8_array(flat[0]), float8_array(flat[1]), text_array(names)
    yield Part(_INSERT_ROWS, arrays)


def _market_parts(markets: Sequence[Market]) -> Iterator[Part]:
    if markets:
        names, high_water, late, states, positions = zip(*markets, strict=True)
        numbers = [n for each in zip(high_water, late, positions, strict=True) for n in each]
        yield Part(_UPSERT_MARKETS, (text_array(states), int8_array(numbers), text_array(names)))


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


async def write_slots(db: AsyncConnection[Any], slots: Slots) -> None:
    for part in _slot_parts(slots):
        await part.execute(db)


def _slot_parts(slots: Slots) -> Iterator[Part]:
    everything = list(slots.items())
    for at in range(0, len(everything), SLOTS):
        some = everything[at : at + SLOTS]
        ends = [(int(c.bars[END, -1]), int(c.bars[POSITION, -1])) for _, c in some]
        yield Part(
            _UPSERT_SLOTS,
            (
                text_array([name for ((name, _), _, _), _ in some]),
                int8_array([version for ((_, version), _, _), _ in some]),
                text_array([instrument for (_, instrument, _), _ in some]),
                int8_array([timeframe for (_, _, timeframe), _ in some]),
                bytea_array([carried.packed() for _, carried in some]),
                int8_array([end - key[2] for (key, _), (end, _) in zip(some, ends, strict=True)]),
                int8_array([position for _, position in ends]),
            ),
        )


_UPSERT_SLOTS: LiteralString = (
    "INSERT INTO feature_slots (set_name, set_version, instrument, timeframe, carried, start, position) "
    "SELECT * FROM unnest(%s::text[], %s::bigint[], %s::text[], %s::bigint[], %s::bytea[], %s::bigint[], "
    "%s::bigint[]) ON CONFLICT (set_name, set_version, instrument, timeframe) "
    "DO UPDATE SET carried = excluded.carried, start = excluded.start, position = excluded.position"
)
