"""Strategies into the log: defined once, found again, retired; and from files."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.decision.strategy import Gate
from alphapulse.domain.decision.strategy_decider import UnknownStrategy
from alphapulse.domain.decision.strategy_defaults import default_strategy
from alphapulse.domain.decision.strategy_limits import BadStrategy
from alphapulse.domain.ports import EventStore
from alphapulse.processes.definition_files import MAX_FILE_BYTES
from alphapulse.processes.strategies import define, from_file, retire

COMMAND = default_strategy("first")


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[EventStore]:
    async with PostgresEventStore(database_url) as store:
        yield store


async def test_a_strategy_is_defined_once_and_found_again(store: EventStore) -> None:
    first = await define(store, COMMAND)
    assert (first.version, first.label, first.position) == (1, "production", 1)
    again = await define(store, replace(COMMAND, description="other words"))
    assert (again.version, again.digest, again.position) == (1, first.digest, None)
    research = await define(store, replace(COMMAND, gate=Gate(threshold=0.7)))
    assert (research.version, research.label, research.position) == (2, "research", 2)
    assert (await define(store, COMMAND)).version == 1


async def test_a_retired_version_is_retired_once(store: EventStore) -> None:
    await define(store, COMMAND)
    assert await retire(store, "first", 1, "over") == 2
    assert await retire(store, "first", 1, "over") is None
    assert (await define(store, COMMAND)).version == 2
    with pytest.raises(UnknownStrategy):
        await retire(store, "first", 3, "")


async def test_what_cannot_be_defined_leaves_nothing(store: EventStore) -> None:
    with pytest.raises(BadStrategy, match=r"gate\.threshold 0\.4"):
        await define(store, replace(COMMAND, gate=Gate(threshold=0.4)))
    assert await store.head() == 0


SMALL = {
    "name": "small",
    "timeframes": ["5m"],
    "voters": ["technical.trend", "technical.volume"],
    "geometries": [{"stop_atr": 1, "target_atr": 2, "horizon_bars": 10}],
}


def test_a_file_may_be_json_or_toml(tmp_path: Path) -> None:
    as_json, as_toml = tmp_path / "s.json", tmp_path / "s.toml"
    as_json.write_text(json.dumps(SMALL))
    as_toml.write_text(
        'name = "small"\ntimeframes = ["5m"]\nvoters = ["technical.trend", "technical.volume"]\n'
        "geometries = [{ stop_atr = 1, target_atr = 2, horizon_bars = 10 }]\n"
    )
    assert from_file(as_json, owner="me") == from_file(as_toml, owner="me")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("s.json", b"{", r"s\.json: "),
        ("s.toml", b"name = ", r"s\.toml: "),
        ("s.json", b"\xff\xfe\x00", r"s\.json: "),
        ("s.json", b"[]", r"s\.json: a strategy is a table of fields, not list"),
        ("s.json", json.dumps({**SMALL, "risk": {"fees": 1}}).encode(), r"s\.json: risk have no fees"),
        ("s.json", b" " * (MAX_FILE_BYTES + 1), "has 1,000,001 bytes, a definition takes at most 1,000,000"),
    ],
)
def test_a_file_that_says_no_strategy_is_named(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadStrategy, match=words):
        from_file(path, owner="me")
