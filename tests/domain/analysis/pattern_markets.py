"""Bars in which candlestick patterns stand: a market full of gaps, and shapes drawn by hand."""

from collections.abc import Sequence

import numpy as np

from alphapulse.domain.analysis.fields import CLOSE, HIGH, LOW, OPEN, Floats
from tests.domain.analysis.series import from_ohlcv

Drawn = Sequence[tuple[float, float, float, float]]  # open, high, low, close

# Bodies of 2 and ranges of 4 around 100: near is 0.8, far 2.4, a hair 0.2, tiny 0.4.
QUIET: Drawn = ((99, 102, 98, 101), (101, 102, 98, 99)) * 8


def drawn(shape: Drawn) -> Floats:
    """Quiet bars, then ``shape``."""
    open_, high, low, close = np.array([*QUIET, *shape], dtype=np.float64).T
    return from_ohlcv(open_, high, low, close, np.ones(len(close)))


def mirrored(bars: Floats) -> Floats:
    """Upside down, around 100."""
    turned = bars.copy()
    turned[[OPEN, HIGH, LOW, CLOSE]] = 200 - bars[[OPEN, LOW, HIGH, CLOSE]]
    return turned


def gappy(count: int, seed: int, *, tick: float = 0.25) -> Floats:
    """A market that seldom opens where it closed, on a grid of ticks, full of dojis and bare ends.

    Loud and quiet spells; each bar mixes small and large bodies, gaps and shadows. Every price is a binary
    fraction, so that no sum is rounded and whoever adds them up gets the same.
    """
    rng = np.random.default_rng(seed)

    def ticks(*sizes: float) -> Floats:
        made: Floats = np.round(rng.normal(0, 1, count) * rng.choice(sizes, count) / tick) * tick
        return made

    body, gap = ticks(0, 0.3, 1, 3), ticks(0, 0.5, 1.5)
    upper, lower = np.abs(ticks(0, 0.3, 2)), np.abs(ticks(0, 0.3, 2))
    moves = np.cumsum(body + gap)
    close = 2_000 + moves - np.round(np.linspace(0, moves[-1], count))  # ends where it began
    open_ = close - body
    return from_ohlcv(
        open_,
        np.maximum(open_, close) + upper,
        np.minimum(open_, close) - lower,
        close,
        np.ones(count),
    )


def opening_where_it_closed(bars: Floats) -> Floats:
    """Opens moved to the last close, even outside the bar's own range: so BitMEX's bars are."""
    moved = bars.copy()
    moved[OPEN, 1:] = bars[CLOSE, :-1]
    return moved


# What does not come up by chance in a hundred thousand bars.
RARE: dict[str, Drawn] = {
    "mat_hold": (
        (100, 110.5, 99.5, 110),
        (112, 112.5, 110.2, 111),
        (110.8, 111.5, 109, 109.5),
        (109.4, 110, 108, 108.4),
        (109, 114.5, 108.5, 114),
    ),
    "three_stars_in_the_south": (
        (110, 110.5, 99, 105),
        (107, 107.3, 101, 104),
        (103, 103, 102, 102),
    ),
    "concealing_baby_swallow": (
        (110, 110, 105, 105),
        (105, 105, 100, 100),
        (98, 101, 95.5, 96),
        (101.5, 101.6, 94.8, 95),
    ),
    "rise_fall_three_methods": (
        (100, 110.5, 99.5, 110),
        (109, 109.5, 107.5, 108),
        (108, 108.5, 106.5, 107),
        (107, 107.5, 105.5, 106),
        (106.5, 112.5, 106, 112),
    ),
    "two_crows": ((100, 110.5, 99.5, 110), (113, 113.5, 111.5, 112), (112.5, 113, 104, 105)),
    "upside_gap_two_crows": ((100, 110.5, 99.5, 110), (113, 113.5, 111.5, 112), (114, 114.5, 110.5, 111)),
    "breakaway": (
        (110, 110.5, 99.5, 100),
        (98, 98.5, 96.5, 97),
        (97.5, 98, 95.5, 96),
        (96, 97, 94.5, 95),
        (95, 99.5, 94.8, 99),
    ),
    "ladder_bottom": (
        (110, 110.5, 107, 107.5),
        (108, 108.5, 105, 105.5),
        (106, 106.5, 103, 103.5),
        (104, 106, 101, 101.5),
        (105, 109, 104.5, 108),
    ),
    "three_black_crows": (
        (108, 111, 107.5, 110.5),
        (110, 110.3, 106, 106),
        (108, 108.3, 103, 103),
        (105, 105.3, 100, 100),
    ),
}
