"""Questions to the read models ``decisions`` and ``signals``: lists by key, one with its whole story.

``as_of`` is a position of the log: the answer is what a log that ends there would give, exactly. Lists are
newest first, and pages of them are keyed by position (and number), so they never skip or repeat a row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, LiteralString, TypeVar

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from alphapulse.domain.decision.decisions import CalibrationFitted, DecisionMade, ParametersAdapted
from alphapulse.domain.decision.strategy import StrategyDefined
from alphapulse.domain.signals.signal import OutcomeRecorded, SignalIssued
from alphapulse.projections.candle_view import NotYetFolded, snapshot

MAX_ROWS = 1_000  # of a page
MAX_RESOLVED = 100_000  # outcomes in one look at how well claims were met

Event = TypeVar("Event")
Values = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class At(Generic[Event]):
    """An event with its position in the log."""

    position: int
    event: Event


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalRow:
    """A signal as it stood at the position of the question. Times are ns, ``equity`` that after its close."""

    issued: SignalIssued
    position: int
    exit_time: int | None  # when leaving was first recommended
    exit_price: float | None
    closed_at: int | None
    close_reason: str | None
    close_price: float | None
    net_bps: float | None
    r_multiple: float | None
    equity: float | None

    @property
    def is_open(self) -> bool:
        return self.closed_at is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which rows; None: any. ``since`` and ``until`` bound times [since, until) in ns."""

    strategy: str | None = None
    version: int | None = None
    instrument: str | None = None
    timeframe: int | None = None
    side: int | None = None
    label: str | None = None
    verdict: str | None = None  # of decisions
    is_open: bool | None = None  # of signals
    is_signal: bool | None = None  # of outcomes
    least_confidence: float | None = None
    since: int | None = None
    until: int | None = None


async def folded_to(conn: AsyncConnection[Any], name: str) -> int:
    """How far the live read model ``name`` has come; 0 before it was first folded."""
    query = "SELECT position FROM projections WHERE name = %s AND state = 'live'"
    row = await (await conn.execute(query, (name,))).fetchone()
    return int(row[0]) if row else 0


async def signals(
    conn: AsyncConnection[Any],
    wanted: Wanted,
    *,
    as_of: int | None = None,
    before: tuple[int, int] | None = None,
    limit: int = 100,
) -> tuple[int, Sequence[SignalRow]]:
    """The position of the answer, and signals newest first, those before (position, number) ``before``.

    Raises:
        NotYetFolded: ``as_of`` lies ahead.
    """
    where, values = _where(wanted, {"version": "strategy_version"})
    if wanted.is_open is not None:
        open_: LiteralString = "closed_position IS NULL OR closed_position > %(as_of)s"
        where.append(f"({open_})" if wanted.is_open else f"NOT ({open_})")
    if before is not None:
        where.append("(position, number) < (%(before_position)s, %(before_number)s)")
        values |= {"before_position": before[0], "before_number": before[1]}
    async with snapshot(conn):
        position = await _moment(conn, "signals", as_of)
        rows = await _signals(conn, where, values | {"as_of": position}, limit)
    return position, rows


async def signal(
    conn: AsyncConnection[Any], strategy: str, number: int, *, as_of: int | None = None
) -> SignalRow | None:
    """One signal by its number. Raises NotYetFolded."""
    async with snapshot(conn):
        position = await _moment(conn, "signals", as_of)
        values: dict[str, object] = {"as_of": position, "strategy": strategy, "number": number}
        rows = await _signals(conn, ["strategy = %(strategy)s", "number = %(number)s"], values, 1)
    return rows[0] if rows else None


async def _signals(
    conn: AsyncConnection[Any], where: Sequence[LiteralString], values: Values, limit: int
) -> list[SignalRow]:
    query: LiteralString = (
        "SELECT detail, position, exit_position <= %(as_of)s, exit_time, exit_price,"
        " closed_position <= %(as_of)s, closed_at, close_reason, close_price, net_bps, r_multiple, equity"
        f" FROM signals WHERE {' AND '.join(['position <= %(as_of)s', *where])}"
        " ORDER BY position DESC, number DESC LIMIT %(limit)s"
    )
    cursor = await conn.execute(query, {**values, "limit": _limited(limit)}, prepare=False)
    return [_signal_row(row) for row in await cursor.fetchall()]


def _signal_row(row: TupleRow) -> SignalRow:
    detail, position, has_exit, exit_time, exit_price, is_closed, *closed = row
    at, reason, price, net, r, equity = closed if is_closed else [None] * 6
    return SignalRow(
        issued=msgspec.json.decode(detail, type=SignalIssued),
        position=position,
        exit_time=exit_time if has_exit else None,
        exit_price=exit_price if has_exit else None,
        closed_at=at,
        close_reason=reason,
        close_price=price,
        net_bps=net,
        r_multiple=r,
        equity=equity,
    )


