"""How often the price went the way that a pattern or a signal of analysis said, against how often it does so
anyway.

A detection (bar, direction) is a hit when the close ``horizon`` bars later lies on its side of the close
of its own bar. An equal close is a miss, for a rise and for a fall. The base rate is the share of *all*
bars of the same regime that moved in that direction, ties and detected bars included. What counts at bar
t is resolved by bar t: the detection, its outcome, and the outcomes behind the base rate.

Outcomes whose horizons overlap share their price moves: each counts for its ``uniqueness``. Intervals and
tests use the sum of these, the effective number, in place of the count; over a random walk it is below
what the correlation of the outcomes leaves, or within a few per cent of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from alphapulse.domain.analysis.detections import (
    BadDetections,
    Detections,
    check_inside,
    labels_of,
    moves,
    uniqueness,
    where,
)
from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.analysis.proportions import Z95, equal_rates, holm, newcombe, wilson

HORIZONS = (1, 3, 5, 10, 20)  # bars


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
    return _measure([_count(name, detections, market, regime)], z)[0]


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
        _count(name, found, market, regime)
        for name, found in detections.items()
        for market in markets
        for regime in ([None, *market.base] if by_regime else [None])
    ]
    return _measure(rows, z)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counted:
    """The part of a Reliability that is counted."""

    name: str
    horizon: int
    regime: int | None
    detections: int
    pending: int
    hits: int
    effective: float
    hit_rate: float
    base_bars: int
    base_effective: float
    base_rate: float


def _count(name: str, detections: Detections, market: _Market, regime: int | None) -> _Counted:
    check_inside(detections, market.size)
    labels, moved, horizon = market.labels, market.moved, market.horizon
    counted = labels >= 0 if regime is None else labels == regime
    found = detections.until(len(labels) - 1)
    found = where(found, counted[found.bars])
    resolved = where(found, found.bars < len(moved))
    hits = int(np.count_nonzero(moved[resolved.bars] == resolved.directions))
    base_rate, base_effective = _expected(resolved, market)
    return _Counted(
        name=name,
        horizon=horizon,
        regime=regime,
        detections=len(resolved),
        pending=len(found) - len(resolved),
        hits=hits,
        effective=float(uniqueness(resolved.bars, found.bars, len(labels), horizon).sum()),
        hit_rate=hits / len(resolved) if len(resolved) else np.nan,
        base_bars=sum(base.bars for label, base in market.base.items() if regime in (None, label)),
        base_effective=base_effective,
        base_rate=base_rate,
    )


def _measure(rows: Sequence[_Counted], z: float) -> list[Reliability]:
    """How sure one may be of each of ``rows``, and of all of them together."""
    columns = ("hit_rate", "effective", "base_rate", "base_effective")
    rate, count, other, other_count = np.array([[getattr(r, c) for r in rows] for c in columns])
    lift = rate - other
    bounds = np.stack([*wilson(rate, count, z), lift, *newcombe(rate, count, other, other_count, z)])
    p_values = [equal_rates(*row) for row in zip(rate, count, other, other_count, strict=True)]
    measured = zip(rows, bounds.T.tolist(), p_values, holm(p_values), strict=True)
    names = ("hit_low", "hit_high", "lift", "lift_low", "lift_high")
    return [
        Reliability(**asdict(row), **dict(zip(names, found, strict=True)), p_value=p, adjusted=adjusted)
        for row, found, p, adjusted in measured
    ]


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
