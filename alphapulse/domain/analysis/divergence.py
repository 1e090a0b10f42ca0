"""Where the price and an indicator disagree about two swings in a row.

    regular bullish   lower low of the price, higher value of the indicator     says up
    hidden bullish    higher low, lower value                                   says up
    regular bearish   higher high, lower value                                  says down
    hidden bearish    lower high, higher value                                  says down

The indicator is read at the bars of the price's swings. Equal prices or values are no disagreement. All is
known when the second swing is: ``wing`` bars after its bar. The rules are spread among many authors;
the four names are those of C. Brown, Technical Analysis for the Trading Professional (1999).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alphapulse.domain.analysis.compiled import piece
from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.analysis.swings import swings

REACH = 60  # bars between two swings that are compared, at most


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Divergences:
    """(D,) each, in the order in which they became known."""

    known: Int64s  # bar at whose end it was known
    first: Int64s  # bars of the two swings
    second: Int64s
    direction: Int64s  # 1: says up, -1: down
    hidden: NDArray[np.bool_]
    strength: Floats  # 0 to 1: see ``disagreement``
    first_price: Floats  # quote currency
    second_price: Floats
    first_value: Floats  # of the indicator
    second_value: Floats

    def __len__(self) -> int:
        return len(self.known)


def divergences(
    highs: Floats, lows: Floats, values: Floats, *, wing: int = 3, reach: int = REACH
) -> Divergences:
    """All divergences between (T,) highs and lows and an indicator's ``values``, NaN where it has none.

    Raises:
        ValueError: arrays of different lengths, or a wing or reach below 1.
    """
    if not highs.shape == lows.shape == values.shape or reach < 1:
        raise ValueError(f"{highs.shape} highs, {lows.shape} lows, {values.shape} values, reach {reach}")
    found = swings(highs, lows, wing)
    rows: list[tuple[float, ...]] = []
    for side in (-1, 1):
        ends = found.of(side)
        for a, b in zip(range(len(ends) - 1), range(1, len(ends)), strict=True):
            first, second = int(ends.bars[a]), int(ends.bars[b])
            verdict = judge(side, ends.prices[a], ends.prices[b], values[first], values[second])
            if verdict and second - first <= reach:
                between = slice(first, second + 1)
                strength = disagreement(
                    ends.prices[b] - ends.prices[a],
                    highs[between].max() - lows[between].min(),
                    values[second] - values[first],
                    values[between].max() - values[between].min(),
                )
                prices, ours = ends.prices[[a, b]], values[[first, second]]
                row = (ends.known[b], first, second, -side, verdict < 0, strength, *prices, *ours)
                rows += [row] if strength > 0 else []  # a value in between may be missing
    return _columns(sorted(rows))


@piece
def judge(side: float, first: float, second: float, first_value: float, second_value: float) -> int:
    """1: a regular divergence between two swings of ``side``, -1: a hidden one, 0: none (or a NaN).

    At highs (side 1) the price went up and the value down, or the other way round; at lows in a mirror.
    """
    price, value = side * (second - first), side * (second_value - first_value)
    return 1 if price > 0 and value < 0 else -1 if price < 0 and value > 0 else 0


@piece
def disagreement(move: float, span: float, value: float, value_span: float) -> float:
    """How far apart price and value went: the smaller of their moves, each as a share of the range that it
    had from the first swing to the second. NaN where a value was missing in between."""
    price, other = abs(move) / span, abs(value) / value_span
    return price if price < other else other


def _columns(rows: list[tuple[float, ...]]) -> Divergences:
    table = np.array(rows, dtype=np.float64).reshape(-1, 10).T
    whole = table[:4].astype(np.int64)
    return Divergences(
        known=whole[0],
        first=whole[1],
        second=whole[2],
        direction=whole[3],
        hidden=table[4] > 0,
        strength=table[5],
        first_price=table[6],
        second_price=table[7],
        first_value=table[8],
        second_value=table[9],
    )
