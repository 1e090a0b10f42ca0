"""A search writes down each configuration once, goes on where it was, and gives the same in any process."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from alphapulse.adapters.files.open import Naming
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.backtest.trials import TrialRecorded
from alphapulse.domain.backtest.variants import Axis, Variant, variants
from alphapulse.processes.backtest_files import File, FileSource, LogSource, NothingToRead, bounds
from alphapulse.processes.backtesting import untold
from alphapulse.processes.searching import RUNS, Search, Searched, search
from alphapulse.processes.sweeping import SweepFailed, Task, process_pool, sweep
from alphapulse.processes.trials import FileTrials, LogTrials
from tests.decided_log import MARKETS, append_bars
from tests.domain.signals.engine_world import START, strategy
from tests.processes.backtest_worlds import ONE, PLAIN, backtest, bar_file, events, market, plain, same

NAMES = ("one", "two", "three")


def three() -> list[Variant]:
    """Configurations of the strategy of the tests, whose voters no other process knows."""
    gates = [msgspec.structs.replace(strategy().gate, threshold=level) for level in (0.55, 0.6, 0.7)]
    return [Variant(name, strategy(gate=gate)) for name, gate in zip(NAMES, gates, strict=True)]


async def searched(source: Any, trials: Any, **how: Any) -> Searched:
    plan = Search(source=source, variants=how.pop("variants", three()), **how)
    async with source.opened() as opened:
        return await search(plan, opened, trials, untold, lambda *_: None)


@pytest.fixture
async def log_of_markets(database_url: str) -> str:
    async with PostgresEventStore(database_url) as store:
        await append_bars(store, MARKETS)
    return database_url


async def test_a_search_leaves_the_log_as_it_was_but_for_its_trials(log_of_markets: str) -> None:
    async with PostgresEventStore(log_of_markets) as store:
        before = await store.head()
        done = await searched(LogSource(log_of_markets), LogTrials(store, "world"))
        added = (await store.read(before)).records
        assert [record.name for record in added] == ["trial.recorded.v1"] * 3
        assert {record.stream for record in added} == {"trials-world"}
        trials: list[TrialRecorded] = await events(store, "trial.recorded.v1")
    assert [cell.name for cell in done.cells] == list(NAMES)
    assert [cell.trial for cell in done.cells] == [trial.trial for trial in trials]
    assert len({trial.group for trial in trials}) == 1
    assert {trial.kind for trial in trials} == {"sweep"}
    assert [trial.configuration for trial in trials] == [variant.strategy for variant in three()]
    assert trials[1].signals >= trials[2].signals > 3
    assert (trials[0].first_position, trials[0].last_position) == (1, before)


async def test_the_same_again_is_not_tried_and_with_again_it_is_still_one_trial(log_of_markets: str) -> None:
    async with PostgresEventStore(log_of_markets) as store:
        first = await searched(LogSource(log_of_markets), LogTrials(store, "world"))
        head = await store.head()
        second = await searched(LogSource(log_of_markets), LogTrials(store, "world"))
        third = await searched(LogSource(log_of_markets), LogTrials(store, "world"), again=True)
        assert (first.passed, second.passed, third.passed) == (0, 3, 0)
        assert first.cells == second.cells == third.cells
        assert await store.head() == head


async def test_other_data_costs_or_latency_are_other_trials(log_of_markets: str) -> None:
    async with PostgresEventStore(log_of_markets) as store:
        trials = LogTrials(store, "world")
        for how in ({}, {"latency_ns": 5}, {"since": START}, {"until": START + 10**15}):
            await searched(LogSource(log_of_markets), trials, variants=three()[:1], **how)
        await searched(LogSource(log_of_markets, upto=20), trials, variants=three()[:1])
        assert len(await trials.known()) == 5
        kinds = {trial.kind for trial in (await trials.known()).values()}
        assert kinds == {"backtest"}


async def test_two_who_try_the_same_at_once_write_it_down_once(log_of_markets: str) -> None:
    async with PostgresEventStore(log_of_markets) as store:
        both = [searched(LogSource(log_of_markets), LogTrials(store, "world")) for _ in range(2)]
        one, other = await asyncio.gather(*both)
        assert one.cells == other.cells
        assert len(await events(store, "trial.recorded.v1")) == 3


async def test_files_give_what_their_log_gives(tmp_path: Path) -> None:
    path = bar_file(tmp_path / "M0.csv", "M0")
    source = FileSource((file_of(path, "M0"),))
    async with source.opened() as opened:
        found = await search(
            Search(source=source, variants=three(), keeps=True, folder=tmp_path),
            opened, FileTrials(tmp_path / "trials.jsonl"), untold, lambda *_: None,
        )  # fmt: skip
        assert [file.name for file in opened.files] == ["M0.csv"]
        assert opened.files[0].rows == 2_000
    store = await market(ONE)
    for variant in three():
        run = await backtest(store, variant.strategy)
        mine, theirs = found.ledgers[variant.name], run.trades.signals
        assert mine.decision.tolist() == theirs.decision.tolist()
        assert mine.net_bps.tolist() == theirs.net_bps.tolist()
        assert len(mine) > 1
    trial, *_ = (await FileTrials(tmp_path / "trials.jsonl").known()).values()
    assert trial.sha256 == (opened.files[0].sha256,)


def file_of(path: Path, symbol: str) -> File:
    naming = Naming(venue="test", symbol=symbol)
    return File(path=path, timeframe=1, file_format="ohlcv", naming=naming)


async def test_files_of_several_markets_are_read_in_one_order_of_time(tmp_path: Path) -> None:
    files = tuple(file_of(bar_file(tmp_path / f"{name}.csv", name, MARKETS), name) for name in ("M0", "M1"))
    ends = []
    for given in (files, files[::-1]):
        async with FileSource(given, 1).opened() as opened:
            records = (await opened.store.read(0, limit=10_000)).records
            times = [record.envelope.event_time for record in records]
            assert times == sorted(times)  # type: ignore[type-var]
            ends.append([(record.stream, record.state) for record in records])
    assert ends[0] == ends[1], "whichever was named first"


async def test_what_was_kept_of_a_run_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    path = bar_file(tmp_path / "M0.csv", "M0")
    source = FileSource((file_of(path, "M0"),))
    trials = FileTrials(tmp_path / "trials.jsonl")
    how: dict[str, Any] = {"keeps": True, "folder": tmp_path}
    first = await searched(source, trials, **how)
    second = await searched(source, trials, **how)
    assert second.passed == 3
    assert all(same(first.ledgers[name], second.ledgers[name]) for name in NAMES)
    kept = sorted((tmp_path / RUNS).iterdir())
    kept[0].write_bytes(b"damaged")
    kept[1].unlink()
    third = await searched(source, trials, **how)
    assert third.passed == 1, "what is damaged or gone is run again"
    assert all(same(first.ledgers[name], third.ledgers[name]) for name in NAMES)
    assert len(await trials.known()) == 3


async def test_a_line_that_was_not_finished_was_never_there(tmp_path: Path) -> None:
    path = bar_file(tmp_path / "M0.csv", "M0")
    source, file = FileSource((file_of(path, "M0"),)), tmp_path / "trials.jsonl"
    await searched(source, FileTrials(file))
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    again = await searched(source, FileTrials(file))
    assert again.passed == 2
    assert sorted(file.read_bytes().splitlines()) == sorted(whole.splitlines())


async def test_a_log_without_markets_is_refused() -> None:
    store = await market(())
    with pytest.raises(NothingToRead, match="up to position 0 the log holds nothing"):
        await bounds(store, await store.head())


async def test_what_others_write_does_not_move_the_end_of_the_data() -> None:
    store = await market(MARKETS[:7])
    found = [await bounds(store, await store.head())]
    trials = LogTrials(store, "world")
    for n in range(150):
        await trials.add(trial(n))
    found.append(await bounds(store, await store.head()))
    await append_bars(store, [replace(MARKETS[8])])
    found.append(await bounds(store, await store.head()))
    assert found == [(1, 7), (1, 7), (1, 158)]


def trial(n: int) -> TrialRecorded:
    return TrialRecorded(
        strategy="world", trial=f"{n}", kind="backtest", group="", configuration=strategy(), source="log",
        sha256=(), first_position=1, last_position=7, first_time=0, last_time=0, settings={}, decisions=0,
        signals=0, trades=0, decisions_digest="", outcomes_digest="", days=0, sharpe=None, figures={},
        code_version="",
    )  # fmt: skip


# -- other processes: strategies of voters that they know too ------------------------------------


def tasks(url: str, upto: int) -> dict[str, Task]:
    found = variants(plain(), [Axis("quorum", ("1", "1.5", "2"))])
    return {v.name: Task(source=LogSource(url), strategy=v.strategy, upto=upto, is_lean=False) for v in found}


async def test_worker_processes_give_what_this_one_gives(log_of_markets: str) -> None:
    wanted = tasks(log_of_markets, len(MARKETS))
    with process_pool(2) as pool:
        others = {name: run async for name, run in sweep(wanted, pool, 2)}
    with ThreadPoolExecutor(1) as pool:
        here = {name: run async for name, run in sweep(wanted, pool, 1)}
    assert others.keys() == here.keys() == wanted.keys()
    for name, run in here.items():
        assert others[name].decisions_digest == run.decisions_digest
        assert others[name].counts == run.counts
        assert run.counts.decisions > 0


async def test_a_configuration_that_cannot_be_run_is_named(log_of_markets: str) -> None:
    bad = plain(code_versions={"atr": 99})
    task = Task(source=LogSource(log_of_markets), strategy=bad, upto=10)
    with (
        ThreadPoolExecutor(1) as pool,
        pytest.raises(SweepFailed, match=r"it: CannotRun: plain\.1: .*99 of atr"),
    ):
        async for _ in sweep({"it": task}, pool, 1):
            pass


def test_workers_have_a_limit() -> None:
    for jobs in (0, 65):
        with pytest.raises(ValueError, match=f"{jobs} jobs: 1 to 64"), process_pool(jobs):
            pass


def running(of: int) -> list[int]:
    """Processes below ``of`` in the tree."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[1]) == of and fields[0] != "Z":
                found += [int(entry.name), *running(int(entry.name))]
    return found


