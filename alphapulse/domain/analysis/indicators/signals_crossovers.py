"""Crossovers: one line passes another one from below (1) or from above (-1).

Rule: the difference is above 0 now and was 0 or below at the last bar, or the other way round; so a line that
only touches and turns back counts when it leaves. ``strength``: how far the two moved past each other in
this bar, in average true ranges (percent points of 50, for the directional lines), up to 1.
"""

from alphapulse.domain.analysis.compiled import View, piece
from alphapulse.domain.analysis.fields import CLOSE, Field, Floats
from alphapulse.domain.analysis.indicators import averages, directional, volatility
from alphapulse.domain.analysis.indicators import macd as convergence
from alphapulse.domain.analysis.registry import MAX_PERIOD, Output, Parameter, Params, find, indicator, period
from alphapulse.domain.analysis.signals import SIGNAL, STRENGTH, Named, explains, share

RANGE = (Field.HIGH, Field.LOW, Field.CLOSE)
HEAD = (SIGNAL, STRENGTH, Output("distance", "price", prices=1))
ATR = period(14, name="atr", low=1)
ATR_OUTPUT = Output("atr", "price", prices=1, low=0)
FULL = 50.0  # percent points between +DI and -DI in one bar: a strength of 1

sma_of = piece(averages.sma)
ema_of = piece(averages.ema)
atr_of = piece(volatility.atr)
macd_of = piece(convergence.macd)
adx_of = piece(directional.adx)


@piece
def mark(view: View, last: Floats, scale: Floats, out: Floats) -> None:
    """Signal and strength from the differences in ``out[2]``; ``scale[row, slot]`` is a step of strength 1.

    ``last[slot]`` carries the difference of the bar before.
    """
    for t in range(view.last - view.first):
        for slot in range(view.lo, view.hi):
            now, past = out[2, t, slot], last[slot]
            signal = 1.0 if now > 0.0 >= past else -1.0 if now < 0.0 <= past else 0.0
            out[0, t, slot] = signal
            out[1, t, slot] = share(abs(now - past), scale[t, slot]) if signal != 0.0 else 0.0
            last[slot] = now


@piece
def difference(a: float, b: float) -> float:
    """``a - b``; 0 where it is no more than the rounding of sums: a flat market stands at its average."""
    return a - b if abs(a - b) > 1e-12 * abs(b) else 0.0


@piece
def price_less(view: View, line: Floats, out: Floats) -> None:
    """The close less ``line[row, slot]`` into ``out[2]``."""
    for t in range(view.last - view.first):
        close = view.bars[CLOSE, (view.first + t) & view.mask]
        for slot in range(view.lo, view.hi):
            out[2, t, slot] = difference(close[slot], line[t, slot])


@piece
def less(view: View, a: Floats, b: Floats, out: Floats) -> None:
    """``a - b`` into ``out[2]``."""
    for t in range(view.last - view.first):
        for slot in range(view.lo, view.hi):
            out[2, t, slot] = difference(a[t, slot], b[t, slot])


def after(name: str, params: Params, atr: float) -> int:
    """Bars before a crossing of ``name``: it and the average true range are there, and were a bar ago."""
    return max(*find(name).lookbacks(params), int(atr)) + 1


def forgets(name: str, params: Params, atr: float) -> int:
    return max(find(name).forgets(params) or 0, volatility.wilder_forgets(atr)) + 1


