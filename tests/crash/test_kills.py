"""kill -9 of every process at random moments while trades are imported.

Each seed is one schedule: files that overlap, an importer that writes down each acknowledgement, and one
to three victims. Afterwards nothing acknowledged may be missing, no trade may be there twice, read models
must equal a fresh rebuild, the bus must hold each event once and in order, and so must the sealed tree.
"""

import asyncio
import random
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from alphapulse.domain.market.columns import TradeColumns
from alphapulse.domain.market.generate import TapeSpec, tape
from tests.crash.stack import Stack
from tests.servers import open_directory

SEEDS = range(50)
VICTIMS = ("importer", "relay", "seal", "project", "api", "postgres", "nats", "up")
FILES, ROWS, OVERLAP = 24, 600, 60
IMPORT_S = 2.0  # about how long an undisturbed import takes: victims fall within it
ATTEMPTS = 12


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """One stack a worker, that goes through all of the worker's schedules."""
    with open_directory() as directory:
        stack = Stack(directory)
        stack.start()
        yield stack
        stack.ensure()
        assert stack.stop() == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_is_killed_nothing_acknowledged_is_lost_and_no_effect_happens_twice(
    seed: int, stack: Stack, tmp_path: Path
) -> None:
    rng = random.Random(seed)
    symbol = f"S{seed}"
    expected, files = overlapping_files(tmp_path / symbol, seed)
    witness = tmp_path / "witness"
    kills = sorted((rng.uniform(0.2, IMPORT_S), rng.choice(VICTIMS)) for _ in range(rng.randint(1, 3)))
    rng.shuffle(files)

    run_schedule(stack, witness, files, kills)
    finish(stack, witness, files)
    stack.wait_healthy()

    asyncio.run(check(stack, f"trades-crash-{symbol}", expected, acknowledgements(witness)))


def run_schedule(stack: Stack, witness: Path, files: list[Path], kills: list[tuple[float, str]]) -> None:
    stack.ensure()
    began = time.monotonic()
    with stack.importing(witness, files) as importer:
        for moment, victim in kills:
            time.sleep(max(0.0, began + moment - time.monotonic()))
            if victim == "importer":
                importer.kill()
            else:
                stack.kill(victim)
        time.sleep(0.2)


def finish(stack: Stack, witness: Path, files: list[Path]) -> None:
    """Import again until it says that all is in, as its user would."""
    for _ in range(ATTEMPTS):
        stack.ensure()
        with stack.importing(witness, files) as importer:
            _, errors = importer.communicate(timeout=60)
            if importer.returncode == 0:
                return
        time.sleep(0.5)
    raise AssertionError(f"not imported in {ATTEMPTS} attempts: {errors}")


async def check(
    stack: Stack, stream: str, expected: TradeColumns, acknowledged: set[tuple[int, str]]
) -> None:
    assert acknowledged, "the importer was never acknowledged"
    positions = [position for position, _ in acknowledged]
    assert acknowledged <= await stack.events(min(positions) - 1, max(positions))

    stored = await stack.trades(stream)
    ids = np.concatenate([columns.id for columns in stored])
    order = np.argsort(ids, kind="stable")
    assert np.array_equal(ids[order], expected.id), "trades are missing, or there twice"
    for column in ("time", "price", "size", "side"):
        values = np.concatenate([getattr(columns, column) for columns in stored])
        assert np.array_equal(values[order], getattr(expected, column)), column

    assert await stack.differences("candles") is None
    await stack.check_bus()
    await asyncio.to_thread(stack.check_tree)


def acknowledgements(witness: Path) -> set[tuple[int, str]]:
    """Position and event id of each whole line: the last one may have been cut by a kill."""
    lines = [line.split() for line in witness.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return {(int(position), event_id) for position, event_id in lines}


def overlapping_files(folder: Path, seed: int) -> tuple[TradeColumns, list[Path]]:
    """A tape cut into CSV files whose ends repeat the next one's beginning; and the tape itself."""
    folder.mkdir()
    spec = TapeSpec(rate_per_s=1.0)
    (chunk,) = tape(spec, np.random.default_rng(seed), rows=FILES * ROWS, chunk_rows=FILES * ROWS)
    trades = chunk.trades
    sides = {1: "buy", -1: "sell", 0: ""}
    rows = [
        f"{i},{t},{p / 10**trades.price_exponent:.{trades.price_exponent}f},"
        f"{s / 10**trades.size_exponent:.{trades.size_exponent}f},{sides[d]}\n"
        for i, t, p, s, d in zip(
            trades.id.tolist(),
            trades.time.tolist(),
            trades.price.tolist(),
            trades.size.tolist(),
            trades.side.tolist(),
            strict=True,
        )
    ]
    files = []
    for number in range(FILES):
        path = folder / f"{number:03}.csv"
        path.write_text(
            "id,time,price,size,side\n" + "".join(rows[number * ROWS : (number + 1) * ROWS + OVERLAP])
        )
        files.append(path)
    return trades, files
