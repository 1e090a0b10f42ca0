"""Divergences between price and an indicator: rules, names and strength as in divergence.py.

The signal comes on the bar that confirms the second swing, ``wing`` bars after the swing's own. Of two on
one bar the stronger counts, then the bullish one. The values that it rests on are outputs, 0 without one.
"""

from alphapulse.domain.analysis.compiled import View, piece
from alphapulse.domain.analysis.divergence import REACH, disagreement, judge
from alphapulse.domain.analysis.fields import HIGH, LOW, Field, Floats
from alphapulse.domain.analysis.indicators import macd as convergence
from alphapulse.domain.analysis.indicators import rsi as relative_strength
from alphapulse.domain.analysis.indicators import volume
from alphapulse.domain.analysis.registry import MAX_PERIOD, Output, Parameter, Params, find, indicator, period
from alphapulse.domain.analysis.signals import SIGNAL, STRENGTH, Named, explains
from alphapulse.domain.analysis.swings import is_swing

BAR = (Field.HIGH, Field.LOW, Field.CLOSE)
HEAD = (SIGNAL, STRENGTH, Output("hidden", "flag", low=0, high=1), Output("bars", "bars", low=0))
PRICES = (Output("first_price", "price", prices=1, low=0), Output("second_price", "price", prices=1, low=0))
SWINGS = (
    Parameter("wing", 3, 1, 100, doc="bars to either side of a swing"),
    Parameter("reach", REACH, 2, 1_000, doc="bars between two swings, at most"),
)
VALUE = 8  # the output after the two values: the indicator itself
KEPT = 6  # carried along for the swings: bars since the last low (0: none), its price and value; highs alike

rsi_of = piece(relative_strength.rsi)
macd_of = piece(convergence.macd)
obv_of = piece(volume.obv)
mfi_of = piece(volume.mfi)


@piece
def span(highs: Floats, lows: Floats, slot: int, row: int, count: int) -> float:
    """Highest of ``highs`` less lowest of ``lows`` in the last ``count`` rows; NaN where one of them is."""
    mask = highs.shape[0] - 1
    top, bottom = highs[row & mask, slot], lows[row & mask, slot]
    for back in range(1, count):
        high, low = highs[(row - back) & mask, slot], lows[(row - back) & mask, slot]
        top = high if not high <= top else top
        bottom = low if not low >= bottom else bottom
        if high != high or low != low:
            return high + low  # type: ignore[no-any-return]
    return top - bottom  # type: ignore[no-any-return]


@piece
def compare(
    view: View, row: int, slot: int, side: float, values: Floats, params: Floats, kept: Floats, out: Floats
) -> None:
    """If a swing of ``side`` is known now, note how it diverges from the one before, and keep it instead."""
    wing, reach, t, at = int(params[0]), params[1], row - view.first, row - int(params[0])
    ring, mask = view.bars[HIGH if side > 0.0 else LOW], view.mask
    if kept[0] > 0.0:
        kept[0] = kept[0] + 1.0 if kept[0] <= reach + wing else 0.0
    if not is_swing(ring, slot, row, wing, side):
        return
    price, value, apart = ring[at & mask, slot], values[at & mask, slot], kept[0] - wing
    verdict = judge(side, kept[1], price, kept[2], value) if kept[0] > 0.0 and apart <= reach else 0
    if verdict != 0:
        around = int(apart) + 1
        ranged = span(view.bars[HIGH], view.bars[LOW], slot, at, around)
        valued = span(values, values, slot, at, around)
        strength = disagreement(price - kept[1], ranged, value - kept[2], valued)
        if strength > out[1, t, slot]:
            out[0, t, slot], out[1, t, slot], out[2, t, slot] = -side, strength, 1.0 if verdict < 0 else 0.0
            out[3, t, slot] = apart
            out[4, t, slot], out[5, t, slot] = kept[1], price
            out[6, t, slot], out[7, t, slot] = kept[2], value
    kept[0], kept[1], kept[2] = wing, price, value


@piece
def mark(view: View, params: Floats, late: int, values: Floats, carry: Floats, out: Floats) -> None:
    """Divergences of the price from ``out[VALUE]``, whose first value comes after ``late`` bars.

    ``params`` are wing and reach; ``values`` is a ring of the indicator's own.
    """
    for row in range(view.first, view.last):
        t = row - view.first
        for k in range(VALUE):
            out[k, t, view.lo : view.hi] = 0.0
        for slot in range(view.lo, view.hi):
            nth, value = view.seen[slot] + t, out[VALUE, t, slot]
            values[row & view.mask, slot] = value if nth >= late else float("nan")
            if nth >= 2 * params[0]:
                compare(view, row, slot, -1.0, values, params, carry[:3, slot], out)
                compare(view, row, slot, 1.0, values, params, carry[3:6, slot], out)
            if value != value:
                out[0, t, slot], out[1, t, slot] = value, value


def after(name: str, params: Params, swings: Params) -> int:
    """Bars before two swings may have had a value each."""
    return max(find(name).lookbacks(params)) + 2 * int(swings[0])


