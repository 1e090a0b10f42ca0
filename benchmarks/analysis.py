"""Indicators and patterns of a thousand instruments, against TA-Lib's O(1) streams and NautilusTrader.

One bar of each instrument closes, and every output is brought up to date. TA-Lib's handles and
NautilusTrader's indicators are objects of one instrument each, which Python calls one after the other, with
plain floats that are made before the clock runs: the fastest way that their interfaces have. All sides see
the same bars, are warm, and end with the same values, which is checked. NautilusTrader wants an older pandas
and runs in an environment of its own (``make .venv-nautilus/.installed``); it is compared on the outputs that
it has under the same definition.
"""

import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from alphapulse.domain.analysis.fields import INPUTS, Floats
from alphapulse.domain.analysis.panel import Panel, Plan
from alphapulse.domain.analysis.registry import Spec

SLOTS, HISTORY, CLOSES, IN_A_ROW = 1_000, 500, 120, 40
ROOT = Path(__file__).parent.parent

O, H, L, C, V = range(1, 6)  # noqa: E741 - rows of a bar
HLC, HLCV = (H, L, C), (H, L, C, V)

# Ours, TA-Lib's function, what it is fed, and which of our columns its outputs are: 33 outputs.
Named = tuple[str, str, tuple[int, ...], tuple[str, ...]]
NAMED: tuple[Named, ...] = (
    ("sma(30)", "SMA", (C,), ("",)),
    ("ema(30)", "EMA", (C,), ("",)),
    ("wma(30)", "WMA", (C,), ("",)),
    ("dema(30)", "DEMA", (C,), ("",)),
    ("tema(30)", "TEMA", (C,), ("",)),
    ("kama(30)", "KAMA", (C,), ("",)),
    ("rsi(14)", "RSI", (C,), ("",)),
    ("macd(12,26,9)", "MACD", (C,), (".macd", ".signal", ".histogram")),
    ("stoch(5,3,3)", "STOCH", HLC, (".k", ".d")),
    ("willr(14)", "WILLR", HLC, ("",)),
    ("cci(14)", "CCI", HLC, ("",)),
    ("roc(10)", "ROC", (C,), ("",)),
    ("mom(10)", "MOM", (C,), ("",)),
    ("adx(14)", "ADX", HLC, (".adx",)),
    ("adx(14)", "PLUS_DI", HLC, (".plus_di",)),
    ("adx(14)", "MINUS_DI", HLC, (".minus_di",)),
    ("aroon(14)", "AROON", (H, L), (".down", ".up")),
    ("psar", "SAR", (H, L), (".psar",)),
    ("trix(30)", "TRIX", (C,), ("",)),
    ("bbands(20,2)", "BBANDS", (C,), (".upper", ".middle", ".lower")),
    ("atr(14)", "ATR", HLC, ("",)),
    ("natr(14)", "NATR", HLC, ("",)),
    ("stddev(5)", "STDDEV", (C,), ("",)),
    ("obv", "OBV", (C, V), ("",)),
    ("mfi(14)", "MFI", HLCV, ("",)),
    ("ad", "AD", HLCV, ("",)),
    ("adosc(3,10)", "ADOSC", HLCV, ("",)),
)
# What _nautilus.py gives, in its order, and how many times smaller.
NAUTILUS = (
    *(("sma(30)", "", 1), ("ema(30)", "", 1), ("wma(30)", "", 1), ("dema(30)", "", 1), ("rsi(14)", "", 100)),
    *(("macd(12,26,9)", ".macd", 1), ("stochf(14,3)", ".k", 1), ("cci(14)", "", 1), ("roc(10)", "", 100)),
    *(
        ("aroon(14)", ".up", 1),
        ("aroon(14)", ".down", 1),
        ("aroon(14)", ".oscillator", 1),
        ("atr(14)", "", 1),
    ),
    *(("bbands(20,2)", ".upper", 1), ("bbands(20,2)", ".middle", 1), ("bbands(20,2)", ".lower", 1)),
    *(("donchian(20)", ".upper", 1), ("donchian(20)", ".middle", 1), ("donchian(20)", ".lower", 1)),
)


def run() -> Iterator[dict[str, Any]]:
    bars = walks(HISTORY + CLOSES)
    yield indicators(bars)
    yield from nautilus(bars)
    yield patterns(bars)
    yield restoring(bars)


