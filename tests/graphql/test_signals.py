"""Signals, decisions, outcomes and calibrations over GraphQL, from events in a real log."""

from typing import Any

import pytest
from msgspec.structs import replace

from alphapulse.adapters.store.codec import codec
from alphapulse.projections.decision_queries import folded_to
from tests.decision_events import closed, decision, issued, like_sample, outcome, stream_of
from tests.graphql.client import eventually, subscriber
from tests.graphql.conftest import Api, Market
from tests.graphql.test_analysis import known, tape
from tests.projections.market_log import trades

SIGNALS = """
query($state: SignalState, $min: Float, $first: Int, $after: String, $last: Int, $before: String,
      $asOf: AsOf) {
  signals(strategy: "trial", state: $state, minConfidence: $min, first: $first, after: $after, last: $last,
          before: $before, asOf: $asOf) {
    position nodes { number confidence state closedAt netBps equity side label }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}
"""
STORY = """
query($number: Int!, $asOf: AsOf) {
  signal(strategy: "trial", number: $number, asOf: $asOf) {
    number state
    decision { id verdict consensus votes { voter weight skill reasons } claim { raw confidence calibration }
               gate { needed margin breakerClosed } proposed { base raw } }
    outcome { isWin netBps reason }
  }
}
"""
LIVE = """
subscription($after: Position) {
  signals(strategy: "trial", after: $after) {
    previous position issued { number confidence } changed { kind number }
  }
}
"""


async def append(api: Api, *events: Any) -> int:
    """Record each event behind its stream, all in one commit."""
    store, ends = api.services.store, dict[str, int]()
    new = []
    for event in events:
        stream = stream_of(event)
        ends[stream] = (ends[stream] if stream in ends else await store.version(stream)) + 1
        new.append(codec.new_event(stream, ends[stream], event))
    return (await store.append(new))[-1].position


async def folded(market: Market, *events: Any) -> int:
    """``append``, and wait until both read models have it."""
    position = await append(market.api, *events)

    async def is_there() -> bool:
        async with market.api.services.reads.connection() as db:
            return min([await folded_to(db, name) for name in ("decisions", "signals")]) >= position

    await eventually(is_there)
    return position


async def defined(api: Api) -> int:
    return await append(api, like_sample("strategy.defined.v1", name="trial", version=1))


@pytest.fixture
async def three(market: Market) -> Market:
    """Three signals, of which the first was won."""
    for number, confidence in ((1, 0.9), (2, 0.95), (3, 0.87)):
        made = decision(number, confidence=confidence)
        await folded(market, made, issued(made, number))
    won = outcome(decision(1), number=1)
    await folded(market, won, closed(won))
    return market


async def numbers(market: Market, **variables: Any) -> list[int]:
    data = await market.api.http.data(SIGNALS, variables)
    return [node["number"] for node in data["signals"]["nodes"]]


async def test_signals_are_listed_newest_first_with_their_state(three: Market) -> None:
    data = await three.api.http.data(SIGNALS)
    assert [node["number"] for node in data["signals"]["nodes"]] == [3, 2, 1]
    assert [node["state"] for node in data["signals"]["nodes"]] == ["OPEN", "OPEN", "CLOSED"]
    assert [node["netBps"] for node in data["signals"]["nodes"]] == [None, None, 20.0]


async def test_filters_take_what_they_say(three: Market) -> None:
    assert await numbers(three, state="OPEN") == [3, 2]
    assert await numbers(three, state="CLOSED") == [1]
    assert await numbers(three, min=0.9) == [2, 1]


async def test_pages_by_cursor_are_one_answer_both_ways(three: Market) -> None:
    page = (await three.api.http.data(SIGNALS, {"first": 2}))["signals"]
    assert page["pageInfo"]["hasNextPage"]
    made = decision(4)
    await folded(three, made, issued(made, 4))  # comes after the first page: not part of its answer
    cursor = page["pageInfo"]["endCursor"]
    rest = (await three.api.http.data(SIGNALS, {"first": 2, "after": cursor}))["signals"]
    assert [node["number"] for node in page["nodes"] + rest["nodes"]] == [3, 2, 1]
    assert not rest["pageInfo"]["hasNextPage"]
    back = (await three.api.http.data(SIGNALS, {"last": 1, "before": cursor}))["signals"]
    assert [node["number"] for node in back["nodes"]] == [3]


async def test_as_of_shows_a_signal_as_it_then_was(three: Market) -> None:
    async with three.api.services.reads.connection() as db:
        rows = await (await db.execute("SELECT position FROM signals ORDER BY number")).fetchall()
    last = {"position": rows[-1][0]}
    data = await three.api.http.data(SIGNALS, {"asOf": last})
    assert [node["state"] for node in data["signals"]["nodes"]] == ["OPEN"] * 3
    story = await three.api.http.data(STORY, {"number": 1, "asOf": last})
    assert (story["signal"]["state"], story["signal"]["outcome"]) == ("OPEN", None)
    assert await numbers(three, asOf={"position": rows[0][0]}) == [1]
    error = await three.api.http.error(SIGNALS, {"asOf": {"position": 10**9}})
    assert error["extensions"]["code"] == "NOT_YET"


