"""From where to where each number of a strategy may go: what is outside is refused with its value."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

MAX_SEATS = 64  # voters of a strategy
MAX_GEOMETRIES = 16
MAX_ADAPTATIONS = 32
MAX_INSTRUMENTS = 10_000
MAX_INSTRUMENT_LENGTH = 120  # characters: names of streams hold it beside the strategy's, within 255
MAX_VERSIONS = 1_000
MAX_TEXT = 2_000  # characters of a description
MAX_HORIZON_DAYS = 400  # as long as an idea is watched, signals/idea.py


class BadStrategy(ValueError):
    """Not a strategy that can be defined: the message holds the values."""


@dataclass(frozen=True, slots=True)
class Range:
    """``low`` to ``high``; an end that is ``open`` does not belong to it."""

    low: float
    high: float
    open: str = ""  # low, high or both
    whole: bool = False
    unit: str = ""

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.open in ("low", "both") else value >= self.low
        below = value < self.high if self.open in ("high", "both") else value <= self.high
        return above and below and (not self.whole or math.trunc(value) == value)

    def __str__(self) -> str:
        low = f"over {self.low:g}" if self.open in ("low", "both") else f"{self.low:g}"
        high = f"under {self.high:g}" if self.open in ("high", "both") else f"{self.high:g}"
        kind = "whole, " if self.whole else ""
        return f"{kind}{low} to {high}{' ' + self.unit if self.unit else ''}"


GEOMETRY: Mapping[str, Range] = {
    "stop_atr": Range(0.1, 20, unit="average true ranges"),
    "target_atr": Range(0.1, 20, unit="average true ranges"),
    "horizon_bars": Range(1, 5_000, whole=True, unit="bars"),
}
STRATEGY: Mapping[str, Range] = {
    "quorum": Range(1, MAX_SEATS, unit="voters"),
    "min_consensus": Range(0, 1, "low"),
    "sharpness": Range(0, 20, "low", unit="log-odds"),
    "parts": Range(1, 64, whole=True),
}
GATE: Mapping[str, Range] = {
    "threshold": Range(0.5, 1, "both"),
    "margin": Range(0, 0.5, "high"),
    "breaker_outcomes": Range(30, 1_000, whole=True),
    "breaker_window": Range(30, 1_000, whole=True),
}
LEARNING: Mapping[str, Range] = {
    "half_life": Range(1, 100_000, unit="outcomes"),
    "prior_skill": Range(0, 0.5, "low"),
    "prior_weight": Range(1, 100_000, unit="outcomes"),
    "least": Range(20, 100_000, whole=True, unit="candidates"),
    "least_effective": Range(10, 100_000),
    "refit_ratio": Range(0.01, 10),
    "window": Range(20, 100_000, whole=True, unit="candidates"),
}
RISK: Mapping[str, Range] = {
    "fee_bps": Range(0, 500, unit="bps"),
    "slippage_bps": Range(0, 500, unit="bps"),
    "risk_ratio": Range(0, 0.1, "low"),
    "volatility_ratio": Range(0, 0.1, "low"),
    "kelly_cap": Range(0, 1, "low"),
    "min_size_ratio": Range(0, 1, "low"),
    "max_size_ratio": Range(0, 10, "low"),
    "max_exposure_ratio": Range(0, 100, "low"),
    "max_open": Range(1, 1_000, whole=True),
    "max_per_instrument": Range(1, 100, whole=True),
    "max_correlation": Range(0, 1),
    "daily_loss_ratio": Range(0, 1, "low"),
    "max_drawdown_ratio": Range(0, 1, "both"),
    "cooldown_bars": Range(0, 5_000, whole=True, unit="bars"),
    "depth_ratio": Range(0, 1, "low"),
    "capital_quote": Range(0, 1e12, "low", unit="quote currency"),
}
# Of an adaptation: factors on what the strategy says, or (consensus) what is added to min_consensus.
CHANGE: Mapping[str, Range] = {
    **dict.fromkeys(("stop", "target", "horizon", "size"), Range(0.1, 10)),
    "consensus": Range(-1, 1, "both"),
}


def check(what: str, values: object, ranges: Mapping[str, Range]) -> None:
    """Every attribute of ``values`` that ``ranges`` names is in its range; NaN is in none.

    Raises:
        BadStrategy: with ``what``, the field, its value and its range.
    """
    for name, allowed in ranges.items():
        check_number(f"{what}{name}", getattr(values, name), allowed)


def check_number(what: str, value: float, allowed: Range) -> None:
    """Raises BadStrategy."""
    if value not in allowed:
        raise BadStrategy(f"{what} {value!r} is not {allowed}")
