"""Performance, equity, reliability, attribution and trials over GraphQL, from events in a real log."""

import math
from typing import Any

import pytest

from alphapulse.adapters.store.codec import codec
from alphapulse.domain.backtest.trials import TrialRecorded, stream_of
from alphapulse.projections.decision_queries import folded_to
from tests.decision_events import like_sample
from tests.graphql.client import eventually
from tests.graphql.conftest import Api, Market
from tests.performance_story import mixed, story

PERFORMANCE = """
query($of: TradeSet, $version: Int, $asOf: AsOf) {
  performance(strategy: "trial", of: $of, version: $version, asOf: $asOf) {
    position of trades days first last figures { name title unit value low high sample effective note }
    months { year month value trades }
  }
}
"""
CURVE = """
query($points: Int!) {
  equityCurve(strategy: "trial", points: $points) { position of points { time equity drawdown } }
}
"""
ATTRIBUTION = """
query($by: AttributionBy!, $of: TradeSet) {
  attribution(strategy: "trial", by: $by, of: $of) {
    by trades total totalR note parts { key trades contribution share r low high without }
  }
}
"""


@pytest.fixture
async def told(market: Market) -> Market:
    """A strategy with some dozen signals and refused candidates, folded."""
    records = await market.api.services.store.append(mixed([story("trial", 1, 40)], 1))

    async def is_there() -> bool:
        async with market.api.services.reads.connection() as db:
            models = ("performance", "attribution", "signals", "decisions", "features")
            return min([await folded_to(db, name) for name in models]) >= records[-1].position

    await eventually(is_there)
    return market


async def ask(market: Market, query: str, **variables: Any) -> Any:
    (found,) = (await market.api.http.data(query, variables)).values()
    return found


async def test_every_figure_comes_with_its_sample_and_its_interval_or_says_why(told: Market) -> None:
    found = await ask(told, PERFORMANCE)
    figures = {figure["name"]: figure for figure in found["figures"]}
    assert found["of"] == "SIGNALS"
    assert found["trades"] == figures["win_rate"]["sample"] > 0
    rate = figures["win_rate"]
    assert rate["low"] < rate["value"] < rate["high"]
    assert all(each["value"] is not None or each["note"] for each in found["figures"])
    assert sum(month["trades"] for month in found["months"]) == found["trades"]


async def test_signals_candidates_and_versions_are_told_apart(told: Market) -> None:
    sets = {
        of: (await ask(told, PERFORMANCE, of=of))["trades"] for of in ("SIGNALS", "CANDIDATES", "REFUSED")
    }
    assert sets["CANDIDATES"] == sets["SIGNALS"] + sets["REFUSED"]
    versions = [(await ask(told, PERFORMANCE, version=version))["trades"] for version in (1, 2)]
    assert sum(versions) == sets["SIGNALS"]
    assert 0 not in versions


async def test_as_of_a_position_shows_what_was_known_then(told: Market) -> None:
    now = await ask(told, PERFORMANCE)
    begin = await ask(told, PERFORMANCE, asOf={"position": "3"})
    assert begin["trades"] < now["trades"]
    assert begin["position"] == 3
    assert (await ask(told, PERFORMANCE, asOf={"position": str(now["position"])})) == now


async def test_the_equity_curve_ends_where_the_contributions_add_up(told: Market) -> None:
    curve = (await ask(told, CURVE, points=2_000))["points"]
    whole = await ask(told, ATTRIBUTION, by="REGIME")
    assert curve[-1]["equity"] == pytest.approx(1 + whole["total"], abs=1e-12)
    peak = 0.0
    for point in curve:
        peak = max(peak, point["equity"], 1.0)
        assert point["drawdown"] == pytest.approx(1 - point["equity"] / peak, abs=1e-12)
    thin = (await ask(told, CURVE, points=10))["points"]
    assert len(thin) <= 10
    assert thin[-1] == curve[-1]


