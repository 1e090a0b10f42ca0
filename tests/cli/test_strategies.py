"""``alphapulse strategies`` as a person and a program meet it."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.cli import COMMANDS, HELP
from alphapulse.cli.lazy import group
from alphapulse.domain.decision.strategy_decider import UnknownStrategy
from alphapulse.domain.decision.strategy_limits import BadStrategy
from alphapulse.domain.decision.strategy_text import to_content
from tests.decided_log import with_test_voters
from tests.domain.signals.engine_world import strategy
from tests.launch import finished

Run = Callable[..., Result]

SMALL = """
name = "small"
timeframes = ["5m", "1h"]
voters = ["technical.trend", { name = "quick", kind = "technical.momentum" }]
geometries = [{ stop_atr = 1, target_atr = 2, horizon_bars = 10 }]
"""


@pytest.fixture
def alphapulse(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("ALPHAPULSE_DATABASE_URL", database_url)

    def run(*words: object) -> Result:
        return CliRunner().invoke(group("alphapulse", HELP, COMMANDS), [str(word) for word in words])

    return run


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


def facts(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def head(url: str) -> int:
    async def go() -> int:
        async with PostgresEventStore(url) as store:
            return await store.head()

    return asyncio.run(go())


def test_a_strategy_is_defined_once_listed_retired_once_and_then_defined_anew(
    alphapulse: Run, small: Path
) -> None:
    done = facts(alphapulse("strategies", "define", "--file", small, "--owner", "me", "--json"))
    assert (done["name"], done["version"], done["label"], done["position"]) == ("small", 1, "production", 1)
    again = facts(alphapulse("strategies", "define", "--file", small, "--json"))
    assert again == {**done, "position": None}
    assert (
        "small version 1 has this content already"
        in alphapulse("strategies", "define", "--file", small).stdout
    )

    listed = facts(alphapulse("strategies", "list", "--json"))
    assert (listed["name"], listed["owner"], listed["timeframes"]) == ("small", "me", [5, 60])
    assert [voter["name"] for voter in listed["voters"]] == ["technical_trend", "quick"]
    assert (listed["position"], listed["retired_position"]) == (1, None)
    table = alphapulse("strategies", "list").stdout
    assert all(word in table for word in ("small", "5m 1h", "production", "0.85", "in use"))

    retire = ("strategies", "retire", "small", "--version", 1)
    assert facts(alphapulse(*retire, "--reason", "enough", "--json"))["position"] == 2
    assert facts(alphapulse(*retire, "--json"))["position"] is None
    assert "small version 1 was retired before: nothing to do" in alphapulse(*retire).stdout
    assert facts(alphapulse("strategies", "list", "--json"))["retired_position"] == 2
    assert "retired at 2" in alphapulse("strategies", "list").stdout
    assert (
        "small version 2 (production, 2 voters) is defined at position 3"
        in alphapulse("strategies", "define", "--file", small).stdout
    )


def test_what_show_prints_is_a_file_that_defines_the_same(
    alphapulse: Run, small: Path, tmp_path: Path, database_url: str
) -> None:
    facts(alphapulse("strategies", "define", "--default", "first", "--timeframe", "15m", "--json"))
    digest = facts(alphapulse("strategies", "define", "--file", small, "--json"))["digest"]
    for name in ("first", "small"):
        shown = tmp_path / f"{name}.json"
        shown.write_text(alphapulse("strategies", "show", name).stdout)
        before = head(database_url)
        again = facts(alphapulse("strategies", "define", "--file", shown, "--json"))
        assert (again["version"], again["position"], head(database_url)) == (1, None, before)
    assert again["digest"] == digest


def test_show_takes_the_newest_version_or_the_one_asked_for(alphapulse: Run, small: Path) -> None:
    alphapulse("strategies", "define", "--file", small)
    small.write_text(SMALL + "[gate]\nthreshold = 0.9\n")
    assert facts(alphapulse("strategies", "define", "--file", small, "--json"))["version"] == 2
    assert facts(alphapulse("strategies", "show", "small"))["gate"]["threshold"] == 0.9
    first = facts(alphapulse("strategies", "show", "small", "--version", 1))
    assert (first["gate"]["threshold"], first["voters"][0]["parameters"] != {}) == (0.85, True)


def test_a_gate_under_85_percent_is_for_research(alphapulse: Run, small: Path) -> None:
    small.write_text(SMALL + "[gate]\nthreshold = 0.7\n")
    assert facts(alphapulse("strategies", "define", "--file", small, "--json"))["label"] == "research"


def test_either_a_file_or_the_default_no_less_and_no_more(
    alphapulse: Run, small: Path, database_url: str
) -> None:
    for words in ((), ("--file", small, "--default", "x")):
        refused = alphapulse("strategies", "define", *words)
        assert refused.exit_code == 2
        assert "say either --default or --file" in refused.output
    refused = alphapulse("strategies", "define", "--default", "x", "--timeframe", "7m")
    assert refused.exit_code == 2
    assert "'7m' is none of 1m, 5m" in refused.output
    assert head(database_url) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = ", "small.toml: "),
        ('name = "x"', "missing required field `timeframes`"),
        (SMALL.replace("1h", "2h"), "timeframe '2h' is none of 1m, 5m"),
        (SMALL.replace("technical.trend", "technical.trond"), "technical.trond"),
        (SMALL.replace("stop_atr = 1", "stop_art = 1"), "geometries have no stop_art: there are stop_atr"),
        (SMALL.replace("stop_atr = 1", "stop_atr = -1"), "-1"),
        ("thresold = 1\n" + SMALL, "thresold"),
        ("a = " + "[" * 5_000 + "]" * 5_000, "small.toml: "),
    ],
)
def test_a_file_that_is_no_strategy_is_refused_and_defines_nothing(
    alphapulse: Run, database_url: str, small: Path, text: str, message: str
) -> None:
    small.write_text(text)
    refused = alphapulse("strategies", "define", "--file", small)
    assert isinstance(refused.exception, BadStrategy)
    assert message in str(refused.exception)
    assert head(database_url) == 0


def test_strategies_and_versions_that_there_are_not_are_errors_with_their_names(
    alphapulse: Run, small: Path
) -> None:
    alphapulse("strategies", "define", "--file", small)
    for words, message in (
        (("show", "smal"), "no strategy 'smal'"),
        (("show", "small", "--version", 2), "no strategy 'small' version 2"),
        (("retire", "smal", "--version", 1), "'smal'"),
        (("retire", "small", "--version", 2), "2"),
    ):
        refused = alphapulse("strategies", *words)
        assert isinstance(refused.exception, UnknownStrategy), words
        assert message in str(refused.exception)
    assert alphapulse("strategies", "retire", "small").exit_code == 2
    assert alphapulse("strategies", "show", "small", "--version", 0).exit_code == 2


def test_an_error_is_one_line_and_no_traceback(database_url: str, tmp_path: Path) -> None:
    missing = tmp_path / "nowhere.toml"
    for words, message in (
        (("show", "nobody"), "no strategy 'nobody'"),
        (("define", "--file", missing), str(missing)),
    ):
        done = finished("strategies", *words, ALPHAPULSE_DATABASE_URL=database_url)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("alphapulse: ")
        assert message in done.stderr
        assert done.stderr.count("\n") == 1


def test_voters_of_other_packages_are_in_use_wherever_strategies_are_told(
    database_url: str, tmp_path: Path
) -> None:
    """In processes of their own, which know no voters but those that they load; and gone when they are."""
    file = tmp_path / "world.json"
    file.write_bytes(msgspec.json.encode(to_content(strategy())))
    (packages := tmp_path / "packages").mkdir()

    def run(*words: object, **variables: str) -> str:
        done = finished("strategies", *words, ALPHAPULSE_DATABASE_URL=database_url, **variables)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    found = {"PYTHONPATH": with_test_voters(packages)}
    run("define", "--file", file, **found)
    assert "test.echo" in run("list"), "why it cannot be run here"
    assert "test.echo" not in run("list", **found)
    assert json.loads(run("show", "world"))["voters"][0]["kind"] == "test.echo"
