"""Import of packed CSV files into the durable log, end to end: unpack, parse, judge, de-duplicate, append.

On the eight bitFlyer days of the data folder where it is, else on generated files of the same size. The
peer is what one writes first: gzip and csv modules, and COPY of one row a
trade into a table without index, in one transaction, nothing checked and nothing recognised as a repeat.
"""

import asyncio
import csv
import gzip
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from alphapulse.adapters.files.write import HEADER, open_text, write_trades
from alphapulse.adapters.store.memory import MemoryEventStore
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.market.generate import TapeSpec, tape
from alphapulse.domain.market.instrument import Instrument
from alphapulse.processes.importing import import_trades
from benchmarks.store import faster, in_turn, server

WANTED = 600_000  # trades a second of one process
BLOCK_BYTES = 1 << 20  # of COPY text in one write


def run() -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="alphapulse-bench-") as folder, server() as database:
        files, what = _files(Path(folder))
        asyncio.run(_import(MemoryEventStore(), files[:1]))  # kernels are loaded once a process
        rows = 0
        cpu: list[float] = []
        again: list[float] = []

        def ours() -> float:
            nonlocal rows
            seconds, rows, used, repeat = asyncio.run(_twice(database(), files))
            cpu.append(used)
            again.append(repeat)
            return seconds

        our_s, their_s = in_turn(ours, lambda: _copy(database(), files))
        name = f"import of {what}, packed CSV to durable log"
        yield faster(name, "csv module and COPY, unchecked", rows / our_s, rows / their_s, "trades/s", 1.0)
        yield faster(name, "our goal", rows / our_s, WANTED, "trades/s", 1.0)
        yield faster(f"{name}, CPU time", "our goal", rows / min(cpu), WANTED, "trades/CPU-s", 1.0)
        yield faster(
            "the same files again: nothing is added", "our goal", rows / min(again), WANTED, "trades/s", 1.0
        )


def _files(folder: Path) -> tuple[Sequence[Path], str]:
    data = Path(os.environ.get("ALPHAPULSE_DATA", "../shared/data")) / "trades" / "bitflyer"
    found = sorted(data.glob("*.BTC_JPY.csv.gz"))
    if found:
        return found, "bitFlyer days"
    path = folder / "tape.csv.gz"
    with open_text(path) as out:
        out.write(HEADER)
        for chunk in tape(TapeSpec(), np.random.default_rng(1), rows=1_000_000):
            write_trades(out, Instrument("sim", "BTC_USD"), chunk.trades)
    return [path], "a generated file"


async def _twice(url: str, files: Sequence[Path]) -> tuple[float, int, float, float]:
    """Seconds and rows of a first import, its CPU seconds, and the seconds of a second one."""
    async with PostgresEventStore(url) as store:
        used, begun = time.process_time(), time.perf_counter()
        rows = await _import(store, files)
        seconds, used = time.perf_counter() - begun, time.process_time() - used
        head, begun = await store.head(), time.perf_counter()
        await _import(store, files)
        again = time.perf_counter() - begun
        assert await store.head() == head
        return seconds, rows, used, again


async def _import(store: Any, files: Sequence[Path]) -> int:
    return sum([(await import_trades(path, store)).rows for path in files])


def _copy(url: str, files: Sequence[Path]) -> float:
    begun = time.perf_counter()
    with psycopg.connect(url) as db, db.cursor() as cursor:
        cursor.execute("CREATE TABLE rows (time text, price numeric, size numeric, side text, id bigint)")
        with cursor.copy("COPY rows FROM STDIN") as copy:
            for path in files:
                _copy_file(path, copy.write)
    return time.perf_counter() - begun


def _copy_file(path: Path, write: Callable[[str], None]) -> None:
    with gzip.open(path, "rt", newline="") as text:
        rows = csv.reader(text)
        names = next(rows)
        wanted = [next(names.index(n) for n in options if n in names) for options in _COLUMNS]
        block: list[str] = []
        size = 0
        for row in rows:
            line = "\t".join(row[c] for c in wanted) + "\n"
            block.append(line)
            size += len(line)
            if size > BLOCK_BYTES:
                write("".join(block))
                block, size = [], 0
        write("".join(block))


_COLUMNS = (("exec_date", "time"), ("price",), ("size",), ("side",), ("id",))
