"""vectorbt on the closes of a file: its moving averages, their crossings, and a portfolio of each instrument.

    _vectorbt.py CLOSES.npy FAST SLOW FEE ROUNDS

``CLOSES`` is (T, instruments). Prints JSON: ``seconds`` of each round after the first, which compiles, the
``orders`` and the sum of the ``returns`` of the last. Imports nothing of ours.
"""

import json
import sys
import time
import warnings

import numpy as np

warnings.filterwarnings("ignore")

import vectorbt as vbt  # noqa: E402  its own warnings are none of ours


def crossed(closes: np.ndarray, fast: int, slow: int, fee: float) -> "vbt.Portfolio":
    quick, slow_mean = vbt.MA.run(closes, fast), vbt.MA.run(closes, slow)
    entries, exits = quick.ma_crossed_above(slow_mean), quick.ma_crossed_below(slow_mean)
    return vbt.Portfolio.from_signals(closes, entries.values, exits.values, fees=fee, freq="1min")


def main(file: str, fast: int, slow: int, fee: float, rounds: int) -> None:
    closes = np.load(file)
    seconds, orders, total = [], 0, 0.0
    for _ in range(1 + rounds):
        begun = time.perf_counter()
        portfolio = crossed(closes, fast, slow, fee)
        orders, total = int(portfolio.orders.count().sum()), float(portfolio.total_return().sum())
        seconds.append(time.perf_counter() - begun)
    print(json.dumps({"seconds": seconds[1:], "orders": orders, "returns": total}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5]))
