"""Decisions and signals in one append, numbers without gaps, over the real store; and what a kill leaves."""

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

import pytest
from msgspec.structs import replace

from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.store.limits import MAX_COMMIT_BYTES
from alphapulse.adapters.store.memory import MemoryEventStore
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.decision.decisions import ISSUED, REFUSED, VETO, DecisionMade
from alphapulse.domain.decision.strategy import Adaptation
from alphapulse.domain.ports import (
    EventStore,
    EventTooLarge,
    Fence,
    FencedOut,
    NewEvent,
    StoredRecord,
    StoreUnavailable,
    UndecodableEvent,
    VersionConflict,
)
from alphapulse.domain.signals.engine_events import Output
from alphapulse.domain.signals.entering import OutOfStep, Terms
from alphapulse.domain.signals.signal import ExitRecommended, OutcomeRecorded, SignalClosed, SignalIssued
from alphapulse.processes.issuing import Diverged, Issuer
from tests.adapters.store.decided import EXAMPLES
from tests.domain.signals.decided import BTC, ETH, NOON, decision
from tests.processes.decided_outputs import (
    FREE,
    STRATEGY,
    in_calls,
    numbered,
    outputs,
    refused,
    resolved,
    signals,
    stream,
)

DECISIONS = "decisions-kraken-BTC/USD-mine.1"
SIGNALS = "signals-mine"


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[EventStore]:
    async with PostgresEventStore(database_url) as store:
        yield store


async def contents(store: EventStore) -> list[tuple[str, int, str, str, bytes]]:
    """The log, without positions and times of recording."""
    page = await store.read(0, limit=10_000)
    return [(r.stream, r.version, r.name, str(r.envelope), r.state) for r in page.records]


# -- what is written -----------------------------------------------------------------------------


async def test_a_proposal_becomes_a_decision_and_a_signal_in_one_append(store: EventStore) -> None:
    result = await Issuer(store, STRATEGY).issue(numbered(BTC, [decision()]))
    first, second = (await store.read(0)).records
    assert (first.stream, second.stream) == (DECISIONS, SIGNALS)
    assert first.recorded_at == second.recorded_at or first.position + 1 == second.position
    made, signal = codec.decode(first).event, codec.decode(second).event
    assert (made.verdict, made.refusals, made.size_ratio) == (ISSUED, (), signal.size_ratio)
    assert (signal.number, signal.decision) == (1, made.decision)
    assert second.envelope.cause_id == first.envelope.event_id
    assert (result.appended, result.signals, result.skipped) == (2, 1, 0)
    assert result.position == second.position


async def test_a_veto_is_recorded_with_its_reasons(store: EventStore) -> None:
    strategy = replace(STRATEGY, risk=replace(FREE, max_open=1))
    await Issuer(store, strategy).issue(numbered(BTC, [decision(), decision(minute=NOON + 5)]))
    _, made = await stream(store, DECISIONS)
    assert (made.verdict, made.refusals, made.size_ratio) == (REFUSED, (VETO,), 0.0)
    assert made.notes == ("veto: max_open 1 of 1 signals are open",)
    assert len(await stream(store, SIGNALS)) == 1


async def test_a_refused_candidate_is_recorded_as_it_came(store: EventStore) -> None:
    made = refused(decision())
    await Issuer(store, STRATEGY).issue(numbered(BTC, [made]))
    assert await stream(store, DECISIONS) == [made]
    assert await stream(store, SIGNALS) == []


async def test_an_outcome_closes_its_signal_and_bears_its_number(store: EventStore) -> None:
    await Issuer(store, STRATEGY).issue(outputs(BTC, 2))
    outcomes = [e for e in await stream(store, DECISIONS) if isinstance(e, OutcomeRecorded)]
    assert [e.number for e in outcomes] == [1, 0, 2, 0]
    kinds = [type(event) for event in await stream(store, SIGNALS)]
    assert kinds == [SignalIssued, ExitRecommended, SignalClosed] * 2
    closed = (await stream(store, SIGNALS))[-1]
    size = (await signals(store))[0].size_ratio
    assert closed.equity == pytest.approx((1 - size * 0.021) * (1 + size * 0.019))