def command(folder: Path, path: Path) -> Sequence[str]:
    definition = path.with_suffix(".json")
    definition.write_bytes(msgspec.json.encode(PLAIN))
    values = ",".join(str(n / 100) for n in range(51, 63))
    return [
        sys.executable, "-c", "from alphapulse.cli import main; main()", "backtest",
        "--definition", str(definition), "--file", str(path), "--bars", "1m", "--format", "ohlcv",
        "--venue", "test", "--symbol", "M0", "--set", f"gate.threshold={values}", "--jobs", "2",
        "--out", str(folder), "--json",
    ]  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_search_that_was_ended_goes_on_where_it_was(tmp_path: Path, how: signal.Signals) -> None:
    path, folder = bar_file(tmp_path / "M0.csv", "M0"), tmp_path / "out"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ALPHAPULSE_DATABASE")}
    wanted = command(folder, path)
    first = subprocess.Popen(wanted, env=environment, stdout=subprocess.DEVNULL)
    file = folder / "trials.jsonl"
    deadline = time.monotonic() + 300
    while not (file.exists() and len(file.read_bytes().splitlines()) >= 3):
        assert first.poll() is None
        assert time.monotonic() < deadline, "nothing was tried"
        time.sleep(0.01)
    workers = running(first.pid)
    first.send_signal(how)
    first.wait(timeout=60)
    done = len(file.read_bytes().splitlines())
    assert workers
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < deadline, "workers outlive their parent"
        time.sleep(0.05)
    if done < 12:
        assert not (folder / "report.html").exists()
    second = subprocess.run(wanted, env=environment, capture_output=True, check=True, text=True)
    report = msgspec.json.decode(second.stdout)
    lines = [msgspec.json.decode(line) for line in file.read_bytes().splitlines()]
    assert len(lines) == len({line["trial"] for line in lines}) == 12
    assert report["search"]["trials"] == 12
    if done < 12:
        assert any("had been tried before" in note for note in report["notes"])
    fresh = subprocess.run(
        command(tmp_path / "fresh", path), env=environment, capture_output=True, check=True, text=True
    )
    assert msgspec.json.decode(fresh.stdout)["search"]["cells"] == report["search"]["cells"]
