"""Rows computed from the log: the same as folding each instrument by itself, however the work is cut."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

import msgspec
import numpy as np
import pytest

from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.store.memory import MemoryEventStore
from alphapulse.domain.analysis.closing import Closing, close_bars
from alphapulse.domain.analysis.feature_rows import SetPlan
from alphapulse.domain.analysis.features import BadFeatureSet, SetRetired, UnknownFeatureSet
from alphapulse.domain.analysis.row_bytes import RowsDigest, whole_digest
from alphapulse.domain.market.instrument import Instrument
from alphapulse.domain.ports import Envelope, NewEvent
from alphapulse.processes import computing, instrument_log
from alphapulse.processes.computing import TooManySkipped, Wanted, compute, defined_set, wanted_rows
from alphapulse.processes.instrument_log import open_logs
from tests.processes.feature_logs import DEFINED, NAMES, Writer, random_events, set_of, venue_bars
from tests.projections.market_log import bars


async def log_of(events: Sequence[Any]) -> MemoryEventStore:
    store = MemoryEventStore()
    await Writer(store).append(events)
    return store


async def one_by_one(store: MemoryEventStore, until: int | None = None) -> dict[Any, Any]:
    """Each instrument by itself, an event at a time, as the live read model folds."""
    digest, plan = RowsDigest(), SetPlan(DEFINED)
    states: dict[str, Any] = {}
    page = await store.read(0, until=until, limit=5_000)
    for record in page.records:
        event = codec.decode(record).event
        if record.name.startswith("features."):
            continue
        name = str(event.instrument) if hasattr(event, "instrument") else f"{event.venue}:{event.symbol}"
        closing, slots = states.get(name, (Closing(), {}))
        closing, closed = close_bars(name, closing, [(record.position, event)])
        if closed:
            slots, rows = plan.advance(slots, closed)
            for piece in rows:
                digest.add(piece)
        states[name] = closing, slots
    return digest.parts()


@pytest.mark.parametrize("seed", range(4))
async def test_side_by_side_is_one_by_one(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    events = random_events(seed)
    store = await log_of([*events[:10], DEFINED, *events[10:]])
    expected = await one_by_one(store)
    assert sum(count for count, _ in expected.values()) > 300
    for page_bytes, group in ((256_000, 64), (1, 64), (3_000, 2), (1, 1)):
        monkeypatch.setattr(instrument_log, "PAGE_BYTES", page_bytes)
        wanted = Wanted(defined=DEFINED, until=await store.head())
        computed = await compute(store, wanted, group=group)
        assert computed.parts == expected
        assert computed.digest == whole_digest(expected.items())
        assert not computed.skipped


async def test_a_log_cut_at_a_position_has_the_rows_that_were_known_then() -> None:
    store = await log_of(random_events(7))
    for until in (5, 17, 31):
        computed = await compute(store, Wanted(defined=DEFINED, until=until))
        assert computed.parts == await one_by_one(store, until)


async def test_what_comes_later_changes_no_row_of_before() -> None:
    events = random_events(3)
    store = await log_of(events)
    wanted = Wanted(defined=DEFINED, until=await store.head())
    before = await compute(store, wanted)
    writer = Writer(store)
    writer.versions = {stream: await store.version(stream) for stream in await store.streams("")}
    await writer.append(random_events(99, names=("a:X_USD", "c:Z_USD", "b:X_USD")))
    assert (await compute(store, wanted)).digest == before.digest
    assert (await compute(store, replace(wanted, until=await store.head()))).digest != before.digest


async def test_only_what_is_wanted_comes_out_and_it_is_the_same() -> None:
    store = await log_of(random_events(5))
    everything: dict[Any, list[Any]] = {}
    wanted = Wanted(defined=DEFINED, until=await store.head())
    await compute(store, wanted, lambda rows, _: everything.setdefault(rows.timeframe, []).append(rows))
    some = everything[5][len(everything[5]) // 2]
    first, known_by = int(some.start[0]), int(some.known_time[-1])
    found: list[Any] = []
    chosen = replace(
        wanted, instruments=(some.instrument,), timeframes=(5,), first_start=first, known_by=known_by
    )
    await compute(store, chosen, lambda rows, _: found.append(rows))
    expected = [
        row
        for rows in everything[5]
        if rows.instrument == some.instrument
        for row in zip(rows.start, rows.known_time, rows.values.tolist(), strict=True)
        if row[0] >= first and row[1] <= known_by
    ]
    got = [r for rows in found for r in zip(rows.start, rows.known_time, rows.values.tolist(), strict=True)]
    assert str(got) == str(expected) != "[]"
    assert {(rows.instrument, rows.timeframe) for rows in found} == {(some.instrument, 5)}
    none = await compute(store, replace(wanted, end_start=0))
    assert none.rows == 0


async def test_an_event_that_cannot_be_folded_is_passed_over_and_named() -> None:
    store = await log_of(random_events(2)[:20])
    broken = NewEvent(
        stream="trades-c-NEW",
        version=1,
        name="market.trades_observed.v1",
        state=b"damaged",
        envelope=Envelope(event_id=uuid4()),
    )
    (record,) = await store.append([broken])
    computed = await compute(store, Wanted(defined=DEFINED, until=record.position))
    assert computed.skipped == [record.position]
    assert computed.parts == (await compute(store, Wanted(defined=DEFINED, until=record.position - 1))).parts


async def test_an_event_that_no_bar_can_be_made_of_costs_no_other_event_of_its_page() -> None:
    events = random_events(2)
    misplaced = bars([(3, 1, 1, 1, 1, 1)], timeframe=5, instrument=Instrument("a", "X_USD"))
    store = await log_of([*events[:20], misplaced, *events[20:]])
    position = 21
    wanted = Wanted(defined=DEFINED, until=await store.head())
    computed = await compute(store, wanted)
    assert computed.skipped == [position]
    without = await log_of([*events[:20], venue_bars("z:Z", 0, 1, np.random.default_rng(0)), *events[20:]])
    names = replace(wanted, instruments=NAMES)
    assert computed.parts == (await compute(without, names)).parts


async def test_a_log_of_too_many_such_events_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(computing, "MAX_SKIPPED", 1)
    misplaced = bars([(3, 1, 1, 1, 1, 1)], timeframe=5, instrument=Instrument("a", "X_USD"))
    store = await log_of([misplaced, misplaced])
    with pytest.raises(TooManySkipped, match="2 events up to position 2"):
        await compute(store, Wanted(defined=DEFINED, until=2))


async def test_the_newest_version_in_use_is_meant_where_none_is_named() -> None:
    second = msgspec.structs.replace(set_of("sma(9)"), version=2)
    store = await log_of([DEFINED, second, SetRetired(name="s", version=2, reason="wrong")])
    assert (await defined_set(store, "s"))[0].version == 1
    assert await defined_set(store, "s", 2) == (second, 3)
    assert (await defined_set(store, "s", until=2))[0].version == 2
    assert (await wanted_rows(store, "s", 2)).until == 3
    with pytest.raises(UnknownFeatureSet, match=r"s@3: the versions of s are 1, 2 \(retired\)"):
        await defined_set(store, "s", 3)
    with pytest.raises(UnknownFeatureSet, match="the versions of t are none"):
        await wanted_rows(store, "t")


async def test_a_retired_set_has_no_rows_of_what_was_known_later() -> None:
    events = random_events(4)
    store = await log_of([DEFINED, *events[:20], SetRetired(name="s", version=1, reason="r"), *events[20:]])
    wanted = await wanted_rows(store, "s", 1)
    assert wanted.until == 22
    assert (await compute(store, wanted)).parts == await one_by_one(store, 22)


async def test_a_set_of_other_code_or_without_the_timeframe_is_refused() -> None:
    old = msgspec.structs.replace(
        DEFINED, features=(msgspec.structs.replace(DEFINED.features[0], code_version=99),)
    )
    store = await log_of([old])
    with pytest.raises(BadFeatureSet, match="version 99 of sma"):
        await wanted_rows(store, "s")
    store = await log_of([DEFINED])
    with pytest.raises(BadFeatureSet, match=r"no rows in timeframes \[240\]"):
        await wanted_rows(store, "s", timeframes=[1, 240])


async def test_logs_of_instruments_are_found_in_the_log() -> None:
    store = await log_of([DEFINED, *random_events(1)])
    logs = await open_logs(store, await store.head())
    assert sorted(log.instrument for log in logs) == sorted(NAMES)
    assert [log.events for log in logs] == sorted((log.events for log in logs), reverse=True)
    (only,) = await open_logs(store, await store.head(), ["a:Y_USD"])
    positions: list[int] = []
    while page := await only.pull(store):
        positions += [record.position for record in page]
    assert positions == sorted(positions)
    assert only.is_done
    assert len(positions) == only.events
    (nothing,) = await open_logs(store, await store.head(), ["no:SUCH"])
    assert not await nothing.pull(store)
