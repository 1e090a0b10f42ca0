"""TA-Lib as the oracle: the same first bar, and every value within 1e-9 of its own.

A test file declares a table from specs to TA-Lib's calls, and hands each series to ``assert_agrees``:

    ORACLES = {"rsi(period=14)": lambda b: talib.RSI(b[CLOSE], 14), "macd": Oracle(call, slack=1e-11)}

    @pytest.mark.parametrize("name", ADVERSARIAL)
    def test_…_on_adversarial_series(name): assert_agrees(ORACLES, ADVERSARIAL[name](3000))

TA-Lib keeps running sums where we sum each window anew: what it once added it never takes off exactly.
``slack`` is the absolute tolerance this asks for. It is a multiple of the largest price (volume) so far,
to the power the output scales with, or of the output's largest bound.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alphapulse.domain.analysis.fields import HIGH, VOLUME, Floats
from alphapulse.domain.analysis.panel import compute
from alphapulse.domain.analysis.registry import Output, Spec

RELATIVE = 1e-9
SLACK = 1e-12

Call = Callable[[Floats], Floats | tuple[Floats, ...]]


@dataclass(frozen=True)
class Oracle:
    """TA-Lib's outputs in the order of ours; see above. ``unlike`` leaves rows out: say why beside it."""

    call: Call
    slack: float | Callable[[Floats], Floats] = SLACK  # or a row's own, from the bars
    unlike: Callable[[Floats, Floats], NDArray[np.bool_]] | None = None  # (bars, ours) -> rows to leave out


def assert_agrees(oracles: Mapping[str, Oracle | Call], bars: Floats) -> None:
    """Every spec of ``oracles`` gives what its oracle gives on ``bars``, (INPUTS, T).

    Raises:
        AssertionError: which output parts first, at which row, with both values.
    """
    specs = [Spec.parse(text) for text in oracles]
    ours = compute(specs, bars, chunk=4096)
    problems: list[str] = []
    row = 0
    for spec, oracle in zip(specs, oracles.values(), strict=True):
        oracle = oracle if isinstance(oracle, Oracle) else Oracle(oracle)
        theirs = oracle.call(bars)
        theirs = theirs if isinstance(theirs, tuple) else (theirs,)
        outputs = spec.known.outputs
        assert len(theirs) == len(outputs), f"{spec}: {len(outputs)} outputs, the oracle gives {len(theirs)}"
        mine = ours[row : row + len(outputs)]
        row += len(outputs)
        left_out = oracle.unlike(bars, mine) if oracle.unlike else np.zeros(bars.shape[1], dtype=bool)
        for output, column, a, b in zip(outputs, spec.columns, mine, theirs, strict=True):
            slack = _slack(oracle, output, bars)
            problems += _differences(column, np.where(left_out, b, a), b, slack)
    assert not problems, "\n".join(problems)


def _slack(oracle: Oracle, output: Output, bars: Floats) -> Floats:
    """The absolute tolerance of each row."""
    price = np.maximum.accumulate(bars[HIGH])
    volume = np.maximum.accumulate(np.nan_to_num(bars[VOLUME]))
    bound = max([1.0, *(abs(x) for x in (output.low, output.high) if x is not None)])
    scale: Floats = price**output.prices * volume**output.volumes * bound
    if callable(oracle.slack):
        return np.fmax(SLACK * scale, oracle.slack(bars))
    return oracle.slack * scale


def _differences(column: str, ours: Floats, theirs: Floats, slack: Floats) -> list[str]:
    ours_from, theirs_from = (int(np.argmin(np.isnan(x))) if len(x) else 0 for x in (ours, theirs))
    if not np.array_equal(np.isnan(ours), np.isnan(theirs)):
        return [f"{column}: NaN in other places: first value at {ours_from}, the oracle's at {theirs_from}"]
    apart = np.abs(ours - theirs)
    bad = apart > np.maximum(RELATIVE * np.abs(theirs), slack)
    bad[np.isnan(ours)] = False
    if not bad.any():
        return []
    at = int(np.argmax(bad))
    worst = int(np.nanargmax(np.where(bad, apart, -1)))
    both = [f"row {row}: ours {ours[row]!r}, its {theirs[row]!r}" for row in (at, worst)]
    return [f"{column}: {bad.sum()} of {len(ours)} rows differ; first and worst {'; '.join(both)}"]
