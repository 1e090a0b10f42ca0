"""Importing: every trade once, whatever is interrupted, repeated, or done by two at once."""

import asyncio
import gzip
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alphapulse.adapters.files.open import Naming
from alphapulse.adapters.files.reader import UnreadableFile
from alphapulse.adapters.files.write import HEADER, open_text, write_trades
from alphapulse.adapters.store import codec
from alphapulse.adapters.store.memory import MemoryEventStore
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.market.columns import TradeColumns
from alphapulse.domain.market.events import ImportFinished, RowsRefused, TradesObserved
from alphapulse.domain.market.generate import TapeSpec, tape
from alphapulse.domain.market.instrument import Instrument
from alphapulse.domain.ports import EventStore, StoreUnavailable
from alphapulse.processes import importing
from alphapulse.processes.importing import ImportBroken, TooManyRefused, import_bars, import_trades

BTC = Instrument("sim", "BTC_USD")
TRADES, REFUSALS = BTC.stream("trades"), BTC.stream("refusals")


@pytest.fixture(params=["memory", "postgres"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[EventStore]:
    if request.param == "memory":
        yield MemoryEventStore()
    else:
        async with PostgresEventStore(request.getfixturevalue("database_url")) as real:
            yield real


def write_file(path: Path, rows: int = 25_000, seed: int = 1, extra: Sequence[str] = (), **spec: Any) -> Path:
    """A file of generated trades, then the lines ``extra``."""
    with open_text(path) as out:
        out.write(HEADER)
        for chunk in tape(TapeSpec(**spec), np.random.default_rng(seed), rows=rows):
            write_trades(out, BTC, chunk.trades)
        out.writelines(f"{line}\n" for line in extra)
    return path


async def log_of(store: EventStore, stream: str = TRADES) -> list[Any]:
    events: list[Any] = []
    version = 0
    while records := await store.read_stream(stream, after=version, limit=100):
        events += [codec.decode(r).event for r in records]
        version = records[-1].version
    return events


def rows_of(events: Sequence[TradesObserved]) -> list[tuple[int, ...]]:
    """Every trade of ``events``, with prices and sizes at 18 decimals."""
    return sorted(row for e in events for row in _rows(e.columns))


def _rows(c: TradeColumns) -> list[tuple[int, ...]]:
    price, size = 10 ** (18 - c.price_exponent), 10 ** (18 - c.size_exponent)
    columns = [column.tolist() for column in (c.id, c.time, c.price, c.size, c.side, c.flags)]
    return [
        (i, t, p * price, s * size, side, flags) for i, t, p, s, side, flags in zip(*columns, strict=True)
    ]


def generated(rows: int = 25_000, seed: int = 1, **spec: Any) -> list[tuple[int, ...]]:
    chunks = tape(TapeSpec(**spec), np.random.default_rng(seed), rows=rows)
    return sorted(row for c in chunks for row in _rows(c.trades))


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many chunks a file, so that their seams are many too."""
    monkeypatch.setattr("alphapulse.adapters.files.source.read_block.__defaults__", (200_000,))


async def test_a_file_comes_into_the_log_exactly_and_a_second_time_adds_nothing(
    store: EventStore, tmp_path: Path
) -> None:
    path = write_file(tmp_path / "t.csv.gz", extra=["sim,BTC_USD,9,x,,1,1,buy", "too,few"])
    done = await import_trades(path, store)
    assert (done.rows, done.accepted, done.duplicates, done.refused) == (25_002, 25_000, 0, 2)
    assert rows_of(await log_of(store)) == generated()
    head = await store.head()
    again = await import_trades(path, store)
    assert (again.accepted, again.duplicates, again.refused, again.events) == (0, 25_000, 2, 0)
    assert await store.head() == head


async def test_batches_hold_at_most_ten_thousand_ordered_rows_and_their_bounds(
    store: EventStore, tmp_path: Path
) -> None:
    await import_trades(write_file(tmp_path / "t.csv"), store)
    for record in await store.read_stream(TRADES):
        columns = codec.decode(record).event.columns
        assert len(columns) <= 10_000
        assert (np.diff(columns.id) > 0).all()
        assert (record.id_lo, record.id_hi) == (columns.id[0], columns.id[-1])
        assert record.envelope.event_time == columns.time.max()
        assert record.envelope.actor == "import"


async def test_disorder_repeats_and_blank_times_end_in_each_trade_once(
    store: EventStore, tmp_path: Path, small_chunks: None
) -> None:
    spec: dict[str, Any] = {"duplicate_ratio": 0.05, "blank_time_ratio": 0.02, "shuffled": True}
    path = write_file(tmp_path / "t.csv", rows=30_000, **spec)
    done = await import_trades(path, store)
    wanted = sorted(set(generated(30_000, **spec)))
    assert rows_of(await log_of(store)) == wanted
    assert (done.accepted, done.duplicates, done.refused) == (len(wanted), 30_000 - len(wanted), 0)
    assert sum(row[5] for row in wanted) > 300


async def test_two_importers_of_one_file_at_once_end_with_every_trade_once(
    store: EventStore, tmp_path: Path, small_chunks: None
) -> None:
    path = write_file(tmp_path / "t.csv", extra=["sim,BTC_USD,9,x,,1,1,buy"])
    await asyncio.gather(*(import_trades(path, store) for _ in range(3)))
    assert rows_of(await log_of(store)) == generated()
    (finished,) = await log_of(store, f"imports-{(await import_trades(path, store)).sha256}")
    assert finished.rows == 25_001
    (refused,) = await log_of(store, REFUSALS)
    assert [r.row for r in refused.rows] == [25_001]


async def test_importers_of_overlapping_files_at_once_end_with_every_trade_once(
    store: EventStore, tmp_path: Path, small_chunks: None
) -> None:
    whole = write_file(tmp_path / "a.csv", 30_000)
    lines = whole.read_text().splitlines(keepends=True)
    late = tmp_path / "b.csv"
    late.write_text(HEADER + "".join(lines[8_001:]))
    mixed = lines[1:]
    random.Random(3).shuffle(mixed)
    (tmp_path / "c.csv").write_text(HEADER + "".join(mixed))
    done = await asyncio.gather(*(import_trades(p, store) for p in (whole, late, tmp_path / "c.csv")))
    assert rows_of(await log_of(store)) == generated(30_000)
    assert sum(d.accepted for d in done) >= 30_000  # a commit that two make alike counts for both
    assert [d.refused for d in done] == [0, 0, 0]


async def test_an_import_that_dies_at_any_moment_goes_on_when_run_again(
    tmp_path: Path, small_chunks: None
) -> None:
    path = write_file(tmp_path / "t.csv", 12_000, extra=["sim,BTC_USD,9,x,,1,1,buy", "bad"])
    calm = MemoryEventStore()
    await import_trades(path, calm)
    rng = random.Random(5)
    deaths = 0

    def fail(moment: str) -> None:
        nonlocal deaths
        if rng.random() < 0.12:
            deaths += 1
            raise StoreUnavailable(moment)

    store = MemoryEventStore(fail=fail)
    for _ in range(1_000):
        try:
            await import_trades(path, store)
            break
        except StoreUnavailable:
            continue
    rng.random = lambda: 1.0  # type: ignore[method-assign]  # no more deaths
    assert deaths > 5
    assert rows_of(await log_of(store)) == generated(12_000)
    assert await log_of(store, REFUSALS) == await log_of(calm, REFUSALS)
    head = await store.head()
    await import_trades(path, store)
    assert await store.head() == head


IMPORT = """
import asyncio, sys
from pathlib import Path
from alphapulse.adapters.files import source
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.processes.importing import import_trades

source.read_block.__defaults__ = (200_000,)

async def main():
    async with PostgresEventStore(sys.argv[1]) as store:
        await import_trades(Path(sys.argv[2]), store)

asyncio.run(main())
"""


async def test_an_importer_killed_while_it_appends_loses_and_repeats_nothing(
    database_url: str, tmp_path: Path
) -> None:
    path = write_file(tmp_path / "t.csv", 60_000, extra=["bad"])
    async with PostgresEventStore(database_url) as store:
        for wanted in (2, 9, 17):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", IMPORT, database_url, str(path)
            )
            while await store.version(TRADES) < wanted and process.returncode is None:
                await asyncio.sleep(0.002)
            if process.returncode is None:
                process.kill()
            await process.wait()
        done = await import_trades(path, store)
        assert done.accepted + done.duplicates == 60_000
        assert rows_of(await log_of(store)) == generated(60_000)
        assert [len(e.rows) for e in await log_of(store, REFUSALS)] == [1]
        assert len(await log_of(store, f"imports-{done.sha256}")) == 1


async def test_refused_rows_are_kept_with_reason_and_text_beside_the_accepted(
    store: EventStore, tmp_path: Path
) -> None:
    bad = {
        "sim,BTC_USD,100000001,1704067200000000000,,NaN,1,buy": "price 'NaN' is not a number",
        "sim,BTC_USD,100000002,1704067200000000000,,1,-0.5,buy": "size '-0.5' is not above 0",
        "sim,BTC_USD,100000003,1704067200000000000,,1e30,1,buy": "price '1e30' is out of range",
        "sim,BTC_USD,100000004,9999999999999999999,,1,1,buy": "time '9999999999999999999' is out of range",
        "sim,BTC_USD,100000005,,,1,1,buy": "time is blank",
        "sim,BTC_USD,100000006,1704067200000000000,,,1,buy": "price is blank",
        "sim,BTC_USD,100000007,1704067200000000000,,1,1,hold": "side 'hold' is neither a buy nor a sell",
        "sim,BTC_USD,1e2x,1704067200000000000,,1,1,buy": "id '1e2x' cannot be read",
        "sim,BTC_USD,100000008,1704067200000000000,,1e-19,1,buy":
            "price '1e-19' has more digits than int64 and 18 decimals hold",
        HEADER.strip().replace("venue,symbol", "sim,BTC_USD"): "time 'time' cannot be read",
        "sim,BTC_USD,1": "too few or too many fields",
    }  # fmt: skip
    path = write_file(tmp_path / "t.csv", 100, extra=list(bad))
    done = await import_trades(path, store)
    assert (done.accepted, done.refused) == (100, len(bad))
    events = [
        e
        for s in (REFUSALS, "refusals-sim-unknown", "refusals-unknown-unknown")
        for e in await log_of(store, s)
    ]
    assert all(isinstance(e, RowsRefused) and e.sha256 == done.sha256 and e.source == "t.csv" for e in events)
    kept = {r.row: (r.raw, r.reason) for e in events for r in e.rows}
    assert kept == {101 + i: item for i, item in enumerate(bad.items())}
    assert [r.row for r in done.first_refusals] == list(range(101, 111))


async def test_an_id_that_the_log_holds_with_other_values_is_refused_and_kept(
    store: EventStore, tmp_path: Path
) -> None:
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    first.write_text(HEADER + "sim,BTC_USD,7,1704067200000000000,,10.5,1,buy\n")
    second.write_text(
        HEADER
        + "sim,BTC_USD,7,1704067200000000000,,10.6,1,buy\nsim,BTC_USD,8,1704067200000000000,,10.25,1,buy\n"
    )
    await import_trades(first, store)
    for _ in range(2):
        done = await import_trades(second, store)
        assert done.refused == 1
    (refused,) = await log_of(store, REFUSALS)
    assert [r.row for r in refused.rows] == [1]
    assert "id 7 was accepted before with other values: " in refused.rows[0].reason
    batches = await log_of(store)
    assert [e.columns.id.tolist() for e in batches] == [[7], [8]]
    assert [e.columns.price_exponent for e in batches] == [1, 2]  # widened by the finer price


async def test_a_coarser_file_keeps_the_exponent_of_its_stream(store: EventStore, tmp_path: Path) -> None:
    for name, price in (("a", "10.125"), ("b", "11")):
        (tmp_path / name).write_text(HEADER + f"sim,BTC_USD,{ord(name)},1704067200000000000,,{price},1,buy\n")
        await import_trades(tmp_path / name, store)
    assert [e.columns.price_exponent for e in await log_of(store)] == [3, 3]


async def test_the_end_of_a_file_is_told_once_with_its_counts(store: EventStore, tmp_path: Path) -> None:
    path = write_file(tmp_path / "t.csv", 500, extra=["sim,ETH_USD,1,1704067200000000000,,1,1,buy"])
    done = await import_trades(path, store)
    events: list[ImportFinished] = await log_of(store, f"imports-{done.sha256}")
    assert [(e.symbol, e.rows, e.accepted, e.format, e.source) for e in events] == [
        ("BTC_USD", 500, 500, "alphapulse", "t.csv"),
        ("ETH_USD", 1, 1, "alphapulse", "t.csv"),
    ]
    assert (events[0].time_lo, events[0].time_hi) == (generated(500)[0][1], generated(500)[-1][1])


async def test_a_file_that_cannot_be_read_leaves_the_store_as_it_was(
    store: EventStore, tmp_path: Path
) -> None:
    packed = gzip.compress(write_file(tmp_path / "t.csv", 5_000).read_bytes())
    (tmp_path / "cut.gz").write_bytes(packed[:-1000])
    (tmp_path / "noise").write_bytes(random.Random(1).randbytes(10_000))
    for name in ("cut.gz", "noise"):
        with pytest.raises((UnreadableFile, ImportBroken)):
            await import_trades(tmp_path / name, store)
    assert await store.head() == 0


async def test_a_file_that_breaks_in_the_middle_leaves_whole_batches_and_can_be_imported_when_mended(
    store: EventStore, tmp_path: Path, small_chunks: None
) -> None:
    path = write_file(tmp_path / "t.csv.gz")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImportBroken, match=r"t\.csv\.gz: broken or cut off after line") as caught:
        await import_trades(path, store)
    kept = rows_of(await log_of(store))
    assert 0 < len(kept) == caught.value.so_far.accepted < 25_000
    assert kept == generated()[: len(kept)]
    path.write_bytes(whole)
    done = await import_trades(path, store)
    assert (done.accepted, done.duplicates) == (25_000 - len(kept), len(kept))
    assert rows_of(await log_of(store)) == generated()


async def test_a_cut_off_file_without_ids_is_refused_whole_since_half_of_it_could_not_be_told_apart(
    store: EventStore, tmp_path: Path, small_chunks: None
) -> None:
    text = "time_seconds,price,size,is_buyer_maker\n" + "1625097621.647,2278.15,0.0409,1\n" * 60_000
    packed = gzip.compress(text.encode())
    (tmp_path / "t.csv.gz").write_bytes(packed[:-20])
    with pytest.raises(UnreadableFile, match="cut off"):
        await import_trades(tmp_path / "t.csv.gz", store, naming=Naming(symbol="ETH_USD"))
    assert await store.head() == 0


async def test_equal_rows_of_a_file_without_ids_are_all_trades_but_only_once(
    store: EventStore, tmp_path: Path
) -> None:
    text = "time_seconds,price,size,is_buyer_maker\n" + "1625097621.647,2278.15,0.0409,1\n" * 3
    (tmp_path / "t.csv").write_text(text)
    counts = []
    for _ in range(2):
        done = await import_trades(tmp_path / "t.csv", store, naming=Naming(symbol="ETH_USD"))
        counts.append((done.accepted, done.duplicates))
    assert counts == [(3, 0), (0, 3)]


async def test_more_refusals_than_allowed_stop_the_import_before_the_chunk_is_stored(
    store: EventStore, tmp_path: Path
) -> None:
    path = write_file(tmp_path / "t.csv", 10, extra=["sim,BTC_USD,9,x,,1,1,buy"] * 51)
    with pytest.raises(
        TooManyRefused, match=r"over 50 rows refused by row 61; .* row 11: time 'x' cannot be read"
    ):
        await import_trades(path, store, max_refused=50)
    assert await store.head() == 0
    done = await import_trades(path, store, max_refused=51)
    assert (done.accepted, done.refused) == (10, 51)


async def test_many_refusals_are_spread_over_events_of_bounded_size(
    store: EventStore, tmp_path: Path
) -> None:
    wide = "x" * 5_000
    path = write_file(tmp_path / "t.csv", 10, extra=[f"sim,BTC_USD,9,{wide},,1,1,buy"] * 350)
    await import_trades(path, store)
    records = await store.read_stream(REFUSALS)
    assert sum(len(codec.decode(r).event.rows) for r in records) == 350
    assert all(len(codec.decode(r).event.rows) <= importing.MAX_REFUSALS_IN_EVENT for r in records)
    assert all(len(r.state) < 430_000 for r in records)


async def test_progress_rises_from_chunk_to_chunk_to_the_whole(tmp_path: Path, small_chunks: None) -> None:
    seen: list[tuple[int, float]] = []
    path = write_file(tmp_path / "t.csv.gz", 20_000)
    await import_trades(path, MemoryEventStore(), progress=lambda done, part: seen.append((done.rows, part)))
    assert len(seen) > 5
    assert seen == sorted(seen)
    assert seen[-1] == (20_000, 1.0)


BARS = "timestamp,open,high,low,close,volume\n"


async def test_bars_of_a_venue_come_in_once_under_their_timeframe(store: EventStore, tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    path.write_text(
        BARS + "1700000100,2,3,1,2,5.5\n1700000040,1,2,1,2,0\n1700000040,1,2,1,2,0\n1700000160,1,2,3,4,1\n"
    )
    naming = Naming(venue="sim", symbol="BTC_USD")
    counts = []
    for _ in range(2):
        done = await import_bars(path, store, timeframe_minutes=1, naming=naming)
        counts.append((done.rows, done.accepted, done.duplicates, done.refused))
    assert counts == [(4, 2, 1, 1), (4, 0, 3, 1)]
    (event,) = await log_of(store, "bars-sim-BTC_USD-1m")
    assert event.columns.start.tolist() == [1_700_000_040_000_000_000, 1_700_000_100_000_000_000]
    assert (event.timeframe_minutes, event.volume_unit) == (1, "base")
    assert event.columns.volume.tolist() == [0, 55]
    (refused,) = await log_of(store, REFUSALS)
    assert refused.rows[0].reason == "low <= open, close <= high does not hold"


async def test_a_bar_that_differs_from_the_log_is_refused(store: EventStore, tmp_path: Path) -> None:
    naming = Naming(venue="sim", symbol="BTC_USD")
    for name, close in (("a", "2"), ("b", "1.5")):
        (tmp_path / name).write_text(BARS + f"1700000040,1,2,1,{close},0\n")
        done = await import_bars(tmp_path / name, store, timeframe_minutes=1, naming=naming)
    assert done.refused == 1
    assert len(await log_of(store, "bars-sim-BTC_USD-1m")) == 1


MEASURE = """
import asyncio, re, sys
from pathlib import Path
from alphapulse.adapters.files.open import Naming
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.processes.importing import import_trades

async def main():
    async with PostgresEventStore(sys.argv[1]) as store:
        done = await import_trades(Path(sys.argv[2]), store, naming=Naming(symbol=sys.argv[3]))
        # Not ru_maxrss: that one remembers the size of the process which started us.
        peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
        print(done.accepted, int(peak[1]) // 1024)

asyncio.run(main())
"""


def test_memory_stays_below_400_mb_whatever_the_size_of_the_file(database_url: str, tmp_path: Path) -> None:
    """What is kept does not grow with the file, so four times the rows need the same."""
    sizes = []
    for rows in (300_000, 1_200_000):  # 10 and 40 MB of text
        path = tmp_path / f"{rows}.csv.gz"
        text = "time_seconds,price,size,is_buyer_maker\n" + "1625097621.647,2278.15,0.0409,1\n" * rows
        path.write_bytes(gzip.compress(text.encode(), 1))
        words = [sys.executable, "-c", MEASURE, database_url, str(path), f"S{rows}"]
        out = subprocess.run(words, check=True, capture_output=True, text=True)
        accepted, megabytes = map(int, out.stdout.split())
        assert accepted == rows
        sizes.append(megabytes)
    assert max(sizes) < 400
    assert sizes[1] < sizes[0] + 60