@pytest.mark.parametrize(
    "by",
    [
        *("VOTER", "PATTERN", "FEATURE_GROUP", "REGIME", "TIMEFRAME", "VENUE", "INSTRUMENT"),
        *("HOUR", "VERSION"),
    ],
)
async def test_the_parts_sum_to_the_whole(told: Market, by: str) -> None:
    found = await ask(told, ATTRIBUTION, by=by, of="CANDIDATES")
    assert math.fsum(part["contribution"] for part in found["parts"]) == pytest.approx(
        found["total"], abs=1e-9
    )
    assert math.fsum(part["r"] for part in found["parts"]) == pytest.approx(found["totalR"], abs=1e-9)


async def test_the_reliability_diagram_is_that_of_the_calibration(told: Market) -> None:
    query = """{
      reliabilityDiagram(strategy: "trial", candidates: true, bins: 3) {
        claims brier ece bins { low high claimed won wonLow wonHigh count } }
      calibration(strategy: "trial", candidates: true, bins: 3) {
        claims brier ece bins { low high claimed won wonLow wonHigh count } } }"""
    found = await told.api.http.data(query)
    assert found["reliabilityDiagram"] == found["calibration"]
    assert found["reliabilityDiagram"]["claims"] > 0


TRIALS = """
query($first: Int, $asOf: AsOf) {
  trials(strategy: "trial", first: $first, asOf: $asOf) {
    position count bestSharpe expectedBest deflatedSharpe trials { id position sharpe days kind source label }
  }
}
"""


async def tried(api: Api, trial: str, sharpe: float | None) -> int:
    event = like_sample("trial.recorded.v1", strategy="trial", trial=trial, sharpe=sharpe, days=400)
    assert isinstance(event, TrialRecorded)
    stream, store = stream_of("trial"), api.services.store
    (record,) = await store.append([codec.new_event(stream, await store.version(stream) + 1, event)])
    return record.position


async def test_the_more_was_tried_the_less_the_best_is_worth(api: Api) -> None:
    first = await tried(api, "a", 0.1)
    for n in range(9):
        await tried(api, f"b{n}", 0.09 - n / 100)
    await tried(api, "a", 0.1)  # again: no other trial
    last = await tried(api, "none", None)
    found = (await api.http.data(TRIALS, {"first": 2}))["trials"]
    assert (found["count"], found["bestSharpe"]) == (11, 0.1)
    assert [each["id"] for each in found["trials"]] == ["none", "b8"]
    alone = (await api.http.data(TRIALS, {"asOf": {"position": str(first)}}))["trials"]
    assert (alone["count"], alone["expectedBest"]) == (1, 0.0)
    assert found["expectedBest"] > 0
    assert found["deflatedSharpe"] < alone["deflatedSharpe"]
    assert found["trials"][0]["position"] == last


async def test_nobody_has_no_figures_and_says_why(market: Market) -> None:
    found = await ask(market, PERFORMANCE.replace("trial", "nobody"))
    assert found["trades"] == 0
    known = {each["name"] for each in found["figures"] if each["value"] is not None or not each["note"]}
    assert known <= {"trials", "expected_max_sharpe"}  # of the search, not of trades


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ('{ equityCurve(strategy: "x", points: 1) { position } }', "points 1 needs 10 to 2000"),
        ('{ trials(strategy: "x", first: 501) { count } }', "first 501 needs 1 to 500"),
        ('{ reliabilityDiagram(strategy: "x", bins: 0) { claims } }', "bins 0 needs 1 to 100"),
        ('{ performance(strategy: "x", instrument: "nonsense") { trades } }', "nonsense"),
        (
            '{ performance(strategy: "x", from: "2026-01-02T00:00Z", to: "2026-01-01T00:00Z") { of } }',
            "from is not before to",
        ),
    ],
)
async def test_what_cannot_be_asked_is_refused_with_its_value(api: Api, query: str, message: str) -> None:
    assert message in (await api.http.error(query))["message"]