def walks(count: int) -> Floats:
    """Bars (INPUTS, count, SLOTS) of random walks on a grid of cents, as prices are."""
    rng = np.random.default_rng(1)
    close = np.round(100 * np.exp(np.cumsum(rng.normal(0, 0.002, (count, SLOTS)), axis=0)), 2)
    open_ = np.concatenate([np.full((1, SLOTS), 100.0), close[:-1]])
    high = np.maximum(open_, close) + np.round(np.abs(rng.normal(0, 0.1, close.shape)), 2)
    low = np.minimum(open_, close) - np.round(np.abs(rng.normal(0, 0.1, close.shape)), 2)
    volume = np.round(rng.lognormal(1, 1, close.shape), 3) + 0.001
    time_ = np.broadcast_to(28_401_120.0 + np.arange(count)[:, None], close.shape)
    bars = np.stack([time_, open_, high, low, close, volume, volume / 2, np.ceil(volume)])
    assert bars.shape == (INPUTS, count, SLOTS)
    return bars


def plan_of(texts: Sequence[str]) -> Plan:
    return Plan(dict.fromkeys(map(Spec.parse, texts)))


class Ours:
    """A panel that is warm, and closes one bar of every slot at a time."""

    def __init__(self, plan: Plan, bars: Floats) -> None:
        self.plan, self.panel = plan, Panel(plan, SLOTS)
        self.closes = [np.ascontiguousarray(bars[:, t]) for t in range(bars.shape[1])]
        for close in self.closes[:HISTORY]:
            self.values = self.panel.step(close)

    def close(self, t: int) -> float:
        begun = time.perf_counter()
        self.values = self.panel.step(self.closes[t])
        return time.perf_counter() - begun

    def column(self, spec: str, suffix: str) -> Floats:
        found: Floats = self.values[self.plan.columns.index(str(Spec.parse(spec)) + suffix)]
        return found


class Streams:
    """TA-Lib's handles, opened on the same history: ``functions`` of every slot."""

    def __init__(self, functions: Sequence[tuple[str, tuple[int, ...]]], bars: Floats) -> None:
        self.functions = functions
        self.bars = bars
        self.rows = bars.transpose(1, 2, 0).tolist()
        self.updates = [self.open(slot) for slot in range(SLOTS)]

    def open(self, slot: int) -> list[tuple[Any, tuple[int, ...]]]:
        from talib import stream

        history = self.history(slot)
        made = [(getattr(stream, name), fields) for name, fields in self.functions]
        return [(handle(*[history[f] for f in fields]).update, fields) for handle, fields in made]

    def history(self, slot: int) -> list[Floats]:
        return [np.ascontiguousarray(row) for row in self.bars[:, :HISTORY, slot]]

    def close(self, t: int) -> float:
        """Each handle is called with its floats, which lie ready; the values are kept."""
        calls = [
            [partial(update, *[row[f] for f in fields]) for update, fields in each]
            for each, row in zip(self.updates, self.rows[t], strict=True)
        ]
        begun = time.perf_counter()
        self.values = [[call() for call in each] for each in calls]
        return time.perf_counter() - begun


def in_turn(ours: Callable[[int], float], theirs: Callable[[int], float]) -> tuple[float, float]:
    """The median seconds of a bar close of each side, some closes in a row and then the other side's."""
    mine: list[float] = []
    other: list[float] = []
    for begin in range(HISTORY, HISTORY + CLOSES, IN_A_ROW):
        mine += [ours(t) for t in range(begin, begin + IN_A_ROW)]
        other += [theirs(t) for t in range(begin, begin + IN_A_ROW)]
    return median(mine), median(other)


def flat(values: Any) -> list[float]:
    return [x for v in values for x in (v if isinstance(v, tuple) else (v,))]


def equal(ours: Floats, theirs: Floats, what: str, slack: float) -> None:
    apart = np.abs(ours - theirs)
    assert (apart <= np.maximum(1e-9 * np.abs(theirs), slack)).all(), f"{what}: apart by up to {apart.max()}"


def result(name: str, peer: str, seconds: tuple[float, float], goal: float) -> dict[str, Any]:
    return {
        "name": name,
        "peer": peer,
        "ours": seconds[0] * 1e6,
        "theirs": seconds[1] * 1e6,
        "unit": "µs",
        "ratio": seconds[1] / seconds[0],
        "goal": goal,
    }


