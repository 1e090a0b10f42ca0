"""Change points: the bar at which the mean return, or the mean size of returns, is seen to have changed.

A slot is cut into segments. The first ``calibrate`` returns of a segment (or more, until a price has moved)
give its unit, their mean absolute value; the detector watches the returns after them in that unit, so that
the same parameters serve every market. ``absolute=1`` watches |log return| instead: the volatility. When
a change is seen, the detector starts again: the next bar is the first of a new segment.

State is bounded: a few floats, and for ADWIN an exponential histogram of at most ``levels`` sizes.
"""

import math

from alphapulse.domain.analysis.compiled import View, piece
from alphapulse.domain.analysis.fields import CLOSE, Floats
from alphapulse.domain.analysis.logarithm import log
from alphapulse.domain.analysis.registry import Output, Parameter, indicator

# What every detector carries of its segment; its own floats come after.
_AGE, _TOTAL, _UNIT, _OWN = range(4)

CALIBRATE = Parameter("calibrate", 100, 10, 2_000, doc="returns that give a segment its unit")
ABSOLUTE = Parameter("absolute", 0, 0, 1, doc="0: log returns; 1: their absolute values")
_OUTPUTS = (
    Output("change", "flag", low=0, high=1),
    Output("direction", "flag", low=-1, high=1),  # 1: the mean rose; 0 without a change
    # Found in units of what is needed, its sign the direction; 0 while the unit is being found.
    Output("statistic", "ratio"),
    Output("age", "bars", low=0),  # since the last change, or since the first bar
)


@piece
def _observe(close: float, last: float, carry: Floats, n: int, calibrate: float, absolute: float) -> float:
    """The return in units of its segment; NaN while the unit is being found, and for prices without a log."""
    change = log(close / last)
    if not abs(change) < math.inf:
        return math.nan
    carry[_AGE, n] += 1
    if carry[_UNIT, n] == 0:
        carry[_TOTAL, n] += abs(change)
        if carry[_AGE, n] >= calibrate:
            carry[_UNIT, n] = carry[_TOTAL, n] / carry[_AGE, n]
        return math.nan
    return float((abs(change) if absolute else change) / carry[_UNIT, n])


@piece
def _report(statistic: float, hit: bool, carry: Floats, n: int, out: Floats, t: int) -> None:
    """Write the outputs of a bar; after a change the slot's whole state is that of a first bar."""
    if hit:
        for i in range(carry.shape[0]):
            carry[i, n] = 0.0
    out[0, t, n] = 1.0 if hit else 0.0
    out[1, t, n] = 0.0 if not hit else 1.0 if statistic > 0 else -1.0
    out[2, t, n] = statistic
    out[3, t, n] = carry[_AGE, n]


# Page-Hinkley: how many values, their mean, the two faded sums and the extremes of these.
_N, _MEAN, _UP, _DOWN, _LEAST, _MOST = range(_OWN, _OWN + 6)


@piece
def _page_hinkley(x: float, params: Floats, carry: Floats, n: int) -> float:
    """Take ``x`` in; the larger excursion of a faded sum in thresholds, below 0 when downwards."""
    delta, threshold, keep = params[2], params[3], params[4]
    first = carry[_N, n] == 0
    carry[_N, n] += 1
    carry[_MEAN, n] += (x - carry[_MEAN, n]) / carry[_N, n]
    away = x - carry[_MEAN, n]
    carry[_UP, n] = keep * carry[_UP, n] + away - delta
    carry[_DOWN, n] = keep * carry[_DOWN, n] + away + delta
    if first or carry[_UP, n] < carry[_LEAST, n]:
        carry[_LEAST, n] = carry[_UP, n]
    if first or carry[_DOWN, n] > carry[_MOST, n]:
        carry[_MOST, n] = carry[_DOWN, n]
    rise, fall = carry[_UP, n] - carry[_LEAST, n], carry[_MOST, n] - carry[_DOWN, n]
    return float((rise if rise >= fall else -fall) / threshold)


