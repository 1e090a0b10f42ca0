"""What an order gets that takes its time: the first price of the market at or after decision + latency.

Stop, target and horizon stay where they were decided, and so does which of them came first. Prices are those
of the market's own ticks (domain/signals/ticks.py): a trade at its time, a bar at its opening where it begins
late enough, else at its close, for what lies between is not known. Times are ns by the venue's clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from msgspec.structs import replace

from alphapulse.domain.analysis.closing import Fed
from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.decision.strategy import Risk
from alphapulse.domain.signals import ticks as t
from alphapulse.domain.signals.outcome import Outcome
from alphapulse.domain.signals.ticks import Sight, Ticks, market_ticks

Key = tuple[str, int, int]  # market, timeframe and beginning of the bar that was decided on, both in minutes
Numbers = float | Floats | Int64s

_NEVER = np.iinfo(np.int64).min


class Fill(NamedTuple):
    time: int
    price: float


class _Order(NamedTuple):
    decision: Key
    due: int


@dataclass(slots=True)
class _Market:
    """``latest`` (n,): the latest time of any price so far, at each of the last ticks; never falls."""

    sight: Sight = field(default_factory=Sight)
    ticks: Ticks = field(default_factory=lambda: Ticks(np.empty((5, 0), dtype=np.int64), np.empty((4, 0))))
    latest: Int64s = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    waiting: dict[Key, _Order] = field(default_factory=dict)


@dataclass
class Fills:
    """``see`` a stretch of the log, then ``place`` the orders that follow from it; later ``taken``."""

    latency_ns: int
    _markets: dict[str, _Market] = field(default_factory=dict)
    _filled: dict[Key, Fill] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.latency_ns < 0:
            raise ValueError(f"a latency of {self.latency_ns} ns: prices from before the decision")

    def see(self, events: Sequence[tuple[int, str, Fed]]) -> None:
        """Position, market (venue:symbol) and event: the next ones of the log, all of them."""
        its: dict[str, list[tuple[int, Fed]]] = {}
        for position, instrument, event in events:
            its.setdefault(instrument, []).append((position, event))
        for instrument, found in its.items():
            market = self._markets.setdefault(instrument, _Market())
            market.sight, market.ticks = market_ticks(market.sight, found)
            market.latest = np.maximum.accumulate(_times(market.ticks))
            for order in list(market.waiting.values()):
                self._fill(market, order)

    def place(self, decision: Key, time: int) -> None:
        """An order for ``decision``, made at ``time``."""
        market = self._markets.setdefault(decision[0], _Market())
        self._fill(market, _Order(decision, time + self.latency_ns))

    def _fill(self, market: _Market, order: _Order) -> None:
        at = int(np.searchsorted(market.latest, order.due))
        if at == len(market.latest):
            market.waiting[order.decision] = order
            return
        market.waiting.pop(order.decision, None)
        self._filled[order.decision] = _fill_at(market.ticks, at, order.due)

    def taken(self, decision: Key) -> Fill | None:
        """The fill, which is forgotten now; None: there was no price yet, and the order is withdrawn."""
        self._markets[decision[0]].waiting.pop(decision, None)
        return self._filled.pop(decision, None)


def _times(ticks: Ticks) -> Int64s:
    """When each tick tells a price; before all time where it tells none that an order could have got."""
    kinds = ticks.numbers[t.KIND]
    times = np.where(kinds == t.TRADE, ticks.numbers[t.START], ticks.numbers[t.MOMENT])
    return np.where((kinds == t.TRADE) | (kinds == t.BAR), times, _NEVER)


def _fill_at(ticks: Ticks, at: int, due: int) -> Fill:
    start, moment = int(ticks.numbers[t.START, at]), int(ticks.numbers[t.MOMENT, at])
    if start >= due:
        return Fill(start, float(ticks.prices[t.OPEN, at]))
    return Fill(moment, float(ticks.prices[t.CLOSE, at]))


def moved_bps(
    side: Numbers, entry: Numbers, exit_price: Numbers, slipped: Numbers, risk: Risk
) -> tuple[Any, Any]:
    """Gross and net return, in basis points of ``entry``, of one trade or of many at once.

    ``slipped``: the exit with slippage against us.
    """
    gross = side * (exit_price - entry) / entry * 1e4
    return gross, side * (slipped - entry) / entry * 1e4 - risk.slippage_bps - 2 * risk.fee_bps


def moved(was: Outcome, decided_at: float, stop: float, side: int, entry: float, risk: Risk) -> Outcome:
    """``was``, entered at ``entry`` instead; NaN: not at all, so that it earned and cost nothing.

    Returns over risk are over what the stop risked when it was decided: the size was made for that.
    Excursions stay those from the price decided at.
    """
    if entry != entry:
        return replace(was, gross_bps=0.0, net_bps=0.0, r_multiple=0.0, net_r_multiple=0.0)
    gross, net = moved_bps(side, entry, was.exit_price, was.fill_price, risk)
    risked = abs(decided_at - stop) / decided_at * 1e4
    return replace(was, gross_bps=gross, net_bps=net, r_multiple=gross / risked, net_r_multiple=net / risked)
