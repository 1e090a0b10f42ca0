"""Where a pattern or a signal was found, what the price did after it, and how much of that is news.

A detection at bar t is about the move from the close of bar t to the close ``horizon`` bars later.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alphapulse.domain.analysis.fields import Floats, Int64s

Chosen = NDArray[np.bool_]

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


def moves(closes: Floats, horizon: int) -> Int64s:
    """1, 0 or -1 for each bar with a close ``horizon`` bars later: it is higher, equal or lower."""
    if not 1 <= horizon <= MAX_HORIZON:
        raise BadDetections(f"horizon {horizon} needs 1 to {MAX_HORIZON} bars")
    return np.sign(closes[horizon:] - closes[:-horizon]).astype(np.int64)


def uniqueness(resolved: Int64s, bars: Int64s, size: int, horizon: int) -> Floats:
    """The weight of each resolved outcome, known when it is resolved: later detections do not touch it.

    The mean, over the bars of its horizon, of 1 / (outcomes of ``bars`` that run at that bar). Source: M.
    Lopez de Prado, Advances in Financial Machine Learning (2018), 4.4.
    """
    edges = np.zeros(size + horizon + 2, dtype=np.int64)
    edges[bars + 1] += 1  # an outcome runs over the bars after its own
    edges[bars + horizon + 1] -= 1
    running = np.cumsum(edges)[: size + 1]
    shares = np.concatenate([[0.0], np.cumsum(1.0 / np.maximum(running, 1))])
    weight: Floats = (shares[resolved + horizon + 1] - shares[resolved + 1]) / horizon
    return weight


def where(detections: Detections, chosen: Chosen) -> Detections:
    """Those that are chosen."""
    return Detections(detections.bars[chosen], detections.directions[chosen])


def labels_of(closes: Floats, regimes: Int64s | None) -> Int64s:
    """The regime of each bar, 0 everywhere without any. Raises BadDetections: of another length."""
    labels: Int64s = np.zeros(len(closes), dtype=np.int64) if regimes is None else regimes
    if labels.shape != closes.shape or closes.ndim != 1:
        raise BadDetections(f"{closes.shape} closes, {labels.shape} regimes")
    return labels


def check_inside(detections: Detections, bars: int) -> None:
    """Raises BadDetections: one of them lies beyond the ``bars`` that there are."""
    if len(detections) and detections.bars[-1] >= bars:
        raise BadDetections(f"a detection at bar {detections.bars[-1]} of {bars}")