@indicator(
    name="page_hinkley",
    title="Change point by the Page-Hinkley test",
    kind="regime",
    parameters=(
        ABSOLUTE,
        CALIBRATE,
        Parameter("delta", 0.2, 0, 100, whole=False, doc="change of the mean that is let pass, in units"),
        Parameter("threshold", 50, 0.1, 1e6, whole=False, doc="sum of excess over the mean, in units"),
        Parameter("keep", 0.9999, 0.5, 1, whole=False, doc="of the sums from bar to bar"),
        Parameter("least", 30, 1, 2_000, doc="values before a change may be seen"),
    ),
    outputs=_OUTPUTS,
    lookback=lambda p: int(p[1]) + 1,
    window=lambda _: 1,
    forgets=lambda _: None,
    carries=lambda _: _MOST + 1,
    source="Page, Continuous inspection schemes (1954); two-sided, fading, as river's PageHinkley",
)
def page_hinkley(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    for row in range(view.first, view.last):
        t, here, before = row - view.first, row & view.mask, (row - 1) & view.mask
        for n in range(view.lo, view.hi):
            close, last = view.bars[CLOSE, here, n], view.bars[CLOSE, before, n]
            x = _observe(close, last, carry, n, params[1], params[0])
            statistic = _page_hinkley(x, params, carry, n) if x == x else 0.0
            hit = abs(statistic) > 1.0 and carry[_N, n] >= params[5]
            _report(statistic, hit, carry, n, out, t)


# ADWIN: sums over its window, the clock, the statistic of the last look; then for each size of bucket how
# many there are, and of each, oldest first, total and variance (times its size).
_MOST_BUCKETS = 5  # of one size
_WIDTH, _SUM, _VARIANCE, _TICK, _LAST, _BUCKETS = range(_OWN, _OWN + 6)
_STRIDE = 1 + 2 * (_MOST_BUCKETS + 1)


@piece
def _push(carry: Floats, n: int, level: int, total: float, variance: float) -> None:
    base = _BUCKETS + level * _STRIDE
    at = base + 1 + 2 * int(carry[base, n])
    carry[at, n], carry[at + 1, n] = total, variance
    carry[base, n] += 1


@piece
def _drop(carry: Floats, n: int, level: int, count: int) -> None:
    """Take the ``count`` oldest buckets of a level away."""
    base = _BUCKETS + level * _STRIDE
    carry[base, n] -= count
    for i in range(base + 1, base + 1 + 2 * int(carry[base, n])):
        carry[i, n] = carry[i + 2 * count, n]


@piece
def _insert(x: float, carry: Floats, n: int, levels: int) -> None:
    """Put ``x`` into the window; of too many buckets of one size the oldest two become one of the next."""
    width, total = carry[_WIDTH, n], carry[_SUM, n]
    if width > 0:
        away = x - total / width
        carry[_VARIANCE, n] += width * away * away / (width + 1)
    carry[_WIDTH, n] += 1
    carry[_SUM, n] += x
    _push(carry, n, 0, x, 0.0)
    size = 1.0
    for level in range(levels):
        at = _BUCKETS + level * _STRIDE + 1
        if carry[at - 1, n] <= _MOST_BUCKETS:
            return
        if level == levels - 1:
            _forget_oldest(carry, n, level, size)
            return
        first, second = carry[at, n], carry[at + 2, n]
        apart = first / size - second / size
        spread = carry[at + 1, n] + carry[at + 3, n] + size * size * (apart * apart) / (size + size)
        _drop(carry, n, level, 2)
        _push(carry, n, level + 1, first + second, spread)
        size *= 2


@piece
def _forget_oldest(carry: Floats, n: int, level: int, size: float) -> None:
    """Let the window slide: its oldest bucket goes without being a change."""
    at = _BUCKETS + level * _STRIDE + 1
    carry[_WIDTH, n] -= size
    carry[_SUM, n] -= carry[at, n]
    width = carry[_WIDTH, n]
    apart = carry[at, n] / size - carry[_SUM, n] / width
    carry[_VARIANCE, n] -= carry[at + 1, n] + size * width * (apart * apart) / (size + width)
    _drop(carry, n, level, 1)


@piece
def _look(carry: Floats, n: int, levels: int, delta: float, least: float) -> float:
    """The largest difference of means over all cuts of the window, in units of what would be a change.

    Above 0 when the newer part has the larger mean.
    """
    width, largest = carry[_WIDTH, n], 0.0
    confidence = log(2.0 * log(width) / delta)
    variance = max(carry[_VARIANCE, n], 0.0) / width  # a slid window of equal values may leave -1e-18
    count, total = 0.0, 0.0
    for level in range(levels - 1, -1, -1):
        base, size = _BUCKETS + level * _STRIDE, 2.0**level
        for at in range(base + 1, base + 1 + 2 * int(carry[base, n]), 2):
            count += size
            total += carry[at, n]
            rest = width - count
            if count < least or rest < least:
                continue
            m = 1.0 / (count - least + 1.0) + 1.0 / (rest - least + 1.0)
            needed = math.sqrt(2.0 * m * variance * confidence) + 2.0 / 3.0 * confidence * m
            found = ((carry[_SUM, n] - total) / rest - total / count) / needed
            if abs(found) > abs(largest):
                largest = found
    return largest


@indicator(
    name="adwin",
    title="Change point by adaptive windowing",
    kind="regime",
    parameters=(
        ABSOLUTE,
        CALIBRATE,
        Parameter("delta", 0.002, 1e-9, 0.5, whole=False, doc="confidence: 0.002 is 99.8 %"),
        Parameter("clock", 32, 1, 1_000, doc="values from one look to the next"),
        Parameter("least", 5, 1, 1_000, doc="values on each side of a cut"),
        Parameter("grace", 10, 2, 2_000, doc="values before the first look"),
        Parameter("levels", 16, 2, 24, doc="sizes of buckets; 16 hold up to 327,675 values, then it slides"),
    ),
    outputs=_OUTPUTS,
    lookback=lambda p: int(p[1]) + 1,
    window=lambda _: 1,
    forgets=lambda _: None,
    carries=lambda p: _BUCKETS + int(p[6]) * _STRIDE,
    source="Bifet and Gavaldà, Learning from time-changing data with adaptive windowing (2007), ADWIN2; "
    "restarts at a change, as river's ADWIN",
)
def adwin(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    levels = int(params[6])
    for row in range(view.first, view.last):
        t, here, before = row - view.first, row & view.mask, (row - 1) & view.mask
        for n in range(view.lo, view.hi):
            close, last = view.bars[CLOSE, here, n], view.bars[CLOSE, before, n]
            x = _observe(close, last, carry, n, params[1], params[0])
            if x == x:
                _insert(x, carry, n, levels)
                carry[_TICK, n] += 1
                if carry[_TICK, n] % params[3] == 0 and carry[_WIDTH, n] > params[5]:
                    carry[_LAST, n] = _look(carry, n, levels, params[2], params[4])
            statistic = carry[_LAST, n]
            _report(statistic, abs(statistic) > 1.0, carry, n, out, t)
