"""Read model: closed bars as they were first known, and the features that the sets in use make of them.

Source: TradesObserved, BarsObserved, FeedConnected, FeedLost, GapClosed, WatermarkPassed, SetDefined,
SetRetired. Rebuild with ``alphapulse projections rebuild features``. What the rows mean stands in
docs/features.md; the queries are in feature_queries.py and known_bars.py, the tables in feature_tables.py.

A set that is defined gets rows of all bars before it, too, in the transaction that passes its definition
(feature_backfill.py): the rows at a position are a function of the log up to there.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
from psycopg import AsyncConnection
from sqlalchemy import Table

from alphapulse.domain.analysis.closing import Closed, Closing, Fed, close_bars
from alphapulse.domain.analysis.feature_rows import Carried, FeatureRows, SetPlan, Slots
from alphapulse.domain.analysis.features import SetDefined, SetRetired, problem_of
from alphapulse.domain.analysis.registry import everything
from alphapulse.domain.market.events import BarsObserved, TradesObserved
from alphapulse.domain.ports import Recorded
from alphapulse.projections import feature_state
from alphapulse.projections.at_once import Part
from alphapulse.projections.feature_backfill import backfill, carried_slots
from alphapulse.projections.feature_tables import (
    feature_markets,
    feature_sets,
    feature_slots,
    features,
    known_bars,
)
from alphapulse.projections.feature_writes import Market, SetKey, parts, write, write_slots
from alphapulse.projections.read_model import Folded, Scope

DEFINED, RETIRED = "features.set_defined.v1", "features.set_retired.v1"
_CODE = 2  # of this module and what it stands on, the indicators apart; 2: snapshots hold what a plan reads
_END = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class State:
    """``sets``: those in use. ``slots``: what each carries along, by instrument and timeframe."""

    scope: Scope
    markets: Mapping[str, Closing]
    sets: Mapping[SetKey, SetPlan]
    slots: Mapping[tuple[SetKey, str], Slots]


@dataclass(frozen=True, slots=True)
class Definition:
    """A set that was defined; ``plan`` is None where this code cannot make its rows."""

    position: int
    defined: SetDefined
    problem: str | None
    plan: SetPlan | None


@dataclass(slots=True)
class Changes:
    """All that a batch changes."""

    bars: list[Closed] = field(default_factory=list)
    rows: list[tuple[SetKey, FeatureRows]] = field(default_factory=list)
    markets: dict[str, tuple[Closing, int]] = field(default_factory=dict)  # and position
    slots: dict[tuple[SetKey, str, int], Carried] = field(default_factory=dict)
    defined: list[Definition] = field(default_factory=list)
    retired: list[tuple[int, SetRetired]] = field(default_factory=list)
    instruments: Sequence[str] = ()  # whose bars a definition looks back on


class Features:
    """See the module. Folds any number of instruments; none depends on another."""

    name = "features"
    names = frozenset(
        {
            "market.trades_observed.v1",
            "market.bars_observed.v1",
            "feed.connected.v1",
            "feed.lost.v1",
            "feed.gap_closed.v1",
            "feed.watermark_passed.v1",
            DEFINED,
            RETIRED,
        }
    )
    directives = frozenset({DEFINED, RETIRED})
    batch_bytes = 1_000_000  # some 200,000 bars of a venue, with rows of all sets
    tables: Sequence[Table] = (known_bars, feature_markets, feature_sets, feature_slots, features)
    partitioned = True
    commutes = False  # a trade that is folded late is late

    @property
    def code_version(self) -> int:
        """Grows with every change of an indicator: rows of two versions of it must not be mixed."""
        return _CODE + sum(known.code_version - 1 for known in everything().values())

    async def load(self, db: AsyncConnection[Any]) -> State:
        return await self.load_at(db, Scope(_END))

    async def load_at(self, db: AsyncConnection[Any], scope: Scope) -> State:
        markets, sets = await _markets(db, scope), await _sets(db, scope)
        return State(scope, markets, sets, await _slots(db, scope, sets))

    def fold(self, state: State, events: Sequence[Recorded]) -> Folded[State, Changes]:
        changes, mine = Changes(), dict[str, list[tuple[int, Fed]]]()
        for recorded in events:
            match recorded.event:
                case SetDefined() as defined:
                    changes.defined.append(_definition(recorded.position, defined))
                case SetRetired() as retired:
                    changes.retired.append((recorded.position, retired))
                case event:
                    mine.setdefault(_instrument(event), []).append((recorded.position, event))
        markets, slots, touched = dict(state.markets), dict(state.slots), dict[str, tuple[int, int]]()
        for instrument, fed in mine.items():
            closing, closed = close_bars(instrument, markets.get(instrument) or Closing(), fed)
            markets[instrument] = closing
            changes.markets[instrument] = closing, fed[-1][0]
            if closed:
                changes.bars += closed.values()
                touched[instrument] = _minutes(closed.values())
                for key, plan in state.sets.items():
                    slots[key, instrument] = _advance(
                        changes, key, plan, instrument, slots.get((key, instrument), {}), closed
                    )
        changes.instruments = sorted(markets)
        directed = changes.defined or changes.retired
        after = replace(state, markets=markets, slots=slots)
        return Folded(after, changes, None if directed else touched)

    def parts(self, changes: Changes) -> Sequence[Part] | None:
        """All that ``write`` does, in one statement; None where that takes more."""
        if changes.defined or changes.retired:
            return None
        return parts(changes.bars, changes.rows, _written(changes), changes.slots)

    async def write(self, db: AsyncConnection[Any], changes: Changes) -> None:
        await write(db, changes.bars, changes.rows, _written(changes))
        await write_slots(db, changes.slots)
        for definition in changes.defined:
            if definition.plan is not None:
                await backfill(db, definition.plan, changes.instruments)
        # Last, because every part writes these rows: whoever comes second waits for the first to commit.
        for definition in changes.defined:
            await _insert_set(db, definition)
        for position, retired in changes.retired:
            await db.execute(
                "UPDATE feature_sets SET retired_position = %s "
                "WHERE name = %s AND version = %s AND retired_position IS NULL",
                (position, retired.name, retired.version),
            )


def _written(changes: Changes) -> Sequence[Market]:
    return [
        (name, closing.high_water, closing.late, feature_state.written(closing), position)
        for name, (closing, position) in changes.markets.items()
    ]


def _instrument(event: Any) -> str:
    if isinstance(event, TradesObserved | BarsObserved):
        return str(event.instrument)
    return f"{event.venue}:{event.symbol}"


def _minutes(closed: Iterable[Closed]) -> tuple[int, int]:
    """The first and last minute of bars that ended."""
    spans = [(int(c.bars.start[0]), int(c.bars.start[-1]) + c.bars.timeframe - 1) for c in closed]
    return min(first for first, _ in spans), max(last for _, last in spans)


def _definition(position: int, defined: SetDefined) -> Definition:
    problem = problem_of(defined)
    return Definition(position, defined, problem, None if problem else _ready(defined))


def _ready(defined: SetDefined) -> SetPlan:
    """A plan whose kernels are compiled: that can take seconds, which no transaction should wait for."""
    plan = SetPlan(defined)
    for slot in plan.slots.values():
        _ = slot.plan.kernels
    return plan


def _advance(
    changes: Changes,
    key: SetKey,
    plan: SetPlan,
    instrument: str,
    slots: Slots,
    closed: Mapping[int, Closed],
) -> Slots:
    marks: dict[int, Carried] = {}
    after, rows = plan.advance(slots, closed, marks=marks)
    changes.rows += [(key, each) for each in rows]
    changes.slots |= {(key, instrument, timeframe): marked for timeframe, marked in marks.items()}
    return after


async def _insert_set(db: AsyncConnection[Any], definition: Definition) -> None:
    defined = definition.defined
    await db.execute(
        "INSERT INTO feature_sets (name, version, digest, definition, problem, position) "
        "VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
        (
            *(defined.name, defined.version, defined.digest),
            *(msgspec.json.encode(defined).decode(), definition.problem, definition.position),
        ),
    )


async def _markets(db: AsyncConnection[Any], scope: Scope) -> Mapping[str, Closing]:
    cursor = await db.execute("SELECT instrument, high_water, late, state FROM feature_markets")
    return {
        name: feature_state.read(high_water, late, text)
        async for name, high_water, late, text in cursor
        if scope.holds(_stream(name))
    }


def _stream(instrument: str) -> str:
    """A stream that falls in the same part as all of the instrument."""
    venue, _, symbol = instrument.partition(":")
    return f"trades-{venue}-{symbol}"


async def _sets(db: AsyncConnection[Any], scope: Scope) -> Mapping[SetKey, SetPlan]:
    cursor = await db.execute(
        "SELECT definition FROM feature_sets WHERE problem IS NULL AND position <= %(at)s "
        "AND (retired_position IS NULL OR retired_position > %(at)s) ORDER BY name, version",
        {"at": scope.position},
    )
    defined = [msgspec.json.decode(text, type=SetDefined) for (text,) in await cursor.fetchall()]
    return {(d.name, d.version): await asyncio.to_thread(_ready, d) for d in defined}


async def _slots(
    db: AsyncConnection[Any], scope: Scope, sets: Mapping[SetKey, SetPlan]
) -> Mapping[tuple[SetKey, str], Slots]:
    return {
        (key, instrument): slots
        for key, plan in sets.items()
        for instrument, slots in (
            await carried_slots(db, plan, lambda name: scope.holds(_stream(name)))
        ).items()
    }
