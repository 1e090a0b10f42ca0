"""Questions to the read model ``performance``: what the market has decided, as columns of trades.

``as_of`` is a position of the log: the answer is what a log that ends there would give, exactly. A candidate
counts from the position at which its outcome was known.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, LiteralString

import numpy as np
from numpy.typing import NDArray
from psycopg import AsyncConnection

from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.market.timeframes import MINUTE_NS
from alphapulse.domain.performance.market_figures import Market
from alphapulse.domain.performance.trades import Names, Trades
from alphapulse.projections.candle_view import NotYetFolded, QueryTooLarge, snapshot
from alphapulse.projections.decision_queries import folded_to
from alphapulse.projections.known_bars import wire_array

MAX_TRADES = 100_000  # in one answer
MAX_DAILY_BARS = 200_000  # of all markets together
_DAY_NS = 1440 * MINUTE_NS


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which candidates of a strategy; None: any. Those decided in [since, until), in ns."""

    strategy: str
    version: int | None = None
    instrument: str | None = None
    timeframe: int | None = None
    regime: str | None = None
    side: int | None = None
    label: str | None = None
    is_signal: bool | None = None  # None: signals and refused candidates
    since: int | None = None
    until: int | None = None

    def of(self, which: str) -> "Wanted":
        """Only what ``which`` (one of equity.SETS) is made of: the many refused would fill an answer."""
        wanted = {"signals": True, "refused": False}.get(which)
        return self if wanted is None else replace(self, is_signal=wanted)


_FILTERS: dict[str, LiteralString] = {
    "strategy": "strategy = %(strategy)s",
    "version": "strategy_version = %(version)s",
    "instrument": "instrument = %(instrument)s",
    "timeframe": "timeframe = %(timeframe)s",
    "regime": "regime = %(regime)s",
    "side": "side = %(side)s",
    "label": "label = %(label)s",
    "is_signal": "(number > 0) = %(is_signal)s",
    "since": "opened >= %(since)s",
    "until": "opened < %(until)s",
}

# Columns of Trade: how they are read, and as what.
_READ: dict[LiteralString, tuple[LiteralString, type]] = {
    "decision": ("decision", str),
    "strategy_version": ("strategy_version::bigint", int),
    "instrument": ("instrument", str),
    "timeframe": ("timeframe::bigint", int),
    "regime": ("regime", str),
    "side": ("side::bigint", int),
    "number": ("number::bigint", int),
    "opened": ("opened", int),
    "closed": ("closed", int),
    "confidence": ("confidence", float),
    "size_ratio": ("size_ratio", float),
    "reason": ("reason", str),
    "is_win": ("is_win::bigint", bool),
    "worst_win": ("worst_win::bigint", bool),
    "best_win": ("best_win::bigint", bool),
    "gross_bps": ("gross_bps", float),
    "net_bps": ("net_bps", float),
    "net_r": ("net_r", float),
    "worst_bps": ("side * (worst_price - entry) / entry * 1e4", float),
    "best_bps": ("side * (best_price - entry) / entry * 1e4", float),
    "position": ("outcome_position", int),
}
_SELECTED: LiteralString = ", ".join(f"{read} AS {name}" for name, (read, _) in _READ.items())
_GATHERED: LiteralString = ", ".join(f"array_agg({name})" for name in _READ)
_ORDER: LiteralString = "closed, opened, decision"  # as in Trades


async def trades_of(
    conn: AsyncConnection[Any], wanted: Wanted, *, as_of: int | None = None, limit: int = MAX_TRADES
) -> tuple[int, Trades]:
    """The position of the answer, and what was resolved by then of what is wanted.

    Raises:
        QueryTooLarge: there are more than ``limit``.
        NotYetFolded: ``as_of`` lies ahead.
    """
    async with snapshot(conn):
        position = await reached(conn, as_of, "performance")
        return position, await read_trades(conn, wanted, position, limit)


