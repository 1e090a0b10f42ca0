"""Candles, trades and instruments over GraphQL: what the log holds, now and as of then."""

from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from alphapulse.domain.market.columns import ROW_ID_BIT
from alphapulse.domain.market.events import FeedConnected, TradesObserved
from alphapulse.domain.market.timeframes import LABELS
from alphapulse.graphql.candles import CandleState, Timeframe
from alphapulse.graphql.scalars import write_time
from alphapulse.processes.project import READ_MODELS
from alphapulse.projections.candle_queries import State
from tests.candle_oracle import MINUTE, bars_of
from tests.graphql.conftest import Market
from tests.projections.market_log import BTC, ETH, T0, bars, trades

SERIES = """
query($timeframe: Timeframe!, $from: Time, $to: Time, $last: Int, $asOf: AsOf, $fill: Fill) {
  candles(instrument: "test:BTC_USD", timeframe: $timeframe, from: $from, to: $to, last: $last, asOf: $asOf,
          fill: $fill) {
    position count firstStart lastStart
    start open high low close baseVolume quoteVolume takerBuyVolume vwap tradeCount minutes revision
    sourcePosition source closed state coverage filled
  }
}
"""
PAGE = """
query($first: Int, $after: String, $last: Int, $before: String, $from: Time, $to: Time, $asOf: AsOf) {
  candle(instrument: "test:BTC_USD", timeframe: M1, first: $first, after: $after, last: $last,
         before: $before, from: $from, to: $to, asOf: $asOf) {
    position
    nodes { start close }
    edges { cursor node { start end open high low close baseVolume quoteVolume takerBuyVolume vwap tradeCount
      minutes revision sourcePosition source closed state coverage } }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}
"""
TRADES = """
query($order: TradeOrder, $first: Int, $after: String, $last: Int, $before: String, $from: Time, $to: Time,
      $fromId: ID, $toId: ID, $asOf: AsOf) {
  trades(instrument: "test:BTC_USD", order: $order, first: $first, after: $after, last: $last,
         before: $before, from: $from, to: $to, fromId: $fromId, toId: $toId, asOf: $asOf) {
    position nodes { id venueId time price size side receivedTime backFilled sourcePosition }
    pageInfo { hasNextPage hasPreviousPage endCursor startCursor }
  }
}
"""


def walk(seed: int, count: int, *, first_id: int = 1, minute: float = 0.0) -> TradesObserved:
    """Trades some seconds apart with a price that wanders."""
    rng = np.random.default_rng(seed)
    minutes = minute + np.cumsum(rng.exponential(0.2, count))
    prices = 100 + np.cumsum(rng.integers(-5, 6, count)) / 100
    sizes = rng.integers(1, 50_000, count) / 10_000
    sides = rng.choice([1, -1], count)
    rows = list(zip(minutes, prices, sizes, sides.tolist(), strict=True))
    return trades(rows, first_id=first_id)


def at(minute: float) -> str:
    return write_time(T0 + round(minute * MINUTE))


async def series(market: Market, timeframe: str = "M1", **variables: Any) -> Any:
    return (await market.api.http.data(SERIES, {"timeframe": timeframe, **variables}))["candles"]


@pytest.mark.parametrize("timeframe", list(Timeframe))
async def test_a_series_equals_bars_counted_by_hand_from_the_trades(
    market: Market, timeframe: Timeframe
) -> None:
    batches = [walk(1, 500), walk(2, 500, first_id=501, minute=110)]
    log = []
    for batch in batches:
        log.append((await market.folded(batch), batch.columns))
    expected = {
        start: row for (length, start), row in sorted(bars_of(log).items()) if length == timeframe.value
    }
    got = await series(market, timeframe.name)
    assert got["position"] == log[-1][0]
    assert got["count"] == len(expected)
    assert got["start"] == [start * 60_000 for start in expected]
    for field, column in {
        "open": "open",
        "high": "high",
        "low": "low",
        "close": "close",
        "baseVolume": "base_volume",
        "quoteVolume": "quote_volume",
        "takerBuyVolume": "taker_buy_volume",
    }.items():
        assert [Decimal(text) for text in got[field]] == [row[column] for row in expected.values()], field
        assert all(isinstance(text, str) and "E" not in text for text in got[field])
    for field, column in {
        "tradeCount": "trade_count",
        "minutes": "minutes",
        "revision": "revision",
        "sourcePosition": "position",
    }.items():
        assert got[field] == [row[column] for row in expected.values()], field