@indicator(
    name="cross_sma",
    title="Price crosses its simple average",
    kind="signal",
    inputs=RANGE,
    parameters=(period(50), ATR),
    outputs=(*HEAD, Output("average", "price", prices=1), ATR_OUTPUT),
    lookback=lambda p: after("sma", p[:1], p[1]),
    window=lambda p: int(p[0]) - 1,
    forgets=lambda p: forgets("sma", p[:1], p[1]),
    carries=lambda _: 2,
    source="the close passes its simple moving average",
)
def cross_sma(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    """Close less average changes its sign."""
    sma_of(view, params[:1], lines, carry, out[3:])
    atr_of(view, params[1:], lines, carry[1:], out[4:])
    price_less(view, out[3], out)
    mark(view, carry[0], out[4], out)


@indicator(
    name="cross_ema",
    title="Price crosses its exponential average",
    kind="signal",
    inputs=RANGE,
    parameters=(period(50), ATR),
    outputs=(*HEAD, Output("average", "price", prices=1), ATR_OUTPUT),
    lookback=lambda p: after("ema", p[:1], p[1]),
    window=lambda _: 1,
    forgets=lambda p: forgets("ema", p[:1], p[1]),
    carries=lambda _: 3,
    source="the close passes its exponential moving average",
)
def cross_ema(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    """Close less average changes its sign."""
    ema_of(view, params[:1], lines, carry[2:], out[3:])
    atr_of(view, params[1:], lines, carry[1:], out[4:])
    price_less(view, out[3], out)
    mark(view, carry[0], out[4], out)


@indicator(
    name="cross_averages",
    title="Golden and death cross",
    kind="signal",
    inputs=RANGE,
    parameters=(Parameter("fast", 50, 1, MAX_PERIOD - 1), period(200, name="slow"), ATR),
    outputs=(
        *HEAD,
        Output("fast", "price", prices=1),
        Output("slow", "price", prices=1),
        ATR_OUTPUT,
    ),
    lookback=lambda p: after("sma", p[1:2], p[2]),
    window=lambda p: int(p[1]) - 1,
    forgets=lambda p: forgets("sma", p[1:2], p[2]),
    carries=lambda _: 2,
    relation=lambda p: None if p[0] < p[1] else f"fast {p[0]:g} needs to be below slow {p[1]:g}",
    source="the fast simple average passes the slow one: golden upwards, death downwards",
)
def cross_averages(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    """Fast average less slow average changes its sign."""
    sma_of(view, params[:1], lines, carry, out[3:])
    sma_of(view, params[1:2], lines, carry, out[4:])
    atr_of(view, params[2:], lines, carry[1:], out[5:])
    less(view, out[3], out[4], out)
    mark(view, carry[0], out[5], out)


@indicator(
    name="cross_macd",
    title="MACD crosses its signal line",
    kind="signal",
    inputs=RANGE,
    parameters=(
        Parameter("fast", 12, 2, MAX_PERIOD - 1),
        period(26, name="slow", low=3),
        period(9, name="signal", low=1),
        ATR,
    ),
    outputs=(
        *HEAD,
        Output("macd", "price", prices=1),
        Output("trigger", "price", prices=1),
        Output("histogram", "price", prices=1),
        ATR_OUTPUT,
    ),
    lookback=lambda p: after("macd", p[:3], p[3]),
    window=lambda _: 1,
    forgets=lambda p: forgets("macd", p[:3], p[3]),
    carries=lambda _: 5,
    relation=lambda p: find("macd").relation(p[:3]),
    source="Appel: MACD passes its signal line",
)
def cross_macd(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    """The histogram changes its sign."""
    macd_of(view, params[:3], lines, carry[2:], out[3:])
    atr_of(view, params[3:], lines, carry[1:], out[6:])
    less(view, out[3], out[4], out)
    mark(view, carry[0], out[6], out)


@indicator(
    name="cross_di",
    title="+DI crosses -DI",
    kind="signal",
    inputs=RANGE,
    parameters=(period(14),),
    outputs=(
        SIGNAL,
        STRENGTH,
        Output("distance", "percent", low=-100, high=100),
        Output("adx", "percent", low=0, high=100),
        Output("plus_di", "percent", low=0, high=100),
        Output("minus_di", "percent", low=0, high=100),
    ),
    lookback=lambda p: after("adx", p, 1),
    window=lambda _: 1,
    forgets=lambda p: (find("adx").forgets(p) or 0) + 1,
    carries=lambda _: 5,
    source="Wilder (1978): +DI passes -DI",
)
def cross_di(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    """+DI less -DI changes its sign; the strength leaves open how directed the market is: see ``adx``."""
    adx_of(view, params, lines, carry[1:], out[3:])
    less(view, out[4], out[5], out)
    for t in range(view.last - view.first):
        for slot in range(view.lo, view.hi):
            now, past = out[2, t, slot], carry[0, slot]
            signal = 1.0 if now > 0.0 >= past else -1.0 if now < 0.0 <= past else 0.0
            out[0, t, slot] = signal
            out[1, t, slot] = share(abs(now - past), FULL) if signal != 0.0 else 0.0
            carry[0, slot] = now


def _way(o: Named) -> str:
    return "above" if o["signal"] > 0 else "below"


def _fast(o: Named) -> str:
    return f"{abs(o['distance']):.6g} beyond it; an average true range is {o['atr']:.6g}"


@explains("cross_sma")
def _sma(o: Named, p: Named) -> list[str]:
    return [f"close went {_way(o)} its simple average of {p['period']:g} bars, {o['average']:.6g}", _fast(o)]


@explains("cross_ema")
def _ema(o: Named, p: Named) -> list[str]:
    return [
        f"close went {_way(o)} its exponential average of {p['period']:g} bars, {o['average']:.6g}",
        _fast(o),
    ]


@explains("cross_averages")
def _averages(o: Named, p: Named) -> list[str]:
    cross = "golden cross" if o["signal"] > 0 else "death cross"
    fast, slow = (f"average of {p[name]:g} bars, {o[name]:.6g}" for name in ("fast", "slow"))
    return [f"{cross}: the {fast}, went {_way(o)} the {slow}", _fast(o)]


@explains("cross_macd")
def _macd(o: Named, p: Named) -> list[str]:
    return [f"MACD {o['macd']:.6g} went {_way(o)} its signal line {o['trigger']:.6g}", _fast(o)]


@explains("cross_di")
def _di(o: Named, p: Named) -> list[str]:
    return [
        f"+DI {o['plus_di']:.1f} went {_way(o)} -DI {o['minus_di']:.1f}",
        f"ADX {o['adx']:.1f} says how directed the market is",
    ]
