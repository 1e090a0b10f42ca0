"""Prices weighted by volume: per session, since a moment, over a window.

A bar's price is its typical price. The clock is the bars' open time. Where nothing traded yet, the average
is the bar's typical price.
"""

import numpy as np

from alphapulse.domain.analysis.compiled import View, piece, window_sum
from alphapulse.domain.analysis.fields import TIME, TYPICAL, VOLUME, Field, Floats
from alphapulse.domain.analysis.registry import Output, Parameter, indicator, period

BAR = (Field.TIME, Field.HIGH, Field.LOW, Field.CLOSE, Field.VOLUME)
DAY = 1_440
YEAR_2200 = 120_973_440  # minutes since 1970


@piece
def weighted(view: View, row: int, money: Floats, volume: Floats, into: Floats) -> None:
    """Add a bar to the sums; ``into`` becomes their ratio, or the bar's own price where nothing traded."""
    at = row & view.mask
    price, more = view.bars[TYPICAL, at, view.lo : view.hi], view.bars[VOLUME, at, view.lo : view.hi]
    for i in range(into.shape[0]):
        money[i] += price[i] * more[i]
        volume[i] += more[i]
    for i in range(into.shape[0]):
        into[i] = price[i] if volume[i] == 0.0 else money[i] / volume[i]


@indicator(
    name="vwap",
    title="Volume-weighted average price of the session",
    kind="volume",
    inputs=BAR,
    parameters=(
        Parameter("session", DAY, 1, 366 * DAY, doc="minutes; sessions follow each other without a break"),
        Parameter("offset", 0, 0, 366 * DAY, doc="minutes from 1970-01-01 00:00 UTC to the start of any"),
    ),
    outputs=(Output("vwap", "price", prices=1),),
    lookback=lambda _: 0,
    forgets=lambda p: int(p[0]),  # a bar is a minute at least: a new session has begun by then
    carries=lambda _: 3,
    source="sum of typical price * volume over the volume, since the session began; by default the UTC day "
    "(weeks that begin on Monday: session 10080, offset 5760)",
)
def vwap(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    session, offset, lo, hi = params[0], params[1], view.lo, view.hi
    money, volume, current = carry[0, lo:hi], carry[1, lo:hi], carry[2, lo:hi]
    for row in range(view.first, view.last):
        time, into = view.bars[TIME, row & view.mask, lo:hi], out[0, row - view.first, lo:hi]
        for i in range(into.shape[0]):
            number = np.floor((time[i] - offset) / session)
            same = number == current[i]
            money[i] = money[i] if same else 0.0
            volume[i] = volume[i] if same else 0.0
            current[i] = number
        weighted(view, row, money, volume, into)


@indicator(
    name="anchored_vwap",
    title="Volume-weighted average price since a moment",
    kind="volume",
    inputs=BAR,
    parameters=(Parameter("anchor", 0, 0, YEAR_2200, doc="minutes since 1970; bars before it do not count"),),
    outputs=(Output("anchored_vwap", "price", prices=1),),
    lookback=lambda _: 0,
    forgets=lambda _: None,
    carries=lambda _: 2,
    source="sum of typical price * volume over the volume, since the anchor; NaN before it",
)
def anchored_vwap(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    anchor, lo, hi = params[0], view.lo, view.hi
    money, volume = carry[0, lo:hi], carry[1, lo:hi]
    for row in range(view.first, view.last):
        time, into = view.bars[TIME, row & view.mask, lo:hi], out[0, row - view.first, lo:hi]
        weighted(view, row, money, volume, into)
        for i in range(into.shape[0]):
            counts = time[i] >= anchor
            money[i] = money[i] if counts else 0.0
            volume[i] = volume[i] if counts else 0.0
            into[i] = into[i] if counts else np.nan


@indicator(
    name="rolling_vwap",
    title="Volume-weighted average price of the last bars",
    kind="volume",
    inputs=BAR[1:],
    parameters=(period(20),),
    outputs=(Output("rolling_vwap", "price", prices=1),),
    lookback=lambda p: int(p[0]) - 1,
    window=lambda p: int(p[0]) - 1,
    lines=lambda _: 1,
    carries=lambda _: 1,
    source="sum of typical price * volume over the volume in the window",
)
def rolling_vwap(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    count, lo, hi = int(params[0]), view.lo, view.hi
    for row in range(view.first, view.last):
        at = row & view.mask
        price, more, money = view.bars[TYPICAL, at, lo:hi], view.bars[VOLUME, at, lo:hi], lines[0, at, lo:hi]
        into, volume = out[0, row - view.first, lo:hi], carry[0, lo:hi]
        for i in range(into.shape[0]):
            money[i] = price[i] * more[i]
        window_sum(lines[0], row, count, lo, hi, into)
        window_sum(view.bars[VOLUME], row, count, lo, hi, volume)
        for i in range(into.shape[0]):
            into[i] = price[i] if volume[i] == 0.0 else into[i] / volume[i]