async def test_a_range_holds_the_bars_that_begin_in_it_and_last_cuts_from_its_end(market: Market) -> None:
    await market.folded(trades([(minute, 100 + minute, 1) for minute in range(10)]))
    assert (await series(market, **{"from": at(3), "to": at(6)}))["close"] == ["103", "104", "105"]
    assert (await series(market, **{"from": at(3), "to": at(6)}, last=2))["close"] == ["104", "105"]
    assert (await series(market, last=1))["close"] == ["109"]
    assert (await series(market, to=at(1)))["close"] == ["100"]
    assert (await series(market, **{"from": at(20)}))["count"] == 0


async def test_a_series_asks_the_database_only_for_the_columns_it_shows(market: Market) -> None:
    await market.folded(trades([(0, 100, 1)]))
    got = await market.api.http.data(
        '{ candles(instrument: "test:BTC_USD", timeframe: M1) { ...C } } '
        "fragment C on CandleSeries { ... on CandleSeries { c: close } state }"
    )
    assert got == {"candles": {"c": ["100"], "state": ["TRADED"]}}


async def test_holes_are_filled_only_on_request_and_say_so(market: Market) -> None:
    await market.folded(trades([(0, 100, 1), (3, 106, 2)]))
    assert (await series(market))["close"] == ["100", "106"]
    empty = await series(market, fill="EMPTY")
    assert empty["close"] == ["100", None, None, "106"]
    assert empty["filled"] == [False, True, True, False]
    assert (await series(market, fill="PREVIOUS"))["close"] == ["100", "100", "100", "106"]
    assert [Decimal(c) for c in (await series(market, fill="LINEAR"))["close"]] == [100, 102, 104, 106]


async def test_watched_minutes_without_trades_are_quiet_and_others_unknown(market: Market) -> None:
    await market.folded(trades([(0, 100, 1)]))
    await market.folded(FeedConnected(venue="test", symbol="BTC_USD", time=T0 + 2 * MINUTE))
    await market.folded(trades([(4, 101, 1)], first_id=2))
    got = await series(market, fill="EMPTY")
    assert got["state"] == ["TRADED", "UNKNOWN", "QUIET", "QUIET", "TRADED"]


async def test_as_of_a_position_and_of_a_time_answers_what_the_log_said_then(market: Market) -> None:
    one = await market.folded(trades([(0, 100, 1), (0.5, 101, 1)]))
    then = await series(market)
    two = await market.folded(trades([(0.7, 90, 3), (5, 95, 1)], first_id=3))
    now = await series(market)
    assert now["close"] == ["90", "95"]
    assert await series(market, asOf={"position": one}) == then
    assert await series(market, asOf={"position": two}) == now
    recorded = await market.api.http.data("{ events { events { position recordedAt } } }")
    times = {event["position"]: event["recordedAt"] for event in recorded["events"]["events"]}
    assert await series(market, asOf={"recordedAt": times[one]}) == then
    assert (await series(market, asOf={"position": 0}))["count"] == 0


async def test_as_of_a_position_not_yet_reached_says_so(market: Market) -> None:
    await market.folded(trades([(0, 100, 1)]))
    error = await market.api.http.error(SERIES, {"timeframe": "M1", "asOf": {"position": 10**6}})
    assert error["extensions"]["code"] == "NOT_YET"
    assert "1000000" in error["message"]


@pytest.mark.parametrize("as_of", [{}, {"position": 1, "recordedAt": "2026-01-01"}, {"position": None}])
async def test_as_of_needs_exactly_one_moment(market: Market, as_of: dict[str, Any]) -> None:
    answer = await market.api.http.post(SERIES, {"timeframe": "M1", "asOf": as_of})
    assert answer.json["errors"]


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"last": 10_001}, "last 10001 needs 1 to 10000"),
        ({"last": 0}, "last 0"),
        ({"from": "2026-01-02", "to": "2026-01-01"}, "2026-01-02T00:00:00Z is not before"),
        ({"timeframe": "M2"}, "M2"),
        ({"from": "noon"}, "noon"),
    ],
)
async def test_a_range_that_makes_no_sense_is_refused_with_its_values(
    market: Market, variables: dict[str, Any], said: str
) -> None:
    error = await market.api.http.error(SERIES, {"timeframe": "M1", **variables})
    assert said in error["message"]


async def test_an_instrument_is_written_venue_and_symbol(market: Market) -> None:
    query = "query($i: String!) { candles(instrument: $i, timeframe: M1) { count } }"
    assert "BTC_USD" in (await market.api.http.error(query, {"i": "BTC_USD"}))["message"]
    assert await market.api.http.data(query, {"i": "nobody:KNOWS"}) == {"candles": {"count": 0}}


