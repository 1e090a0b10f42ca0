"""The record of a pattern or a signal as it stood at each of its own detections: running counts.

Rules and units are those of reliability.py. Nothing here looks past the bar that it speaks of: a detection
at bar t sees the outcomes resolved by bar t, so later bars change no row.
"""

from dataclasses import dataclass

import numpy as np

from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.analysis.proportions import Z95, newcombe, wilson
from alphapulse.domain.analysis.reliability import Detections, check_inside, labels_of, moves, uniqueness


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
    """What each detection could know of the ones before it: running counts, one pass a regime and direction.

    Raises:
        BadDetections: as ``reliability``.
    """
    labels, moved = labels_of(closes, regimes), moves(closes, horizon)
    check_inside(detections, len(closes))
    counts = np.zeros((3, len(detections)), dtype=np.int64)  # detections, hits, base bars
    shares = np.full((3, len(detections)), np.nan)  # effective, base rate, base effective
    own = labels[detections.bars]
    for label in np.unique(own[own >= 0]):
        for up in (1, -1):
            rows = np.flatnonzero((own == label) & (detections.directions == up))
            past = detections.bars[rows] - horizon + 1  # how many bars are resolved by then
            past = np.maximum(past, 0)
            same = _running(moved, detections.bars[rows], up, horizon, len(closes))
            base = _running(moved, np.flatnonzero(labels == label), up, horizon, len(closes))
            counts[0, rows], counts[1, rows], shares[0, rows] = (line[past] for line in same)
            base_bars, base_hits, shares[2, rows] = (line[past] for line in base)
            counts[2, rows] = base_bars
            shares[1, rows] = _ratio(base_hits, base_bars)
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


def _running(moved: Int64s, bars: Int64s, up: int, horizon: int, size: int) -> tuple[Floats, Floats, Floats]:
    """Of outcomes that begin at ``bars``: count, hits and effective number among the first n bars, n = 0 …"""
    resolved = bars[bars < len(moved)]
    lines = np.zeros((3, size + 1))
    lines[0, resolved + 1] = 1
    lines[1, resolved + 1] = moved[resolved] == up
    lines[2, resolved + 1] = uniqueness(resolved, bars, size, horizon)
    count, hits, effective = np.cumsum(lines, axis=1)
    return count, hits, effective


def _ratio(part: Floats | Int64s, whole: Floats | Int64s) -> Floats:
    share: Floats = np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
    return share
