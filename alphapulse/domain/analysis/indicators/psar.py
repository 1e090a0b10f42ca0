"""Wilder's parabolic stop and reverse."""

from alphapulse.domain.analysis.compiled import View, piece
from alphapulse.domain.analysis.fields import HIGH, LOW, Field, Floats
from alphapulse.domain.analysis.registry import Output, Parameter, indicator

SIDE, STOP, EXTREME, SPEED = range(4)  # carried: 1 long, -1 short; the next bar's stop; best price; speed


@indicator(
    name="psar",
    title="Parabolic stop and reverse",
    kind="trend",
    inputs=(Field.HIGH, Field.LOW),
    parameters=(
        Parameter("acceleration", 0.02, 0, 10, whole=False, doc="at first, and added at each new extreme"),
        Parameter("maximum", 0.2, 0, 10, whole=False, doc="of the acceleration"),
    ),
    outputs=(Output("psar", "price", prices=1), Output("direction", "flag", low=-1, high=1)),
    lookback=lambda _: 1,
    window=lambda _: 1,
    forgets=lambda _: None,  # after a turn or two it has, but nobody can say when those come
    carries=lambda _: 4,
    source="Wilder (1978); begins with the second bar: short if the low fell by more than the high rose, "
    "else long, its stop at the first bar's far end, as TA-Lib does. direction: 1 long, -1 short",
)
def psar(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    for row in range(view.first, view.last):
        if view.warm:
            follow(view, row, view.lo, view.hi, 1, params, carry, out)
            continue
        for slot in range(view.lo, view.hi):
            nth = view.seen[slot] + (row - view.first)
            if nth == 1:
                begin(view, row, slot, params, carry)
            # The first bar only lends its far end: the second has no bar before it to stay outside of.
            follow(view, row, slot, slot + 1, 0 if nth == 1 else 1, params, carry, out)


@piece
def begin(view: View, row: int, slot: int, params: Floats, carry: Floats) -> None:
    """Take a side by the second bar."""
    at, before = row & view.mask, (row - 1) & view.mask
    high, low, top, bottom = (
        view.bars[HIGH, at, slot],
        view.bars[LOW, at, slot],
        view.bars[HIGH, before, slot],
        view.bars[LOW, before, slot],
    )
    fell, rose = bottom - low, high - top
    short = fell > 0.0 and fell > rose
    carry[SIDE, slot] = -1.0 if short else 1.0
    carry[STOP, slot] = top if short else bottom
    carry[EXTREME, slot] = low if short else high
    carry[SPEED, slot] = min(params[0], params[1])


@piece
def follow(
    view: View, row: int, lo: int, hi: int, back: int, params: Floats, carry: Floats, out: Floats
) -> None:
    """One bar of the slots ``lo`` to ``hi``; the stop stays outside it and the one ``back`` before.

    Short is long in a mirror: all prices are multiplied by the side, so that one rule serves both and the
    loop has no branch.
    """
    at, before, now = row & view.mask, (row - back) & view.mask, row - view.first
    fastest, step = params[1], min(params[0], params[1])
    high, low = view.bars[HIGH, at, lo:hi], view.bars[LOW, at, lo:hi]
    top, bottom = view.bars[HIGH, before, lo:hi], view.bars[LOW, before, lo:hi]
    sides, stops = carry[SIDE, lo:hi], carry[STOP, lo:hi]
    extremes, speeds = carry[EXTREME, lo:hi], carry[SPEED, lo:hi]
    stop, side = out[0, now, lo:hi], out[1, now, lo:hi]
    for i in range(high.shape[0]):
        s = sides[i]
        best, worst = (high[i], low[i]) if s > 0.0 else (-low[i], -high[i])
        last_best, last_worst = (top[i], bottom[i]) if s > 0.0 else (-bottom[i], -top[i])
        was, extreme = s * stops[i], s * extremes[i]
        turns = worst <= was
        ceiling = best if best > last_best else last_best
        floor = worst if worst < last_worst else last_worst
        # When it turns, the stop jumps to the best price of the trade, outside both bars.
        now_at = (extreme if extreme > ceiling else ceiling) if turns else was
        further = best > extreme
        faster = speeds[i] + step
        faster = fastest if faster > fastest else faster
        speed = step if turns else (faster if further else speeds[i])
        target = worst if turns else (best if further else extreme)
        coming = now_at + speed * (target - now_at)
        over = coming if coming > ceiling else ceiling
        under = coming if coming < floor else floor
        sides[i] = -s if turns else s
        stops[i] = s * (over if turns else under)
        extremes[i] = s * target
        speeds[i] = speed
        stop[i] = s * now_at
        side[i] = -s if turns else s
