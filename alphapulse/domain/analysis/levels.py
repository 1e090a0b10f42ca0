"""Prices at which a market turned or stopped before, as far as was known at a bar.

Four kinds: swing points, clusters of them, the prior day's and week's high, low and close (UTC, weeks
from Monday), and round numbers. Each says when it became known; nothing after the bar it is asked for
changes it. Distances are in average true ranges (ATR) of that bar, so that they mean the same in every
market. Prices are in quote currency, strengths run from 0 to 1.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from alphapulse.domain.analysis.bars import Bars
from alphapulse.domain.analysis.fields import CLOSE, HIGH, LOW, Floats, Int64s
from alphapulse.domain.analysis.prior import DAY, PRIOR_STRENGTH, WEEK, Prior, prior
from alphapulse.domain.analysis.round_numbers import round_numbers
from alphapulse.domain.analysis.swings import Swings, swings

MAX_REACH = 20_000  # bars


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelRules:
    """What counts as a level."""

    wing: int = 5  # bars to either side of a swing
    reach: int = 500  # bars: older swings are forgotten
    half_life: int = 200  # bars in which an untouched swing or cluster loses half its strength
    tolerance: float = 0.5  # ATR: the widest a cluster may be
    round_numbers: int = 2  # to either side of the price

    def __post_init__(self) -> None:
        if not (1 <= self.reach <= MAX_REACH and self.half_life >= 1 and self.tolerance > 0):
            raise ValueError(
                f"reach {self.reach} needs 1 to {MAX_REACH}, half life {self.half_life} 1 or more, "
                f"tolerance {self.tolerance:g} more than 0"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One price, and why it matters."""

    kind: str  # swing_high, swing_low, cluster, prior_day_high … prior_week_close, round
    price: float
    strength: float
    distance: float  # ATR from the close, above 0 when the level lies higher; NaN without an ATR
    touches: int  # swings at it; 0 where it is none of swings
    bar: int  # the (latest) bar that made it
    known_bar: int  # from whose end on it was known
    known_time: int  # ns, the venue's clock
    position: int  # of the event that made it known
    reasons: tuple[str, ...]

    @property
    def side(self) -> str:
        """What it is to the close: resistance above, support below or at it."""
        return "resistance" if self.distance > 0 else "support"


def levels(bars: Bars, atr: Floats, *, as_of: int = -1, rules: LevelRules | None = None) -> list[Level]:
    """The levels known at the end of bar ``as_of`` (the last one), from the highest price to the lowest.

    ``atr`` (T,) in quote currency, NaN until known: without one there are no clusters.

    Raises:
        ValueError: ``as_of`` is no bar, or ``atr`` is of another length.
    """
    rules = rules or LevelRules()
    now = as_of if as_of >= 0 else len(bars) + as_of
    if not 0 <= now < len(bars) or atr.shape != (len(bars),):
        raise ValueError(f"as of bar {as_of} of {len(bars)}, {atr.shape} atr")
    seen = bars.take(slice(0, now + 1))
    maker = _Maker(seen, float(atr[now]), rules)
    found = [*maker.swings(), *maker.clusters(), *maker.priors(), *maker.rounds()]
    return sorted(found, key=lambda level: (-level.price, level.kind, level.bar))


@dataclass(frozen=True, slots=True)
class Cluster:
    """Swings within the tolerance of each other; (n,) rows of the swings they are."""

    rows: Int64s
    price: float  # their mean


def clusters(prices: Floats, width: float) -> list[Cluster]:
    """Groups of two and more prices that lie within ``width``, from the lowest up.

    Each group begins at the lowest price that is in none, and takes all within ``width`` of it: so no
    cluster can grow along a chain of prices.
    """
    order = np.argsort(prices, kind="stable")
    made, begin = [], 0
    while begin < len(order):
        limit = prices[order[begin]] + width
        end = int(np.searchsorted(prices[order], limit, side="right"))
        if end - begin > 1:
            rows = np.sort(order[begin:end])
            made.append(Cluster(rows, float(prices[rows].mean())))
        begin = max(end, begin + 1)
    return made


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes levels of all kinds from bars of which the last one is now."""

    bars: Bars
    atr: float
    rules: LevelRules

    @property
    def now(self) -> int:
        return len(self.bars) - 1

    def swings(self) -> Iterator[Level]:
        found = self._swings()
        for i in range(len(found)):
            bar, side = int(found.bars[i]), "high" if found.sides[i] > 0 else "low"
            wing, age = self.rules.wing, self.now - bar
            why = f"{side} of the {2 * wing + 1} bars around it, {age} bars ago"
            yield self._level(f"swing_{side}", found.prices[i], self._fade(0.5, age), 1, bar, bar + wing, why)

    def clusters(self) -> Iterator[Level]:
        found = self._swings()
        if not self.atr > 0:
            return
        for cluster in clusters(found.prices, self.rules.tolerance * self.atr):
            touches, last = len(cluster.rows), int(found.bars[cluster.rows].max())
            age = self.now - last
            reasons = (
                f"{touches} swings within {self.rules.tolerance:g} ATR",
                f"the last {age} bars ago, the first {self.now - int(found.bars[cluster.rows].min())}",
            )
            # Known as the cluster that it is when its last member was.
            known = int(found.known[cluster.rows].max())
            strength = self._fade(1 - 0.5**touches, age)
            yield self._level("cluster", cluster.price, strength, touches, last, known, *reasons)

    def priors(self) -> Iterator[Level]:
        for period, strength in PRIOR_STRENGTH.items():
            before = prior(self.bars.start, *self._prices(), period)
            yield from self._prior(before, period, strength)

    def _prior(self, before: Prior, period: int, strength: float) -> Iterator[Level]:
        word = {DAY: "day", WEEK: "week"}[period]
        known = int(before.since[-1])
        if known < 0:
            return
        for name, price in (("high", before.high), ("low", before.low), ("close", before.close)):
            why = f"{name} of the {word} before (UTC)"
            share = strength if name != "close" else strength / 2
            yield self._level(f"prior_{word}_{name}", price[-1], share, 0, known - 1, known, why)

    def rounds(self) -> Iterator[Level]:
        close = float(self.bars.values[CLOSE, self.now])
        for price, strength, step in round_numbers(close, self.rules.round_numbers):
            why = f"a multiple of {step:g}"
            yield self._level("round", price, strength, 0, self.now, self.now, why)

    def _swings(self) -> Swings:
        highs, lows, _ = self._prices()
        first = max(0, self.now - self.rules.reach - 2 * self.rules.wing)
        found = swings(highs[first:], lows[first:], self.rules.wing)
        moved = Swings(found.bars + first, found.known + first, found.prices, found.sides)
        return moved.until(self.now, since=self.now - self.rules.reach)

    def _prices(self) -> tuple[Floats, Floats, Floats]:
        values = self.bars.values
        return values[HIGH], values[LOW], values[CLOSE]

    def _fade(self, strength: float, age: int) -> float:
        return strength * float(0.5 ** (age / self.rules.half_life))

    def _level(
        self, kind: str, price: float, strength: float, touches: int, bar: int, known: int, *reasons: str
    ) -> Level:
        close = self.bars.values[CLOSE, self.now]
        return Level(
            kind=kind,
            price=float(price),
            strength=strength,
            distance=float((price - close) / self.atr) if self.atr > 0 else np.nan,
            touches=touches,
            bar=bar,
            known_bar=known,
            known_time=int(self.bars.known_time[known]),
            position=int(self.bars.position[known]),
            reasons=reasons,
        )
