"""Prices with few digits, on a grid that goes with the price: at 6,543 they are 6,400, 6,500, 6,600 …

The step is a tenth of the price's power of ten. A multiple of that power weighs 1, of its half 0.75, the
others 0.5. A grid of decimal digits follows no change of units.
"""

import math

from alphapulse.domain.analysis.compiled import piece

MAX_ROUND = 20  # to either side
_DIGITS = 15  # powers of ten that are looked through, up and down


@piece
def grid(price: float) -> tuple[float, float]:
    """The step as ``times / over``, powers of ten of which one is 1: so multiples are exact decimals."""
    times, over = 1.0, 1.0
    for _ in range(_DIGITS):
        if price >= 100.0 * times:
            times *= 10.0
        if price * over < 10.0:
            over *= 10.0
    return times, over


@piece
def at_or_below(price: float, times: float, over: float) -> float:
    """How many steps make the highest multiple that is not above ``price``."""
    steps = math.floor(price * over / times)
    if (steps + 1) * times / over <= price:  # the product above may have been rounded down
        steps += 1
    return float(steps)


@piece
def weight(steps: float) -> float:
    """How round the multiple of so many steps is."""
    return 1.0 if steps % 10 == 0 else 0.75 if steps % 5 == 0 else 0.5


def round_numbers(price: float, count: int) -> list[tuple[float, float, float]]:
    """(price, weight, step) of the ``count`` multiples to either side, and the next of weight 1; ascending.

    Raises:
        ValueError: a price that is not above 0, or ``count`` outside 0 to MAX_ROUND.
    """
    if not (price > 0 and 0 <= count <= MAX_ROUND):
        raise ValueError(f"price {price:g} needs more than 0, count {count} 0 to {MAX_ROUND}")
    times, over = grid(price)
    below = int(at_or_below(price, times, over))
    roundest = (below // 10 * 10, below // 10 * 10 + 10)
    steps = sorted({*range(below - count + 1, below + count + 1), *roundest} - {0})
    return [(n * times / over, weight(float(n)), times / over) for n in steps if n > 0]