async def decisions(
    conn: AsyncConnection[Any],
    wanted: Wanted,
    *,
    as_of: int | None = None,
    before: tuple[int, int] | None = None,
    limit: int = 100,
) -> tuple[int, Sequence[At[DecisionMade]]]:
    """As ``signals``: decisions, those before (position, timeframe) ``before``."""
    where, values = _where(wanted, {"version": "strategy_version"})
    if wanted.verdict is not None:
        where.append("verdict = %(verdict)s")
        values["verdict"] = wanted.verdict
    if before is not None:
        where.append("(position, timeframe) < (%(before_position)s, %(before_timeframe)s)")
        values |= {"before_position": before[0], "before_timeframe": before[1]}
    order: LiteralString = "position DESC, timeframe DESC"
    return await _events(conn, "decisions", "decisions", DecisionMade, where, values, as_of, order, limit)


async def decision(
    conn: AsyncConnection[Any], decision_id: str, *, as_of: int | None = None
) -> At[DecisionMade] | None:
    """One decision by its id. Raises NotYetFolded."""
    where: list[LiteralString] = ["decision = %(decision)s"]
    values: dict[str, object] = {"decision": decision_id}
    _, found = await _events(conn, "decisions", "decisions", DecisionMade, where, values, as_of, "1", 1)
    return found[0] if found else None


async def outcomes(
    conn: AsyncConnection[Any],
    wanted: Wanted,
    *,
    as_of: int | None = None,
    before: tuple[int, int] | None = None,
    limit: int = 100,
) -> tuple[int, Sequence[At[OutcomeRecorded]]]:
    """As ``signals``: outcomes by when they were known, those before (position, closed_at) ``before``."""
    where, values = _where(wanted, {"version": "strategy_version", "time": "closed_at"})
    if wanted.is_signal is not None:
        where.append("number > 0" if wanted.is_signal else "number = 0")
    if before is not None:
        where.append("(position, closed_at) < (%(before_position)s, %(before_time)s)")
        values |= {"before_position": before[0], "before_time": before[1]}
    order: LiteralString = "position DESC, closed_at DESC"
    return await _events(conn, "decisions", "outcomes", OutcomeRecorded, where, values, as_of, order, limit)


async def outcome(
    conn: AsyncConnection[Any], decision_id: str, *, as_of: int | None = None
) -> At[OutcomeRecorded] | None:
    """What became of one decision; None while it is open. Raises NotYetFolded."""
    where: list[LiteralString] = ["decision = %(decision)s"]
    values: dict[str, object] = {"decision": decision_id}
    _, found = await _events(conn, "decisions", "outcomes", OutcomeRecorded, where, values, as_of, "1", 1)
    return found[0] if found else None


async def calibrations(
    conn: AsyncConnection[Any],
    strategy: str,
    *,
    version: int | None = None,
    part: int | None = None,
    number: int | None = None,
    as_of: int | None = None,
    limit: int = 100,
) -> Sequence[At[CalibrationFitted]]:
    """Calibrations of a strategy, newest first. Raises NotYetFolded."""
    where, values = _where(Wanted(strategy=strategy, version=version), {"version": "strategy_version"})
    for name, value in (("part", part), ("number", number)):
        if value is not None:
            where.append("part = %(part)s" if name == "part" else "number = %(number)s")
            values[name] = value
    order: LiteralString = "position DESC, part DESC"
    found = await _events(
        conn, "decisions", "calibrations", CalibrationFitted, where, values, as_of, order, limit
    )
    return found[1]


async def adaptations(
    conn: AsyncConnection[Any], wanted: Wanted, *, as_of: int | None = None, limit: int = 100
) -> Sequence[At[ParametersAdapted]]:
    """Changes of parameters, newest first. Raises NotYetFolded."""
    where, values = _where(wanted, {"version": "strategy_version"})
    order: LiteralString = "position DESC, timeframe DESC"
    found = await _events(
        conn, "decisions", "adaptations", ParametersAdapted, where, values, as_of, order, limit
    )
    return found[1]


@dataclass(frozen=True, slots=True)
class StrategyRow:
    defined: StrategyDefined
    position: int
    in_use: bool


