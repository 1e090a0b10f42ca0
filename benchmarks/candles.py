"""Stored trades to 1m candles, against polars and DuckDB on the same trades in zstd Parquet.

Ours starts from the bytes of the stored events, decoding included, and makes all of a candle, exact quote
volume too. The peers start from a Parquet file in the page cache whose rows are in order already, with
integer columns, and make open, high, low, close, volume and count; each runs its fastest query that is
right. Everybody has two threads and ends with the same values, which is checked. Ours takes trades in any
order; polars is also shown with a hint that makes grouping needless, for what it is worth.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.store.columnar import decode_trades
from alphapulse.domain.market import kernels as k
from alphapulse.domain.market.candles import Batch, Table, extent, fold_batches
from alphapulse.domain.market.columns import TradeColumns
from alphapulse.domain.market.events import TradesObserved
from alphapulse.domain.market.generate import TapeSpec, tape
from alphapulse.domain.market.instrument import Instrument

TRADES, BATCH = 10_000_000, 10_000
GROUP = 16  # events
THREADS = 2
ROUNDS = 3
MINUTE = 60_000_000_000
TOLD = "polars, told that the rows are sorted by minute,"

Rows = np.ndarray[Any, np.dtype[np.int64]]  # minute, open, high, low, close, volume, count


def run() -> Iterator[dict[str, Any]]:
    chunks = [c.trades for c in tape(TapeSpec(), np.random.default_rng(1), rows=TRADES, chunk_rows=BATCH)]
    instrument = Instrument("bench", "BTC_USD")
    stored = [codec.encode(TradesObserved(instrument=instrument, columns=c)).state for c in chunks]
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "trades.parquet")
        write_parquet(chunks, path)
        sides = {"ours": lambda: ours(stored), **peers(path)}
        fold_only(chunks[:2])  # compile, or load what was compiled
        seconds, values = in_turn(sides)
    for name, rows in values.items():
        assert np.array_equal(rows, values["ours"]), f"{name} made other candles"
    best = min((n for n in sides if n not in ("ours", TOLD)), key=seconds.__getitem__)
    for peer, goal in ((best, 1.0), (TOLD, None)):
        yield {
            "name": "stored bytes to 1m candles, all values equal",
            "peer": f"{peer} from zstd Parquet",
            "ours": TRADES / seconds["ours"] / 1e6,
            "theirs": TRADES / seconds[peer] / 1e6,
            "unit": "M trades/s",
            "ratio": seconds[peer] / seconds["ours"],
            "goal": goal,
        }
    begun = time.perf_counter()
    fold_only(chunks)
    rate = TRADES / (time.perf_counter() - begun)
    yield {
        "name": "1m fold of decoded trades, one thread",
        "peer": "our goal of 40M trades/s",
        "ours": rate / 1e6,
        "theirs": 40.0,
        "unit": "M trades/s",
        "ratio": rate / 40e6,
        "goal": 1.0,
    }


def ours(stored: Sequence[bytes]) -> Rows:
    """Decode and fold in two halves, each in a thread, a few events at a time: they stay in the cache."""
    middle = len(stored) // THREADS
    with ThreadPoolExecutor(THREADS) as pool:
        parts = pool.map(decode_and_fold, (stored[:middle], stored[middle:]))
        return as_rows(merged([table for part in parts for table in part]))


def decode_and_fold(stored: Sequence[bytes]) -> list[Table]:
    groups = (stored[i : i + GROUP] for i in range(0, len(stored), GROUP))
    return [fold_only([decode_trades(state).columns for state in group]) for group in groups]


def merged(tables: Sequence[Table]) -> Table:
    """Bars of the same minute, from different groups, become one."""
    table = np.concatenate(tables)
    table = table[np.argsort(table[:, k.MINUTE], kind="stable")]
    found = np.empty_like(table)
    return found[: k.roll_up(table, 1, 0, np.empty((0, 3), dtype=np.int64), found)]


def fold_only(chunks: Sequence[TradeColumns]) -> Table:
    batches = [Batch(c, extent(c), i + 1, 0) for i, c in enumerate(chunks)]
    (partial,) = fold_batches(batches, timeframes=(1,))
    return partial.tables[1]


def as_rows(table: Table) -> Rows:
    assert not table[:, k.BASE_HI].any(), "these volumes fit 64 bits"
    return table[:, [k.MINUTE, k.OPEN, k.HIGH, k.LOW, k.CLOSE, k.BASE_LO, k.COUNT]]


def write_parquet(chunks: Sequence[TradeColumns], path: str) -> None:
    names = ("time", "id", "price", "size", "side")
    whole = {name: np.concatenate([getattr(c, name) for c in chunks]) for name in names}
    order = np.lexsort((whole["id"], whole["time"]))
    pq.write_table(pa.table({n: whole[n][order] for n in names}), path, compression="zstd")


def peers(path: str) -> dict[str, Callable[[], Rows]]:
    os.environ["POLARS_MAX_THREADS"] = str(THREADS)
    import duckdb
    import polars as pl

    bars = [
        pl.col("price").first().alias("open"),
        pl.col("price").max().alias("high"),
        pl.col("price").min().alias("low"),
        pl.col("price").last().alias("close"),
        pl.col("size").sum(),
        pl.len().cast(pl.Int64).alias("count"),
    ]

    def polars(engine: Any) -> Rows:
        columns = pl.scan_parquet(path).select(pl.col("time") // MINUTE, "price", "size")
        grouped = columns.group_by("time").agg(bars).sort("time")
        return grouped.collect(engine=engine).to_numpy()

    def sorted_polars() -> Rows:
        columns = pl.scan_parquet(path).select(pl.col("time") // MINUTE, "price", "size")
        grouped = columns.with_columns(pl.col("time").set_sorted()).group_by("time", maintain_order=True)
        return grouped.agg(bars).collect().to_numpy()

    connection = duckdb.connect(config={"threads": THREADS})

    def duck(first: str, last: str) -> Rows:
        found = connection.execute(
            f"SELECT time // {MINUTE} AS minute, {first}, max(price), min(price), {last}, "
            "sum(size)::BIGINT, count(*) FROM read_parquet(?) GROUP BY minute ORDER BY minute",
            [path],
        ).fetchnumpy()
        return np.column_stack([np.asarray(column, dtype=np.int64) for column in found.values()])

    return {
        "polars": lambda: polars("in-memory"),
        "polars streaming": lambda: polars("streaming"),
        TOLD: sorted_polars,
        "DuckDB": lambda: duck("arg_min(price, id)", "arg_max(price, id)"),
    }


def in_turn(sides: dict[str, Callable[[], Rows]]) -> tuple[dict[str, float], dict[str, Rows]]:
    """The median seconds of each side, taken in turn after one round that does not count, and its values."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    values: dict[str, Rows] = {}
    for number in range(ROUNDS + 1):
        for name, side in sides.items():
            begun = time.perf_counter()
            values[name] = side()
            if number:
                seconds[name].append(time.perf_counter() - begun)
    return {name: median(each) for name, each in seconds.items()}, values
