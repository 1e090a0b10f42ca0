"""The track record of a strategy from the read models: figures, equity, attribution.

Candidates that were refused are taken at the risk that the strategy says. The arithmetic takes a thread.
"""

import asyncio
from typing import Any

from psycopg import AsyncConnection

from alphapulse.domain.decision.strategy import Risk
from alphapulse.domain.performance.equity import equity_of
from alphapulse.domain.performance.figures import Attribution, Performance, Point
from alphapulse.domain.performance.report import performance_of
from alphapulse.domain.performance.series import curve_of
from alphapulse.domain.ports import Decode, EventStore
from alphapulse.projections import attribution_queries
from alphapulse.projections.decision_queries import strategies
from alphapulse.projections.performance_queries import Wanted, market_days, reached, trades_of
from alphapulse.projections.trial_queries import count_of, trials_of


async def performance(
    store: EventStore,
    decode: Decode,
    conn: AsyncConnection[Any],
    wanted: Wanted,
    *,
    of: str = "signals",
    as_of: int | None = None,
) -> tuple[int, Performance]:
    """The position of the answer, and what the trades of ``wanted`` were worth; ``of`` as in performance_of.

    Raises:
        QueryTooLarge, NotYetFolded: see trades_of.
    """
    # The market's bars are another read model: the answer is as of what both have.
    position = await reached(conn, as_of, "performance", "features", "signals")
    _, trades = await trades_of(conn, wanted.of(of), as_of=position)
    market = await market_days(conn, trades, as_of=position)
    risk = await risk_ratio(conn, wanted, position)
    tried = await trials_of(store, decode, wanted.strategy, as_of=position)
    counted = tried.counted() or count_of(1, ())  # what was never searched for was tried once
    made = await asyncio.to_thread(
        performance_of, trades, of=of, risk_ratio=risk, market=market, trials=counted
    )
    return position, made


async def equity_curve(
    conn: AsyncConnection[Any], wanted: Wanted, *, of: str, points: int, as_of: int | None = None
) -> tuple[int, tuple[Point, ...]]:
    """The position of the answer, and at most ``points`` points. Raises as ``performance``."""
    position = await reached(conn, as_of, "performance", "signals")
    _, trades = await trades_of(conn, wanted.of(of), as_of=position)
    risk = await risk_ratio(conn, wanted, position)
    equity = await asyncio.to_thread(equity_of, trades, of=of, risk_ratio=risk)
    return position, curve_of(equity, points=points)


async def attribution(
    conn: AsyncConnection[Any], wanted: Wanted, by: str, *, of: str = "signals", as_of: int | None = None
) -> tuple[int, Attribution]:
    """The position of the answer, and whom it is owed to. Raises as ``attribution_of``."""
    position = await reached(conn, as_of, *attribution_queries.MODELS)
    risk = await risk_ratio(conn, wanted, position)
    return await attribution_queries.attribution_of(conn, wanted, by, of=of, risk_ratio=risk, as_of=position)


async def risk_ratio(conn: AsyncConnection[Any], wanted: Wanted, as_of: int | None) -> float:
    """The share of the equity that the wanted version, or the newest, risks at a stop."""
    found = await strategies(conn, name=wanted.strategy, as_of=as_of)
    mine = [row.defined for row in found if wanted.version in (None, row.defined.version)]
    return mine[-1].risk.risk_ratio if mine else Risk().risk_ratio
