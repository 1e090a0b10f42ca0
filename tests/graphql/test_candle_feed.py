"""Candles live: what a subscriber gets while trades are recorded, and after it was away."""

import asyncio
import json
import random
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from alphapulse.domain.market.events import FeedConnected, FeedLost, GapClosed, WatermarkPassed
from alphapulse.graphql import candle_feed
from alphapulse.graphql.limits import Limits
from alphapulse.graphql.scalars import write_time
from alphapulse.projections.notices import ReadNotices
from tests.candle_oracle import MINUTE
from tests.graphql.client import Subscriber, subscriber
from tests.graphql.conftest import Market, StartApi, projecting
from tests.projections.market_log import ETH, T0, trades

LIVE = """
subscription($after: Position, $timeframe: Timeframe! = M1) {
  candles(instrument: "test:BTC_USD", timeframe: $timeframe, after: $after) {
    previous position
    candles { start close baseVolume tradeCount revision closed state }
    discontinuity { after until reason }
  }
}
"""


def at(minute: float) -> str:
    return write_time(T0 + round(minute * MINUTE))


async def update(peer: Subscriber) -> Any:
    return (await peer.next())["candles"]


def closes(message: Any) -> dict[str, str]:
    return {candle["start"]: candle["close"] for candle in message["candles"]}


async def test_the_first_message_holds_the_newest_bar_and_later_ones_what_changes(market: Market) -> None:
    one = await market.folded(trades([(0, 100, 1), (1, 101, 1)]))
    async with subscriber(market.api.port) as peer:
        await peer.subscribe(LIVE)
        first = await update(peer)
        assert (first["previous"], first["position"]) == (one, one)
        assert closes(first) == {at(1): "101"}
        two = await market.append(trades([(1.5, 102, 2)], first_id=3))
        second = await update(peer)
        assert (second["previous"], second["position"]) == (one, two)
        assert second["candles"] == [
            {
                "start": at(1), "close": "102", "baseVolume": "3", "tradeCount": 2, "revision": 0,
                "closed": False, "state": "TRADED",
            }
        ]  # fmt: skip


async def test_a_bar_that_ends_is_told_as_closed_though_no_trade_touched_it(market: Market) -> None:
    await market.folded(trades([(0, 100, 1)]))
    async with subscriber(market.api.port) as peer:
        await peer.subscribe(LIVE)
        assert [c["closed"] for c in (await update(peer))["candles"]] == [False]
        await market.append(trades([(1.2, 101, 1)], first_id=2))
        message = await update(peer)
        assert [(c["start"], c["closed"]) for c in message["candles"]] == [(at(0), True), (at(1), False)]
        await market.append(WatermarkPassed(venue="test", symbol="BTC_USD", time=T0 + 2 * MINUTE))
        message = await update(peer)
        assert [(c["start"], c["closed"]) for c in message["candles"]] == [(at(1), True)]


async def test_a_late_trade_revises_the_bar_of_its_minute(market: Market) -> None:
    await market.folded(trades([(0, 100, 1), (5, 105, 1)]))
    async with subscriber(market.api.port) as peer:
        await peer.subscribe(LIVE)
        await update(peer)
        await market.append(trades([(0.5, 99, 1)], first_id=3))
        (candle,) = (await update(peer))["candles"]
        assert (candle["start"], candle["close"], candle["revision"], candle["state"]) == (
            at(0),
            "99",
            1,
            "REVISED",
        )


async def test_other_instruments_do_not_disturb(market: Market) -> None:
    await market.folded(trades([(0, 100, 1)]))
    async with subscriber(market.api.port) as peer:
        await peer.subscribe(LIVE)
        first = await update(peer)
        await market.folded(trades([(0, 1, 1)], instrument=ETH))
        two = await market.append(trades([(0.1, 101, 1)], first_id=2))
        second = await update(peer)
        assert (second["previous"], second["position"]) == (first["position"], two)
        assert closes(second) == {at(0): "101"}


async def test_resuming_brings_what_changed_meanwhile_and_nothing_else(market: Market) -> None:
    one = await market.folded(trades([(0, 100, 1), (1, 101, 1), (2, 102, 1)]))
    two = await market.folded(trades([(2.5, 103, 1), (3, 104, 1)], first_id=4))
    async with subscriber(market.api.port) as peer:
        await peer.subscribe(LIVE, {"after": one})
        message = await update(peer)
        assert (message["previous"], message["position"]) == (one, two)
        assert closes(message) == {at(2): "103", at(3): "104"}


