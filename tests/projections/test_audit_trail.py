"""The audit trail: an entry for each event but the market's, lists cut as a log would be, causes followed."""

import base64
import json
import random
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest

from alphapulse.adapters.store.codec import FORMS, codec
from alphapulse.domain.ports import Recorded
from alphapulse.projections.audit_queries import MAX_CHAIN, Sought, causes, effects, trail
from alphapulse.projections.audit_trail import NAMES, OF_THE_MARKET, Entry, Trail, entry_of
from alphapulse.projections.audit_words import MAX_WORDS, said
from alphapulse.projections.candle_view import NotYetFolded
from alphapulse.projections.decision_queries import Page
from alphapulse.projections.log_source import StoreSource
from alphapulse.projections.read_database import on_postgres
from alphapulse.projections.runner import Limits, Runner
from tests.decision_events import SAMPLES, closed, decision, issued, like_sample, outcome, stream_of
from tests.projections.conftest import World
from tests.projections.market_log import trades

ALL = Page(limit=1_000)


def test_every_stored_name_is_in_the_trail_or_of_the_market() -> None:
    assert frozenset(FORMS) == NAMES | OF_THE_MARKET
    assert not NAMES & OF_THE_MARKET


@pytest.mark.parametrize("name", sorted(FORMS))
def test_every_event_has_a_sentence_of_its_own(name: str) -> None:
    words = said(name, like_sample_of(name))
    assert words != name.rpartition(".")[0].replace(".", " ").replace("_", " ")
    assert 10 <= len(words) <= MAX_WORDS


def like_sample_of(name: str) -> Any:
    return codec.read(name, base64.b64decode(json.loads((SAMPLES / f"{name}.json").read_text())["state"]))


def test_a_long_sentence_ends_where_it_must() -> None:
    event = like_sample("strategy.retired.v1", reason="x" * 10_000)
    assert len(said("strategy.retired.v1", event)) == MAX_WORDS


@pytest.mark.parametrize(
    ("time", "words"),
    [
        (2**63 - 1, "2262-04-11"),
        (-(2**63), "1677-09-21"),
        (10**25, f"{10**25} ns"),
        (-(10**25), f"-{10**25} ns"),
    ],
)
def test_a_time_that_no_calendar_holds_is_told_as_it_is(time: int, words: str) -> None:
    """JSON holds longer numbers than any venue sends."""
    event = like_sample("signal.issued.v1", horizon_end=time)
    assert f"until {words}" in said("signal.issued.v1", event)


async def test_each_event_has_its_entry_and_the_market_has_none(world: World) -> None:
    await told(world)
    events = await recorded(world)
    _, found = await listed(world, Sought())
    assert found == [entry_of(event) for event in reversed(events) if event.name in NAMES]
    assert {event.name for event in events} & OF_THE_MARKET


async def test_lists_are_what_a_log_cut_there_would_give(world: World) -> None:
    await told(world)
    entries = [entry_of(event) for event in await recorded(world) if event.name in NAMES]
    r = random.Random(3)
    for _ in range(40):
        some, cut = r.choice(entries), r.randint(0, entries[-1].position)
        sought = Sought(**r.choice(FILTERS)(some))
        expected = [entry for entry in reversed(entries) if entry.position <= cut and fits(entry, sought)]
        position, found = await listed(world, sought, as_of=cut)
        assert (position, found) == (cut, expected), sought


FILTERS: Sequence[Any] = (
    lambda e: {"actor": e.actor},
    lambda e: {"strategy": e.strategy, "number": e.number},
    lambda e: {"instrument": e.instrument},
    lambda e: {"stream": e.stream, "names": [e.name]},
    lambda e: {"names": [e.name, "signal.issued.v1"]},
    lambda e: {"cause_id": UUID(e.cause_id) if e.cause_id else None},
    lambda e: {"correlation_id": UUID(e.correlation_id) if e.correlation_id else uuid4()},
    lambda e: {"since": e.recorded_at},
    lambda e: {"until": e.recorded_at, "actor": e.actor},
)


def fits(entry: Entry, sought: Sought) -> bool:
    """The slow way."""
    names = ("actor", "strategy", "number", "instrument", "stream")
    return (
        all(getattr(sought, n) is None or getattr(entry, n) == getattr(sought, n) for n in names)
        and (sought.names is None or entry.name in sought.names)
        and (sought.cause_id is None or entry.cause_id == str(sought.cause_id))
        and (sought.correlation_id is None or entry.correlation_id == str(sought.correlation_id))
        and (sought.since is None or entry.recorded_at >= sought.since)
        and (sought.until is None or entry.recorded_at < sought.until)
    )