async def test_of_one_position_the_more_confident_is_first(store: EventStore) -> None:
    """Bars of several timeframes end at one moment: numbers follow confidence."""
    minutes = {5: NOON + 55, 15: NOON + 45, 60: NOON}
    made = [
        decision(minute=minutes[t], timeframe=t, confidence=c) for t, c in ((5, 0.90), (15, 0.97), (60, 0.93))
    ]
    await Issuer(store, STRATEGY).issue(numbered(BTC, made))
    assert [signal.confidence for signal in await signals(store)] == [0.97, 0.93, 0.90]
    assert [event.timeframe for event in await stream(store, DECISIONS)] == [5, 15, 60]


async def test_two_bars_of_one_timeframe_keep_their_order(store: EventStore) -> None:
    first, second = decision(confidence=0.9), decision(minute=NOON + 5, confidence=0.95)
    await Issuer(store, STRATEGY).issue(numbered(BTC, [first, replace(second, time=first.time)]))
    assert [signal.confidence for signal in await signals(store)] == [0.9, 0.95]


async def test_terms_and_the_adaptation_in_force_bound_the_size(store: EventStore) -> None:
    half = Adaptation(name="thin", change={"size": 0.5})
    strategy = replace(STRATEGY, adaptations=(half,))
    await Issuer(store, strategy).issue(numbered(BTC, [decision(parameters="thin")]))
    terms = {ETH: Terms(depth=10.0, correlations={BTC: 0.5})}
    issuer = Issuer(store, strategy, terms=lambda made: terms[made.instrument])
    await issuer.issue(numbered(ETH, [decision(ETH)]))
    full = 0.0001 / 0.02
    assert [signal.size_ratio for signal in await signals(store)] == [full / 2]
    (made,) = await stream(store, "decisions-kraken-ETH/USD-mine.1")
    assert made.notes[0].startswith("veto: depth 0.1 of 10 within 10 bps")


async def test_correlations_are_looked_up_by_market(store: EventStore) -> None:
    strategy = replace(STRATEGY, risk=replace(FREE, max_correlation=0.8))
    for i, known in enumerate([{BTC: 0.9}, {BTC: 0.7}]):
        issuer = Issuer(store, strategy, terms=lambda _, known=known: Terms(correlations=known))  # type: ignore[misc]
        instrument = f"kraken:X{i}"
        await issuer.issue(numbered(BTC, [decision()]))
        await issuer.issue(numbered(instrument, [decision(instrument)]))
    assert [signal.instrument for signal in await signals(store)] == [BTC, "kraken:X1"]


async def test_a_calibration_goes_to_the_stream_of_its_part(store: EventStore) -> None:
    fitted = next(event for event in EXAMPLES if type(event).__name__ == "CalibrationFitted")
    await Issuer(store, STRATEGY, part=3).issue([Output(1_000, "", 1, fitted)])  # type: ignore[arg-type]
    assert await stream(store, "calibration-mine.1-3") == [fitted]


async def test_causes_and_correlations_follow_the_market_event(store: EventStore) -> None:
    (market,) = await store.append([codec.new_event("x", 1, EXAMPLES[1])])
    known = codec.decode(market)
    await Issuer(store, STRATEGY).issue(outputs(BTC, 1)[:1], cause=lambda position: known)
    _, made, signal = (await store.read(0)).records
    assert (made.envelope.cause_id, made.envelope.correlation_id) == (known.envelope.event_id,) * 2
    assert signal.envelope.cause_id == made.envelope.event_id
    assert signal.envelope.correlation_id == known.envelope.event_id


async def test_derived_ids_never_change(store: EventStore) -> None:
    """Repeats are found by them: another formula would make other events of the same decisions."""
    await Issuer(store, STRATEGY).issue(outputs(BTC, 1))
    found = [str(record.envelope.event_id)[:4] for record in (await store.read(0)).records]
    assert found == ["85ee", "f126", "3607", "e1fc", "6bb6", "8128", "63f8"]


# -- again, and after a kill ---------------------------------------------------------------------


async def test_a_repeat_adds_nothing(store: EventStore) -> None:
    given = outputs(BTC, 20)
    issuer = Issuer(store, STRATEGY)
    first = await issuer.issue(given)
    before = await contents(store)
    assert (await issuer.issue(given)).appended == 0
    again = await Issuer(store, STRATEGY).issue(given)
    assert (again.appended, again.skipped, again.position) == (0, 80, 0)
    assert first.signals == 20
    assert await contents(store) == before


