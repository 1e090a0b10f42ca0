"""Kaufman's adaptive moving average: fast where prices go somewhere, slow where they go to and fro."""

from typing import Any

from alphapulse.domain.analysis.compiled import View, inner_piece, over_slots
from alphapulse.domain.analysis.fields import CLOSE, Floats
from alphapulse.domain.analysis.lanes import size, take
from alphapulse.domain.analysis.registry import Output, indicator, period, smoothing_forgets

_FASTEST, _SLOWEST = 2 / (2 + 1), 2 / (30 + 1)  # alphas of averages over 2 and 30 bars


@indicator(
    name="kama",
    title="Kaufman's adaptive moving average",
    kind="trend",
    parameters=(period(30),),
    outputs=(Output("kama", "price", prices=1),),
    lookback=lambda p: int(p[0]),
    window=lambda p: int(p[0]),
    # Slowest where nothing goes anywhere: alpha is then the square of 2/31.
    forgets=lambda p: int(p[0]) + 1 + smoothing_forgets(_SLOWEST**2),
    carries=lambda _: 1,
    source="P. J. Kaufman, Smarter Trading (1995), averages over 2 and 30 bars; starts from the close before",
)
def kama(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    count = int(params[0])
    mean, seen, warm = carry[0, view.lo : view.hi], view.seen[view.lo : view.hi], view.warm
    for row in range(view.first, view.last):
        into = out[0, row - view.first, view.lo : view.hi]
        path_lengths(view.bars[CLOSE], row, count, view.lo, view.hi, into)
        close = view.bars[CLOSE, row & view.mask, view.lo : view.hi]
        last = view.bars[CLOSE, (row - 1) & view.mask, view.lo : view.hi]
        far = view.bars[CLOSE, (row - count) & view.mask, view.lo : view.hi]
        for i in range(into.shape[0]):
            path = into[i]
            # Where nothing moved at all the fastest, as in TA-Lib: the average goes to the price.
            efficiency = abs(close[i] - far[i]) / path if path > 0 else 1.0
            alpha = efficiency * (_FASTEST - _SLOWEST) + _SLOWEST
            before = mean[i] if warm or seen[i] + (row - view.first) > count else last[i]
            mean[i] = before + alpha * alpha * (close[i] - before)
            into[i] = mean[i]


@inner_piece
def path_length(ring: Floats, row: int, count: int, slot: int, kind: Any) -> Any:
    """How far it went in the last ``count`` steps, to and fro."""
    mask, total = ring.shape[0] - 1, kind
    before = take(ring, (row - count) & mask, slot, kind)
    for back in range(count - 1, -1, -1):
        x = take(ring, (row - back) & mask, slot, kind)
        total = total + size(x - before)
        before = x
    return total


path_lengths = over_slots(path_length)
