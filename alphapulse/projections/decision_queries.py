"""Questions to the read models ``decisions`` and ``signals``: lists by key, one with its whole story.

``as_of`` is a position of the log: the answer is what a log that ends there would give, exactly. Lists are
newest first, and pages of them are keyed by the position of the event, so they never skip or repeat a row.
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
class Page:
    """The ``limit`` newest rows under position ``below`` and over ``above``; with ``backward`` the oldest."""

    limit: int = 100
    below: int | None = None
    above: int | None = None
    backward: bool = False


FIRST_PAGE = Page()


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
    page: Page = FIRST_PAGE,
) -> tuple[int, Sequence[SignalRow]]:
    """The position of the answer, and signals newest first.

    Raises:
        NotYetFolded: ``as_of`` lies ahead.
    """
    where, values = _where(wanted, {"version": "strategy_version"})
    if wanted.is_open is not None:
        open_: LiteralString = "closed_position IS NULL OR closed_position > %(as_of)s"
        where.append(f"({open_})" if wanted.is_open else f"NOT ({open_})")
    async with snapshot(conn):
        position = await _moment(conn, "signals", as_of)
        rows = await _signals(conn, where, values | {"as_of": position}, page)
    return position, rows


async def signal(
    conn: AsyncConnection[Any], strategy: str, number: int, *, as_of: int | None = None
) -> SignalRow | None:
    """One signal by its number. Raises NotYetFolded."""
    async with snapshot(conn):
        position = await _moment(conn, "signals", as_of)
        values: dict[str, object] = {"as_of": position, "strategy": strategy, "number": number}
        rows = await _signals(conn, ["strategy = %(strategy)s", "number = %(number)s"], values, FIRST_PAGE)
    return rows[0] if rows else None


async def _signals(
    conn: AsyncConnection[Any], where: Sequence[LiteralString], values: Values, page: Page
) -> list[SignalRow]:
    select: LiteralString = (
        "SELECT detail, position, exit_position <= %(as_of)s, exit_time, exit_price,"
        " closed_position <= %(as_of)s, closed_at, close_reason, close_price, net_bps, r_multiple, equity"
        " FROM signals"
    )
    return [_signal_row(row) for row in await _rows(conn, select, where, values, page)]


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
    page: Page = FIRST_PAGE,
) -> tuple[int, Sequence[At[DecisionMade]]]:
    """As ``signals``: decisions."""
    where, values = _where(wanted, {"version": "strategy_version"})
    if wanted.verdict is not None:
        where.append("verdict = %(verdict)s")
        values["verdict"] = wanted.verdict
    return await _events(conn, "decisions", DecisionMade, where, values, as_of, page)


async def decision(
    conn: AsyncConnection[Any], decision_id: str, *, as_of: int | None = None
) -> At[DecisionMade] | None:
    """One decision by its id. Raises NotYetFolded."""
    where: list[LiteralString] = ["decision = %(decision)s"]
    values: dict[str, object] = {"decision": decision_id}
    _, found = await _events(conn, "decisions", DecisionMade, where, values, as_of, FIRST_PAGE)
    return found[0] if found else None


async def outcomes(
    conn: AsyncConnection[Any],
    wanted: Wanted,
    *,
    as_of: int | None = None,
    page: Page = FIRST_PAGE,
) -> tuple[int, Sequence[At[OutcomeRecorded]]]:
    """As ``signals``: outcomes, by when they were recorded."""
    where, values = _where(wanted, {"version": "strategy_version", "time": "closed_at"})
    if wanted.is_signal is not None:
        where.append("number > 0" if wanted.is_signal else "number = 0")
    return await _events(conn, "outcomes", OutcomeRecorded, where, values, as_of, page)


async def outcome(
    conn: AsyncConnection[Any], decision_id: str, *, as_of: int | None = None
) -> At[OutcomeRecorded] | None:
    """What became of one decision; None while it is open. Raises NotYetFolded."""
    where: list[LiteralString] = ["decision = %(decision)s"]
    values: dict[str, object] = {"decision": decision_id}
    _, found = await _events(conn, "outcomes", OutcomeRecorded, where, values, as_of, FIRST_PAGE)
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
    page = Page(limit=limit)
    return (await _events(conn, "calibrations", CalibrationFitted, where, values, as_of, page))[1]


async def adaptations(
    conn: AsyncConnection[Any], wanted: Wanted, *, as_of: int | None = None, limit: int = 100
) -> Sequence[At[ParametersAdapted]]:
    """Changes of parameters, newest first. Raises NotYetFolded."""
    where, values = _where(wanted, {"version": "strategy_version"})
    page = Page(limit=limit)
    return (await _events(conn, "adaptations", ParametersAdapted, where, values, as_of, page))[1]


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
    table: LiteralString,
    type_: type[Event],
    where: Sequence[LiteralString],
    values: Values,
    as_of: int | None,
    page: Page,
) -> tuple[int, Sequence[At[Event]]]:
    async with snapshot(conn):
        position = await _moment(conn, "decisions", as_of)
        select: LiteralString = f"SELECT detail, position FROM {table}"
        rows = await _rows(conn, select, where, {**values, "as_of": position}, page)
    return position, [At(at, msgspec.json.decode(detail, type=type_)) for detail, at in rows]


async def _rows(
    conn: AsyncConnection[Any],
    select: LiteralString,
    where: Sequence[LiteralString],
    values: Values,
    page: Page,
) -> list[TupleRow]:
    """The rows of ``page``, newest first."""
    bounds: list[LiteralString] = ["position <= %(as_of)s"]
    if page.below is not None:
        bounds.append("position < %(below)s")
    if page.above is not None:
        bounds.append("position > %(above)s")
    order: LiteralString = "ASC" if page.backward else "DESC"
    query: LiteralString = (
        f"{select} WHERE {' AND '.join([*bounds, *where])} ORDER BY position {order} LIMIT %(limit)s"
    )
    given = {**values, "below": page.below, "above": page.above, "limit": _limited(page.limit)}
    rows = await (await conn.execute(query, given, prepare=False)).fetchall()
    return rows[::-1] if page.backward else rows


async def _moment(conn: AsyncConnection[Any], model: str, as_of: int | None) -> int:
    """The position that is asked about. Raises NotYetFolded."""
    reached = await folded_to(conn, model)
    if as_of is not None and as_of > reached:
        raise NotYetFolded(f"position {as_of} was asked for, {model} has come to {reached}")
    return reached if as_of is None else as_of


def _limited(limit: int) -> int:
    return max(0, min(limit, MAX_ROWS))