async def test_bars_of_a_venue_are_marked_and_trades_come_first(market: Market) -> None:
    await market.folded(bars([(0, 1, 3, 1, 2, 10), (1, 2, 4, 2, 3, 10)]), trades([(1, 50, 1)]))
    got = await series(market)
    assert got["close"] == ["2", "50"]
    assert got["source"] == [1, 0]
    assert got["state"][0] == "VENUE_SUPPLIED"
    assert got["tradeCount"] == [None, 1]


async def test_pages_of_candles_join_to_the_whole_in_both_directions(market: Market) -> None:
    await market.folded(trades([(minute, 100 + minute, 1) for minute in range(10)]))
    whole = [f"{100 + minute}" for minute in range(10)]
    got: list[str] = []
    after = None
    while True:
        page = (await market.api.http.data(PAGE, {"first": 4, "after": after}))["candle"]
        got += [node["close"] for node in page["nodes"]]
        assert page["pageInfo"]["hasPreviousPage"] == (after is not None)
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert got == whole
    got, before = [], None
    while True:
        page = (await market.api.http.data(PAGE, {"last": 4, "before": before}))["candle"]
        got = [node["close"] for node in page["nodes"]] + got
        before = page["pageInfo"]["startCursor"]
        if not page["pageInfo"]["hasPreviousPage"]:
            break
    assert got == whole


async def test_pages_by_cursor_keep_to_the_position_of_the_first(market: Market) -> None:
    one = await market.folded(trades([(minute, 100, 1) for minute in range(4)]))
    page = (await market.api.http.data(PAGE, {"first": 2}))["candle"]
    await market.folded(trades([(2.5, 777, 1), (9, 888, 1)], first_id=5))
    rest = (await market.api.http.data(PAGE, {"first": 5, "after": page["pageInfo"]["endCursor"]}))["candle"]
    assert rest["position"] == one
    assert [node["close"] for node in rest["nodes"]] == ["100", "100"]


async def test_a_candle_says_all_that_the_series_says(market: Market) -> None:
    await market.folded(walk(3, 300))
    columns = await series(market)
    nodes = (await market.api.http.data(PAGE, {"first": 1000}))["candle"]["edges"]
    for field in (
        "open",
        "high",
        "low",
        "close",
        "baseVolume",
        "quoteVolume",
        "takerBuyVolume",
        "vwap",
        "tradeCount",
        "minutes",
        "revision",
        "sourcePosition",
        "source",
        "closed",
        "state",
        "coverage",
    ):
        assert [edge["node"][field] for edge in nodes] == columns[field], field


async def test_a_page_of_candles_can_be_bounded_by_time(market: Market) -> None:
    await market.folded(trades([(minute, 100 + minute, 1) for minute in range(10)]))
    page = (await market.api.http.data(PAGE, {"from": at(2), "to": at(5)}))["candle"]
    assert [node["start"] for node in page["nodes"]] == [at(2), at(3), at(4)]


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"first": 1001}, "first 1001 needs 1 to 1000"),
        ({"last": 0}, "last 0"),
        ({"first": 1, "last": 1}, "one direction"),
        ({"after": "bm9uc2Vuc2U"}, "bm9uc2Vuc2U"),
        ({"after": "é"}, "cursor"),
        ({"after": "MSwyLDM"}, "kind of page"),  # 1,2,3: a cursor of trades
    ],
)
async def test_a_page_that_makes_no_sense_is_refused(
    market: Market, variables: dict[str, Any], said: str
) -> None:
    assert said in (await market.api.http.error(PAGE, variables))["message"]


async def test_trades_come_in_order_of_time_or_of_id(market: Market) -> None:
    await market.folded(trades([(5, 100, 1), (1, 101, 0.5, -1), (3, 102, 0.0001, 0)]))
    by_time = (await market.api.http.data(TRADES))["trades"]["nodes"]
    assert [trade["id"] for trade in by_time] == ["2", "3", "1"]
    by_id = (await market.api.http.data(TRADES, {"order": "ID"}))["trades"]["nodes"]
    assert [trade["id"] for trade in by_id] == ["1", "2", "3"]
    assert [(t["price"], t["size"], t["side"], t["time"]) for t in by_id] == [
        ("100", "1", "BUY", at(5)),
        ("101", "0.5", "SELL", at(1)),
        ("102", "0.0001", "UNKNOWN", at(3)),
    ]


@pytest.mark.parametrize("order", ["TIME", "ID"])
async def test_pages_of_trades_join_to_the_whole(market: Market, order: str) -> None:
    await market.folded(walk(1, 100), walk(2, 100, first_id=101, minute=5))
    whole = (await market.api.http.data(TRADES, {"order": order, "first": 1000}))["trades"]["nodes"]
    assert len(whole) == 200
    got: list[Any] = []
    after = None
    while True:
        page = (await market.api.http.data(TRADES, {"order": order, "first": 33, "after": after}))["trades"]
        got += page["nodes"]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert got == whole
    last = (await market.api.http.data(TRADES, {"order": order, "last": 7}))["trades"]["nodes"]
    assert last == whole[-7:]


