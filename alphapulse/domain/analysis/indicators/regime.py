"""The market's regime by rules that can be read: trend up or down, range, turbulence.

What decides: Wilder's ADX and DI (how strong a direction is), Kaufman's efficiency ratio (how straight the
way was) and the rank of the volatility among its past values. A regime is entered at one threshold
and left at a lower one, and the change must be indicated on several bars in a row, so that it does
not flicker. docs/regimes.md has the rules as a table.
"""

import math

from alphapulse.domain.analysis.compiled import View, piece, window_sum
from alphapulse.domain.analysis.fields import CLOSE, HIGH, LOW, TRUE_RANGE, Field, Floats
from alphapulse.domain.analysis.logarithm import log
from alphapulse.domain.analysis.registry import Output, Parameter, Params, indicator, period

DOWN, RANGE, UP, TURBULENCE = -1.0, 0.0, 1.0, 2.0
NAMES = {DOWN: "trend_down", RANGE: "range", UP: "trend_up", TURBULENCE: "turbulence"}

# Parameters
_ADX, _WAY, _VOL, _PAST, _CONFIRM, _ENTER, _LEAVE, _STRAIGHT, _WILD, _CALM = range(10)
# Carried: Wilder's sums, the ADX; the regime, the one that is indicated instead, on how many bars, the age.
_PLUS, _MINUS, _SPAN, _STRENGTH, _REGIME, _NEXT, _TIMES, _AGE = range(8)
# Outputs
_CODE, _SCORE, _ADX_OUT, _DIRECTION, _EFFICIENCY, _VOLATILITY, _RANK, _AGE_OUT = range(8)


def _share(name: str, default: float, doc: str) -> Parameter:
    return Parameter(name, default, 0, 1, whole=False, doc=doc)


def _relation(p: Params) -> str | None:
    if p[_LEAVE] > p[_ENTER]:
        return f"a trend is left at ADX {p[_LEAVE]:g}, over {p[_ENTER]:g} at which it is entered"
    if p[_CALM] > p[_WILD]:
        return f"turbulence is left at rank {p[_CALM]:g}, over {p[_WILD]:g} at which it is entered"
    return None


def _lookback(p: Params) -> int:
    return int(max(2 * p[_ADX] - 1, p[_WAY], p[_VOL] + p[_PAST]))


