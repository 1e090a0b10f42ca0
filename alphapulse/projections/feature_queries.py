"""What features answer: sets, rows of one set, and the latest vector of many instruments.

Rows never change, so with ``as_of`` (a position of the log) an answer is exactly what a log cut there would
answer: rows that were known by then, of sets that were defined by then. A set or version that is not there is
an error. Spans are nanoseconds by the venue's clock, ends excluded. Nothing is unlimited: see the MAX_*.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import msgspec
import numpy as np
from psycopg import AsyncConnection

from alphapulse.domain.analysis.feature_rows import FeatureRows
from alphapulse.domain.analysis.features import BadFeatureSet, SetDefined, UnknownFeatureSet
from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.market.timeframes import LABELS, MINUTE_NS
from alphapulse.projections.candle_view import NotYetFolded, QueryTooLarge, snapshot
from alphapulse.projections.known_bars import known_position, wire_array

MAX_ROWS = 200_000  # in one answer
MAX_VALUES = 10_000_000  # rows times features
MAX_INSTRUMENTS = 2_000  # of one question for the latest vectors
MAX_LISTED = 10_000  # versions of sets

_NUMBERS = ("start", "known_time", "position", "first_position", "input_position", "flags")
_AGGREGATES: LiteralString = ", ".join(f"array_agg({c}::bigint)" for c in _NUMBERS)


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """One version of a set. ``position``: of its definition. ``problem``: why there are no rows of it."""

    defined: SetDefined
    position: int
    retired_position: int | None
    problem: str | None

    @property
    def in_use(self) -> bool:
        """New bars give new rows."""
        return self.retired_position is None and self.problem is None


@dataclass(frozen=True, slots=True)
class Vector:
    """The latest row of one instrument, its values in the order of the set."""

    instrument: str
    start: int  # minutes since 1970 UTC
    values: tuple[float, ...]
    known_time: int  # ns
    position: int
    first_position: int
    input_position: int
    flags: int


async def feature_sets(conn: AsyncConnection[Any], *, as_of: int | None = None) -> Sequence[FeatureSet]:
    """All versions of all sets, by name, newest first.

    Raises:
        NotYetFolded: ``as_of`` lies ahead.
    """
    async with snapshot(conn):
        at = await position_at(conn, as_of)
        return await _sets(conn, "position <= %(at)s", {"at": at})


async def feature_set(
    conn: AsyncConnection[Any], name: str, version: int | None = None, *, as_of: int | None = None
) -> FeatureSet:
    """One version; without ``version`` the newest in use, or else the newest.

    Raises:
        UnknownFeatureSet: there is no such set or version, or there was none at ``as_of``.
        NotYetFolded: ``as_of`` lies ahead.
    """
    async with snapshot(conn):
        at = await position_at(conn, as_of)
        found = await _sets(conn, "position <= %(at)s AND name = %(name)s", {"at": at, "name": name})
    for each in (e for e in found if version is None and e.in_use):
        return each
    for each in found:
        if version in (None, each.defined.version):
            return each
    versions = ", ".join(str(e.defined.version) for e in found)
    wanted = f"feature set {name!r}" + ("" if version is None else f" version {version}")
    there = f"it has version {versions}" if found else "`alphapulse features list` shows those there are"
    raise UnknownFeatureSet(f"no {wanted} at position {at}: {there}")


async def feature_rows(
    conn: AsyncConnection[Any],
    name: str,
    version: int | None,
    instrument: str,
    timeframe: int,
    *,
    start: int | None = None,
    end: int | None = None,
    last: int | None = None,
    known_by: int | None = None,
    as_of: int | None = None,
    limit: int = MAX_ROWS,
) -> tuple[FeatureSet, FeatureRows]:
    """The set, and its rows of bars that begin in [start, end), of those the ``last`` ones, oldest first.

    ``known_by``: only rows that were known at that moment of the venue's clock (ns).

    Raises:
        UnknownFeatureSet: there is no such set or version, or there was none at ``as_of``.
        BadFeatureSet: the set has no rows of that timeframe, or this code makes none of it.
        QueryTooLarge: there are more than ``limit``, or the vectors are too wide for so many.
        NotYetFolded: ``as_of`` lies ahead.
    """
    async with snapshot(conn):
        found = await feature_set(conn, name, version, as_of=as_of)
        most = min(limit, MAX_VALUES // len(found.defined.features))
        _check(found, timeframe)
        if last is not None and not 0 <= last <= most:
            raise QueryTooLarge(f"the last {last} rows: at most {most} of this set in one answer")
        where: dict[LiteralString, object] = {
            "start >= %(first)s": start,
            "start < %(end)s": end,
            "known_time <= %(known_by)s": known_by,
            "position <= %(as_of)s": as_of,
        }
        values = {
            "name": name,
            "version": found.defined.version,
            "instrument": instrument,
            "timeframe": timeframe,
            "known_by": known_by,
            "as_of": as_of,
            "first": -(-(start or 0) // MINUTE_NS),
            "end": -(-(end or 0) // MINUTE_NS),
            "rows": most + 1 if last is None else last,
        }
        bounds = "".join(f" AND {bound}" for bound, value in where.items() if value is not None)
        rows = await _read(conn, found, instrument, timeframe, bounds, last is not None, values)
    if last is None and len(rows) > most:
        raise QueryTooLarge(f"the range holds more than {most} rows of {LABELS[timeframe]}")
    return found, rows


async def feature_page(
    conn: AsyncConnection[Any],
    found: FeatureSet,
    instrument: str,
    timeframe: int,
    *,
    first_start: int,
    until: int,
    limit: int,
) -> FeatureRows:
    """Rows known at ``until``, from bar ``first_start`` (minutes) on, at most ``limit``, oldest first."""
    values = {
        "name": found.defined.name,
        "version": found.defined.version,
        "instrument": instrument,
        "timeframe": timeframe,
        "first": first_start,
        "until": until,
        "rows": min(limit, max(1, MAX_VALUES // len(found.defined.features))),
    }
    bounds: LiteralString = " AND start >= %(first)s AND position <= %(until)s"
    return await _read(conn, found, instrument, timeframe, bounds, newest=False, values=values)


async def latest(
    conn: AsyncConnection[Any],
    name: str,
    version: int | None,
    timeframe: int,
    instruments: Sequence[str],
    *,
    as_of: int | None = None,
) -> tuple[FeatureSet, Mapping[str, Vector]]:
    """The set, and by instrument its latest row; an instrument without any row is not there.

    Raises:
        UnknownFeatureSet: there is no such set or version, or there was none at ``as_of``.
        BadFeatureSet: the set has no rows of that timeframe, or this code makes none of it.
        QueryTooLarge: more than MAX_INSTRUMENTS are asked for.
        NotYetFolded: ``as_of`` lies ahead.
    """
    if len(instruments) > MAX_INSTRUMENTS:
        raise QueryTooLarge(f"{len(instruments)} instruments: at most {MAX_INSTRUMENTS} in one answer")
    async with snapshot(conn):
        found = await feature_set(conn, name, version, as_of=as_of)
        _check(found, timeframe)
        cursor = await conn.execute(
            "SELECT i.instrument, f.start, f.vals, f.known_time, f.position, f.first_position, "
            "f.input_position, f.flags FROM unnest(%(instruments)s::text[]) i (instrument) "
            "CROSS JOIN LATERAL (SELECT * FROM features f WHERE f.set_name = %(name)s "
            "AND f.set_version = %(version)s AND f.instrument = i.instrument "
            "AND f.timeframe = %(timeframe)s AND f.position <= %(at)s ORDER BY f.start DESC LIMIT 1) f",
            {
                "instruments": list(dict.fromkeys(instruments)),
                "name": name,
                "version": found.defined.version,
                "timeframe": timeframe,
                "at": (1 << 63) - 1 if as_of is None else as_of,
            },
            binary=True,
        )
        rows = await cursor.fetchall()
    return found, {row[0]: Vector(row[0], row[1], tuple(row[2]), *row[3:]) for row in rows}


async def feature_instruments(conn: AsyncConnection[Any], *, limit: int = MAX_LISTED) -> Sequence[str]:
    """Every instrument that has any closed bar, in order."""
    cursor = await conn.execute(
        "SELECT instrument FROM feature_markets m "
        "WHERE EXISTS (SELECT FROM known_bars b WHERE b.instrument = m.instrument) ORDER BY 1 LIMIT %s",
        (limit,),
    )
    return [name for (name,) in await cursor.fetchall()]


async def late_count(conn: AsyncConnection[Any], instrument: str) -> int:
    """Trades and venue bars of ``instrument`` that came after their bar had ended."""
    cursor = await conn.execute("SELECT late FROM feature_markets WHERE instrument = %s", (instrument,))
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def position_at(conn: AsyncConnection[Any], as_of: int | None) -> int:
    """The position that an answer stands for.

    Raises:
        NotYetFolded: ``as_of`` lies ahead.
    """
    reached = await known_position(conn)
    if as_of is not None and as_of > reached:
        raise NotYetFolded(f"position {as_of} was asked for, features have come to {reached}")
    return reached if as_of is None else as_of


def _check(found: FeatureSet, timeframe: int) -> None:
    defined = found.defined
    if timeframe not in defined.timeframes:
        labels = ", ".join(LABELS[t] for t in defined.timeframes)
        asked = LABELS.get(timeframe, f"{timeframe} minutes")
        raise BadFeatureSet(f"{defined.name} version {defined.version} has rows of {labels}, not of {asked}")
    if found.problem is not None:
        raise BadFeatureSet(f"{defined.name} version {defined.version}: {found.problem}")


async def _sets(
    conn: AsyncConnection[Any], where: LiteralString, values: Mapping[str, object]
) -> Sequence[FeatureSet]:
    """Versions as they stood at ``values["at"]``."""
    cursor = await conn.execute(
        "SELECT definition, position, "
        "CASE WHEN retired_position <= %(at)s THEN retired_position END, problem "
        f"FROM feature_sets WHERE {where} ORDER BY name, version DESC LIMIT {MAX_LISTED}",
        values,
    )
    return [
        FeatureSet(msgspec.json.decode(text, type=SetDefined), position, retired, problem)
        for text, position, retired, problem in await cursor.fetchall()
    ]


async def _read(
    conn: AsyncConnection[Any],
    found: FeatureSet,
    instrument: str,
    timeframe: int,
    bounds: LiteralString,
    newest: bool,
    values: Mapping[str, object],
) -> FeatureRows:
    """Columns travel as arrays, the vectors as one matrix: no Python object a value."""
    order: LiteralString = "DESC" if newest else "ASC"
    inner: LiteralString = (
        "SELECT * FROM features WHERE set_name = %(name)s AND set_version = %(version)s "
        f"AND instrument = %(instrument)s AND timeframe = %(timeframe)s{bounds} "
        f"ORDER BY start {order} LIMIT %(rows)s"
    )
    async with conn.cursor(binary=True) as cursor:
        await cursor.execute(
            f"SELECT {_AGGREGATES}, array_agg(vals) FROM ({inner}) f", dict(values), prepare=False
        )
        result = cursor.pgresult
        assert result is not None, "a select has a result"
        numbers = [wire_array(result.get_value(0, i), int) for i in range(len(_NUMBERS))]
        matrix = _matrix(result.get_value(0, len(_NUMBERS)), len(found.defined.features))
    if newest:
        numbers, matrix = [column[::-1] for column in numbers], matrix[::-1]
    columns = dict(zip(_NUMBERS, numbers, strict=True))
    return FeatureRows(instrument=instrument, timeframe=timeframe, values=matrix, **columns)


def _matrix(data: bytes | None, width: int) -> Floats:
    """An array of two dimensions of double precision in PostgreSQL's binary form; null is an empty one."""
    if data is None:
        return np.empty((0, width))
    cells = np.frombuffer(data, dtype=[("size", ">i4"), ("value", ">f8")], offset=28)
    return cells["value"].astype(np.float64).reshape(-1, width)
