"""How often the price went the way that a pattern or a signal of analysis said, against how often it does so
anyway.

A detection (bar, direction) is a hit when the close ``horizon`` bars later lies on its side of the close
of its own bar. An equal close is a miss, for a rise and for a fall. The base rate is the share of *all*
bars of the same regime that moved in that direction, ties and detected bars included. What counts at bar
t is resolved by bar t: the detection, its outcome, and the outcomes behind the base rate.

Outcomes whose horizons overlap share their price moves. Each counts for its average uniqueness: the mean,
over the bars of its horizon, of 1 / (outcomes running at that bar). Intervals and tests use the sum of
these, the effective number, in place of the count; over a random walk it is within a few per cent of, or
below, what the correlation of the outcomes leaves. Source of the weight: M. Lopez de Prado, Advances in
Financial Machine Learning (2018), 4.4.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.analysis.proportions import Z95, equal_rates, holm, newcombe, wilson

Chosen = NDArray[np.bool_]

HORIZONS = (1, 3, 5, 10, 20)  # bars
MAX_HORIZON = 2_000  # bars


class BadDetections(ValueError):
    """Bars that are not there, out of order or twice, a direction but 1 and -1, or arrays that do not fit."""


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """Where something was found, (D,) each, in ascending order of the bars; direction 1 says up, -1 down."""

    bars: Int64s
    directions: Int64s

    def __post_init__(self) -> None:
        if self.bars.shape != self.directions.shape or self.bars.ndim != 1:
            raise BadDetections(f"{self.bars.shape} bars, {self.directions.shape} directions")
        if len(self.bars) and (self.bars[0] < 0 or np.any(np.diff(self.bars) <= 0)):
            raise BadDetections("bars need to be 0 or more and to ascend")
        if np.any(np.abs(self.directions) != 1):
            raise BadDetections(f"directions {np.unique(self.directions).tolist()} need to be 1 or -1")

    @classmethod
    def of(cls, signal: Floats) -> "Detections":
        """Where ``signal``, a value a bar, is above 0 (up) or below (down). NaN: nothing there."""
        bars = np.flatnonzero(np.nan_to_num(signal))
        return cls(bars.astype(np.int64), np.sign(signal[bars]).astype(np.int64))

    def until(self, bar: int) -> "Detections":
        """Those at ``bar`` or before."""
        kept = int(np.searchsorted(self.bars, bar, side="right"))
        return Detections(self.bars[:kept], self.directions[:kept])

    def __len__(self) -> int:
        return len(self.bars)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """The record of one pattern or signal over one horizon, as of one bar. NaN where nothing can be said."""

    name: str
    horizon: int  # bars
    regime: int | None  # label; None: all that are known, the base rate weighted as the detections are
    detections: int  # whose outcome was known
    pending: int  # whose outcome was still to come
    hits: int
    effective: float  # detections, less what their horizons overlap
    hit_rate: float  # ratio; its Wilson interval
    hit_low: float
    hit_high: float
    base_bars: int  # bars with a known outcome in these regimes
    base_effective: float
    base_rate: float
    lift: float  # hit_rate - base_rate; its Newcombe interval
    lift_low: float
    lift_high: float
    p_value: float  # two-sided, that both rates are one
    adjusted: float  # after Holm over the whole table that this stands in


def moves(closes: Floats, horizon: int) -> Int64s:
    """1, 0 or -1 for each bar with a close ``horizon`` bars later: it is higher, equal or lower."""
    if not 1 <= horizon <= MAX_HORIZON:
        raise BadDetections(f"horizon {horizon} needs 1 to {MAX_HORIZON} bars")
    return np.sign(closes[horizon:] - closes[:-horizon]).astype(np.int64)


@dataclass(frozen=True, slots=True)
class _Base:
    """What happens anyway after the bars of one regime."""

    bars: int  # with a known outcome
    effective: float
    rates: tuple[float, float]  # of falls, of rises


@dataclass(frozen=True, slots=True, eq=False)
class _Market:
    """What all patterns are measured against, over one horizon, as of one bar."""

    horizon: int
    size: int  # of the bars that there were, later ones too
    moved: Int64s
    labels: Int64s  # up to the bar that this is as of
    base: Mapping[int, _Base]  # by regime

    @classmethod
    def at(cls, closes: Floats, horizon: int, regimes: Int64s | None, as_of: int | None) -> "_Market":
        labels = labels_of(closes, regimes)
        bars = len(closes) if as_of is None else as_of + 1
        if not 0 <= bars <= len(closes):
            raise BadDetections(f"as of bar {as_of} of {len(closes)}")
        labels, moved = labels[:bars], moves(closes[:bars], horizon)
        base = {int(label): _base(moved, labels, label, horizon) for label in np.unique(labels[labels >= 0])}
        return cls(horizon, len(closes), moved, labels, base)


def _base(moved: Int64s, labels: Int64s, label: int, horizon: int) -> _Base:
    begins = np.flatnonzero(labels == label)
    past = begins[begins < len(moved)]
    effective = float(uniqueness(past, begins, len(labels), horizon).sum())
    after = moved[past]
    rates = [float(np.count_nonzero(after == up)) / len(past) if len(past) else np.nan for up in (-1, 1)]
    return _Base(len(past), effective, (rates[0], rates[1]))


def reliability(
    name: str,
    detections: Detections,
    closes: Floats,
    horizon: int,
    *,
    regimes: Int64s | None = None,
    regime: int | None = None,
    as_of: int | None = None,
    z: float = Z95,
) -> Reliability:
    """The record of ``detections`` as of bar ``as_of``, the last one unless given.

    ``closes`` (T,) in quote currency. ``regimes`` (T,) labels each bar with what was known at it, below 0
    where nothing was: such bars count nowhere. Without labels all bars are of one regime. ``regime`` keeps
    to one label.

    Raises:
        BadDetections: a detection, the horizon or ``as_of`` lies outside, or the arrays differ in length.
    """
    market = _Market.at(closes, horizon, regimes, as_of)
    return _record(name, detections, market, regime, z)


def reliability_table(
    detections: Mapping[str, Detections],
    closes: Floats,
    *,
    horizons: Sequence[int] = HORIZONS,
    regimes: Int64s | None = None,
    by_regime: bool = False,
    as_of: int | None = None,
    z: float = Z95,
) -> list[Reliability]:
    """The records of many patterns and signals over many horizons (and, if asked, each regime by itself).

    ``adjusted`` is Holm's, over all rows: at most 5 % of tables in which nothing is reliable have a row of
    0.05 or less, whatever the rows have to do with each other.
    """
    markets = [_Market.at(closes, horizon, regimes, as_of) for horizon in horizons]
    rows = [
        _record(name, found, market, regime, z)
        for name, found in detections.items()
        for market in markets
        for regime in ([None, *market.base] if by_regime else [None])
    ]
    adjusted = holm([row.p_value for row in rows])
    return [replace(row, adjusted=p) for row, p in zip(rows, adjusted, strict=True)]


def _record(name: str, detections: Detections, market: _Market, regime: int | None, z: float) -> Reliability:
    check_inside(detections, market.size)
    labels, moved, horizon = market.labels, market.moved, market.horizon
    counted = labels >= 0 if regime is None else labels == regime
    found = detections.until(len(labels) - 1)
    found = _where(found, counted[found.bars])
    resolved = _where(found, found.bars < len(moved))
    hits = int(np.count_nonzero(moved[resolved.bars] == resolved.directions))
    rate = hits / len(resolved) if len(resolved) else np.nan
    effective = float(uniqueness(resolved.bars, found.bars, len(labels), horizon).sum())
    base_rate, base_effective = _expected(resolved, market)
    seen, expected = (rate, effective), (base_rate, base_effective)
    hit_low, hit_high = _plain(wilson(*_arrays(seen), z))
    lift_low, lift_high = _plain(newcombe(*_arrays(seen), *_arrays(expected), z))
    p_value = equal_rates(*seen, *expected)
    return Reliability(
        name=name,
        horizon=horizon,
        regime=regime,
        detections=len(resolved),
        pending=len(found) - len(resolved),
        hits=hits,
        effective=effective,
        hit_rate=rate,
        hit_low=hit_low,
        hit_high=hit_high,
        base_bars=sum(base.bars for label, base in market.base.items() if regime in (None, label)),
        base_effective=base_effective,
        base_rate=base_rate,
        lift=rate - base_rate,
        lift_low=lift_low,
        lift_high=lift_high,
        p_value=p_value,
        adjusted=p_value,
    )


def _expected(resolved: Detections, market: _Market) -> tuple[float, float]:
    """The hit rate to expect of ``resolved`` anyway, and the effective number behind it.

    The base rates of their regimes and directions, each weighted by the detections that it stands for. The
    effective number is that of a mean of independent rates.
    """
    if not len(resolved):
        return np.nan, np.nan
    own, rate, variance = market.labels[resolved.bars], 0.0, 0.0
    for label, base in market.base.items():
        there = resolved.directions[own == label]
        for up, expected in zip((-1, 1), base.rates, strict=True):
            if weight := np.count_nonzero(there == up) / len(resolved):
                rate += weight * expected
                variance += weight * weight / base.effective
    return float(rate), float(1 / variance)


def uniqueness(resolved: Int64s, bars: Int64s, size: int, horizon: int) -> Floats:
    """The weight of each resolved outcome, known when it is resolved: later detections do not touch it."""
    edges = np.zeros(size + horizon + 2, dtype=np.int64)
    edges[bars + 1] += 1  # an outcome runs over the bars after its own
    edges[bars + horizon + 1] -= 1
    running = np.cumsum(edges)[: size + 1]
    shares = np.concatenate([[0.0], np.cumsum(1.0 / np.maximum(running, 1))])
    weight: Floats = (shares[resolved + horizon + 1] - shares[resolved + 1]) / horizon
    return weight


def labels_of(closes: Floats, regimes: Int64s | None) -> Int64s:
    labels: Int64s = np.zeros(len(closes), dtype=np.int64) if regimes is None else regimes
    if labels.shape != closes.shape or closes.ndim != 1:
        raise BadDetections(f"{closes.shape} closes, {labels.shape} regimes")
    return labels


def check_inside(detections: Detections, bars: int) -> None:
    if len(detections) and detections.bars[-1] >= bars:
        raise BadDetections(f"a detection at bar {detections.bars[-1]} of {bars}")


def _where(detections: Detections, chosen: Chosen) -> Detections:
    return Detections(detections.bars[chosen], detections.directions[chosen])


def _arrays(pair: tuple[float, float]) -> tuple[Floats, Floats]:
    return np.array([pair[0]]), np.array([pair[1]])


def _plain(bounds: tuple[Floats, Floats]) -> tuple[float, float]:
    return float(bounds[0][0]), float(bounds[1][0])
