"""How a figure is said: with its interval and what it rests on, or why it cannot be."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from alphapulse.domain.performance.figures import Figure
from alphapulse.domain.performance.resampling import Interval

FEW = 20  # the bootstrap sees too little of what can happen in a sample that is worth less
FEW_SEEN = f"worth fewer than {FEW}: the interval is likely too narrow"
NO_TRADES = "no trades"
RUINED = "all was lost: no returns after that"


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """``draws`` of the bootstrap, 0: no intervals from it; the same ``seed`` gives the same."""

    year_days: float
    seed: int
    draws: int


class Named(NamedTuple):
    name: str
    title: str
    unit: str


class Sample(NamedTuple):
    """How many trades or days, and what they are worth beside those they overlap or follow."""

    size: int
    effective: float


def nothing(named: Named, why: str, sample: int = 0) -> Figure:
    return Figure(name=named.name, title=named.title, unit=named.unit, value=None, sample=sample, note=why)


def said(
    named: Named, value: float, interval: Interval, sample: Sample, *, unbound: str = "", note: str = ""
) -> Figure:
    """The figure; ``unbound`` is why there is none where ``value`` is not finite."""
    if not np.isfinite(value):
        return nothing(named, unbound, sample.size)
    bounded = interval.low is not None or interval.high is not None
    is_narrow = bounded and interval.is_drawn and sample.effective < FEW
    return Figure(
        name=named.name,
        title=named.title,
        unit=named.unit,
        value=value + 0.0,  # no negative zero
        low=None if interval.low is None else interval.low + 0.0,
        high=None if interval.high is None else interval.high + 0.0,
        sample=sample.size,
        effective=sample.effective,
        note="; ".join(filter(None, [note, interval.note, FEW_SEEN if is_narrow else ""])),
    )
