"""Rising step functions that fit wins best: pool adjacent violators, and Venn-Abers' two fits a score.

All arrays are over the distinct scores, ascending: ``weight`` (> 0) and ``wins`` (a part of the weight).
"""

import numpy as np

from alphapulse.domain.analysis.compiled import piece
from alphapulse.domain.analysis.fields import Floats, Int64s


def isotonic(wins: Floats, weight: Floats) -> Floats:
    """The never falling shares of wins with the least squared error.

    Source: M. Ayer et al., An empirical distribution function for sampling with incomplete information
    (1955).
    """
    fitted = np.empty(len(wins))
    _pool(wins, weight, np.empty(len(wins)), np.empty(len(wins)), np.empty(len(wins), np.int64), fitted)
    return fitted


@piece
def _pool(
    wins: Floats, weight: Floats, block_wins: Floats, mass: Floats, begins: Int64s, fitted: Floats
) -> None:
    """Blocks so far lie in the work arrays ``block_wins``, ``mass`` and ``begins``."""
    blocks = 0
    for i in range(len(wins)):
        block_wins[blocks], mass[blocks], begins[blocks] = wins[i], weight[i], i
        blocks += 1
        # A block that is no higher than the one before it is one with it.
        while (
            blocks > 1
            and block_wins[blocks - 1] * mass[blocks - 2] <= block_wins[blocks - 2] * mass[blocks - 1]
        ):
            blocks -= 1
            block_wins[blocks - 1] += block_wins[blocks]
            mass[blocks - 1] += mass[blocks]
    for b in range(blocks):
        end = begins[b + 1] if b + 1 < blocks else len(wins)
        for i in range(begins[b], end):
            fitted[i] = block_wins[b] / mass[b]


def venn_abers(wins: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """For a new row at each of the scores: its isotonic share if it lost, and if it won.

    Source: V. Vovk, I. Petej, V. Fedorova, Large-scale probabilistic predictors with and without guarantees
    of validity (2015), algorithms 1 and 2. The fit with a loss is that with a win in a mirror.
    """
    won = _with_a_win(wins, weight)
    lost = 1 - _with_a_win((weight - wins)[::-1], weight[::-1])[::-1]
    return np.minimum(lost, won), won


def _with_a_win(wins: Floats, weight: Floats) -> Floats:
    x = np.concatenate([[-1.0, 0.0], np.cumsum(weight)])
    y = np.concatenate([[-1.0, 0.0], np.cumsum(wins)])
    fitted = np.empty(len(wins))
    _slopes(x, y, np.empty((len(x), 2)), fitted)
    # Sums round; the exact values rise, and are shares.
    return np.minimum(np.maximum.accumulate(fitted), 1.0)


@piece
def _slopes(x: Floats, y: Floats, corners: Floats, fitted: Floats) -> None:
    """``fitted[i]``: the first slope of the greatest convex curve under the points, a new win before score i.

    The points (``x``, ``y``) are sums of weight and of wins over the scores; point 1 is the sum over none,
    and point 0 comes before the new win. As that win moves one score up, one point moves, and corners of
    the curve only go: each score costs a constant, on average. ``corners`` is a stack, the leftmost on top.
    """
    count = 0
    for i in range(len(x) - 1, -1, -1):
        count = _push(corners, count, x[i], y[i])
    for i in range(len(fitted)):
        ax, ay = corners[count - 1, 0], corners[count - 1, 1]
        bx, by = corners[count - 2, 0], corners[count - 2, 1]
        fitted[i] = (by - ay) / (bx - ax)
        x[i + 1], y[i + 1] = x[i] + x[i + 2] - x[i + 1], y[i] + y[i + 2] - y[i + 1]
        if _turn(ax, ay, bx, by, x[i + 1], y[i + 1]) < 0:
            count = _push(corners, count - 1, x[i + 1], y[i + 1])


@piece
def _push(corners: Floats, count: int, x: float, y: float) -> int:
    """Put a point, left of all corners, on the stack; corners that it leaves above the curve go."""
    while count > 1:
        bx, by = corners[count - 1, 0], corners[count - 1, 1]
        cx, cy = corners[count - 2, 0], corners[count - 2, 1]
        if _turn(x, y, bx, by, cx, cy) > 0:
            break
        count -= 1
    corners[count, 0], corners[count, 1] = x, y
    return count + 1


@piece
def _turn(ax: float, ay: float, bx: float, by: float, cx: float, cy: float) -> float:
    """Above 0: from a over b to c the way turns left; c lies above the line through a and b."""
    return (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