def window(swings: Params) -> int:
    return int(swings[1]) + 2 * int(swings[0]) + 1


def forgets(name: str, params: Params, swings: Params) -> int | None:
    bars = find(name).forgets(params)
    return None if bars is None else bars + 2 * window(swings)


def values_of(name: str, unit: str, prices: int = 0, volumes: int = 0) -> tuple[Output, ...]:
    """The indicator at both swings, and at this bar."""
    return tuple(Output(n, unit, prices, volumes) for n in ("first_value", "second_value", name))


@indicator(
    name="divergence_rsi",
    title="Divergence of price and relative strength index",
    kind="signal",
    inputs=BAR,
    parameters=(period(14), *SWINGS),
    outputs=(*HEAD, *PRICES, *values_of("rsi", "percent")),
    lookback=lambda p: after("rsi", p[:1], p[1:]),
    window=lambda p: window(p[1:]),
    forgets=lambda p: forgets("rsi", p[:1], p[1:]),
    carries=lambda _: KEPT + 2,
    lines=lambda _: 1,
    source="divergence.py, of the relative strength index",
)
def divergence_rsi(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    """Regular and hidden, bullish (1) and bearish (-1)."""
    rsi_of(view, params[:1], lines, carry[KEPT:], out[VALUE:])
    mark(view, params[1:3], int(params[0]), lines[0], carry, out)


@indicator(
    name="divergence_macd",
    title="Divergence of price and MACD",
    kind="signal",
    inputs=BAR,
    parameters=(
        Parameter("fast", 12, 2, MAX_PERIOD - 1),
        period(26, name="slow", low=3),
        period(9, name="signal", low=1),
        *SWINGS,
    ),
    outputs=(
        *HEAD,
        *PRICES,
        *values_of("macd", "price", prices=1),
        Output("trigger", "price", prices=1),
        Output("histogram", "price", prices=1),
    ),
    lookback=lambda p: after("macd", p[:3], p[3:]),
    window=lambda p: window(p[3:]),
    forgets=lambda p: forgets("macd", p[:3], p[3:]),
    carries=lambda _: KEPT + 3,
    lines=lambda _: 1,
    relation=lambda p: find("macd").relation(p[:3]),
    source="divergence.py, of the MACD line",
)
def divergence_macd(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    """Regular and hidden, bullish (1) and bearish (-1)."""
    macd_of(view, params[:3], lines, carry[KEPT:], out[VALUE:])
    mark(view, params[3:5], int(params[1] + params[2]) - 2, lines[0], carry, out)


@indicator(
    name="divergence_mfi",
    title="Divergence of price and money flow index",
    kind="signal",
    inputs=(*BAR, Field.VOLUME),
    parameters=(period(14), *SWINGS),
    outputs=(*HEAD, *PRICES, *values_of("mfi", "percent")),
    lookback=lambda p: after("mfi", p[:1], p[1:]),
    window=lambda p: max(window(p[1:]), int(p[0])),
    forgets=lambda p: forgets("mfi", p[:1], p[1:]),
    carries=lambda _: KEPT + 1,
    lines=lambda _: 2,
    source="divergence.py, of the money flow index",
)
def divergence_mfi(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    """Regular and hidden, bullish (1) and bearish (-1)."""
    mfi_of(view, params[:1], lines[1:], carry[KEPT:], out[VALUE:])
    mark(view, params[1:3], int(params[0]), lines[0], carry, out)


@indicator(
    name="divergence_obv",
    title="Divergence of price and on-balance volume",
    kind="signal",
    inputs=(*BAR, Field.VOLUME),
    parameters=SWINGS,
    outputs=(*HEAD, *PRICES, *values_of("obv", "base", volumes=1)),
    lookback=lambda p: after("obv", (), p),
    window=window,
    forgets=lambda p: forgets("obv", (), p),
    carries=lambda _: KEPT + 1,
    lines=lambda _: 1,
    source="divergence.py, of the on-balance volume",
)
def divergence_obv(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    """Regular and hidden, bullish (1) and bearish (-1)."""
    obv_of(view, params, lines, carry[KEPT:], out[VALUE:])
    mark(view, params[:2], 0, lines[0], carry, out)


def _diverges(name: str, title: str) -> None:
    @explains(f"divergence_{name}")
    def words(o: Named, p: Named) -> list[str]:
        kind = f"{'hidden' if o['hidden'] else 'regular'} {'bullish' if o['signal'] > 0 else 'bearish'}"
        end = "lows" if o["signal"] > 0 else "highs"
        return [
            f"{kind} divergence: {end} of {o['first_price']:.6g}, then {o['second_price']:.6g}",
            f"{title} at them: {o['first_value']:.6g}, then {o['second_value']:.6g}",
            f"{o['bars']:.0f} bars apart, known {p['wing']:g} bars after the second",
        ]


for _name, _title in (("rsi", "RSI"), ("macd", "MACD"), ("mfi", "MFI"), ("obv", "on-balance volume")):
    _diverges(_name, _title)