async def test_what_came_and_what_was_announced_equals_the_candles(market: Market) -> None:
    """A client that keeps the latest of each bar ends with the series, however often it was cut off."""
    known: dict[str, str] = {}
    position = await market.folded(trades([(0, 100, 1)]))
    known |= {at(0): "100"}
    ident = 2
    for _ in range(6):
        for _ in range(10):
            await market.append(trades([(ident / 7, 100 + ident, 1)], first_id=ident))
            ident += 1
        async with subscriber(market.api.port) as peer:
            await peer.subscribe(LIVE, {"after": position})
            for _ in range(2):
                await market.append(trades([(ident / 7, 100 + ident, 1)], first_id=ident))
                ident += 1
                message = await update(peer)
                assert message["previous"] <= position < message["position"]
                assert message["discontinuity"] is None
                position = message["position"]
                known |= closes(message)
            peer.socket.transport.abort()
    await market.folded(trades([(ident / 7, 100 + ident, 1)], first_id=ident))
    async with subscriber(market.api.port) as peer:
        await peer.subscribe(LIVE, {"after": position})
        known |= closes(await update(peer))
    whole = await market.api.http.data(
        '{ candle(instrument: "test:BTC_USD", timeframe: M1) { nodes { start close } } }'
    )
    assert known == {node["start"]: node["close"] for node in whole["candle"]["nodes"]}


ALL = "start open close baseVolume tradeCount minutes revision closed state coverage sourcePosition"


@pytest.mark.parametrize("seed", range(4))
async def test_whoever_keeps_the_latest_of_each_bar_knows_what_the_candles_say(
    market: Market, seed: int
) -> None:
    """Trades in and out of order, a feed that comes and goes: after each, every field of every bar."""
    frames = {"M1": 1, "M5": 5, "M15": 15}
    await market.folded(trades([(0, 100, 1)]))
    async with AsyncExitStack() as stack:
        peers = {name: await stack.enter_async_context(subscriber(market.api.port)) for name in frames}
        known: dict[str, dict[str, Any]] = {name: {} for name in frames}
        for name, peer in peers.items():
            query = LIVE.replace("start close baseVolume tradeCount revision closed state", ALL)
            await peer.subscribe(query, {"timeframe": name})
            first = await update(peer)  # else it may begin after the next trade, with that bar alone
            known[name] |= {candle["start"]: candle for candle in first["candles"]}
        for events in chunks(seed):
            position = await market.append(*events)
            for name, peer in peers.items():
                reached = 0
                while reached < position:
                    message = await update(peer)
                    reached = message["position"]
                    known[name] |= {candle["start"]: candle for candle in message["candles"]}
        for name in frames:
            page = (
                f'candle(instrument: "test:BTC_USD", timeframe: {name}, first: 1000) {{ nodes {{ {ALL} }} }}'
            )
            expected = (await market.api.http.data(f"{{ {page} }}"))["candle"]["nodes"]
            assert len(expected) > 30 // frames[name]
            assert [known[name].get(node["start"]) for node in expected] == expected


def chunks(seed: int) -> Iterator[list[Any]]:
    """Some events each, of which the last is a trade in the newest bar: every timeframe hears of it."""
    rng = random.Random(seed)
    names = {"venue": "test", "symbol": "BTC_USD"}
    clock, ident = 0.1, 2
    for _ in range(60):
        events: list[Any] = []
        at_ns = T0 + round(clock * MINUTE)
        kind = rng.randrange(8)
        if kind == 0:
            events.append(FeedConnected(**names, time=at_ns))
        elif kind == 1:
            events.append(FeedLost(**names, time=at_ns, reason="test"))
        elif kind == 2:
            start = max(T0, at_ns - rng.randrange(1, 9) * MINUTE)
            events.append(GapClosed(**names, start=start, end=at_ns, back_filled=rng.random() < 0.5))
        elif kind == 3:
            events.append(trades([(rng.random() * clock, rng.randrange(90, 110), 1)], first_id=ident))
            ident += 1
        clock += rng.choice([0.1, 0.4, 1, 2.5])
        events.append(trades([(clock, rng.randrange(90, 110), 0.5)], first_id=ident))
        ident += 1
        yield events


async def test_more_changes_than_one_message_holds_are_announced(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candle_feed, "MAX_CHANGED", 3)
    one = await market.folded(trades([(0, 100, 1)]))
    two = await market.folded(trades([(m, 100, 1) for m in range(1, 4)], first_id=2))
    async with subscriber(market.api.port) as peer:
        await peer.subscribe(LIVE, {"after": one})
        message = await update(peer)  # minute 0 ended, and three more: one too many
        assert message["candles"] == []
        assert (message["discontinuity"]["after"], message["discontinuity"]["until"]) == (one, two)
        assert message["position"] == two
        await market.append(trades([(3.5, 101, 1)], first_id=5))
        message = await update(peer)
        assert (message["discontinuity"], closes(message)) == (None, {at(3): "101"})


async def test_candles_that_were_built_anew_are_announced(market: Market) -> None:
    position = await market.folded(trades([(0, 100, 1)]))
    async with subscriber(market.api.port) as peer:
        await peer.subscribe(LIVE)
        await update(peer)
        await market.api.write("UPDATE projections SET generation = 7")  # as a swap would
        message = await update(peer)
        assert message["candles"] == []
        assert message["discontinuity"]["reason"] == "the candles were built anew"
        assert (message["previous"], message["position"]) == (position, position)


