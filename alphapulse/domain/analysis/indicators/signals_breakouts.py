"""Breakouts: a close beyond a level that was known before it.

Rule: the close lies above a resistance at or below which the last close lay (1), or below such a support
(-1). ``level`` is the price that broke, 0 where none did. Strength: how far beyond it the close is, in
average true ranges, up to 1; for round numbers how round they are.
"""

from alphapulse.domain.analysis.compiled import View, piece, window_max, window_min
from alphapulse.domain.analysis.fields import CLOSE, HIGH, LOW, TIME, Field, Floats
from alphapulse.domain.analysis.indicators.volatility import wilder_forgets, wilder_range
from alphapulse.domain.analysis.prior import DAY, WEEK, period_of
from alphapulse.domain.analysis.registry import Output, Parameter, indicator, period
from alphapulse.domain.analysis.round_numbers import at_or_below, grid, weight
from alphapulse.domain.analysis.signals import SIGNAL, STRENGTH, Named, explains, share
from alphapulse.domain.analysis.swings import MAX_WING, is_swing

RANGE = (Field.HIGH, Field.LOW, Field.CLOSE)
ATR = period(14, name="atr", low=1)
HEAD = (SIGNAL, STRENGTH, Output("level", "price", prices=1, low=0))
WIDTH = Output("atr", "price", prices=1, low=0)
MAX_AGE = 2_000  # bars


@piece
def broken(close: float, last: float, support: float, resistance: float) -> tuple[float, float]:
    """Signal and level. A support or resistance that is NaN is none."""
    if last <= resistance < close:
        return 1.0, resistance
    if last >= support > close:
        return -1.0, support
    return 0.0, 0.0


@piece
def note(view: View, row: int, slot: int, support: float, resistance: float, out: Floats) -> None:
    """Signal, strength and level of the bar; ``out[3]`` holds the average true range."""
    t = row - view.first
    close = view.bars[CLOSE, row & view.mask, slot]
    last = view.bars[CLOSE, (row - 1) & view.mask, slot]
    signal, level = broken(close, last, support, resistance)
    out[0, t, slot], out[2, t, slot] = signal, level
    out[1, t, slot] = share(abs(close - level), out[3, t, slot]) if signal != 0.0 else 0.0


