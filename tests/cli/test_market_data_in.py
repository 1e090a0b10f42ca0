"""``alphapulse import``, ``generate`` and ``candles`` as a person and a program meet them."""

import asyncio
import gzip
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from alphapulse.adapters.store import codec
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.cli import COMMANDS, HELP
from alphapulse.cli.candles import sparkline
from alphapulse.cli.lazy import group
from alphapulse.domain.market.generate import BLOCK
from alphapulse.processes.project import connector
from alphapulse.projections.candles import Candles
from alphapulse.projections.checkpoint import ensure_live
from alphapulse.projections.generations import newest
from alphapulse.projections.rebuild import fold_until
from alphapulse.projections.runner import connection

Run = Callable[..., Result]
TRADES = "exchange,symbol,timestamp,local_timestamp,id,side,price,amount\n"
GOOD = "some,BTCUSD,1700000000123000,1700000000124000,{},sell,100.25,0.5\n"


@pytest.fixture
def alphapulse(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("ALPHAPULSE_DATABASE_URL", database_url)

    def run(*words: object) -> Result:
        return CliRunner().invoke(group("alphapulse", HELP, COMMANDS), [str(word) for word in words])

    return run


def objects(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def fold(url: str) -> None:
    async def go() -> None:
        async with PostgresEventStore(url) as store, connection(connector(url)) as db:
            await ensure_live(db, "candles", Candles.code_version)
            live = await newest(db, "candles", "live")
            await fold_until(db, Candles(), store, codec.decode, live, await store.head())

    asyncio.run(go())


def test_an_import_says_what_came_of_each_file_and_exits_with_0(alphapulse: Run, tmp_path: Path) -> None:
    for name, ids in (("a.csv", (1, 2)), ("b.csv", (2, 3, 4))):
        (tmp_path / name).write_text(TRADES + "".join(GOOD.format(i) for i in ids))
    result = alphapulse("import", "trades", tmp_path / "a.csv", tmp_path / "b.csv", "--json")
    assert result.exit_code == 0
    first, second = objects(result)
    assert (first["rows"], first["accepted"], first["duplicates"], first["refused"]) == (2, 2, 0, 0)
    assert (second["rows"], second["accepted"], second["duplicates"], second["refused"]) == (3, 2, 1, 0)
    assert (first["format"], first["instruments"]) == ("tardis", ["some:BTCUSD"])
    assert first["time_lo"] == "2023-11-14T22:13:20.123000Z"
    shown = alphapulse("import", "trades", tmp_path / "a.csv")
    assert "a.csv: 2 rows of some:BTCUSD (tardis): 0 accepted, 2 known already, 0 refused" in shown.stdout


def test_refused_rows_are_shown_with_row_and_value_and_the_exit_code_is_3(
    alphapulse: Run, tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    path.write_text(TRADES + GOOD.format(1) + GOOD.format(2).replace("100.25", "1e30"))
    result = alphapulse("import", "trades", path)
    assert result.exit_code == 3
    assert f"{path}: row 2 refused: price '1e30' is out of range" in result.stderr
    assert "1 accepted" in result.stdout


def test_a_file_that_cannot_be_read_exits_with_1_and_the_others_are_imported(
    alphapulse: Run, tmp_path: Path
) -> None:
    (tmp_path / "good.csv").write_text(TRADES + GOOD.format(1))
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress((TRADES + GOOD.format(1) * 1000).encode())[:-9])
    result = alphapulse("import", "trades", tmp_path / "cut.csv.gz", tmp_path / "good.csv", "--json")
    assert result.exit_code == 1
    failed, good = objects(result)
    assert "cut.csv.gz: broken or cut off" in failed["error"]
    assert good["accepted"] == 1
    assert "cut.csv.gz" in result.stderr
    assert alphapulse("import", "trades", tmp_path / "absent.csv").exit_code == 1


def test_any_columns_can_be_mapped(alphapulse: Run, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("when;px;much;who;nr\n1700000000123;100.25;0.5;LIFT;7\n1700000000124;100.5;0.5;HIT;8\n")
    words = (
        "import",
        "trades",
        path,
        "--map",
        "time=when,price=px,size=much,side=who,id=nr",
        "--time-unit",
        "ms",
    )
    result = alphapulse(
        *words, "--side-buy", "lift", "--side-sell", "hit", "--venue", "otc", "--symbol", "BTC_USD", "--json"
    )
    assert (result.exit_code, objects(result)[0]["accepted"]) == (0, 2)
    assert "instruments" in objects(result)[0]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--map", "time=a,price=b"), "says no column for size"),
        (("--map", "time=a,price=b,volume"), "'volume' is not MEANING=COLUMN"),
        (("--symbol-map", "BTCUSD"), "'BTCUSD' is not THEIRS=OURS"),
    ],
)
def test_a_wrong_call_exits_with_2_and_says_what_is_wrong(
    alphapulse: Run, tmp_path: Path, words: tuple[str, ...], complaint: str
) -> None:
    (tmp_path / "a.csv").write_text(TRADES)
    result = alphapulse("import", "trades", tmp_path / "a.csv", *words)
    assert result.exit_code == 2
    assert complaint in " ".join(result.stderr.replace("│", " ").split())


def test_symbols_can_be_renamed(alphapulse: Run, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(TRADES + GOOD.format(1))
    result = alphapulse("import", "trades", tmp_path / "a.csv", "--symbol-map", "BTCUSD=BTC_USD", "--json")
    assert objects(result)[0]["instruments"] == ["some:BTC_USD"]


def test_bars_are_imported_under_their_timeframe(alphapulse: Run, tmp_path: Path, database_url: str) -> None:
    path = tmp_path / "bars.csv"
    path.write_text("timestamp,open,high,low,close,volume\n1700000040,1,2,1,2,3\n1700000100,2,4,2,3,1.5\n")
    words = (
        "import",
        "bars",
        path,
        "--timeframe",
        "1m",
        "--venue",
        "kraken",
        "--symbol",
        "BTC_USD",
        "--json",
    )
    assert objects(alphapulse(*words))[0]["accepted"] == 2
    assert alphapulse("import", "bars", path, "--timeframe", "2m").exit_code == 2
    fold(database_url)
    shown = alphapulse("candles", "kraken:BTC_USD", "--timeframe", "1m", "--json")
    (facts,) = objects(shown)
    assert facts["columns"]["state"] == ["VENUE_SUPPLIED", "VENUE_SUPPLIED"]
    assert facts["columns"]["close"] == ["2", "3"]


def test_generated_trades_make_the_same_candles_from_the_log_and_by_way_of_a_file(
    alphapulse: Run, tmp_path: Path, database_url: str
) -> None:
    path = tmp_path / "tape.csv.gz"
    spec = ("--trades", BLOCK, "--seed", 5, "--market-rate", 5)
    assert alphapulse("generate", "sim:A", *spec).exit_code == 0
    assert alphapulse("generate", "sim:B", *spec, "--csv", path, "--shuffled").exit_code == 0
    assert objects(alphapulse("import", "trades", path, "--json"))[0]["accepted"] == BLOCK
    fold(database_url)
    (a,), (b,) = (objects(alphapulse("candles", f"sim:{s}", "--timeframe", "5m", "--json")) for s in "AB")
    assert a["count"] == 24
    for column in (
        "start",
        "open",
        "high",
        "low",
        "close",
        "base_volume",
        "quote_volume",
        "trade_count",
        "vwap",
    ):
        assert a["columns"][column] == b["columns"][column]


def test_candles_are_shown_as_a_table_with_a_plot_and_as_of_any_position(
    alphapulse: Run, database_url: str
) -> None:
    alphapulse("generate", "sim:BTC_USD", "--trades", 25_000, "--market-rate", 5)
    fold(database_url)
    shown = alphapulse("candles", "sim:BTC_USD", "--timeframe", "15m", "--last", 5)
    assert shown.exit_code == 0
    assert shown.stdout.count(" traded ") == 4
    assert "feed down (open)" in shown.stdout  # the generator went away in the middle of the last bar
    assert any(step in shown.stdout for step in "▁▂▃▄▅▆▇█")
    now = objects(alphapulse("candles", "sim:BTC_USD", "--last", 1, "--json"))[0]
    then = objects(alphapulse("candles", "sim:BTC_USD", "--last", 1, "--as-of", 2, "--json"))[0]
    assert then["position"] == 2
    assert then["columns"]["start"] < now["columns"]["start"]
    long_ago = alphapulse("candles", "sim:BTC_USD", "--as-of", "2020-01-01T00:00:00")
    assert "no 1h candles of sim:BTC_USD at position 0" in long_ago.stdout
    assert alphapulse("candles", "sim:BTC_USD", "--as-of", "yesterday").exit_code == 2
    assert alphapulse("candles", "sim:BTC_USD", "--timeframe", "7m").exit_code == 2


def test_disorder_is_for_files_only(alphapulse: Run) -> None:
    result = alphapulse("generate", "--trades", 10, "--shuffled")
    assert result.exit_code == 2
    assert "the log holds each trade once" in result.stderr


def test_a_live_market_runs_until_it_is_interrupted_and_ends_cleanly(
    alphapulse: Run, database_url: str
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "alphapulse", "generate", "sim:LIVE", "--rate", "500", "--json"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and asyncio.run(_version(database_url, "trades-sim-LIVE")) < 3:
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0
    assert json.loads(out)["trades"] > 0
    assert asyncio.run(_version(database_url, "feed-sim-LIVE")) >= 3


async def _version(url: str, stream: str) -> int:
    async with PostgresEventStore(url) as store:
        return await store.version(stream)


def test_a_sparkline_spans_its_values_and_fits_its_width() -> None:
    assert sparkline([1, 2, 3, 4, 5, 6, 7, 8]) == "▁▂▃▄▅▆▇█"
    assert sparkline([5, 5]) == "▁▁"
    assert len(sparkline(list(range(1000)), width=80)) == 80