async def test_what_overlaps_is_skipped_and_the_rest_appended(store: EventStore) -> None:
    given = outputs(BTC, 3)
    await Issuer(store, STRATEGY).issue(given[:7])
    result = await Issuer(store, STRATEGY).issue(given[5:])
    assert (result.skipped, result.signals) == (2, 1)
    assert [signal.number for signal in await signals(store)] == [1, 2, 3]


class Killed(BaseException):
    """Of the process: nothing catches it."""


class DyingStore:
    """The real store, until its holder is killed before or after the ``nth`` append."""

    def __init__(self, store: EventStore, nth: int, *, after: bool) -> None:
        self._store, self._left, self._after = store, nth, after

    async def append(
        self, events: Sequence[NewEvent], *, fence: Fence | None = None
    ) -> Sequence[StoredRecord]:
        self._left -= 1
        if self._left == 0 and not self._after:
            raise Killed
        records = await self._store.append(events, fence=fence)
        if self._left == 0:
            raise Killed
        return records

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@pytest.mark.parametrize("size", [1, 2, 5, 7])
async def test_wherever_it_is_killed_the_log_is_the_same(size: int) -> None:
    """On the store's twin in memory; test_killed_processes_… does it to real processes."""
    given = outputs(BTC, 4)
    whole = MemoryEventStore()
    await in_calls(whole, given, 20)
    wanted = sorted(await contents(whole))
    for nth in range(1, 21 // size + 2):
        for after in (False, True):
            store = MemoryEventStore()
            with suppress(Killed):
                await in_calls(DyingStore(store, nth, after=after), given, size)
            await in_calls(store, given, 3)
            assert sorted(await contents(store)) == wanted


async def test_a_call_that_fails_can_be_made_again(store: EventStore) -> None:
    """The same issuer does not trust what it kept: the reply was lost, the events were not."""

    class Unlucky(DyingStore):
        async def append(
            self, events: Sequence[NewEvent], *, fence: Fence | None = None
        ) -> Sequence[StoredRecord]:
            try:
                return await super().append(events, fence=fence)
            except Killed:
                raise StoreUnavailable("no reply") from None

    given = outputs(BTC, 2)
    unlucky: Any = Unlucky(store, 1, after=True)
    issuer = Issuer(unlucky, STRATEGY)
    with pytest.raises(StoreUnavailable):
        await issuer.issue(given)
    result = await issuer.issue(given)
    assert (result.appended, result.skipped) == (0, 8)
    assert [signal.number for signal in await signals(store)] == [1, 2]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"entry": 100.5}, "entry recorded 100.0, given 100.5"),
        ({"notes": ("other",)}, "given"),
        ({"refusals": ("breaker",), "verdict": REFUSED}, "verdict recorded 'issued', given 'refused'"),
    ],
)
async def test_what_differs_from_what_is_recorded_is_not_passed_over(
    store: EventStore, change: dict[str, Any], words: str
) -> None:
    await Issuer(store, STRATEGY).issue(numbered(BTC, [decision()]))
    with pytest.raises(Diverged, match=words) as caught:
        await Issuer(store, STRATEGY).issue(numbered(BTC, [decision(**change), decision(minute=NOON + 5)]))
    assert (caught.value.stream, caught.value.version) == (DECISIONS, 1)
    assert isinstance(caught.value.recorded, DecisionMade)
    assert await store.head() == 2


async def test_an_event_of_another_kind_in_its_place_is_not_passed_over(store: EventStore) -> None:
    await Issuer(store, STRATEGY).issue(numbered(BTC, [decision()]))
    with pytest.raises(Diverged, match="recorded is DecisionMade"):
        await Issuer(store, STRATEGY).issue(numbered(BTC, [resolved(decision())]))


async def test_outputs_that_leave_a_hole_are_refused(store: EventStore) -> None:
    with pytest.raises(OutOfStep, match="has 0 events, the next one given is number 5"):
        await Issuer(store, STRATEGY).issue(outputs(BTC, 3)[5:])
    assert await store.head() == 0