async def test_one_signal_tells_its_whole_story(three: Market) -> None:
    story = (await three.api.http.data(STORY, {"number": 1}))["signal"]
    made = decision(1)
    assert story["decision"]["id"] == made.decision
    assert story["decision"]["votes"][0]["weight"] == made.votes[0].weight
    assert story["decision"]["claim"] == {"raw": made.claim.raw, "confidence": 0.9, "calibration": 3}
    assert story["outcome"] == {"isWin": True, "netBps": 20.0, "reason": "target"}
    assert (await three.api.http.data(STORY, {"number": 99}))["signal"] is None


async def test_refused_decisions_and_their_outcomes_are_told_apart(three: Market) -> None:
    refused = decision(9, verdict="refused", refusals=("low_confidence",), confidence=0.5)
    await folded(three, refused, outcome(refused, won=False))
    query = """query($v: Verdict, $s: Boolean) {
      decisions(strategy: "trial", verdict: $v) { nodes { id refusals } }
      outcomes(strategy: "trial", signals: $s) { nodes { decisionId isWin number } } }"""
    data = await three.api.http.data(query, {"v": "REFUSED", "s": False})
    assert data["decisions"]["nodes"] == [{"id": refused.decision, "refusals": ["low_confidence"]}]
    assert data["outcomes"]["nodes"] == [{"decisionId": refused.decision, "isWin": False, "number": None}]
    issued_only = await three.api.http.data(query, {"v": "ISSUED", "s": True})
    assert len(issued_only["decisions"]["nodes"]) == 3
    assert [node["number"] for node in issued_only["outcomes"]["nodes"]] == [1]


async def test_calibration_judges_claims_by_what_came_true(market: Market) -> None:
    fitted = like_sample("calibration.fitted.v1", strategy="trial", strategy_version=1)
    events = [fitted]
    for number in range(1, 11):
        made = decision(number, confidence=0.9)
        events += [made, outcome(made, won=number != 1, number=number)]
    await folded(market, *events)
    query = """{ calibration(strategy: "trial", bins: 1) {
      claims wins meanClaim winRate ece bins { claimed won wonLow wonHigh } fitted { number method } } }"""
    data = (await market.api.http.data(query))["calibration"]
    assert (data["claims"], data["wins"], data["meanClaim"], data["winRate"]) == (
        10,
        9,
        pytest.approx(0.9),
        0.9,
    )
    assert data["ece"] == pytest.approx(0.0, abs=1e-12)
    assert data["bins"][0]["wonLow"] < 0.9 < data["bins"][0]["wonHigh"]
    assert data["fitted"] == [{"number": fitted.number, "method": fitted.method}]
    empty = (await market.api.http.data(query.replace("trial", "nobody")))["calibration"]
    assert (empty["claims"], empty["meanClaim"], empty["bins"]) == (0, None, [])


async def test_strategies_show_their_definition(market: Market) -> None:
    defined = like_sample("strategy.defined.v1", name="trial", version=1)
    await folded(market, defined)
    query = "{ strategies { name version inUse digest definition } }"
    (found,) = (await market.api.http.data(query))["strategies"]
    assert (found["name"], found["inUse"], found["digest"]) == ("trial", True, defined.digest)
    assert found["definition"]["gate"]["threshold"] == defined.gate.threshold


async def test_new_signals_come_live_the_surest_first_and_changes_after_them(api: Api) -> None:
    """Without any read model running: what is committed is told."""
    await defined(api)
    async with subscriber(api.port) as peer:
        await peer.subscribe(LIVE)
        assert (await peer.next())["signals"]["issued"] == []
        made = [decision(n, confidence=p) for n, p in ((1, 0.86), (2, 0.97), (3, 0.9))]
        foreign = decision(7, strategy="other")
        await append(api, issued(foreign, 1), *(issued(each, n) for n, each in enumerate(made, 1)))
        update = (await peer.next())["signals"]
        assert [s["number"] for s in update["issued"]] == [2, 3, 1]
        won = outcome(made[1], number=2)
        await append(api, won, closed(won))
        after = (await peer.next())["signals"]
        assert after["changed"] == [{"kind": "closed", "number": 2}]
        assert after["previous"] == update["position"]


async def test_a_subscriber_resumes_after_a_position_and_misses_nothing(api: Api) -> None:
    await defined(api)
    made = [decision(n) for n in range(1, 6)]
    positions = [await append(api, each, issued(each, n)) for n, each in enumerate(made, 1)]
    async with subscriber(api.port) as peer:
        await peer.subscribe(LIVE, {"after": positions[1]})
        got: list[int] = []
        while len(got) < 3:
            got += [s["number"] for s in (await peer.next())["signals"]["issued"]]
        assert sorted(got) == [3, 4, 5]


