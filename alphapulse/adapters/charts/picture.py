"""What a chart shows, before it is drawn: bars, lines over them, panes below, marks, levels and regimes.

Everything in it was computed elsewhere; drawing only draws. One entry a bar, NaN where there is none.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from alphapulse.domain.analysis.bars import Bars
from alphapulse.domain.analysis.fields import CLOSE, HIGH, LOW, OPEN, VOLUME, Floats


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    name: str
    values: Floats  # (bars,)


@dataclass(frozen=True, slots=True, eq=False)
class Pane:
    """A plot of its own below the prices; ``guides`` are horizontal lines, such as 30 and 70."""

    title: str
    lines: Sequence[Line]
    guides: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that was detected at a bar: ``direction`` 1 bullish, -1 bearish, 0 neither."""

    row: int
    direction: int
    text: str
    strength: float = 1.0


@dataclass(frozen=True, slots=True)
class LevelLine:
    price: float
    text: str
    strength: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    title: str
    bars: Bars
    overlays: Sequence[Line] = ()
    panes: Sequence[Pane] = ()
    marks: Sequence[Mark] = ()
    levels: Sequence[LevelLine] = ()
    regimes: Sequence[str] = field(default=())  # one name a bar, or nothing
    notes: Sequence[str] = ()

    @property
    def open(self) -> Floats:
        values: Floats = self.bars.values[OPEN]
        return values

    @property
    def high(self) -> Floats:
        values: Floats = self.bars.values[HIGH]
        return values

    @property
    def low(self) -> Floats:
        values: Floats = self.bars.values[LOW]
        return values

    @property
    def close(self) -> Floats:
        values: Floats = self.bars.values[CLOSE]
        return values

    @property
    def volume(self) -> Floats:
        values: Floats = self.bars.values[VOLUME]
        return values


def lies_among_prices(values: Floats, bars: Bars) -> bool:
    """Whether a line belongs over the prices: at least half of it lies in their range, widened by half."""
    low, high = float(bars.values[LOW].min()), float(bars.values[HIGH].max())
    room = (high - low) / 2
    there = values[~np.isnan(values)]
    return len(there) > 0 and float(np.mean((there >= low - room) & (there <= high + room))) >= 0.5