async def read_trades(conn: AsyncConnection[Any], wanted: Wanted, position: int, limit: int) -> Trades:
    """As ``trades_of``, in a snapshot of the caller that has come to ``position``."""
    values = {name: getattr(wanted, name) for name in _FILTERS if getattr(wanted, name) is not None}
    known: LiteralString = "position <= %(as_of)s AND outcome_position <= %(as_of)s"
    where: LiteralString = " AND ".join([known, *(_FILTERS[name] for name in values)])
    limit = max(0, min(limit, MAX_TRADES))
    query: LiteralString = (
        f"SELECT {_GATHERED} FROM (SELECT {_SELECTED} FROM candidates WHERE {where}"
        f" ORDER BY {_ORDER} LIMIT %(rows)s) found"
    )
    kinds = [kind for _, kind in _READ.values()]
    columns = await gathered(conn, query, {**values, "as_of": position, "rows": limit + 1}, kinds)
    if len(columns[0]) > limit:
        raise QueryTooLarge(f"{wanted.strategy} has more than {limit} candidates: ask for fewer of them")
    return Trades(*columns)


async def market_days(
    conn: AsyncConnection[Any], trades: Trades, *, as_of: int | None = None
) -> Market | None:
    """The market's return on each day (UTC) of ``trades``: the mean over their instruments, as a ratio.

    An instrument counts on a day whose bar, and that of the day before, had ended by ``as_of``; days without
    any are left out. None: there are no trades.

    Raises:
        QueryTooLarge: there are more than MAX_DAILY_BARS of them.
        NotYetFolded: ``as_of`` lies ahead of the bars.
    """
    if not len(trades):
        return None
    query: LiteralString = (
        "SELECT array_agg(instrument), array_agg(day), array_agg(close) FROM (SELECT instrument,"
        " start / 1440 AS day, close FROM known_bars WHERE instrument = ANY(%(instruments)s)"
        " AND timeframe = 1440 AND start >= 1440 * %(first)s AND start <= 1440 * %(last)s"
        " AND position <= %(as_of)s ORDER BY instrument, start LIMIT %(rows)s) bars"
    )
    values: dict[str, Any] = {
        "instruments": sorted(set(trades.instrument)),
        "first": int(trades.opened.min()) // _DAY_NS - 1,
        "last": int(trades.closed.max()) // _DAY_NS,
        "rows": MAX_DAILY_BARS + 1,
    }
    async with snapshot(conn):
        values["as_of"] = await reached(conn, as_of, "features")
        instrument, day, close = await gathered(conn, query, values, (str, int, float))
    if len(day) > MAX_DAILY_BARS:
        raise QueryTooLarge(f"{len(values['instruments'])} markets have over {MAX_DAILY_BARS} daily bars")
    return _mean_returns(instrument, day, close)


def _mean_returns(instrument: Names, day: Int64s, close: Floats) -> Market:
    """By day; rows are in the order of instrument and day."""
    follows = (instrument[1:] == instrument[:-1]) & (day[1:] == day[:-1] + 1)
    returns, of_day = (close[1:] / close[:-1] - 1)[follows], day[1:][follows]
    days, place = np.unique(of_day, return_inverse=True)
    sums = np.bincount(place, returns, minlength=len(days))
    return days, np.asarray(sums / np.bincount(place, minlength=len(days)))


async def gathered(
    conn: AsyncConnection[Any], query: LiteralString, values: dict[str, Any], kinds: Sequence[type]
) -> list[NDArray[Any]]:
    """The arrays that a query of one row gives, one a column: no Python object a number."""
    async with conn.cursor(binary=True) as cursor:
        await cursor.execute(query, values, prepare=False)
        result, row = cursor.pgresult, await cursor.fetchone() if str in kinds else None
        assert result is not None, "a select has a result"
        found = list[NDArray[Any]]()
        for i, kind in enumerate(kinds):
            if kind is str:
                found.append(np.array((row and row[i]) or [], dtype=np.object_))
            else:
                numbers = wire_array(result.get_value(0, i), float if kind is float else int)
                found.append(numbers.astype(np.bool_) if kind is bool else numbers)
    return found


async def reached(conn: AsyncConnection[Any], as_of: int | None, *models: str) -> int:
    """The position that is asked about, or how far all of ``models`` have come. Raises NotYetFolded."""
    least = min([(await folded_to(conn, model), model) for model in models])
    if as_of is not None and as_of > least[0]:
        raise NotYetFolded(f"position {as_of} was asked for, {least[1]} has come to {least[0]}")
    return least[0] if as_of is None else as_of
