"""Read model: who did what, and why: every event but the market's own stream of trades, bars and watermarks.

Source: all names in ``Trail.names``. Rebuild with ``alphapulse projections rebuild audit_trail``. One row an
event, and none ever changes, so ``as_of`` (a position of the log) is a bound and exact. The market's events
are left out for their number: the way back from a decision to them goes through the log itself, by their ids.
"""

from collections.abc import Sequence
from typing import Any, LiteralString

import msgspec
from psycopg import AsyncConnection
from sqlalchemy import BigInteger, Column, Index, Integer, Table, Text, Uuid

from alphapulse.domain.ports import Recorded
from alphapulse.domain.provenance.leaf import microseconds
from alphapulse.projections.audit_words import said
from alphapulse.projections.checkpoint import metadata
from alphapulse.projections.read_model import Folded


def _text(name: str, *, nullable: bool = False) -> Column[str]:
    return Column(name, Text(collation="C"), nullable=nullable)


audit_trail = Table(
    "audit_trail",
    metadata,
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("event_id", Uuid, nullable=False),
    _text("stream"),
    Column("version", BigInteger, nullable=False),
    _text("name"),
    Column("recorded_at", BigInteger, nullable=False),  # µs since 1970 UTC, the store's clock
    Column("event_time", BigInteger),  # ns since 1970 UTC, the venue's clock
    Column("cause_id", Uuid),
    Column("correlation_id", Uuid),
    _text("actor"),
    _text("strategy", nullable=True),
    _text("instrument", nullable=True),
    Column("number", Integer),  # of the signal that it is about
    Column("said", Text, nullable=False),
    Index("audit_trail_by_actor", "actor", "position"),
    Index("audit_trail_by_strategy", "strategy", "position"),
    Index("audit_trail_by_instrument", "instrument", "position"),
    Index("audit_trail_by_stream", "stream", "position"),
    Index("audit_trail_by_correlation", "correlation_id", "position"),
    Index("audit_trail_by_cause", "cause_id", "position"),
    Index("audit_trail_by_name", "name", "position"),
)

COLUMNS: LiteralString = (
    "position, event_id, stream, version, name, recorded_at, event_time, cause_id, correlation_id, actor,"
    " strategy, instrument, number, said"
)

# The market speaks by the thousand: these are reached from what they caused.
OF_THE_MARKET = frozenset(
    {"market.trades_observed.v1", "market.bars_observed.v1", "feed.watermark_passed.v1"}
)
NAMES = frozenset(
    {
        "market.funding_observed.v1",
        "market.rows_refused.v1",
        "market.import_finished.v1",
        "news.headlines_observed.v1",
        "feed.connected.v1",
        "feed.lost.v1",
        "feed.gap_closed.v1",
        "features.quality_breached.v1",
        "features.quality_recovered.v1",
        "features.set_defined.v1",
        "features.set_retired.v1",
        "models.fitted.v1",
        "strategy.defined.v1",
        "strategy.retired.v1",
        "decision.made.v1",
        "decision.parameters_adapted.v1",
        "calibration.fitted.v1",
        "signal.issued.v1",
        "signal.exit_recommended.v1",
        "signal.closed.v1",
        "outcome.recorded.v1",
        "trial.recorded.v1",
        "audit.exported.v1",
    }
)


class Entry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One row of ``audit_trail``; ids as text."""

    position: int
    event_id: str
    stream: str
    version: int
    name: str
    recorded_at: int
    event_time: int | None
    cause_id: str | None
    correlation_id: str | None
    actor: str
    strategy: str | None
    instrument: str | None
    number: int | None
    said: str


Changes = Sequence[tuple[object, ...]]


class Trail:
    """See the module."""

    name = "audit_trail"
    code_version = 1
    names = NAMES
    tables: Sequence[Table] = (audit_trail,)
    partitioned = True
    commutes = True

    async def load(self, db: AsyncConnection[Any]) -> None:
        """Nothing has to be known of earlier events."""

    def fold(self, state: None, events: Sequence[Recorded]) -> Folded[None, Changes]:
        return Folded(state, [msgspec.structs.astuple(entry_of(recorded)) for recorded in events], {})

    async def write(self, db: AsyncConnection[Any], changes: Changes) -> None:
        places = ", ".join(["%s"] * len(Entry.__struct_fields__))
        statement = f"INSERT INTO audit_trail ({COLUMNS}) VALUES ({places}) ON CONFLICT DO NOTHING"
        async with db.cursor() as cursor:
            await cursor.executemany(statement, changes)


def entry_of(recorded: Recorded) -> Entry:
    """What the trail says of an event, the market's included."""
    event, envelope = recorded.event, recorded.envelope
    return Entry(
        position=recorded.position,
        event_id=str(envelope.event_id),
        stream=recorded.stream,
        version=recorded.version,
        name=recorded.name,
        recorded_at=microseconds(recorded.recorded_at),
        event_time=envelope.event_time,
        cause_id=_id(envelope.cause_id),
        correlation_id=_id(envelope.correlation_id),
        actor=envelope.actor,
        strategy=_strategy(recorded.name, event),
        instrument=_instrument(event),
        number=getattr(event, "number", None) if recorded.name.startswith(("signal.", "outcome.")) else None,
        said=said(recorded.name, event),
    )


def _id(value: object) -> str | None:
    return None if value is None else str(value)


def _strategy(name: str, event: Any) -> str | None:
    if name.startswith("strategy."):
        return str(event.name)
    return getattr(event, "strategy", None)


def _instrument(event: Any) -> str | None:
    if (found := getattr(event, "instrument", None)) is not None:
        return str(found)
    symbol = getattr(event, "symbol", None)
    return f"{event.venue}:{symbol}" if symbol else None
