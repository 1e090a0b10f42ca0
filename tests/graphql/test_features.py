"""Feature sets, rows, latest vectors and live rows over GraphQL."""

from typing import Any

import numpy as np
import pytest

from alphapulse.domain.analysis.features import DefineSet, Feature, RetireSet, feature_set, stream_of
from alphapulse.domain.analysis.panel import compute
from alphapulse.domain.analysis.registry import Spec
from alphapulse.processes.transact import transact
from alphapulse.projections.known_bars import known_position
from tests.graphql.client import eventually, subscriber
from tests.graphql.conftest import Market
from tests.graphql.test_analysis import bars_of, known, numbers, tape
from tests.projections.market_log import ETH, trades

NAMES = ("rsi_14", "ema_5", "close_lag")
FEATURES = (
    Feature(name="rsi_14", rule="rsi"),
    Feature(name="ema_5", rule="ema", parameters={"period": 5}),
    Feature(name="close_lag", rule="sma", parameters={"period": 2}, lag=3),
)
ROWS = """
query($set: String! = "basic", $version: Int, $timeframe: Timeframe! = M1, $last: Int, $asOf: AsOf) {
  features(set: $set, version: $version, instrument: "test:BTC_USD", timeframe: $timeframe, last: $last,
           asOf: $asOf) {
    setName setVersion digest position count start knownTime sourcePosition firstPosition inputPosition flags
    columns { name values }
  }
}
"""
LATEST = """
query($instruments: [String!]!) {
  latestFeatures(set: "basic", instruments: $instruments, timeframe: M1) {
    setVersion vectors { instrument start values flags sourcePosition }
  }
}
"""
SETS = """{ featureSets {
    name version owner digest timeframes inUse retiredPosition features { name rule lag } } }"""
LIVE = """
subscription($after: Position) {
  features(set: "basic", instrument: "test:BTC_USD", timeframe: M1, after: $after) {
    previous position rows { count start columns { name values } } discontinuity { after until }
  }
}
"""


async def define(market: Market, *features: Feature, name: str = "basic") -> int:
    """Define a set on 1m bars and wait until its rows are there."""
    command = DefineSet(name=name, owner="me", description="", timeframes=[1], features=features or FEATURES)
    return await recorded(market, name, command)


async def recorded(market: Market, name: str, command: Any) -> int:
    (event,) = await transact(market.api.services.store, feature_set, stream_of(name), command)

    async def is_there() -> bool:
        async with market.api.services.reads.connection() as db:
            return await known_position(db) >= event.position

    await eventually(is_there)
    return event.position


@pytest.fixture
async def defined(market: Market) -> Market:
    await known(market, trades(tape(1, minutes=60)))
    await define(market)
    return market


async def test_rows_are_what_the_kernels_give_also_of_bars_before_the_definition(defined: Market) -> None:
    found = (await defined.api.http.data(ROWS, {"last": 40}))["features"]
    rsi, ema, mean = compute(
        [Spec.parse(t) for t in ("rsi", "ema(5)", "sma(2)")], bars_of(tape(1, minutes=60))
    )
    assert [c["name"] for c in found["columns"]] == list(NAMES)
    assert found["columns"][0]["values"] == rsi[-40:].tolist()
    assert found["columns"][1]["values"] == ema[-40:].tolist()
    assert found["columns"][2]["values"] == mean[-43:-3].tolist()
    assert found["count"] == 40


async def test_rows_before_a_feature_has_a_value_say_that_they_are_warming(defined: Market) -> None:
    found = (await defined.api.http.data(ROWS, {"last": 59}))["features"]
    warming = [bool(flags & 32) for flags in found["flags"]]
    missing = np.isnan(np.stack([numbers(c["values"]) for c in found["columns"]])).any(axis=0)
    assert warming == missing.tolist()
    assert warming[0]
    assert not warming[-1]


