"""What a real engine gives, issued: whatever the cuts, the log and the book are the same."""

from functools import cache
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.store.memory import MemoryEventStore
from alphapulse.domain.decision.decisions import ISSUED, VETO, DecisionMade
from alphapulse.domain.signals.book import book_of_signals
from alphapulse.domain.signals.engine import Engine, Output
from alphapulse.domain.signals.signal import OutcomeRecorded, SignalClosed, SignalIssued
from alphapulse.processes.issuing import Issuer
from tests.domain.signals.engine_world import strategy, world

LOG = world(markets=2, bars=1_500, size=100)
DEFINED = replace(strategy(), risk=replace(strategy().risk, max_per_instrument=2, max_correlation=1.0))


@cache
def outputs() -> list[Output]:
    return list(Engine(DEFINED).advance(LOG))


async def issued(*cuts: int) -> list[tuple[str, Any]]:
    """Stream and event of all that is in the log after ``outputs`` in as many calls, by one issuer each."""
    store = MemoryEventStore()
    for a, b in pairwise([0, *sorted(set(cuts)), len(outputs())]):
        await Issuer(store, DEFINED).issue(outputs()[a:b])
    records = (await store.read(0, limit=10_000)).records
    return [(record.stream, codec.decode(record).event) for record in records]


async def test_proposals_become_signals_or_are_vetoed_and_signals_close() -> None:
    events = [event for _, event in await issued()]
    signals = [event for event in events if isinstance(event, SignalIssued)]
    made = [event for event in events if isinstance(event, DecisionMade)]
    assert [signal.number for signal in signals] == list(range(1, len(signals) + 1))
    assert {e.decision for e in made if e.verdict == ISSUED} == {signal.decision for signal in signals}
    assert any(VETO in event.refusals for event in made)
    assert len(signals) > 10
    numbered = [e.number for e in events if isinstance(e, OutcomeRecorded) and e.number]
    assert numbered == [event.number for event in events if isinstance(event, SignalClosed)]


async def test_the_equity_follows_from_sizes_and_outcomes_alone() -> None:
    events = [event for stream, event in await issued() if stream == "signals-world"]
    book, equity, notional = book_of_signals.initial, 1.0, dict[int, float]()
    for event in events:
        if isinstance(event, SignalIssued):
            notional[event.number] = event.size_ratio * equity
        if isinstance(event, SignalClosed):
            equity += notional[event.number] * event.net_bps / 1e4
            assert event.equity == equity
        book = book_of_signals.evolve(book, event)
    assert book.equity == equity != 1.0


@settings(max_examples=15)
@given(st.sets(st.integers(0, 100), max_size=8))
async def test_any_cutting_into_calls_records_the_same(shares: set[int]) -> None:
    cuts = [len(outputs()) * share // 100 for share in shares]
    assert await issued(*cuts) == await issued()