async def strategies(
    conn: AsyncConnection[Any], *, name: str | None = None, as_of: int | None = None, limit: int = MAX_ROWS
) -> Sequence[StrategyRow]:
    """Strategy versions by name and version. Raises NotYetFolded."""
    query: LiteralString = (
        "SELECT detail, position, coalesce(retired_position <= %(as_of)s, false) FROM strategies"
        " WHERE position <= %(as_of)s AND (%(name)s::text IS NULL OR name = %(name)s)"
        " ORDER BY name, version LIMIT %(limit)s"
    )
    async with snapshot(conn):
        position = await _moment(conn, "signals", as_of)
        values = {"as_of": position, "name": name, "limit": _limited(limit)}
        cursor = await conn.execute(query, values, prepare=False)
        rows = await cursor.fetchall()
    return [
        StrategyRow(msgspec.json.decode(detail, type=StrategyDefined), at, not retired)
        for detail, at, retired in rows
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """Candidates with a claim and an outcome: what calibration is judged by. All arrays oldest first."""

    confidence: Sequence[float]
    is_win: Sequence[int]
    decided: Sequence[int]
    closed: Sequence[int]


async def resolved(
    conn: AsyncConnection[Any], wanted: Wanted, *, as_of: int | None = None, limit: int = MAX_RESOLVED
) -> tuple[int, Resolved]:
    """The position of the answer, and the last ``limit`` candidates with a claim. Raises NotYetFolded."""
    where, values = _where(wanted, {"version": "strategy_version", "time": "closed_at"}, prefix="o.")
    if wanted.is_signal is not None:
        where.append("o.number > 0" if wanted.is_signal else "o.number = 0")
    query: LiteralString = (
        "SELECT o.confidence, o.is_win, d.time, o.closed_at FROM outcomes o JOIN decisions d USING (decision)"
        f" WHERE {' AND '.join(['o.position <= %(as_of)s', 'o.confidence IS NOT NULL', *where])}"
        " ORDER BY o.position DESC, o.closed_at DESC LIMIT %(limit)s"
    )
    async with snapshot(conn):
        position = await _moment(conn, "decisions", as_of)
        values |= {"as_of": position, "limit": min(limit, MAX_RESOLVED)}
        rows = (await (await conn.execute(query, values, prepare=False)).fetchall())[::-1]
    columns = list(zip(*rows, strict=True)) if rows else [(), (), (), ()]
    return position, Resolved(confidence=columns[0], is_win=columns[1], decided=columns[2], closed=columns[3])


# A filter's column and comparison.
_FILTERS: Mapping[str, tuple[LiteralString, LiteralString]] = {
    "strategy": ("strategy", "="),
    "version": ("strategy_version", "="),
    "instrument": ("instrument", "="),
    "timeframe": ("timeframe", "="),
    "side": ("side", "="),
    "label": ("label", "="),
    "least_confidence": ("confidence", ">="),
    "since": ("time", ">="),
    "until": ("time", "<"),
}


def _where(
    wanted: Wanted, renamed: Mapping[str, LiteralString], prefix: LiteralString = ""
) -> tuple[list[LiteralString], dict[str, object]]:
    """The filters that every list has."""
    where, values = list[LiteralString](), dict[str, object]()
    for name, (column, comparison) in _FILTERS.items():
        value = getattr(wanted, name)
        if value is not None:
            where.append(prefix + renamed.get(column, column) + " " + comparison + " %(" + name + ")s")
            values[name] = value
    return where, values


async def _events(
    conn: AsyncConnection[Any],
    model: str,
    table: LiteralString,
    type_: type[Event],
    where: Sequence[LiteralString],
    values: Values,
    as_of: int | None,
    order: LiteralString,
    limit: int,
) -> tuple[int, Sequence[At[Event]]]:
    query: LiteralString = (
        f"SELECT position, detail FROM {table} WHERE {' AND '.join(['position <= %(as_of)s', *where])}"
        f" ORDER BY {order} LIMIT %(limit)s"
    )
    async with snapshot(conn):
        position = await _moment(conn, model, as_of)
        cursor = await conn.execute(
            query, {**values, "as_of": position, "limit": _limited(limit)}, prepare=False
        )
        rows = await cursor.fetchall()
    return position, [At(at, msgspec.json.decode(detail, type=type_)) for at, detail in rows]


async def _moment(conn: AsyncConnection[Any], model: str, as_of: int | None) -> int:
    """The position that is asked about. Raises NotYetFolded."""
    reached = await folded_to(conn, model)
    if as_of is not None and as_of > reached:
        raise NotYetFolded(f"position {as_of} was asked for, {model} has come to {reached}")
    return reached if as_of is None else as_of


def _limited(limit: int) -> int:
    return max(0, min(limit, MAX_ROWS))
