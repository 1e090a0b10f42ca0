"""vectorbt's portfolio of given entries and exits; run by the Python of .venv-bench.

    vectorbt_portfolio.py GIVEN.npz FOUND.npz [SIZE_TYPE FEE] ...

``GIVEN``: for each pair of SIZE_TYPE and FEE, numbered from 0, ``close0`` (n,), ``side0`` (n,) 1, -1 or 0
where one is opened, ``exits0`` (n,) and ``size0`` (n,). ``FOUND``: ``equity0`` (n,) after each bar, beginning
with 1, and ``bar0``, of each order.
"""

import sys
import warnings

import numpy as np

warnings.filterwarnings("ignore")

import vectorbt as vbt  # noqa: E402  its own warnings are none of ours


def main(given: str, found: str, *kinds: str) -> None:
    its, told = np.load(given), {}
    for n, (size_type, fee) in enumerate(zip(kinds[::2], kinds[1::2], strict=True)):
        side, exits = its[f"side{n}"], its[f"exits{n}"]
        portfolio = vbt.Portfolio.from_signals(
            its[f"close{n}"],
            entries=side > 0,
            exits=exits > 0,
            short_entries=side < 0,
            short_exits=exits < 0,
            size=its[f"size{n}"],
            size_type=size_type,
            fees=float(fee),
            init_cash=1.0,
            freq="1min",
        )
        told[f"equity{n}"] = np.asarray(portfolio.value())
        told[f"bar{n}"] = portfolio.orders.values["idx"]
    np.savez(found, **told)


if __name__ == "__main__":
    main(*sys.argv[1:])