async def test_a_set_is_not_there_as_of_a_position_before_its_definition(market: Market) -> None:
    before = await known(market, trades(tape(1, minutes=30)))
    position = await define(market)
    error = await market.api.http.error(ROWS, {"asOf": {"position": str(before)}})
    assert f"no feature set 'basic' at position {before}" in error["message"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert (await market.api.http.data(ROWS, {"asOf": {"position": str(position)}}))["features"][
        "count"
    ] == 29


async def test_rows_as_of_a_position_are_those_that_were_known_then(defined: Market) -> None:
    then = (await defined.api.http.data(ROWS, {"last": 20}))["features"]
    rows = tape(1, minutes=60)
    await known(defined, trades(tape(1, minutes=20, start=60), first_id=len(rows) + 1))
    again = await defined.api.http.data(ROWS, {"last": 20, "asOf": {"position": str(then["position"])}})
    assert again["features"] == then
    assert (await defined.api.http.data(ROWS, {"last": 20}))["features"]["start"] != then["start"]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"set": "other"}, "no feature set 'other'"),
        ({"version": 2}, "no feature set 'basic' version 2"),
        ({"timeframe": "H1"}, "basic version 1 has rows of 1m, not of 1h"),
    ],
)
async def test_what_is_not_there_is_an_error(defined: Market, asked: dict[str, Any], says: str) -> None:
    error = await defined.api.http.error(ROWS, asked)
    assert says in error["message"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"


async def test_the_latest_vectors_follow_the_bars_though_they_are_kept_in_memory(defined: Market) -> None:
    names = ["test:BTC_USD", "test:ETH_USD", "test:NONE"]
    await known(defined, trades(tape(2, minutes=30), instrument=ETH))
    found = (await defined.api.http.data(LATEST, {"instruments": names}))["latestFeatures"]
    assert [v["instrument"] for v in found["vectors"]] == names[:2]
    rsi = compute([Spec.of("rsi")], bars_of(tape(1, minutes=60)))[0]
    assert found["vectors"][0]["values"]["rsi_14"] == rsi[-1]
    rows = tape(1, minutes=60)
    await known(defined, trades(tape(1, minutes=5, start=60), first_id=len(rows) + 1))

    async def is_new() -> bool:
        now = (await defined.api.http.data(LATEST, {"instruments": names}))["latestFeatures"]
        return bool(now["vectors"][0]["start"] > found["vectors"][0]["start"])

    await eventually(is_new, within_s=10)


async def test_sets_are_listed_with_what_they_are_made_of(defined: Market) -> None:
    await define(defined, FEATURES[0])
    await recorded(defined, "basic", RetireSet(name="basic", version=1, reason="too wide"))
    second, first = (await defined.api.http.data(SETS))["featureSets"]
    assert (second["version"], second["inUse"], len(second["features"])) == (2, True, 1)
    assert (first["version"], first["inUse"]) == (1, False)
    assert first["timeframes"] == ["M1"]
    assert first["features"][1] == {"name": "ema_5", "rule": "ema(period=5)", "lag": 0}
    assert first["digest"] != second["digest"]


async def test_rows_are_told_as_their_bars_end(defined: Market) -> None:
    more = tape(1, minutes=62)[240:]
    async with subscriber(defined.api.port) as peer:
        await peer.subscribe(LIVE)
        first = (await peer.next())["features"]
        assert first["rows"]["count"] == 1
        await defined.append(trades(more, first_id=241))
        message = (await peer.next())["features"]
        assert message["previous"] == first["position"]
        assert message["rows"]["count"] == 2, "minutes 59 and 60 have ended"
    rsi = compute([Spec.of("rsi")], bars_of(tape(1, minutes=62)))[0]
    assert message["rows"]["columns"][0]["values"] == rsi[-2:].tolist()


async def test_a_subscription_to_an_unknown_set_is_refused(market: Market) -> None:
    async with subscriber(market.api.port) as peer:
        await peer.subscribe(LIVE)
        message = await peer.receive()
        assert message["type"] == "error"
        assert "no feature set 'basic'" in message["payload"][0]["message"]


async def test_quality_is_empty_while_nothing_ever_breached(market: Market) -> None:
    await known(market, trades(tape(1, minutes=5)))
    assert (await market.api.http.data("{ featureQuality { check } }"))["featureQuality"] == []
