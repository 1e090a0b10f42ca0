"""Overbought and oversold: an oscillator beyond a threshold, read against the trend that brought it there.

Each rule: the value above ``high`` says down (-1), below ``low`` up (1). The strength is how much of the
way from the threshold to the end of the scale it has gone; a scale without an end is taken to reach half
of ``high - low`` beyond either. ``entered`` is 1 on the first bar beyond. Where nothing moved, or nothing was
traded, in all of the period, an oscillator stands at an end of its scale by convention only: the signal is
0. A value that is missing (an unknown volume) makes all of it missing.
"""

from alphapulse.domain.analysis.compiled import View, piece
from alphapulse.domain.analysis.fields import CLOSE, HIGH, LOW, Field, Floats
from alphapulse.domain.analysis.indicators import cci as commodity_channel
from alphapulse.domain.analysis.indicators import rsi as relative_strength
from alphapulse.domain.analysis.indicators import stochastic, volatility, volume
from alphapulse.domain.analysis.registry import Output, Parameter, Params, find, indicator, period
from alphapulse.domain.analysis.signals import SIGNAL, STRENGTH, Named, explains, share

RANGE = (Field.HIGH, Field.LOW, Field.CLOSE)
HEAD = (SIGNAL, STRENGTH, Output("entered", "flag", low=0, high=1))
PERCENT = (
    Parameter("low", 30, 0, 50, whole=False, doc="oversold below"),
    Parameter("high", 70, 50, 100, whole=False, doc="overbought above"),
)
OUTER = (
    Parameter("low", 20, 0, 50, whole=False, doc="oversold below"),
    Parameter("high", 80, 50, 100, whole=False, doc="overbought above"),
)
BANDS = (
    *(Output(name, "price", prices=1) for name in ("upper", "middle", "lower")),
    Output("percent_b", "ratio"),
    Output("bandwidth", "ratio", low=0),
)

rsi_of = piece(relative_strength.rsi)
stoch_of = piece(stochastic.stoch)
willr_of = piece(stochastic.willr)
cci_of = piece(commodity_channel.cci)
mfi_of = piece(volume.mfi)
bands_of = piece(volatility.bbands)


@piece
def note(
    view: View,
    row: int,
    slot: int,
    value: float,
    low: float,
    high: float,
    ends: float,
    last: Floats,
    out: Floats,
) -> None:
    """Signal, strength and entered of ``value``, on a scale that goes on for ``ends`` beyond both thresholds.

    ``last[slot]`` carries the signal of the bar before.
    """
    t = row - view.first
    signal = -1.0 if value > high else 1.0 if value < low else 0.0 * value  # NaN stays NaN
    beyond = value - high if value > high else low - value
    out[0, t, slot] = signal
    out[1, t, slot] = share(beyond, ends) if signal != 0.0 else 0.0
    if signal != signal:
        out[1, t, slot] = signal
    out[2, t, slot] = abs(signal) if signal != last[slot] else 0.0
    last[slot] = signal


@piece
def moved(ring: Floats, row: int, slot: int, count: int) -> bool:
    """Whether any of the last ``count`` steps of a ring changed its value (a NaN did)."""
    mask = ring.shape[0] - 1
    for back in range(count):  # noqa: SIM110  numba knows no any()
        if ring[(row - back) & mask, slot] != ring[(row - back - 1) & mask, slot]:
            return True
    return False


@piece
def ranged(view: View, row: int, slot: int, count: int) -> bool:
    """Whether the last ``count`` bars have a range between them."""
    for back in range(count):
        at = (row - back) & view.mask
        if view.bars[HIGH, at, slot] != view.bars[LOW, at, slot]:
            return True
    return moved(view.bars[CLOSE], row, slot, count - 1)


@piece
def flowed(ring: Floats, row: int, slot: int, count: int) -> bool:
    """Whether any of the last ``count`` rows of a ring is not 0."""
    for back in range(count):  # noqa: SIM110  numba knows no any()
        if ring[(row - back) & (ring.shape[0] - 1), slot] != 0.0:
            return True
    return False