async def test_resuming_beyond_the_end_of_the_log_is_refused(api: Api) -> None:
    head = await defined(api)
    async with subscriber(api.port) as peer:
        await peer.subscribe(LIVE, {"after": 99})
        message = await peer.receive()
        assert f"after 99 lies beyond the end of the log, {head}" in str(message)


@pytest.mark.parametrize("what", ["signals { issued { number } }", "decisions { decisions { id } }"])
async def test_a_strategy_that_nobody_defined_is_not_watched(api: Api, what: str) -> None:
    """Each name would be a feed of its own that reads the log."""
    async with subscriber(api.port) as peer:
        field, _, rest = what.partition(" ")
        await peer.subscribe(f'subscription {{ {field}(strategy: "nonsense") {rest} }}')
        assert "there is no strategy 'nonsense'" in str(await peer.receive())


@pytest.mark.logs_errors
async def test_an_event_that_cannot_be_read_does_not_hold_up_those_after_it(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    first, damaged, last = (decision(number) for number in (1, 2, 3))
    begin = await append(api, first)
    stream, store = stream_of(damaged), api.services.store
    new = codec.new_event(stream, await store.version(stream) + 1, damaged)
    (record,) = await store.append([replace(new, state=b"{}")])
    await append(api, last)
    async with subscriber(api.port) as peer:
        query = "subscription($after: Position) { decisions(after: $after) { decisions { id } } }"
        await peer.subscribe(query, {"after": begin})
        got: list[str] = []
        while not got:
            got += [each["id"] for each in (await peer.next())["decisions"]["decisions"]]
    assert got == [last.decision]
    assert f"position {record.position} is passed over" in caplog.text


async def test_decisions_and_outcomes_come_live_too(api: Api) -> None:
    async with subscriber(api.port) as peer:
        await peer.subscribe("subscription { decisions { decisions { id } } }")
        await peer.subscribe("subscription { outcomes { outcomes { decisionId reason } } }")
        assert {tuple(await peer.next()) for _ in range(2)} == {("decisions",), ("outcomes",)}
        made = decision(1)
        await append(api, made, outcome(made))
        messages = [await peer.next() for _ in range(2)]
        assert {"decisions": {"decisions": [{"id": made.decision}]}} in messages
        told = [{"decisionId": made.decision, "reason": "target"}]
        assert {"outcomes": {"outcomes": told}} in messages


RISK = """query($bars: Int! = 200, $asOf: AsOf) {
  risk(strategy: "trial", timeframe: M1, bars: $bars, horizonBars: 2, asOf: $asOf) {
    openSignals equity gross net atStops markets { instrument share } rows note
    tails { method confidence valueAtRisk expectedShortfall losses }
  }
}"""


async def test_risk_of_what_is_open_is_told_from_bars_as_they_were(market: Market) -> None:
    await known(market, trades(tape(1, minutes=300)))
    assert (await market.api.http.data(RISK))["risk"]["note"] == "nothing is open"
    made = decision(1)
    await folded(market, made, issued(made, 1))
    found = (await market.api.http.data(RISK))["risk"]
    signal = issued(made, 1)
    assert (found["openSignals"], found["gross"]) == (1, pytest.approx(signal.size_ratio))
    assert found["markets"] == [{"instrument": "test:BTC_USD", "share": pytest.approx(signal.size_ratio)}]
    assert [tail["method"] for tail in found["tails"]] == ["historical"] * 2 + ["bootstrap"] * 2
    for tail in found["tails"]:
        assert tail["expectedShortfall"] >= tail["valueAtRisk"]
    too_few = (await market.api.http.data(RISK, {"bars": 20}))["risk"]
    assert too_few["tails"] == []
    assert "20 rows" in too_few["note"]
    won = outcome(made, number=1)
    await folded(market, won, closed(won))
    assert (await market.api.http.data(RISK))["risk"]["openSignals"] == 0


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("{ signals(first: 501) { position } }", "first 501 needs 1 to 500"),
        ("{ decisions(first: 201) { position } }", "first 201 needs 1 to 200"),
        ("{ outcomes(last: 0) { position } }", "last 0 needs 1 to 1000"),
        ('{ calibration(strategy: "x", bins: 51) { claims } }', "bins 51 needs 1 to 50"),
        ('{ signals(instrument: "nonsense") { position } }', "nonsense"),
        ('{ risk(strategy: "x", bars: 5001) { note } }', "bars 5001 needs 2 to 5000"),
        ('{ risk(strategy: "x", horizonBars: 0) { note } }', "horizonBars 0 needs 1 to bars 2000"),
    ],
)
async def test_what_cannot_be_asked_is_refused_with_its_value(api: Api, query: str, message: str) -> None:
    assert message in (await api.http.error(query))["message"]
