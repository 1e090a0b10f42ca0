"""What the open signals of a strategy may lose: exposure, value at risk and expected shortfall.

The book is folded from the strategy's own stream, the returns come from bars as they were when they ended:
those of all markets with an open signal, where all of them have one. ``as_of`` cuts both at a position.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from psycopg import AsyncConnection

from alphapulse.domain.analysis.fields import CLOSE, Floats
from alphapulse.domain.ports import Decode, EventStore
from alphapulse.domain.signals.book import Book, book_of_signals
from alphapulse.domain.signals.risk import BadSample, Exposure, Tail, bootstrap, exposure_of, historical
from alphapulse.domain.signals.signal import stream_of
from alphapulse.projections.candle_view import QueryTooLarge
from alphapulse.projections.known_bars import known_bars

CONFIDENCES = (0.95, 0.99)
MAX_BARS = 5_000
MAX_EVENTS = 500_000  # of a book's stream
MAX_MARKETS = 50
SEED = 20_260_101  # of the bootstrap: the same question has the same answer
_PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskReport:
    """``tails`` of ``rows`` common returns, as shares of the equity; ``note`` says why there are none."""

    book: Book
    exposure: Exposure | None
    tails: Sequence[Tail]
    rows: int
    note: str


async def risk_of(
    store: EventStore,
    decode: Decode,
    conn: AsyncConnection[Any],
    strategy: str,
    *,
    timeframe: int = 60,
    horizon_bars: int = 24,
    bars: int = 2_000,
    as_of: int | None = None,
) -> RiskReport:
    """
    Raises:
        NotYetFolded: ``as_of`` lies ahead of the bars.
        QueryTooLarge: the stream of the strategy is over MAX_EVENTS.
    """
    book = await book_of(store, decode, strategy, as_of)
    try:
        exposure = exposure_of(book)
    except BadSample as error:
        return RiskReport(book=book, exposure=None, tails=(), rows=0, note=str(error))
    markets = list(exposure.by_instrument)[:MAX_MARKETS]
    if not markets:
        return RiskReport(book=book, exposure=exposure, tails=(), rows=0, note="nothing is open")
    returns = await _returns(conn, markets, timeframe, min(bars, MAX_BARS), as_of)
    shares = np.array([exposure.by_instrument[market] for market in markets])
    try:
        tails = [
            *historical(returns, shares, confidences=CONFIDENCES, horizon_bars=horizon_bars),
            *bootstrap(returns, shares, confidences=CONFIDENCES, horizon_bars=horizon_bars, seed=SEED),
        ]
    except BadSample as error:
        return RiskReport(book=book, exposure=exposure, tails=(), rows=len(returns), note=str(error))
    return RiskReport(book=book, exposure=exposure, tails=tails, rows=len(returns), note="")


async def book_of(store: EventStore, decode: Decode, strategy: str, as_of: int | None = None) -> Book:
    """The book of ``strategy`` as of a position. Raises QueryTooLarge."""
    book, version = book_of_signals.initial, 0
    while records := await store.read_stream(stream_of(strategy), after=version, limit=_PAGE):
        version = records[-1].version
        known = [record for record in records if as_of is None or record.position <= as_of]
        book = book_of_signals.fold((decode(record).event for record in known), book)
        if version > MAX_EVENTS:
            raise QueryTooLarge(f"{stream_of(strategy)} has over {MAX_EVENTS} events")
        if len(known) < len(records):
            break
    return book


async def _returns(
    conn: AsyncConnection[Any], markets: Sequence[str], timeframe: int, bars: int, as_of: int | None
) -> Floats:
    """Log returns (n, markets) between bars that every market has."""
    starts: list[Any] = []
    closes: list[Any] = []
    for market in markets:
        found = await known_bars(conn, market, timeframe, last=bars + 1, as_of=as_of)
        starts.append(found.start)
        closes.append(found.values[CLOSE])
    common = starts[0]
    for other in starts[1:]:
        common = np.intersect1d(common, other, assume_unique=True)
    if len(common) < 2:
        return np.empty((0, len(markets)))
    aligned = [
        np.log(close[np.searchsorted(start, common)]) for start, close in zip(starts, closes, strict=True)
    ]
    returns: Floats = np.diff(np.stack(aligned, axis=1), axis=0)
    return returns
