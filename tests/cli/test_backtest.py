"""``alphapulse backtest`` and ``trials`` as a person and a program meet them."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.cli import COMMANDS, HELP
from alphapulse.cli.backtest_run import NowhereToWrite
from alphapulse.cli.lazy import group
from alphapulse.domain.backtest.variants import BadVariant
from alphapulse.domain.decision.strategy_decider import UnknownStrategy
from alphapulse.processes.backtest_files import NothingToRead
from tests.decided_log import MARKETS, append_bars
from tests.domain.signals.engine_world import START, strategy
from tests.processes.backtest_worlds import ONE, PLAIN, bar_file, decided, define, events

Run = Callable[..., Result]


@pytest.fixture
def alphapulse(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("ALPHAPULSE_DATABASE_URL", database_url)

    def run(*words: object) -> Result:
        return CliRunner().invoke(group("alphapulse", HELP, COMMANDS), [str(word) for word in words])

    return run


@pytest.fixture
def log(database_url: str) -> str:
    """A log in which the strategy ``world`` is defined, with two markets."""

    async def fill() -> None:
        async with PostgresEventStore(database_url) as store:
            await define(store, strategy())
            await append_bars(store, MARKETS)

    asyncio.run(fill())
    return database_url


def in_log(url: str, name: str) -> list[Any]:
    async def read() -> list[Any]:
        async with PostgresEventStore(url) as store:
            return await events(store, name)

    return asyncio.run(read())


def facts(result: Result) -> Any:
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


def of(result: Result, kind: type[Exception]) -> str:
    assert isinstance(result.exception, kind), (result.output, result.exception)
    return str(result.exception)


def test_a_strategy_of_the_log_is_told_as_the_role_would_record_it(log: str, alphapulse: Run) -> None:
    report = facts(alphapulse("backtest", "world", "--json"))

    async def record() -> None:
        async with PostgresEventStore(log) as store:
            await decided(store)

    asyncio.run(record())
    issued = in_log(log, "signal.issued.v1")
    assert report["counts"]["signals"] == len(issued) > 10
    assert report["counts"]["decisions"] == len(in_log(log, "decision.made.v1"))
    assert report["performance"]["trades"] == len(in_log(log, "signal.closed.v1"))
    signals = [n for n in report["trades"]["number"] if n > 0]
    assert sorted(signals) == sorted(event.number for event in in_log(log, "signal.closed.v1"))
    assert {part["by"] for part in report["attribution"]} >= {"voter", "regime", "hour", "instrument"}
    total = sum(part["contribution"] for part in report["attribution"][0]["parts"])
    assert total == pytest.approx(report["attribution"][0]["total"], abs=1e-9)
    assert report["source"]["markets"] == ["test:M0", "test:M1"]


def test_it_leaves_nothing_in_the_log_but_that_it_was_tried(log: str, alphapulse: Run) -> None:
    first = facts(alphapulse("backtest", "world", "--json"))
    second = facts(alphapulse("backtest", "world", "--json"))
    (trial,) = in_log(log, "trial.recorded.v1")
    assert (trial.trial, trial.kind) == (first["trial"], "backtest")
    assert second["trial"] == first["trial"]
    assert trial.decisions_digest == second["decisions_digest"] == first["decisions_digest"]
    assert in_log(log, "decision.made.v1") == []
    found = [json.loads(line) for line in alphapulse("trials", "world", "--json").stdout.splitlines()]
    assert [line.get("trial", line.get("trials")) for line in found] == [first["trial"], 1]


def test_a_search_is_told_as_a_table_and_counted(log: str, alphapulse: Run, tmp_path: Path) -> None:
    words = ("backtest", "world", "--set", "gate.threshold=0.6,0.9", "--fee-bps", "0.5,4", "--out", tmp_path)
    result = alphapulse(*words, "--cpcv", "2,1", "--walk-forward", "anchored", "--folds", "2",
                        "--embargo-hours", "1", "--monte-carlo", "50")  # fmt: skip
    assert result.exit_code == 0, (result.output, result.exception)
    assert "gate.threshold=0.9, risk.fee_bps=4" in result.stdout
    assert "anchored: tested" in result.stdout
    assert "4 configurations were tried" in result.stdout
    assert (tmp_path / "report.html").exists()
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["search"]["trials"] == len(report["search"]["cells"]) == 4
    assert report["cross_validation"]["splits"] == 2
    assert len(report["walk_forward"][0]["folds"]) == 2
    assert {kind["kind"] for kind in report["monte_carlo"]} >= {"trades", "noise"}
    again = alphapulse(*words)
    assert "4 of 4 configurations had been tried before" in again.stdout
    listed = alphapulse("trials", "world")
    assert "4 configurations of world were tried" in listed.stdout
    assert len(in_log(log, "trial.recorded.v1")) == 4


def test_what_cannot_be_cut_out_of_so_short_a_history_is_said(log: str, alphapulse: Run) -> None:
    report = facts(alphapulse("backtest", "world", "--cpcv", "8,2", "--json"))
    assert report["cross_validation"] is None
    assert any(note.startswith("no cross-validation: 8 groups") for note in report["notes"])


def test_each_fold_of_a_rolling_walk_begins_anew(log: str, alphapulse: Run) -> None:
    words = ("--walk-forward", "rolling", "--folds", "2", "--embargo-hours", "0", "--json")
    report = facts(alphapulse("backtest", "world", *words))
    (walk,) = report["walk_forward"]
    first, second = walk["folds"]
    assert second["train_from"] > first["train_from"] == START
    assert report["search"]["trials"] == 1, "parts of one configuration are no trials of their own"


def test_from_and_to_bound_what_counts(log: str, alphapulse: Run) -> None:
    bounds = ("--from", "2023-11-15T13:00:00", "--to", "2023-11-15T20:00:00")
    whole, part = (facts(alphapulse("backtest", "world", *how, "--json")) for how in ((), bounds))
    assert 0 < part["counts"]["decisions"] < whole["counts"]["decisions"]
    assert part["trial"] != whole["trial"]
    refused = alphapulse("backtest", "world", "--from", "2024-01-02", "--to", "2024-01-01")
    assert refused.exit_code == 2
    assert "is not before" in refused.output


def test_files_need_no_database(alphapulse: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ALPHAPULSE_DATABASE_URL")
    monkeypatch.setenv("ALPHAPULSE_DATA", str(tmp_path / "nothing"))
    path = bar_file(tmp_path / "M0.csv", "M0", ONE)
    definition = tmp_path / "plain.json"
    definition.write_text(json.dumps(PLAIN))
    words = ("backtest", "--definition", definition, "--file", path, "--bars", "1m",
             "--format", "ohlcv", "--venue", "test", "--symbol", "M0", "--json")  # fmt: skip
    assert "say --out FOLDER" in of(alphapulse(*words), NowhereToWrite)
    report = facts(alphapulse(*words, "--out", tmp_path / "out"))
    (file,) = report["source"]["files"]
    assert (file["name"], file["rows"]) == ("M0.csv", 2_000)
    assert report["source"]["bars"] == 2_000
    (line,) = (tmp_path / "out" / "trials.jsonl").read_text().splitlines()
    assert json.loads(line)["sha256"] == [file["sha256"]]


def test_with_a_database_what_is_tried_on_files_is_counted_there(
    alphapulse: Run, database_url: str, tmp_path: Path
) -> None:
    path = bar_file(tmp_path / "M0.csv", "M0", ONE)
    facts(
        alphapulse(
            "backtest", "--default", "--timeframe", "5m", "--file", path, "--bars", "1m", "--format", "ohlcv",
            "--venue", "test", "--symbol", "M0", "--json",
        )
    )  # fmt: skip
    (trial,) = in_log(database_url, "trial.recorded.v1")
    assert (trial.strategy, trial.source) == ("default", "M0.csv")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "say one of a STRATEGY, --default and --definition"),
        (("world", "--default"), "say one of"),
        (("--default", "--version", "2"), "only a STRATEGY of the log has versions"),
        (("world", "--cpcv", "8"), "'8' is not N,K such as 8,2"),
        (("world", "--bars", "1m"), "say which with --file"),
        (("world", "--file", "a.csv", "--upto", "5"), "only the log has positions"),
        (("world", "--jobs", "65"), "less than or equal to 64"),
        (("world", "--from", "yesterday"), "'yesterday' is no time"),
        (
            ("world", "--file", "a", "--file", "b", "--venue", "x", "--venue", "y", "--venue", "z"),
            "3 for 2 files",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(alphapulse: Run, words: tuple[str, ...], says: str) -> None:
    result = alphapulse("backtest", *words)
    assert result.exit_code == 2
    assert says in " ".join(result.output.replace("│", " ").split())


def test_what_is_not_there_is_named(log: str, alphapulse: Run) -> None:
    assert "no strategy 'other'" in of(alphapulse("backtest", "other"), UnknownStrategy)
    assert "version 7" in of(alphapulse("backtest", "world", "--version", "7"), UnknownStrategy)
    assert "gate has no 'treshold'" in of(
        alphapulse("backtest", "world", "--set", "gate.treshold=1"), BadVariant
    )
    assert in_log(log, "trial.recorded.v1") == []


def test_an_empty_log_is_refused_and_nothing_is_tried(alphapulse: Run, database_url: str) -> None:
    assert "holds nothing of a market" in of(alphapulse("backtest", "--default"), NothingToRead)
    assert in_log(database_url, "trial.recorded.v1") == []
    result = alphapulse("trials", "default")
    assert "nothing was tried of default" in result.stdout