@indicator(
    name="regime",
    title="Regime by rules: trend, range, turbulence",
    kind="regime",
    inputs=(Field.HIGH, Field.LOW, Field.CLOSE),
    parameters=(
        period(14, name="adx"),
        period(20, name="efficiency"),
        period(20, name="volatility"),
        Parameter("past", 250, 10, 1_000, doc="values that the volatility is ranked among"),
        Parameter("confirm", 3, 1, 100, doc="bars in a row that indicate a change before it is made"),
        Parameter("enter", 25, 0, 100, whole=False, doc="ADX from which a trend begins"),
        Parameter("leave", 18, 0, 100, whole=False, doc="ADX below which it ends"),
        _share("straight", 0.3, "efficiency ratio from which a trend begins"),
        _share("wild", 0.95, "rank of the volatility from which turbulence begins"),
        _share("calm", 0.8, "rank below which it ends"),
    ),
    outputs=(
        Output("regime", "code", low=DOWN, high=TURBULENCE),
        Output("score", "score", low=0, high=1),
        Output("adx", "percent", low=0, high=100),
        Output("direction", "percent", low=-100, high=100),
        Output("efficiency", "ratio", low=0, high=1),
        Output("volatility", "log_return", low=0),
        Output("rank", "ratio", low=0, high=1),
        Output("age", "bars", low=0),
    ),
    lookback=_lookback,
    window=lambda p: int(max(p[_WAY], p[_VOL], p[_PAST])),
    forgets=lambda _: None,  # the regime of the past is what a rule of hysteresis remembers
    carries=lambda _: _AGE + 1,
    lines=lambda _: 3,
    relation=_relation,
    source="Wilder, New Concepts in Technical Trading Systems (1978); Kaufman, Smarter Trading (1995)",
)
def regime(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    first_bar = max(2.0 * params[_ADX] - 1.0, params[_WAY], params[_VOL] + params[_PAST])
    for row in range(view.first, view.last):
        t = row - view.first
        _moves(view, row, lines)
        _strength(view, row, int(params[_ADX]), carry, out[_ADX_OUT, t], out[_DIRECTION, t])
        _efficiency(view, row, int(params[_WAY]), lines[0], out[_EFFICIENCY, t])
        _volatility(view, row, int(params[_VOL]), lines, out[_VOLATILITY, t])
        _rank(view, row, int(params[_PAST]), lines[2], out[_RANK, t])
        for n in range(view.lo, view.hi):
            if view.seen[n] + t >= first_bar:
                _decide(params, carry, out, t, n)
                out[_SCORE, t, n] = _score(params, out, t, n)


@piece
def _moves(view: View, row: int, lines: Floats) -> None:
    """The distance from the last close, and the log return squared, of each slot."""
    close = view.bars[CLOSE, row & view.mask, view.lo : view.hi]
    last = view.bars[CLOSE, (row - 1) & view.mask, view.lo : view.hi]
    way = lines[0, row & view.mask, view.lo : view.hi]
    square = lines[1, row & view.mask, view.lo : view.hi]
    for i in range(close.shape[0]):
        way[i] = abs(close[i] - last[i])
        change = log(close[i] / last[i])
        square[i] = change * change


@piece
def _strength(view: View, row: int, count: int, carry: Floats, adx: Floats, direction: Floats) -> None:
    """Wilder's ADX and +DI - -DI, seeded as TA-Lib does: with sums, then with the mean of the first DX."""
    here, before = row & view.mask, (row - 1) & view.mask
    for n in range(view.lo, view.hi):
        nth = view.seen[n] + (row - view.first)
        if nth == 0:
            continue
        up = view.bars[HIGH, here, n] - view.bars[HIGH, before, n]
        down = view.bars[LOW, before, n] - view.bars[LOW, here, n]
        fade = 1.0 / count if nth >= count else 0.0
        carry[_PLUS, n] += (up if up > 0 and up > down else 0.0) - carry[_PLUS, n] * fade
        carry[_MINUS, n] += (down if down > 0 and down > up else 0.0) - carry[_MINUS, n] * fade
        carry[_SPAN, n] += view.bars[TRUE_RANGE, here, n] - carry[_SPAN, n] * fade
        if nth >= count:
            direction[n] = _take_dx(carry, n, nth, count)
            adx[n] = carry[_STRENGTH, n]


@piece
def _take_dx(carry: Floats, n: int, nth: int, count: int) -> float:
    """Bring the ADX up to date; +DI - -DI in percent. Without any movement the ADX stays as it is."""
    plus, minus, span = carry[_PLUS, n], carry[_MINUS, n], carry[_SPAN, n]
    if not span > 0:
        return 0.0
    total = plus + minus
    moved = total > 0
    dx = 100.0 * abs(plus - minus) / total if moved else 0.0
    if nth < 2 * count:
        carry[_STRENGTH, n] += dx
        if nth == 2 * count - 1:
            carry[_STRENGTH, n] /= count
    elif moved:
        carry[_STRENGTH, n] = (carry[_STRENGTH, n] * (count - 1) + dx) / count
    return float(min(max(100.0 * (plus - minus) / span, -100.0), 100.0))  # rounding may lead a little beyond


@piece
def _efficiency(view: View, row: int, count: int, way: Floats, into: Floats) -> None:
    """Distance from the close ``count`` bars ago by the way there; 0 where nothing moved."""
    result = into[view.lo : view.hi]
    window_sum(way, row, count, view.lo, view.hi, result)
    close = view.bars[CLOSE, row & view.mask, view.lo : view.hi]
    old = view.bars[CLOSE, (row - count) & view.mask, view.lo : view.hi]
    for i in range(result.shape[0]):
        # Rounding may put the sum of the steps a little below the distance.
        ratio = abs(close[i] - old[i]) / result[i] if result[i] > 0 else 0.0
        result[i] = ratio if ratio < 1 else 1.0


@piece
def _volatility(view: View, row: int, count: int, lines: Floats, into: Floats) -> None:
    """Root of the mean square of the last ``count`` log returns, a bar."""
    result = into[view.lo : view.hi]
    window_sum(lines[1], row, count, view.lo, view.hi, result)
    kept = lines[2, row & view.mask, view.lo : view.hi]
    for i in range(result.shape[0]):
        result[i] = math.sqrt(result[i] / count)
        kept[i] = result[i]


@piece
def _rank(view: View, row: int, count: int, values: Floats, into: Floats) -> None:
    """Which part of the ``count`` values before is below this one; equal ones count half."""
    value = values[row & view.mask, view.lo : view.hi]
    result = into[view.lo : view.hi]
    for i in range(result.shape[0]):
        result[i] = 0.0
    for back in range(count, 0, -1):
        past = values[(row - back) & view.mask, view.lo : view.hi]
        for i in range(result.shape[0]):
            result[i] += 1.0 if past[i] < value[i] else 0.5 if past[i] == value[i] else 0.0
    for i in range(result.shape[0]):
        result[i] /= count


@piece
def _indicated(
    params: Floats, now: float, adx: float, direction: float, straight: float, rank: float
) -> float:
    """The regime that this bar speaks for, when ``now`` is the regime: it is left later than entered."""
    if rank >= (params[_CALM] if now == TURBULENCE else params[_WILD]):
        return TURBULENCE
    side = UP if direction > 0 else DOWN
    if now == side and direction != 0:
        return side if adx >= params[_LEAVE] else RANGE
    begins = adx >= params[_ENTER] and straight >= params[_STRAIGHT] and direction != 0
    return side if begins else RANGE


@piece
def _decide(params: Floats, carry: Floats, out: Floats, t: int, n: int) -> None:
    """Change the regime once another has been indicated on ``confirm`` bars in a row."""
    begun = carry[_AGE, n] > 0
    now = carry[_REGIME, n] if begun else math.nan
    adx, direction = out[_ADX_OUT, t, n], out[_DIRECTION, t, n]
    wanted = _indicated(params, now, adx, direction, out[_EFFICIENCY, t, n], out[_RANK, t, n])
    repeats = begun and carry[_TIMES, n] > 0 and wanted == carry[_NEXT, n]
    carry[_NEXT, n] = wanted
    carry[_TIMES, n] = 0.0 if wanted == now else carry[_TIMES, n] + 1 if repeats else 1.0
    if not begun or carry[_TIMES, n] >= params[_CONFIRM]:
        carry[_REGIME, n], carry[_TIMES, n], carry[_AGE, n] = wanted, 0.0, 0.0
    out[_CODE, t, n], out[_AGE_OUT, t, n] = carry[_REGIME, n], carry[_AGE, n]
    carry[_AGE, n] += 1


@piece
def _score(params: Floats, out: Floats, t: int, n: int) -> float:
    """How clearly the values speak for the regime, 0 to 1: see docs/regimes.md."""
    adx, straight, rank = out[_ADX_OUT, t, n], out[_EFFICIENCY, t, n], out[_RANK, t, n]
    trending = (min(adx, 50.0) / 50.0 + straight) / 2.0
    code = out[_CODE, t, n]
    if code == TURBULENCE:
        room = 1.0 - params[_CALM]
        return min(max((rank - params[_CALM]) / room, 0.0), 1.0) if room > 0 else 1.0
    return float(1.0 - trending if code == RANGE else trending)
