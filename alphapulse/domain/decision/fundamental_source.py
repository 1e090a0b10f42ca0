"""Context of the fundamental voters: funding rates and headlines, as the log knew them at each row.

The events folded so far are those before the rows that are asked for, and of these only what had happened by
a row's known time shows in it. A market without rates of its own is told those of the first one in the
log with the same base asset: bitflyer:BTC_JPY has none, binance:BTCUSDT has.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np

from alphapulse.domain.analysis.closing import Closed
from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.market.fundamentals import EVERY, FundingObserved, HeadlinesObserved
from alphapulse.domain.market.fundamentals_packing import (
    packed_funding,
    packed_news,
    unpacked_funding,
    unpacked_news,
)
from alphapulse.domain.market.fundamentals_state import (
    FundingState,
    NewsState,
    evolve,
    funding_at,
    sentiment_at,
)

MAX_MARKETS = 1_000  # whose rates are kept; those of further ones are passed over
NEWS_CAPACITY = 50_000  # headlines of an asset

QUOTES = ("USDT", "USDC", "BUSD", "FDUSD", "TUSD", "USD", "EUR", "GBP", "JPY", "KRW", "TRY", "BTC", "ETH")
SAME = {"XBT": "BTC", "XDG": "DOGE"}  # BitMEX's and Kraken's names

_PERPETUAL = re.compile(r"(PERP|SWAP|F0)$")


@lru_cache(maxsize=10_000)
def base_of(instrument: str) -> str:
    """The code of what is traded: BTC in bitflyer:FX_BTC_JPY, bitfinex:tBTCUSD and bitmex:XBTUSD.

    A symbol of no form that we know is its own base; a base has three letters or more (no XB in TUSD).
    """
    symbol = instrument.rpartition(":")[2].removeprefix("FX_")
    symbol = symbol[1:] if re.match(r"t[A-Z0-9]", symbol) else symbol
    first, separator, _ = re.sub(r"[/.]", "_", symbol).upper().partition("_")
    if not separator:
        first = _PERPETUAL.sub("", first) or first
        first = next(
            (first.removesuffix(q) for q in QUOTES if first.endswith(q) and len(first) - len(q) > 2), first
        )
    return SAME.get(first, first)


class FundamentalSource:
    """A context source of the engine: see engine_contexts.py for what it is asked when."""

    names: Sequence[str] = ("funding_rate", "funding_mean", "funding_deviation", "sentiment", "headlines")
    markets: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self._funding: dict[str, FundingState] = {}
        self._of_base: dict[str, str] = {}  # base asset -> the first market with rates of it
        self._news = NewsState(capacity=NEWS_CAPACITY)
        self._packed: bytes | None = None  # until something changes

    def fold(self, position: int, instrument: str, event: Any) -> None:  # noqa: ARG002  as the engine calls it
        """Take rates and headlines, in the order of the log; other events are passed over."""
        if isinstance(event, FundingObserved):
            self._take_rates(str(event.instrument), event)
        elif isinstance(event, HeadlinesObserved):
            news = evolve(self._news, event)
            # What headlines say of any asset at all is nobody's base asset.
            subjects = {name: rows for name, rows in news.subjects.items() if name != EVERY}
            self._news, self._packed = replace(news, subjects=subjects), None

    def _take_rates(self, market: str, event: FundingObserved) -> None:
        if market not in self._funding and len(self._funding) >= MAX_MARKETS:
            return
        self._funding[market] = evolve(self._funding.get(market) or FundingState(), event)
        self._of_base.setdefault(base_of(market), market)
        self._packed = None

    def closed(self, instrument: str, closed: Mapping[int, Closed]) -> None:
        """No bars are wanted."""

    def columns(
        self,
        instrument: str,
        timeframe: int,  # noqa: ARG002  as the engine calls it
        closed: Closed,
    ) -> Mapping[str, Floats]:
        times = closed.bars.known_time
        base = base_of(instrument)
        market = instrument if instrument in self._funding else self._of_base.get(base, "")
        if market not in self._funding and base not in self._news.subjects:
            return dict.fromkeys(self.names, np.full(len(times), np.nan))  # as below, at a tenth of the time
        rates = funding_at(self._funding.get(market) or FundingState(), times)
        news = sentiment_at(self._news, base, times)
        found = (rates.rate_8h, rates.mean_8h, rates.std_8h, news.mean, news.count_24h)
        return dict(zip(self.names, found, strict=True))

    def packed(self) -> bytes:
        if self._packed is None:
            funding = [(market, packed_funding(state)) for market, state in self._funding.items()]
            self._packed = msgspec.msgpack.encode((funding, packed_news(self._news)))
        return self._packed

    def restore(self, data: bytes) -> None:
        """Go back to where ``packed`` was called; empty bytes: to the beginning."""
        funding, news = msgspec.msgpack.decode(data) if data else ((), b"")
        self._funding = {market: unpacked_funding(state) for market, state in funding}
        self._news = unpacked_news(news) if news else NewsState(capacity=NEWS_CAPACITY)
        self._of_base = {}
        for market in self._funding:
            self._of_base.setdefault(base_of(market), market)
        self._packed = None
