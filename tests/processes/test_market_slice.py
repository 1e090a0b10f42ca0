"""The slice of a market: as little as shows that nothing was left out, as much as decides the same."""

from typing import Any

import msgspec
import pytest

from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.store.memory import MemoryEventStore
from alphapulse.domain.ports import EventStore, Recorded
from alphapulse.domain.signals.rederivation import outcome_of
from alphapulse.processes import market_slice as module
from alphapulse.processes.market_slice import MarketSlice, SliceTooLarge, market_slice
from tests import decision_events as given
from tests.domain.signals.engine_world import strategy
from tests.domain.signals.outcome_worlds import MINUTE, T0, at, bars, connected, long, lost, trades
from tests.provenance.decided_world import put

DEFINED = strategy(name="trial")
IDEA = long(fee_bps=DEFINED.risk.fee_bps, slippage_bps=DEFINED.risk.slippage_bps)


async def told(*events: Any) -> EventStore:
    store = MemoryEventStore()
    for event in events:
        await put(store, event)
    return store


def made(position: int) -> Any:
    """Decided at T0 on the minute before."""
    return given.decision(
        1,
        bar_start=T0 // MINUTE - 1,
        timeframe=1,
        time=T0,
        position=position,
        side=1,
        entry=IDEA.entry,
        stop=IDEA.stop,
        target=IDEA.target,
        horizon_end=IDEA.horizon_end,
    )


async def outcome(store: EventStore) -> Recorded:
    """What the whole log makes of it, as the product records it."""
    records = (await store.read(0, limit=10_000)).records
    log = [(record.position, codec.decode(record).event) for record in records]
    event = msgspec.structs.replace(given.outcome(made(0)), outcome=outcome_of(IDEA, log))
    record = records[-1]
    return Recorded(
        stream="", version=1, name="outcome.recorded.v1", event=event, envelope=record.envelope,
        position=record.position + 1, recorded_at=record.recorded_at,
    )  # fmt: skip


async def cut(
    store: EventStore, deciding: int, *, is_open: bool = False, last: int | None = None
) -> MarketSlice:
    found = None if is_open else await outcome(store)
    return await market_slice(store, made(deciding), DEFINED, found, last or await store.head())


QUIET = [trades((60 * n, 100.0), first_id=n + 100) for n in range(-50, -1)]
BAR = trades((-30, 100.0), first_id=1)
DECIDING = trades((0, 100.0), first_id=2)
LATER = [trades((20 * n, 100.5), first_id=n + 10) for n in range(1, 4)]
CLOSING = trades((100, 103.0), first_id=50)
AFTER = [trades((110 + n, 99.0), first_id=60 + n) for n in range(5)]


async def test_it_begins_with_the_event_before_the_bar_and_ends_with_the_one_after_the_outcome() -> None:
    store = await told(*QUIET, BAR, DECIDING, *LATER, CLOSING, *AFTER)
    found = await cut(store, len(QUIET) + 2)
    first = len(QUIET)  # the last before the bar
    assert sorted(found.positions) == list(range(first, first + 8))
    assert found.last == first + 6
    assert found.versions == {"trades-test-BTC_USD": (first, first + 7)}
    assert not found.is_whole


async def test_events_of_other_markets_are_not_in_it() -> None:
    store = await told(*QUIET, BAR, DECIDING)
    await store.append([codec.new_event("trades-test-ETH_USD", 1, LATER[0])])
    await put(store, CLOSING)
    assert len(QUIET) + 3 not in (await cut(store, len(QUIET) + 2)).positions


async def test_an_open_decision_has_all_that_is_sealed() -> None:
    store = await told(*QUIET, BAR, DECIDING, *LATER)
    found = await cut(store, len(QUIET) + 2, is_open=True, last=await store.head() - 1)
    assert max(found.positions) == await store.head() - 1


async def test_where_what_came_before_matters_it_begins_earlier() -> None:
    """A process died unheard: only who knows the first connection knows that the second ended a dark time."""
    again = connected(60)
    store = await told(connected(-3_000), *QUIET, BAR, DECIDING, again, trades((70, 103.5), first_id=50))
    recorded = await outcome(store)
    assert recorded.event.outcome.reason == "gap_target"
    found = await cut(store, len(QUIET) + 3)
    assert 1 in found.positions
    assert found.versions["feed-test-BTC_USD"] == (1, 2)


async def test_of_a_feed_the_last_word_before_the_bar_is_in_it() -> None:
    store = await told(lost(-90), connected(-80), BAR, DECIDING, CLOSING)
    found = await cut(store, 4)
    assert found.versions["feed-test-BTC_USD"] == (2, 2)
    assert sorted(found.positions) == [2, 3, 4, 5]


async def test_of_bars_each_timeframe_is_in_it() -> None:
    store = await told(*[bars((60 * n, 100, 101, 99, 100)) for n in range(-20, 3)])
    await put(store, bars((300, 100, 104, 99, 100), timeframe=5))
    found = await market_slice(store, made(20), DEFINED, None, await store.head())
    assert set(found.versions) == {"bars-test-BTC_USD-1m", "bars-test-BTC_USD-5m"}
    assert found.versions["bars-test-BTC_USD-1m"] == (19, 23)


async def test_a_market_with_too_many_events_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    store = await told(*QUIET, BAR, DECIDING, *LATER, CLOSING, *AFTER)
    monkeypatch.setattr(module, "MAX_EVENTS", 5)
    with pytest.raises(SliceTooLarge, match=r"over .* events .* of trades-test-BTC_USD"):
        await cut(store, len(QUIET) + 2, is_open=True)


def test_the_times_are_what_the_tests_rest_on() -> None:
    assert T0 % MINUTE == 0
    assert at(0) == T0