async def test_a_position_beyond_the_log_is_refused(market: Market) -> None:
    await market.folded(trades([(0, 100, 1)]))
    async with subscriber(market.api.port) as peer:
        await peer.subscribe(LIVE, {"after": 10**6})
        message = await peer.receive()
        assert message["type"] == "error"
        assert "1000000" in message["payload"][0]["message"]


async def test_every_timeframe_changes_with_the_trade(market: Market) -> None:
    await market.folded(trades([(0, 100, 1)]))
    async with subscriber(market.api.port) as peer:
        names = ["M1", "M5", "M15", "H1", "H4", "D1", "W1"]
        for name in names:
            await peer.subscribe(LIVE, {"timeframe": name})
            await peer.next()
        await market.append(trades([(0.5, 55, 1)], first_id=2))
        got = [(await peer.next())["candles"]["candles"][0]["close"] for _ in names]
        assert got == ["55"] * 7


async def test_a_slow_subscriber_gets_the_latest_state_of_each_bar(
    start_api: StartApi, database_url: str
) -> None:
    api = await start_api(Limits(queue_messages=2))
    async with projecting(database_url):
        market = Market(api)
        await market.folded(trades([(0, 100, 1)]))
        async with subscriber(api.port, max_queue=1) as peer:
            # An answer of about 100 kB, so that few of them fill the socket.
            wide = LIVE.replace("close baseVolume", " ".join(f"c{i}: close" for i in range(28)) + " close")
            for name in ("M1",) * 40:
                await peer.subscribe(wide, {"timeframe": name})
            for _ in range(40):
                await peer.next()
            peer.socket.transport.pause_reading()
            last = 0
            for ident in range(2, 400):
                last = await market.append(trades([(0.001 * ident, ident, 1)], first_id=ident))
            await market.folded(trades([(0.5, 777, 1)], first_id=400))
            peer.socket.transport.resume_reading()
            messages: dict[str, list[Any]] = {}
            while len([m for m in messages.values() if m[-1]["position"] > last]) < 40:
                message = await peer.receive()
                assert message["type"] == "next", message
                messages.setdefault(message["id"], []).append(message["payload"]["data"]["candles"])
            for received in messages.values():
                assert received[-1]["candles"][-1]["close"] == "777"
                assert received[-1]["candles"][-1]["tradeCount"] == 400
                positions = [m["position"] for m in received]
                assert positions == sorted(set(positions))
                for before, after in pairwise(received):
                    assert after["previous"] <= before["position"]
            assert sum(map(len, messages.values())) < 40 * 399


async def test_a_subscription_before_any_event_begins_at_the_beginning(market: Market) -> None:
    async with subscriber(market.api.port) as peer:
        await peer.subscribe(LIVE)
        assert await update(peer) == {"previous": 0, "position": 0, "candles": [], "discontinuity": None}
        await market.append(trades([(0, 100, 1)]))
        assert closes(await update(peer)) == {at(0): "100"}


async def test_facts_about_the_feed_reach_the_bars_they_change(market: Market) -> None:
    names = {"venue": "test", "symbol": "BTC_USD"}
    await market.folded(FeedConnected(**names, time=T0), trades([(0, 100, 1)]))
    async with subscriber(market.api.port) as peer:
        await peer.subscribe(LIVE)
        assert (await update(peer))["candles"][0]["state"] == "TRADED"
        await market.append(FeedLost(**names, time=T0 + MINUTE // 2, reason="test"))
        assert (await update(peer))["candles"][0]["state"] == "FEED_DOWN"


async def test_no_position_is_told_twice_while_a_notice_is_under_way(market: Market) -> None:
    """The look that one notice causes may find a commit whose own notice is still to come."""
    one = await market.folded(trades([(0, 100, 1)]))
    notices = ReadNotices(nowhere, "candles")
    feed = candle_feed.CandleFeed(replace(market.api.services, notices=notices), "test:BTC_USD", 1)
    assert await feed.start() == one
    first = await feed.now()
    minute = T0 // MINUTE
    hear = partial(_hear, notices, (minute, minute))
    notices._seen = (1, one)
    waiting = asyncio.create_task(feed.next())
    hear(one)  # of what was seen already: nothing is news, but now it knows how things stand
    async with asyncio.timeout(10):
        while feed._known is None:
            await asyncio.sleep(0.01)
    two = await market.folded(trades([(0.1, 101, 1)], first_id=2))
    hear(one)
    await asyncio.sleep(0.3)
    assert not waiting.done(), "the bar of the second trade would be told under the position of the first"
    hear(two)
    update = await waiting
    assert (update.previous, update.position) == (first.position, two)
    assert [candle.close for candle in update.payload.candles] == ["101"]
    await feed.close()


async def nowhere() -> Any:
    raise AssertionError("nobody listens")


def _hear(notices: ReadNotices, minutes: tuple[int, int], position: int) -> None:
    touched = {"test:BTC_USD": minutes}
    notices._hear(json.dumps({"projection": "candles", "position": position, "touched": touched}))
