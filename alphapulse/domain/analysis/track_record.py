"""The record of a pattern or a signal as it stood at each of its own detections: running counts.

Rules and units are those of reliability.py. Nothing here looks past the bar that it speaks of: a detection
at bar t sees the outcomes resolved by bar t, so later bars change no row.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from alphapulse.domain.analysis.detections import Detections, check_inside, labels_of, moves, uniqueness
from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.analysis.proportions import Z95, newcombe, wilson


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TrackRecord:
    """For each detection, what was known at its bar of earlier ones: same direction, same regime.

    All (D,), in the order of the detections; NaN (0 for counts) where the regime is not known.
    """

    detections: Int64s
    hits: Int64s
    effective: Floats
    hit_rate: Floats
    hit_low: Floats
    hit_high: Floats
    base_bars: Int64s
    base_rate: Floats
    lift: Floats
    lift_low: Floats
    lift_high: Floats


def track_record(
    detections: Detections, closes: Floats, horizon: int, *, regimes: Int64s | None = None, z: float = Z95
) -> TrackRecord:
    """What each detection could know of the ones before it.

    Raises:
        BadDetections: as ``reliability``.
    """
    return track_records({"": detections}, closes, horizon, regimes=regimes, z=z)[""]


def track_records(
    detections: Mapping[str, Detections],
    closes: Floats,
    horizon: int,
    *,
    regimes: Int64s | None = None,
    z: float = Z95,
) -> dict[str, TrackRecord]:
    """``track_record`` of many patterns and signals of one series: they share the counts of the base."""
    market = _Market(closes, labels_of(closes, regimes), moves(closes, horizon), horizon, {})
    return {name: _record(found, market, z) for name, found in detections.items()}


def _record(detections: Detections, market: "_Market", z: float) -> TrackRecord:
    check_inside(detections, len(market.labels))
    counts = np.zeros((3, len(detections)), dtype=np.int64)  # detections, hits, base bars
    shares = np.full((3, len(detections)), np.nan)  # effective, base rate, base effective
    own = market.labels[detections.bars]
    for label in np.unique(own[own >= 0]).tolist():
        for up in (1, -1):
            rows = np.flatnonzero((own == label) & (detections.directions == up))
            bars = detections.bars[rows]
            past = bars - market.horizon  # the last bar whose outcome is known
            counts[0, rows], counts[1, rows], shares[0, rows] = market.running(bars, up).at(past)
            base_bars, base_hits, shares[2, rows] = market.base(label, up).at(past)
            counts[2, rows], shares[1, rows] = base_bars, _ratio(base_hits, base_bars)
    rate = _ratio(counts[1], counts[0])
    hit_low, hit_high = wilson(rate, shares[0], z)
    lift_low, lift_high = newcombe(rate, shares[0], shares[1], shares[2], z)
    return TrackRecord(
        detections=counts[0],
        hits=counts[1],
        effective=shares[0],
        hit_rate=rate,
        hit_low=hit_low,
        hit_high=hit_high,
        base_bars=counts[2],
        base_rate=shares[1],
        lift=rate - shares[1],
        lift_low=lift_low,
        lift_high=lift_high,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Running:
    """Sums over the first n of some outcomes, n = 0 …: their number, hits and effective number."""

    bars: Int64s  # at which they begin, those that were resolved
    sums: Floats  # (3, len(bars) + 1)

    def at(self, bars: Int64s) -> Floats:
        """The sums over what begins at each of ``bars`` or before."""
        counted: Floats = self.sums[:, np.searchsorted(self.bars, bars, side="right")]
        return counted


@dataclass(frozen=True, slots=True, eq=False)
class _Market:
    closes: Floats
    labels: Int64s
    moved: Int64s
    horizon: int
    bases: dict[tuple[int, int], _Running]  # by regime and direction, as far as they were asked for

    def base(self, label: int, up: int) -> _Running:
        if (label, up) not in self.bases:
            self.bases[label, up] = self.running(np.flatnonzero(self.labels == label), up)
        return self.bases[label, up]

    def running(self, bars: Int64s, up: int) -> _Running:
        resolved = bars[bars < len(self.moved)]
        sums = np.zeros((3, len(resolved) + 1))
        sums[0, 1:] = np.arange(1, len(resolved) + 1)
        sums[1, 1:] = np.cumsum(self.moved[resolved] == up)
        sums[2, 1:] = np.cumsum(uniqueness(resolved, bars, len(self.closes), self.horizon))
        return _Running(resolved, sums)


def _ratio(part: Floats | Int64s, whole: Floats | Int64s) -> Floats:
    share: Floats = np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
    return share