async def test_trades_are_bounded_by_what_they_are_sorted_by(market: Market) -> None:
    await market.folded(trades([(minute, 100, 1) for minute in range(10)]))
    by_time = (await market.api.http.data(TRADES, {"from": at(3), "to": at(5)}))["trades"]["nodes"]
    assert [trade["id"] for trade in by_time] == ["4", "5"]
    by_id = (await market.api.http.data(TRADES, {"order": "ID", "fromId": "3", "toId": "6"}))["trades"][
        "nodes"
    ]
    assert [trade["id"] for trade in by_id] == ["3", "4", "5"]
    assert "from and to" in (await market.api.http.error(TRADES, {"fromId": "3"}))["message"]
    assert "fromId and toId" in (await market.api.http.error(TRADES, {"order": "ID", "to": at(1)}))["message"]
    assert "'x'" in (await market.api.http.error(TRADES, {"order": "ID", "fromId": "x"}))["message"]


async def test_trades_as_of_then_leave_out_what_came_later(market: Market) -> None:
    one = await market.folded(trades([(0, 100, 1)]))
    await market.folded(trades([(1, 101, 1)], first_id=2))
    then = (await market.api.http.data(TRADES, {"asOf": {"position": one}}))["trades"]
    assert [trade["id"] for trade in then["nodes"]] == ["1"]
    assert then["position"] == one


async def test_rows_without_a_venue_id_have_none(market: Market) -> None:
    await market.folded(trades([(0, 100, 1)], first_id=ROW_ID_BIT + 5))
    (trade,) = (await market.api.http.data(TRADES))["trades"]["nodes"]
    assert (trade["id"], trade["venueId"]) == (str(ROW_ID_BIT + 5), None)


async def test_instruments_are_listed_with_what_was_recorded_of_them(market: Market) -> None:
    one = await market.folded(trades([(0, 100, 1), (1, 101, 1)]))
    await market.folded(trades([(2, 10, 1)], instrument=ETH), bars([(0, 1, 1, 1, 1, 1)], timeframe=5))
    query = """query($first: Int! = 10, $after: String, $asOf: AsOf) {
      instruments(first: $first, after: $after, asOf: $asOf) {
        hasNextPage
        nodes { id venue symbol tradeCount firstTime lastTime priceDecimals sizeDecimals builtFromTrades
          suppliedMinutes }
      }
    }"""
    page = (await market.api.http.data(query))["instruments"]
    assert [node["id"] for node in page["nodes"]] == [str(BTC), str(ETH)]
    assert page["nodes"][0] == {
        "id": "test:BTC_USD",
        "venue": "test",
        "symbol": "BTC_USD",
        "tradeCount": 2,
        "firstTime": at(0),
        "lastTime": at(1),
        "priceDecimals": 2,
        "sizeDecimals": 4,
        "builtFromTrades": True,
        "suppliedMinutes": [5],
    }
    first = (await market.api.http.data(query, {"first": 1}))["instruments"]
    assert first["hasNextPage"]
    rest = (await market.api.http.data(query, {"after": first["nodes"][-1]["id"]}))["instruments"]
    assert [node["id"] for node in rest["nodes"]] == [str(ETH)]
    then = (await market.api.http.data(query, {"asOf": {"position": one}}))["instruments"]
    assert [(node["id"], node["suppliedMinutes"]) for node in then["nodes"]] == [(str(BTC), [])]


async def test_the_log_tells_how_far_each_read_model_has_come(market: Market) -> None:
    position = await market.folded(trades([(0, 100, 1)]))
    log = (
        await market.api.http.data(
            "{ log { position recordedAt relay { position } "
            "projections { name position lagEvents lagSeconds parked problem } } }"
        )
    )["log"]
    assert log["position"] == position
    assert log["recordedAt"] is not None
    by_name = {each["name"]: each for each in log["projections"]}
    assert set(by_name) == set(READ_MODELS)
    assert by_name["candles"] == {
        "name": "candles",
        "position": position,
        "lagEvents": 0,
        "lagSeconds": 0.0,
        "parked": 0,
        "problem": None,
    }
    assert log["relay"] is None


def test_the_schema_names_timeframes_and_states_as_the_domain_does() -> None:
    assert {timeframe.value for timeframe in Timeframe} == set(LABELS)
    assert {state.name for state in CandleState} == {state.name for state in State}