async def test_pages_are_the_list_in_pieces_both_ways(world: World) -> None:
    await told(world)
    _, whole = await listed(world, Sought())
    assert len(whole) > 20
    async with await world.connect() as db:
        down, below = list[Entry](), None
        while page := (await trail(db, Sought(), page=Page(limit=7, below=below)))[1]:
            down, below = [*down, *page], page[-1].position
        up, above = list[Entry](), 0
        while page := (await trail(db, Sought(), page=Page(limit=5, above=above, backward=True)))[1]:
            up, above = [*page, *up], page[0].position
    assert down == up == whole


async def test_a_signal_leads_back_to_the_trades_and_the_trades_on_to_its_end(world: World) -> None:
    await told(world)
    events = {event.position: event for event in await recorded(world)}
    signal = next(e for e in events.values() if e.name == "signal.issued.v1")
    async with await world.connect() as db:
        back = [events[position] for position in await causes(db, signal.envelope.event_id)]
        first = back[-1]
        on = await effects(db, first.envelope.event_id)
        cut = await effects(db, first.envelope.event_id, as_of=signal.position)
    assert [event.name for event in back] == [
        "signal.issued.v1",
        "decision.made.v1",
        "market.trades_observed.v1",
    ]
    assert [entry.name for entry in on] == [
        "decision.made.v1",
        "signal.issued.v1",
        "outcome.recorded.v1",
        "signal.closed.v1",
    ]
    assert cut == on[:2]


async def test_a_chain_ends_after_so_many_steps_and_never_runs_in_a_circle(world: World) -> None:
    ids = [uuid4() for _ in range(MAX_CHAIN + 20)]
    events = []
    for n, event_id in enumerate(ids):
        made = decision(n + 1)
        stream = stream_of(made)
        cause = ids[n - 1]  # the first names the last, which comes after it: that is no cause
        events.append(
            codec.new_event(stream, world.next_version(stream), made, event_id=event_id, cause_id=cause)
        )
    await world.append(*events)
    await caught_up(world)
    async with await world.connect() as db:
        assert len(await causes(db, ids[-1])) == MAX_CHAIN + 1
        assert len(await causes(db, ids[1])) == 2
        assert len(await effects(db, ids[0])) == MAX_CHAIN
        assert len(await effects(db, ids[0], limit=5)) == 5
        assert await causes(db, uuid4()) == []


async def test_what_lies_ahead_is_refused_by_its_position(world: World) -> None:
    head = await told(world)
    with pytest.raises(NotYetFolded, match=str(head + 1)):
        await listed(world, Sought(), as_of=head + 1)


async def told(world: World) -> int:
    """Some decisions by two strategies, each with its cause in the market, and what came of them."""
    new = []

    def add(event: Any, stream: str, cause: UUID | None, first: UUID | None, actor: str) -> UUID:
        made = codec.new_event(
            stream,
            world.next_version(stream),
            event,
            event_id=uuid4(),
            cause_id=cause,
            correlation_id=first,
            actor=actor,
        )
        new.append(made)
        return made.envelope.event_id

    for strategy in ("trial", "other"):
        defined = like_sample("strategy.defined.v1", name=strategy, version=1)
        add(defined, stream_of(defined), None, None, "ann")
        for n in range(1, 6):
            batch = trades([(n, 100 + n, 1)], first_id=n + (0 if strategy == "trial" else 100))
            root = add(batch, batch.instrument.stream("trades"), None, None, "importer")
            made = decision(n, strategy=strategy)
            cause = add(made, stream_of(made), root, root, "decider")
            signal = issued(made, n)
            add(signal, stream_of(signal), cause, root, "decider")
            became = outcome(made, number=n)
            end = add(became, stream_of(became), cause, root, "decider")
            over = closed(became)
            add(over, stream_of(over), end, root, "decider")
    await world.append(*new)
    return await caught_up(world)


async def caught_up(world: World) -> int:
    head = await world.store.head()
    limits = Limits(poll_s=0.1)
    runner = Runner(Trail(), on_postgres(world.connect), StoreSource(world.store), codec.decode, limits)
    async with world.running(runner):
        await world.reach(Trail(), head)
    return head


async def recorded(world: World) -> list[Recorded]:
    return [codec.decode(record) for record in (await world.store.read(0, limit=1_000)).records]


async def listed(world: World, sought: Sought, as_of: int | None = None) -> tuple[int, list[Entry]]:
    async with await world.connect() as db:
        position, found = await trail(db, sought, as_of=as_of, page=ALL)
    return position, list(found)
