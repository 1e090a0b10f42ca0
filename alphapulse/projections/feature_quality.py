"""Read model: when each check of a feature began to breach, and when it was good again.

Source: QualityBreached, QualityRecovered. Rebuild with ``alphapulse projections rebuild feature_quality``.
One row an event, and none ever changes, so ``as_of`` (a position of the log) is a bound and exact. A check
without a row has never breached. ``value`` and ``threshold`` are in the unit of the check.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import AsyncConnection
from psycopg.rows import class_row
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
)

from alphapulse.domain.analysis.quality_record import QualityBreached, QualityRecovered
from alphapulse.domain.ports import Recorded
from alphapulse.projections.candle_view import NotYetFolded, snapshot
from alphapulse.projections.checkpoint import metadata
from alphapulse.projections.read_model import Folded

MAX_ROWS = 10_000  # in one answer

feature_quality = Table(
    "feature_quality",
    metadata,
    Column("set_name", Text(collation="C"), nullable=False),
    Column("set_version", Integer, nullable=False),
    Column("instrument", Text(collation="C"), nullable=False),
    Column("timeframe", SmallInteger, nullable=False),  # minutes
    Column("feature", Text(collation="C"), nullable=False),  # empty: about rows as such
    Column("check_name", Text(collation="C"), nullable=False),  # psi, ks, missing, range, stale
    Column("position", BigInteger, nullable=False),  # of the event
    Column("is_breached", Boolean, nullable=False),
    Column("value", Double, nullable=False),
    Column("threshold", Double, nullable=False),
    Column("rows", Integer, nullable=False),  # judged
    Column("reference_rows", Integer, nullable=False),
    Column("detail", Text, nullable=False),
    Column("clock", BigInteger, nullable=False),  # ns, the venue's
    Column("seen_position", BigInteger, nullable=False),  # how far the rows had been folded
    PrimaryKeyConstraint(
        "set_name", "set_version", "instrument", "timeframe", "feature", "check_name", "position"
    ),
)

_NAMES = tuple(feature_quality.c.keys())
_KEY: LiteralString = "set_name, set_version, instrument, timeframe, feature, check_name"
_SELECTED: LiteralString = (
    "set_name, set_version, instrument, timeframe, feature, check_name, position, is_breached, value,"
    " threshold, rows, reference_rows, detail, clock, seen_position"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One row of ``feature_quality``."""

    set_name: str
    set_version: int
    instrument: str
    timeframe: int
    feature: str
    check_name: str
    position: int
    is_breached: bool
    value: float
    threshold: float
    rows: int
    reference_rows: int
    detail: str
    clock: int
    seen_position: int


Changes = Sequence[tuple[object, ...]]


class FeatureQuality:
    """See the module."""

    name = "feature_quality"
    code_version = 1
    names = frozenset({"features.quality_breached.v1", "features.quality_recovered.v1"})
    tables: Sequence[Table] = (feature_quality,)
    partitioned = True
    commutes = True

    async def load(self, db: AsyncConnection[Any]) -> None:
        """Nothing has to be known of earlier events."""

    def fold(self, state: None, events: Sequence[Recorded]) -> Folded[None, Changes]:
        return Folded(state, [_row(recorded) for recorded in events], {})

    async def write(self, db: AsyncConnection[Any], changes: Changes) -> None:
        places = ", ".join(["%s"] * len(_NAMES))
        statement = f"INSERT INTO feature_quality ({_SELECTED}) VALUES ({places}) ON CONFLICT DO NOTHING"
        async with db.cursor() as cursor:
            await cursor.executemany(statement, changes)


def _row(recorded: Recorded) -> tuple[object, ...]:
    event = recorded.event
    if not isinstance(event, QualityBreached | QualityRecovered):
        raise TypeError(f"{event!r} is no verdict on a feature")
    given: Mapping[str, object] = {
        "check_name": event.check,
        "position": recorded.position,
        "is_breached": isinstance(event, QualityBreached),
    }
    return tuple(given[name] if name in given else getattr(event, name) for name in _NAMES)


async def verdicts(
    conn: AsyncConnection[Any],
    *,
    set_name: str | None = None,
    set_version: int | None = None,
    instrument: str | None = None,
    breached_only: bool = False,
    as_of: int | None = None,
    limit: int = MAX_ROWS,
) -> Sequence[Verdict]:
    """The last verdict on each check that ever breached, in order of their keys, at most ``limit``.

    Raises:
        NotYetFolded: ``as_of`` lies ahead.
    """
    where: list[LiteralString] = ["true"]
    if set_name is not None:
        where.append("set_name = %(set_name)s")
    if set_version is not None:
        where.append("set_version = %(set_version)s")
    if instrument is not None:
        where.append("instrument = %(instrument)s")
    if as_of is not None:
        where.append("position <= %(as_of)s")
    last: LiteralString = (
        f"SELECT DISTINCT ON ({_KEY}) {_SELECTED} FROM feature_quality WHERE {' AND '.join(where)}"
        f" ORDER BY {_KEY}, position DESC"
    )
    shown: LiteralString = "is_breached" if breached_only else "true"
    values = {
        "set_name": set_name,
        "set_version": set_version,
        "instrument": instrument,
        "as_of": as_of,
        "limit": min(limit, MAX_ROWS),
    }
    async with snapshot(conn):
        if as_of is not None:
            await _reached(conn, as_of)
        async with conn.cursor(row_factory=class_row(Verdict)) as cursor:
            await cursor.execute(
                f"SELECT * FROM ({last}) v WHERE {shown} ORDER BY {_KEY} LIMIT %(limit)s", values
            )
            return await cursor.fetchall()


async def _reached(conn: AsyncConnection[Any], as_of: int) -> None:
    cursor = await conn.execute(
        "SELECT position FROM projections WHERE name = 'feature_quality' AND state = 'live'"
    )
    row = await cursor.fetchone()
    reached = int(row[0]) if row else 0
    if as_of > reached:
        raise NotYetFolded(f"position {as_of} was asked for, feature_quality has come to {reached}")
