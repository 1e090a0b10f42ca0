"""NautilusTrader's compiled indicators on the bars of a file; run by the Python of .venv-nautilus.

    _nautilus.py BARS.npy VALUES.npy CLOSES

``BARS`` is (5, T, slots): open, high, low, close, volume. The last ``CLOSES`` bars are timed, bar by bar, by
``update_raw``: its fastest way in. Writes the last values, (outputs, slots), and prints the seconds of each
bar. Imports nothing of ours.
"""

import json
import sys
import time
from typing import Any

import numpy as np

CLOSE, HIGH_LOW, HIGH_LOW_CLOSE = (3,), (1, 2), (1, 2, 3)


def made() -> list[tuple[Any, tuple[int, ...], tuple[str, ...]]]:
    """An indicator, what it is fed, and which of its values count: analysis.NAUTILUS in its order."""
    from nautilus_trader import indicators as n

    wilder = n.MovingAverageType.WILDER
    return [
        (n.SimpleMovingAverage(30), CLOSE, ("value",)),
        (n.ExponentialMovingAverage(30), CLOSE, ("value",)),
        (n.WeightedMovingAverage(30, np.arange(1.0, 31.0)), CLOSE, ("value",)),
        (n.DoubleExponentialMovingAverage(30), CLOSE, ("value",)),
        (n.RelativeStrengthIndex(14, wilder), CLOSE, ("value",)),
        (n.MovingAverageConvergenceDivergence(12, 26), CLOSE, ("value",)),
        (n.Stochastics(14, 3), HIGH_LOW_CLOSE, ("value_k",)),
        (n.CommodityChannelIndex(14), HIGH_LOW_CLOSE, ("value",)),
        (n.RateOfChange(11), CLOSE, ("value",)),
        (n.AroonOscillator(14), HIGH_LOW, ("aroon_up", "aroon_down", "value")),
        (n.AverageTrueRange(14, wilder), HIGH_LOW_CLOSE, ("value",)),
        (n.BollingerBands(20, 2.0), CLOSE * 3, ("upper", "middle", "lower")),
        (n.DonchianChannel(20), HIGH_LOW, ("upper", "middle", "lower")),
    ]


def feed(updates: list[list[tuple[Any, tuple[int, ...]]]], bar: list[list[float]]) -> None:
    for instrument, row in zip(updates, bar, strict=True):
        for update, fields in instrument:
            update(*[row[f] for f in fields])


def main(bars_file: str, values_file: str, closes: int) -> None:
    bars = np.load(bars_file)
    instruments = [made() for _ in range(bars.shape[2])]
    updates = [[(i.update_raw, fields) for i, fields, _ in each] for each in instruments]
    rows = bars.transpose(1, 2, 0).tolist()  # Python's floats, made before the clock runs
    for bar in rows[:-closes]:
        feed(updates, bar)
    seconds = []
    for bar in rows[-closes:]:
        begun = time.perf_counter()
        feed(updates, bar)
        seconds.append(time.perf_counter() - begun)
    values = [[getattr(i, name) for i, _, names in each for name in names] for each in instruments]
    np.save(values_file, np.array(values, dtype=np.float64).T)
    print(json.dumps(seconds))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
