"""backtesting.py on the bars of a file, one instrument after another: two moving averages that cross.

    _backtesting.py BARS.npy FAST SLOW FEE

``BARS`` is (5, T, instruments): open, high, low, close, volume. Prints JSON: ``seconds`` of all runs but the
first, ``runs`` and their ``trades``. Imports nothing of ours.
"""

import json
import os
import sys
import time
import warnings

import numpy as np

warnings.filterwarnings("ignore")
os.environ.setdefault("TQDM_DISABLE", "1")

import pandas as pd  # noqa: E402
from backtesting import Backtest, Strategy  # noqa: E402
from backtesting.lib import crossover  # noqa: E402


def mean(values: np.ndarray, window: int) -> np.ndarray:
    return pd.Series(values).rolling(window).mean().to_numpy()


class Cross(Strategy):
    fast, slow = 10, 50

    def init(self) -> None:
        self.quick = self.I(mean, self.data.Close, self.fast)
        self.late = self.I(mean, self.data.Close, self.slow)

    def next(self) -> None:
        if crossover(self.quick, self.late):
            self.position.close()
            self.buy()
        elif crossover(self.late, self.quick):
            self.position.close()
            self.sell()


def main(file: str, fast: int, slow: int, fee: float) -> None:
    bars = np.load(file)
    Cross.fast, Cross.slow = fast, slow
    index = pd.date_range("2024-01-01", periods=bars.shape[1], freq="1min")
    names = ["Open", "High", "Low", "Close", "Volume"]
    tables = [pd.DataFrame(bars[:, :, n].T, index=index, columns=names) for n in range(bars.shape[2])]
    seconds, trades = [], 0
    for table in tables:
        begun = time.perf_counter()
        found = Backtest(table, Cross, cash=10_000_000, commission=fee).run()
        seconds.append(time.perf_counter() - begun)
        trades += int(found["# Trades"])
    print(json.dumps({"seconds": sum(seconds[1:]), "runs": len(seconds) - 1, "trades": trades}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
