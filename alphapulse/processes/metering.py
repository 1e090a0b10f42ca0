"""What a run was handed, measured on the way: bars, times, markets, and how these did from day to day."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from alphapulse.domain.analysis.closing import Closed
from alphapulse.domain.analysis.fields import CLOSE, Floats
from alphapulse.domain.market.timeframes import MINUTE_NS
from alphapulse.domain.performance.market_figures import Market
from alphapulse.domain.signals.returns import Every

DAY_MINUTES = 1_440


@dataclass
class Meter:
    """Shaped as a context of an engine: how many bars it was handed, and from when to when (ns).

    Of bars of ``timeframes`` (minutes). ``closes``: the last close of each UTC day since 1970, by market.
    """

    timeframes: tuple[int, ...]
    bars: int = 0
    first: int = 0  # 0: there were none
    last: int = 0
    closes: dict[str, dict[int, float]] = field(default_factory=dict)
    names: Sequence[str] = ()
    markets: frozenset[str] = field(default_factory=Every)

    def fold(self, position: int, instrument: str, event: Any) -> None:  # noqa: ARG002  the protocol's
        return

    def columns(
        self,
        instrument: str,  # noqa: ARG002
        timeframe: int,  # noqa: ARG002
        closed: Closed,  # noqa: ARG002
    ) -> Mapping[str, Floats]:
        return {}

    def closed(self, instrument: str, closed: Mapping[int, Closed]) -> None:
        for timeframe in self.timeframes:
            its = closed.get(timeframe)
            if its is None or not len(its.bars.start):
                continue
            starts = its.bars.start
            begin, end = int(starts[0]) * MINUTE_NS, (int(starts[-1]) + timeframe) * MINUTE_NS
            self.bars += len(starts)
            self.first, self.last = min(self.first or begin, begin), max(self.last, end)
            if timeframe == min(self.timeframes):
                days, closes = starts // DAY_MINUTES, its.bars.values[CLOSE]
                ends = np.flatnonzero(np.append(days[1:] != days[:-1], True))
                known = self.closes.setdefault(instrument, {})
                known.update(zip(days[ends].tolist(), closes[ends].tolist(), strict=True))

    def packed(self) -> bytes:
        """Nothing that decides."""
        return b""

    def restore(self, data: bytes) -> None:  # noqa: ARG002
        return


def market_of(closes: Mapping[str, Mapping[int, float]]) -> Market:
    """The mean return of the markets on each day on which one is known, and on the day before it too."""
    returns: dict[int, list[float]] = {}
    for known in closes.values():
        for day, close in known.items():
            if day - 1 in known and known[day - 1] > 0:
                returns.setdefault(day, []).append(close / known[day - 1] - 1)
    days = sorted(returns)
    means: Floats = np.array([np.mean(returns[day]) for day in days], dtype=np.float64)
    return np.array(days, dtype=np.int64), means