@indicator(
    name="breakout_donchian",
    title="Breakout of the Donchian channel",
    kind="signal",
    inputs=RANGE,
    parameters=(period(20, low=1), ATR),
    outputs=(*HEAD, WIDTH, *(Output(name, "price", prices=1) for name in ("upper", "lower"))),
    lookback=lambda p: max(int(p[0]), int(p[1])),
    window=lambda p: int(p[0]),
    forgets=lambda p: max(int(p[0]) + 1, wilder_forgets(p[1])),
    carries=lambda _: 1,
    source="Donchian's four-week rule: a close above the highest high, or below the lowest low, of the "
    "period bars before",
)
def breakout_donchian(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    """Every close beyond the channel counts, wherever the last close was."""
    count, lo, hi = int(params[0]), view.lo, view.hi
    for row in range(view.first, view.last):
        t = row - view.first
        upper, lower = out[4, t, lo:hi], out[5, t, lo:hi]
        wilder_range(view, row, int(params[1]), 0, carry[0, lo:hi], out[3, t, lo:hi])
        window_max(view.bars[HIGH], row - 1, count, lo, hi, upper)
        window_min(view.bars[LOW], row - 1, count, lo, hi, lower)
        for i in range(upper.shape[0]):
            note(view, row, lo + i, lower[i], upper[i], out)


@indicator(
    name="breakout_swing",
    title="Breakout of the last swing high or low",
    kind="signal",
    inputs=RANGE,
    parameters=(
        Parameter("wing", 5, 1, MAX_WING, doc="bars to either side of a swing"),
        Parameter("reach", 200, 1, MAX_AGE, doc="bars after which a swing is forgotten"),
        ATR,
    ),
    outputs=(*HEAD, WIDTH, Output("bars", "bars", low=0)),
    lookback=lambda p: max(2 * int(p[0]) + 1, int(p[2])),
    window=lambda p: 2 * int(p[0]),
    forgets=lambda p: max(int(p[1]) + 3 * int(p[0]) + 2, wilder_forgets(p[2])),
    carries=lambda _: 5,
    source="a close beyond the last swing high or low that was known a bar ago; swings as in swings.py",
)
def breakout_swing(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    """The last swing of either side stands until a newer one is known or it is ``reach`` bars old."""
    wing, reach = int(params[0]), params[1]
    for row in range(view.first, view.last):
        t = row - view.first
        wilder_range(view, row, int(params[2]), 0, carry[0, view.lo : view.hi], out[3, t, view.lo : view.hi])
        for slot in range(view.lo, view.hi):
            high, low = carry[1:3, slot], carry[3:5, slot]  # price, and bars since it (0: there is none)
            resistance = high[0] if 0.0 < high[1] < reach else float("nan")
            support = low[0] if 0.0 < low[1] < reach else float("nan")
            note(view, row, slot, support, resistance, out)
            signal = out[0, t, slot]
            out[4, t, slot] = (high[1] if signal > 0.0 else low[1]) + 1.0 if signal != 0.0 else 0.0
            renew(view, row, slot, wing, HIGH, 1.0, high)
            renew(view, row, slot, wing, LOW, -1.0, low)


@piece
def renew(view: View, row: int, slot: int, wing: int, field: int, side: float, kept: Floats) -> None:
    """Keep (price, bars since it) of the last swing of ``side`` known at ``row``."""
    if kept[1] > 0.0:
        kept[1] = min(kept[1] + 1.0, MAX_AGE + 1.0)
    far_enough = view.seen[slot] + row - view.first >= 2 * wing
    if far_enough and is_swing(view.bars[field], slot, row, wing, side):
        kept[0], kept[1] = view.bars[field, (row - wing) & view.mask, slot], float(wing)


@piece
def past_period(view: View, params: Floats, carry: Floats, length: float, out: Floats) -> None:
    """Breakouts of the high and low of the day or week before the one that a bar opens in.

    Carries of each slot, after the average true range: how many periods were begun (up to 3), the number of
    the present one, its high and low so far, and those of the one before.
    """
    for row in range(view.first, view.last):
        t, at = row - view.first, row & view.mask
        wilder_range(view, row, int(params[0]), 0, carry[0, view.lo : view.hi], out[3, t, view.lo : view.hi])
        for slot in range(view.lo, view.hi):
            now = carry[1:7, slot]
            high, low = view.bars[HIGH, at, slot], view.bars[LOW, at, slot]
            number = period_of(view.bars[TIME, at, slot], length)
            if now[0] == 0.0 or number != now[1]:
                now[4], now[5] = now[2], now[3]
                now[0], now[1], now[2], now[3] = min(now[0] + 1.0, 3.0), number, high, low
            now[2], now[3] = max(now[2], high), min(now[3], low)
            whole = now[0] >= 3.0  # the first one may have begun before the first bar
            support = now[5] if whole else float("nan")
            resistance = now[4] if whole else float("nan")
            note(view, row, slot, support, resistance, out)


@indicator(
    name="breakout_day",
    title="Breakout of the prior day's high or low",
    kind="signal",
    inputs=(Field.TIME, *RANGE),
    parameters=(ATR,),
    outputs=(*HEAD, WIDTH),
    lookback=lambda p: int(p[0]),
    window=lambda _: 1,
    # Two days have at most so many bars.
    forgets=lambda p: max(wilder_forgets(p[0]), 2 * DAY + 1),
    carries=lambda _: 7,
    source="a close beyond the high or low of the day before (UTC)",
)
def breakout_day(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    """0 until a whole day was seen, from its beginning."""
    past_period(view, params, carry, float(DAY), out)


@indicator(
    name="breakout_week",
    title="Breakout of the prior week's high or low",
    kind="signal",
    inputs=(Field.TIME, *RANGE),
    parameters=(ATR,),
    outputs=(*HEAD, WIDTH),
    lookback=lambda p: int(p[0]),
    window=lambda _: 1,
    forgets=lambda p: max(wilder_forgets(p[0]), 2 * WEEK + 1),
    carries=lambda _: 7,
    source="a close beyond the high or low of the week before (UTC, from Monday)",
)
def breakout_week(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    """0 until a whole week was seen, from its beginning."""
    past_period(view, params, carry, float(WEEK), out)


@indicator(
    name="breakout_round",
    title="Price crosses a round number",
    kind="signal",
    outputs=(SIGNAL, STRENGTH, Output("level", "price", low=0), Output("step", "price", low=0)),
    lookback=lambda _: 1,
    window=lambda _: 1,
    scales=False,
    source="a close beyond a multiple of a tenth of the price's power of ten: 6,400, 6,500, 6,600 …",
)
def breakout_round(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    """The roundest of the numbers between the last close and this one; strength: how round, 1, 0.75 or 0.5.

    The grid goes with the last close, so it was known before.
    """
    for row in range(view.first, view.last):
        t = row - view.first
        for slot in range(view.lo, view.hi):
            close = view.bars[CLOSE, row & view.mask, slot]
            last = view.bars[CLOSE, (row - 1) & view.mask, slot]
            times, over = grid(last)
            signal, level = 0.0, 0.0
            for unit in (10.0, 5.0, 1.0):
                if signal == 0.0:
                    signal, level = crossed(last, close, times * unit, over)
            out[0, t, slot], out[2, t, slot] = signal, level
            out[1, t, slot] = weight(round(level * over / times)) if signal != 0.0 else 0.0
            out[3, t, slot] = times / over


@piece
def crossed(last: float, close: float, times: float, over: float) -> tuple[float, float]:
    """The last multiple of ``times / over`` on the way from ``last`` to beyond it at ``close``."""
    steps = at_or_below(close, times, over)
    below = steps * times / over
    if close > last:
        level = below if below < close else (steps - 1.0) * times / over
        return (1.0, level) if level >= last else (0.0, 0.0)
    level = (steps + 1.0) * times / over
    return (-1.0, level) if level <= last and close < last else (0.0, 0.0)


def _beyond(o: Named) -> str:
    how = f"{o['strength']:.2f}" if o["strength"] < 1 else "1 or more"
    return f"by {how} of an average true range of {o['atr']:.6g}"


def _broke(o: Named, level: str) -> str:
    way = "above the resistance" if o["signal"] > 0 else "below the support"
    return f"closed {way} {o['level']:.6g}, {level}"


@explains("breakout_donchian")
def _donchian(o: Named, p: Named) -> list[str]:
    end = "highest high" if o["signal"] > 0 else "lowest low"
    return [_broke(o, f"the {end} of the {p['period']:g} bars before"), _beyond(o)]


@explains("breakout_swing")
def _swing(o: Named, p: Named) -> list[str]:
    end = "high" if o["signal"] > 0 else "low"
    return [_broke(o, f"the last swing {end}, {o['bars']:.0f} bars ago"), _beyond(o)]


@explains("breakout_day")
def _day(o: Named, p: Named) -> list[str]:
    return [_broke(o, f"the {'high' if o['signal'] > 0 else 'low'} of the day before (UTC)"), _beyond(o)]


@explains("breakout_week")
def _week(o: Named, p: Named) -> list[str]:
    return [_broke(o, f"the {'high' if o['signal'] > 0 else 'low'} of the week before (UTC)"), _beyond(o)]


@explains("breakout_round")
def _round(o: Named, p: Named) -> list[str]:
    return [_broke(o, f"a round number: a multiple of {o['step']:.6g} that weighs {o['strength']:g}")]