def indicators(bars: Floats) -> dict[str, Any]:
    ours = Ours(plan_of([spec for spec, *_ in NAMED]), bars)
    theirs = Streams([(name, fields) for _, name, fields, _ in NAMED], bars)
    seconds = in_turn(ours.close, theirs.close)
    columns = [(spec, suffix) for spec, _, _, suffixes in NAMED for suffix in suffixes]
    values = np.array([flat(each) for each in theirs.values]).T
    for (spec, suffix), found in zip(columns, values, strict=True):
        # Running totals of TA-Lib carry the rounding of their size into what is small.
        equal(ours.column(spec, suffix), found, spec + suffix, slack=1e-8)
    name = f"one bar of {SLOTS:,} instruments closes: {len(columns)} outputs, all values equal"
    return result(name, "TA-Lib's O(1) streams", seconds, 200)


def nautilus(bars: Floats) -> Iterator[dict[str, Any]]:
    python = ROOT / ".venv-nautilus/bin/python"
    ours = Ours(plan_of([spec for spec, *_ in NAUTILUS]), bars)
    mine = median(ours.close(t) for t in range(HISTORY, HISTORY + CLOSES))
    with tempfile.TemporaryDirectory() as folder:
        given, got = f"{folder}/bars.npy", f"{folder}/values.npy"
        np.save(given, bars[O : V + 1])
        script = [str(python), str(ROOT / "benchmarks/_nautilus.py"), given, got, str(CLOSES)]
        ran = subprocess.run(script, capture_output=True, text=True) if python.exists() else None
        if ran is None or ran.returncode:
            why = ran.stderr.strip().splitlines()[-1:] if ran else "make .venv-nautilus/.installed"
            print(f"  without NautilusTrader: {why}")
            return
        values = np.load(got)
    for (spec, suffix, times), found in zip(NAUTILUS, values, strict=True):
        # It begins its averages with the first price and not with a mean: forgotten after 500 bars.
        equal(ours.column(spec, suffix), found * times, spec + suffix, slack=1e-8)
    name = f"the {len(NAUTILUS)} outputs that it has under the same definition, all values equal"
    yield result(name, "NautilusTrader 1.221", (mine, median(json.loads(ran.stdout))), 20)


def patterns(bars: Floats) -> dict[str, Any]:
    """All of TA-Lib's. A signal of ours comes with a strength, which it has not."""
    from tests.domain.analysis.test_patterns_talib import TALIB

    ours = Ours(plan_of(tuple(TALIB)), bars)
    theirs = Streams([(function, (O, H, L, C)) for function in TALIB.values()], bars)
    seconds = in_turn(ours.close, theirs.close)
    for name, found in zip(TALIB, np.array(theirs.values).T, strict=True):
        assert np.array_equal(ours.column(name, ".signal"), found), name
    return result(
        f"{len(TALIB)} patterns of the same, all values equal", "TA-Lib's O(1) streams", seconds, 100
    )


def restoring(bars: Floats) -> dict[str, Any]:
    """From bytes to a state that is ready for the next bar; TA-Lib's handles cannot be stored."""
    ours = Ours(plan_of([spec for spec, *_ in NAMED]), bars)
    theirs = Streams([(name, fields) for _, name, fields, _ in NAMED], bars)
    snapshots, panel = ours.panel.snapshot_all(), Panel(ours.plan, SLOTS)
    mine: list[float] = []
    other: list[float] = []
    histories = [theirs.history(slot) for slot in range(SLOTS)]
    theirs.history = histories.__getitem__  # type: ignore[method-assign]
    for _ in range(3):
        for _ in range(3):
            begun = time.perf_counter()
            panel.restore_all(snapshots)
            mine.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        theirs.updates = [theirs.open(slot) for slot in range(SLOTS)]
        other.append(time.perf_counter() - begun)
    ours.close(HISTORY)
    assert np.array_equal(panel.step(ours.closes[HISTORY]), ours.values)
    name = f"{SLOTS:,} instruments back from snapshots, against history of {HISTORY} bars"
    return result(name, "re-opening TA-Lib's handles", (median(mine), median(other)), 100)
