"""``alphapulse features`` as a person and a program meet it."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from alphapulse.adapters.store import codec
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.cli import COMMANDS, HELP
from alphapulse.cli.lazy import group
from alphapulse.domain.analysis.features import MAX_SETS, BadFeatureSet, UnknownFeatureSet
from alphapulse.processes.defining import TooManySets, from_file
from alphapulse.processes.project import connector
from alphapulse.projections.checkpoint import ensure_live
from alphapulse.projections.features import Features
from alphapulse.projections.generations import newest
from alphapulse.projections.rebuild import fold_until
from alphapulse.projections.runner import connection
from tests.projections.feature_logs import columns, supply

Run = Callable[..., Result]

MOMENTUM = """
name = "momentum"
description = "What moves."
timeframes = ["1m", "1h"]
features = ["rsi(period=14)", "macd.histogram", {name = "day", rule = "rsi(14)", timeframe = "1d", lag = 1}]
"""


@pytest.fixture
def alphapulse(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("ALPHAPULSE_DATABASE_URL", database_url)

    def run(*words: Any) -> Result:
        return CliRunner().invoke(group("alphapulse", HELP, COMMANDS), [str(word) for word in words])

    return run


def fold(url: str, bars: int = 0) -> None:
    """Record ``bars`` and bring the read model to the end of the log."""

    async def go() -> None:
        async with PostgresEventStore(url) as store, connection(connector(url)) as db:
            if bars:
                await supply(store, [columns(0, bars)])
            await ensure_live(db, "features", Features().code_version)
            generation = await newest(db, "features", "live")
            await fold_until(db, Features(), store, codec.decode, generation, await store.head())

    asyncio.run(go())


@pytest.fixture
def momentum(tmp_path: Path) -> Path:
    path = tmp_path / "momentum.toml"
    path.write_text(MOMENTUM)
    return path


def facts(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def test_the_default_set_is_defined_once_listed_shown_and_has_vectors(
    alphapulse: Run, database_url: str
) -> None:
    done = facts(alphapulse("features", "define", "--default", "--owner", "me", "--json"))
    assert (done["name"], done["version"]) == ("core", 1)
    again = alphapulse("features", "define", "--default")
    assert "core version 1 has this content already" in again.output
    fold(database_url, bars=60)
    listed = facts(alphapulse("features", "list", "--json"))
    assert (listed["name"], listed["owner"], listed["digest"]) == ("core", "me", done["digest"])
    shown = alphapulse("features", "show", "core").output
    assert "rows of 1m 5m 15m 1h 4h 1d 1w" in shown
    assert "rsi(period=14)" in shown
    vector = facts(alphapulse("features", "latest", "core", "--json"))
    assert vector["instrument"] == "venue:V"
    assert vector["values"].keys() == {f["name"] for f in listed["features"]}
    assert vector["flags"] == ["supplied", "after_gap", "warming", "not_settled"]
    text = alphapulse("features", "latest", "core", "venue:V", "--timeframe", "5m").output
    assert "venue:V 5m" in text


def test_a_set_in_a_file_becomes_a_version_and_is_retired(
    alphapulse: Run, database_url: str, momentum: Path
) -> None:
    assert facts(alphapulse("features", "define", "--file", momentum, "--json"))["version"] == 1
    momentum.write_text(MOMENTUM.replace("lag = 1", "lag = 2"))
    assert facts(alphapulse("features", "define", "--file", momentum, "--json"))["version"] == 2
    said = alphapulse("features", "retire", "momentum", "--version", 1, "--reason", "old").output
    assert "momentum version 1 is retired from position 3 on" in said
    assert "nothing to do" in alphapulse("features", "retire", "momentum", "--version", 1).output
    fold(database_url)
    rows = alphapulse("features", "list").output
    assert "retired at 3" in rows
    assert facts(alphapulse("features", "show", "momentum", "--json"))["version"] == 2
    assert facts(alphapulse("features", "show", "momentum", "--as-of", 1, "--json"))["version"] == 1


def test_json_says_the_same_as_toml(momentum: Path, tmp_path: Path) -> None:
    day = {"name": "day", "rule": "rsi(14)", "timeframe": "1d", "lag": 1}
    content = {
        "name": "momentum",
        "description": "What moves.",
        "timeframes": ["1m", "1h"],
        "features": ["rsi(period=14)", "macd.histogram", day],
    }
    path = tmp_path / "momentum.json"
    path.write_text(json.dumps(content))
    assert from_file(path, owner="me") == from_file(momentum, owner="me")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('name = "x"', "missing required field `timeframes`"),
        (MOMENTUM.replace("1h", "2h"), "timeframe '2h' is none of 1m, 5m"),
        (MOMENTUM.replace("macd.histogram", "macd.other"), "macd has no output 'other'"),
        (MOMENTUM.replace("rsi(14)", "rsy(14)"), "no indicator is called 'rsy'"),
        (MOMENTUM.replace("lag =", "leg ="), "leg"),
        ("name = ", "momentum.toml"),
    ],
)
def test_a_file_that_is_no_set_is_refused_and_defines_nothing(
    alphapulse: Run, database_url: str, momentum: Path, text: str, message: str
) -> None:
    momentum.write_text(text)
    result = alphapulse("features", "define", "--file", momentum)
    assert isinstance(result.exception, BadFeatureSet)
    assert message in str(result.exception)
    assert head(database_url) == 0


def head(url: str) -> int:
    async def go() -> int:
        async with PostgresEventStore(url) as store:
            return await store.head()

    return asyncio.run(go())


def test_unknown_sets_and_versions_are_errors(alphapulse: Run, database_url: str, momentum: Path) -> None:
    alphapulse("features", "define", "--file", momentum)
    fold(database_url)
    for words in (
        ("show", "nothing"),
        ("show", "momentum", "--version", 2),
        ("latest", "nothing"),
        ("latest", "momentum", "--version", 9),
        ("retire", "momentum", "--version", 2),
        ("show", "momentum", "--as-of", 0),
    ):
        assert isinstance(alphapulse("features", *words).exception, UnknownFeatureSet), words


def test_so_many_sets_and_no_more(alphapulse: Run, database_url: str, momentum: Path) -> None:
    """At the limit a set that is there is still found, and one that is retired makes room."""
    for n in range(MAX_SETS):
        momentum.write_text(MOMENTUM.replace('"momentum"', f'"s{n}"'))
        assert alphapulse("features", "define", "--file", momentum).exit_code == 0
    fold(database_url)
    assert alphapulse("features", "define", "--file", momentum).exit_code == 0
    momentum.write_text(MOMENTUM)
    refused = alphapulse("features", "define", "--file", momentum)
    assert isinstance(refused.exception, TooManySets)
    alphapulse("features", "retire", "s3", "--version", 1)
    fold(database_url)
    assert alphapulse("features", "define", "--file", momentum).exit_code == 0


def test_neither_file_nor_default_is_a_wrong_call(alphapulse: Run) -> None:
    assert alphapulse("features", "define").exit_code == 2
