"""Questions to the read models ``attribution`` and ``performance``: who and what earned it.

``as_of`` is a position of the log: the answer is what a log that ends there would give, exactly.
"""

import asyncio
from typing import Any, LiteralString

import numpy as np
from psycopg import AsyncConnection

from alphapulse.domain.decision.intervals import DRAWS
from alphapulse.domain.performance.attribution import DIVISIONS, NO_GROUPS, NO_SHARES, Shares, attribute
from alphapulse.domain.performance.equity import equity_of
from alphapulse.domain.performance.feature_groups import groups_of
from alphapulse.domain.performance.figures import Attribution
from alphapulse.domain.performance.trades import Trades
from alphapulse.projections.binary_rows import text_array
from alphapulse.projections.candle_view import snapshot
from alphapulse.projections.decision_queries import strategies
from alphapulse.projections.performance_queries import MAX_TRADES, Wanted, gathered, reached, read_trades

MODELS = ("performance", "attribution", "signals")  # that an answer is made of
RISK_RATIO = 0.01  # that a refused candidate is taken to risk, of the equity at the beginning


async def attribution_of(
    conn: AsyncConnection[Any],
    wanted: Wanted,
    by: str,
    *,
    of: str = "signals",
    risk_ratio: float = RISK_RATIO,
    as_of: int | None = None,
    limit: int = MAX_TRADES,
    draws: int = DRAWS,
) -> tuple[int, Attribution]:
    """The position of the answer, and the contributions of what is wanted by one of attribution.DIMENSIONS.

    ``of``, ``risk_ratio``: which trades, and at what risk, see equity.equity_of.

    Raises:
        BadDimension: there is nothing to attribute by.
        QueryTooLarge: there are more than ``limit`` trades.
        NotYetFolded: ``as_of`` lies ahead.
    """
    async with snapshot(conn):
        position = await reached(conn, as_of, *MODELS)
        trades = await read_trades(conn, wanted.of(of), position, limit)
        equity = equity_of(trades, of=of, risk_ratio=risk_ratio)
        shares, groups = NO_SHARES, NO_GROUPS
        if by in DIVISIONS:
            shares = await shares_of_trades(conn, equity.trades, position)
            versions = await strategies(conn, name=wanted.strategy, as_of=position)
            groups = groups_of(row.defined for row in versions)
    made = await asyncio.to_thread(attribute, equity, by, shares=shares, groups=groups, draws=draws)
    return position, made


async def shares_of_trades(conn: AsyncConnection[Any], trades: Trades, position: int) -> Shares:
    """What the votes made of ``trades``, as far as it is known at ``position``."""
    query: LiteralString = (
        "SELECT array_agg(place), array_agg(voter), array_agg(pattern), array_agg(share), array_agg(without),"
        " array_agg(is_exact::int::bigint) FROM (SELECT place, is_exact, vote.*"
        " FROM unnest(%(decisions)s::text[]) WITH ORDINALITY AS wanted (decision, place)"
        " JOIN vote_shares v USING (decision), unnest(voters, patterns, shares, without)"
        " AS vote (voter, pattern, share, without) WHERE v.position <= %(as_of)s) found"
    )
    values = {"decisions": text_array(trades.decision.tolist()), "as_of": position}
    place, *columns = await gathered(conn, query, values, (int, str, str, float, float, bool))
    # In the order of the trades whatever the plan was: to sort 100,000 texts takes the database seconds.
    order = np.argsort(place, kind="stable")
    return Shares(trades.decision[place[order] - 1], *(column[order] for column in columns))