async def test_a_signal_without_its_decision_is_out_of_step(store: EventStore) -> None:
    given = outputs(BTC, 1)
    signal = next(event for event in EXAMPLES if isinstance(event, SignalIssued))
    stray = replace(signal, number=1, strategy_version=1, instrument=BTC, decision=decision().decision)
    await store.append([codec.new_event(SIGNALS, 1, stray)])
    with pytest.raises(OutOfStep, match=decision().decision):
        await Issuer(store, STRATEGY).issue(given)


async def test_a_number_that_is_none_is_refused_before_anything_is_appended(store: EventStore) -> None:
    given = numbered(BTC, [decision(), refused(decision(minute=NOON + 5, voters=float("nan")))])
    with pytest.raises(UndecodableEvent, match=r"decision\.made\.v1"):
        await Issuer(store, STRATEGY).issue(given)
    assert await store.head() == 0


# -- limits --------------------------------------------------------------------------------------


class Counting(DyingStore):
    """How much each append holds."""

    def __init__(self, store: EventStore) -> None:
        super().__init__(store, -1, after=False)
        self.sizes: list[tuple[int, int]] = []

    async def append(
        self, events: Sequence[NewEvent], *, fence: Fence | None = None
    ) -> Sequence[StoredRecord]:
        self.sizes.append((len(events), sum(len(event.state) for event in events)))
        return await super().append(events, fence=fence)


async def test_appends_stay_under_the_limits_of_the_store(store: EventStore) -> None:
    counting: Any = Counting(store)
    await Issuer(counting, STRATEGY).issue(outputs(BTC, 400))
    assert len(counting.sizes) > 3
    assert max(count for count, _ in counting.sizes) <= 1_000
    assert max(size for _, size in counting.sizes) <= MAX_COMMIT_BYTES
    assert max(size for _, size in counting.sizes) > MAX_COMMIT_BYTES * 0.9
    assert [signal.number for signal in await signals(store)] == list(range(1, 401))


async def test_a_unit_that_no_append_can_hold_is_refused_whole(store: EventStore) -> None:
    large = [decision(timeframe=t, notes=("x" * 300_000,), position=1, time=2 * 10**18) for t in (5, 15)]
    far = [replace(made, horizon_end=made.time + 10**15) for made in large]
    with pytest.raises(EventTooLarge):
        await Issuer(store, STRATEGY).issue(numbered(BTC, far))
    assert await store.head() == 0


async def test_who_lost_the_lease_appends_nothing(store: EventStore) -> None:
    with pytest.raises(FencedOut):
        await Issuer(store, STRATEGY).issue(outputs(BTC, 1), fence=Fence("decider", 1))
    assert await store.head() == 0


class Overtaken(MemoryEventStore):
    """A rival in another market is faster, ``times`` times."""

    times = 0

    async def append(
        self, events: Sequence[NewEvent], *, fence: Fence | None = None
    ) -> Sequence[StoredRecord]:
        if self.times:
            self.times -= 1
            await super().append(await _rival_events(self, f"kraken:R{self.times}"))
        return await super().append(events, fence=fence)


async def _rival_events(store: MemoryEventStore, instrument: str) -> Sequence[NewEvent]:
    """What an issuer of that market would append now."""
    caught: list[NewEvent] = []

    class Catching(DyingStore):
        async def append(
            self, events: Sequence[NewEvent], *, fence: Fence | None = None
        ) -> Sequence[StoredRecord]:
            caught.extend(events)
            raise Killed

    catching: Any = Catching(store, -1, after=False)
    with suppress(Killed):
        await Issuer(catching, STRATEGY).issue(numbered(instrument, [decision(instrument)]))
    return caught


async def test_whoever_is_overtaken_takes_the_next_number() -> None:
    store = Overtaken()
    store.times = 3
    await Issuer(store, STRATEGY).issue(numbered(BTC, [decision()]))
    found = await signals(store)
    assert [signal.number for signal in found] == [1, 2, 3, 4]
    assert found[-1].instrument == BTC


async def test_being_overtaken_has_an_end() -> None:
    store = Overtaken()
    store.times = 4
    with pytest.raises(VersionConflict):
        await Issuer(store, STRATEGY, tries=4).issue(numbered(BTC, [decision()]))
    assert len(await signals(store)) == 4
    with pytest.raises(ValueError, match="0 tries"):
        Issuer(store, STRATEGY, tries=0)