def lookbacks(bars: int, values: int) -> tuple[int, ...]:
    """Of an indicator with ``values`` outputs after ``bars`` bars; only ``entered`` needs one bar more."""
    return (bars, bars, bars + 1, *(bars,) * values)


def disorder(params: Params) -> str | None:
    """Thresholds are the last two parameters."""
    low, high = params[-2:]
    return None if low < high else f"low {low:g} needs to be below high {high:g}"


@indicator(
    name="rsi_extreme",
    title="Overbought or oversold by the relative strength index",
    kind="signal",
    parameters=(period(14), *PERCENT),
    outputs=(*HEAD, Output("rsi", "percent", low=0, high=100)),
    lookback=lambda p: lookbacks(int(p[0]), 1),
    window=lambda p: int(p[0]),
    forgets=lambda p: (find("rsi").forgets(p[:1]) or 0) + 1,
    carries=lambda _: 3,
    relation=disorder,
    source="Wilder (1978) reads 70 and 30",
)
def rsi_extreme(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    """RSI above high or below low; strength by what is left up to 100, or down to 0."""
    rsi_of(view, params[:1], lines, carry[1:], out[3:])
    low, high = params[1], params[2]
    for row in range(view.first, view.last):
        for slot in range(view.lo, view.hi):
            value = out[3, row - view.first, slot]
            heard = value if moved(view.bars[CLOSE], row, slot, int(params[0])) else (low + high) / 2.0
            ends = 100.0 - high if heard > high else low
            note(view, row, slot, heard, low, high, ends, carry[0], out)


@indicator(
    name="stoch_extreme",
    title="Overbought or oversold by the slow stochastic",
    kind="signal",
    inputs=RANGE,
    parameters=(period(14), period(3, name="k", low=1), period(3, name="d", low=1), *OUTER),
    outputs=(*HEAD, Output("k", "percent", low=0, high=100), Output("d", "percent", low=0, high=100)),
    lookback=lambda p: lookbacks(int(p[0]) + int(p[1]) + int(p[2]) - 3, 2),
    window=lambda p: max(int(p[0]), int(p[1]), int(p[2])),
    carries=lambda _: 1,
    lines=lambda _: 2,
    relation=disorder,
    source="Lane reads 80 and 20; of the k line",
)
def stoch_extreme(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    """k above high or below low; strength by what is left up to 100, or down to 0."""
    stoch_of(view, params[:3], lines, carry, out[3:])
    low, high = params[3], params[4]
    for row in range(view.first, view.last):
        for slot in range(view.lo, view.hi):
            value = out[3, row - view.first, slot]
            heard = value if ranged(view, row, slot, int(params[0])) else (low + high) / 2.0
            ends = 100.0 - high if heard > high else low
            note(view, row, slot, heard, low, high, ends, carry[0], out)


@indicator(
    name="willr_extreme",
    title="Overbought or oversold by Williams %R",
    kind="signal",
    inputs=RANGE,
    parameters=(
        period(14),
        Parameter("low", -80, -100, -50, whole=False, doc="oversold below"),
        Parameter("high", -20, -50, 0, whole=False, doc="overbought above"),
    ),
    outputs=(*HEAD, Output("willr", "percent", low=-100, high=0)),
    lookback=lambda p: lookbacks(int(p[0]) - 1, 1),
    window=lambda p: int(p[0]),
    carries=lambda _: 2,
    relation=disorder,
    source="Williams reads -20 and -80",
)
def willr_extreme(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    """%R above high or below low; strength by what is left up to 0, or down to -100."""
    willr_of(view, params[:1], lines, carry[1:], out[3:])
    low, high = params[1], params[2]
    for row in range(view.first, view.last):
        for slot in range(view.lo, view.hi):
            value = out[3, row - view.first, slot]
            heard = value if ranged(view, row, slot, int(params[0])) else (low + high) / 2.0
            ends = -high if heard > high else low + 100.0
            note(view, row, slot, heard, low, high, ends, carry[0], out)


@indicator(
    name="cci_extreme",
    title="Overbought or oversold by the commodity channel index",
    kind="signal",
    inputs=(Field.TYPICAL,),
    parameters=(
        period(20),
        Parameter("low", -100, -1000, 0, whole=False, doc="oversold below"),
        Parameter("high", 100, 0, 1000, whole=False, doc="overbought above"),
    ),
    outputs=(*HEAD, Output("cci", "score")),
    lookback=lambda p: lookbacks(int(p[0]) - 1, 1),
    window=lambda p: int(p[0]) - 1,
    carries=lambda _: 2,
    relation=disorder,
    source="Lambert (1980) reads 100 and -100",
)
def cci_extreme(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    """CCI above high or below low; strength by how far beyond, of half the way between the two."""
    cci_of(view, params[:1], lines, carry[1:], out[3:])
    low, high = params[1], params[2]
    for row in range(view.first, view.last):
        for slot in range(view.lo, view.hi):
            value = out[3, row - view.first, slot]
            note(view, row, slot, value, low, high, (high - low) / 2.0, carry[0], out)


@indicator(
    name="mfi_extreme",
    title="Overbought or oversold by the money flow index",
    kind="signal",
    inputs=(*RANGE, Field.VOLUME),
    parameters=(period(14), *OUTER),
    outputs=(*HEAD, Output("mfi", "percent", low=0, high=100)),
    lookback=lambda p: lookbacks(int(p[0]), 1),
    window=lambda p: int(p[0]),
    carries=lambda _: 2,
    lines=lambda _: 1,
    relation=disorder,
    source="Quong and Soudack (1989) read 80 and 20",
)
def mfi_extreme(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    """MFI above high or below low; strength by what is left up to 100, or down to 0."""
    mfi_of(view, params[:1], lines, carry[1:], out[3:])
    low, high = params[1], params[2]
    for row in range(view.first, view.last):
        for slot in range(view.lo, view.hi):
            value = out[3, row - view.first, slot]
            # The money flow indicator keeps the flow of each bar in its ring.
            heard = value if flowed(lines[0], row, slot, int(params[0])) else (low + high) / 2.0
            ends = 100.0 - high if heard > high else low
            note(view, row, slot, heard, low, high, ends, carry[0], out)


@indicator(
    name="bbands_extreme",
    title="Overbought or oversold by Bollinger bands",
    kind="signal",
    parameters=(period(20), volatility.WIDTH),
    outputs=(*HEAD, *BANDS),
    lookback=lambda p: lookbacks(int(p[0]) - 1, 5),
    window=lambda p: int(p[0]) - 1,
    carries=lambda _: 1,
    source="Bollinger (2001): the close beyond a band",
)
def bbands_extreme(view: View, params: Floats, lines: Floats, carry: Floats, out: Floats) -> None:
    """Close above the upper band or below the lower; strength by how far beyond, of half their distance."""
    bands_of(view, params, lines, carry, out[3:])
    for row in range(view.first, view.last):
        for slot in range(view.lo, view.hi):
            note(view, row, slot, out[6, row - view.first, slot], 0.0, 1.0, 0.5, carry[0], out)


def _beyond(value: str, digits: int = 1) -> None:
    @explains(f"{value}_extreme" if value != "k" else "stoch_extreme")
    def words(o: Named, p: Named) -> list[str]:
        over = o["signal"] < 0
        bound, word = ("high", "overbought: {} above {}") if over else ("low", "oversold: {} below {}")
        first = word.format(f"{value} {o[value]:.{digits}f}", f"{p[bound]:g}")
        return [first, *_since(o)]


def _since(o: Named) -> list[str]:
    return ["since this bar"] if o["entered"] == 1 else []


for _value in ("rsi", "k", "willr", "cci", "mfi"):
    _beyond(_value)


@explains("bbands_extreme")
def _bands(o: Named, p: Named) -> list[str]:
    over = o["signal"] < 0
    word, band = (
        ("overbought: close above the upper", "upper")
        if over
        else ("oversold: close below the lower", "lower")
    )
    first = f"{word} Bollinger band {o[band]:.6g}, {p['width']:g} deviations from the mean {o['middle']:.6g}"
    return [first, f"at {o['percent_b']:.2f} of the way from the lower to the upper", *_since(o)]
