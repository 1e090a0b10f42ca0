"""Random histories leave the PostgreSQL store and its twin in memory with one log and the same answers."""

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import UUID

import pytest

from alphapulse.adapters.store.memory import MemoryEventStore
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.ports import Fence, NewEvent, Page, StoredRecord
from tests.adapters.store.events import event

STREAMS = ("trades-a-X", "trades-b-Y", "feed-a-X", "signal-1")
STEPS = 150
Step = Callable[[Any], Awaitable[object]]


def some_events(random_: random.Random, known: list[NewEvent], versions: dict[str, int]) -> list[NewEvent]:
    """Mostly what fits; now and then a hole, a rival, a stolen id, or a repeat with something behind it."""
    kind = random_.choice(["next", "next", "next", "repeat", "wrong version", "known id", "mixed"])
    if kind == "repeat" and known:
        first = random_.randrange(len(known))
        return known[first : first + random_.randint(1, 3)]
    made: list[NewEvent] = []
    following = dict(versions)
    for _ in range(random_.randint(1, 4)):
        stream = random_.choice(STREAMS)
        following[stream] = version = following.get(stream, 0) + 1
        if kind == "wrong version" and random_.random() < 0.5:
            version = max(1, version + random_.choice([-2, -1, 1]))
        event_id = UUID(int=random_.getrandbits(128))
        if kind == "known id" and known:
            event_id = random_.choice(known).envelope.event_id
        lo = random_.choice([None, random_.randint(0, 50)])
        hi = None if lo is None else lo + random_.randint(0, 20)
        made.append(event(stream, version, random_.randbytes(5), event_id=event_id, id_lo=lo, id_hi=hi))
    return [*known[-1:], *made] if kind == "mixed" else made


def some_step(random_: random.Random, known: list[NewEvent], versions: dict[str, int]) -> Step:
    match random_.choice(["append"] * 5 + ["fenced", "read", "stream", "overlapping", "lease", "lapse"]):
        case "append":
            events = some_events(random_, known, versions)
            return lambda store: store.append(events)
        case "fenced":
            events, fence = some_events(random_, known, versions), Fence("l", random_.randint(1, 4))
            return lambda store: store.append(events, fence=fence)
        case "read":
            after, limit = random_.randint(0, 60), random_.randint(1, 20)
            until = random_.choice([None, random_.randint(0, 80)])
            filters = random_.choice(
                [{}, {"streams": STREAMS[:2]}, {"names": ["none"]}, {"partition": (random_.randint(0, 1), 2)}]
            )
            return lambda store: store.read(after, until=until, limit=limit, **filters)
        case "stream":
            stream, after, limit = random_.choice(STREAMS), random_.randint(0, 9), random_.randint(1, 9)
            return lambda store: store.read_stream(stream, after=after, limit=limit)
        case "overlapping":
            stream, lo = random_.choice(STREAMS), random_.randint(-5, 70)
            return lambda store: store.overlapping(stream, lo, lo + 5)
        case "lease":
            holder = random_.choice(["one", "two"])
            return lambda store: store.leases.acquire("l", holder, 60)
        case _:
            fence = Fence("l", random_.randint(1, 4))
            return lambda store: store.leases.release(fence)


def timeless(answer: object) -> object:
    """``answer`` without recorded times, which are each store's own."""
    if isinstance(answer, StoredRecord):
        return {f: getattr(answer, f) for f in answer.__struct_fields__ if f != "recorded_at"}
    if isinstance(answer, Page):
        return ([timeless(r) for r in answer.records], answer.scanned_to)
    if isinstance(answer, Sequence):
        return [timeless(r) for r in answer]
    return answer


async def answer_of(step: Step, store: object) -> object:
    try:
        return timeless(await step(store))
    except Exception as error:
        return type(error)


@pytest.mark.parametrize("seed", range(12))
async def test_both_stores_answer_alike(database_url: str, seed: int) -> None:
    random_ = random.Random(seed)
    twin = MemoryEventStore()
    answers: set[object] = set()
    async with PostgresEventStore(database_url) as store:
        for _ in range(STEPS):
            known = [as_new(r) for r in (await twin.read(0, limit=10_000)).records]
            versions = {stream: await twin.version(stream) for stream in STREAMS}
            step = some_step(random_, known, versions)
            ours, theirs = await answer_of(step, store), await answer_of(step, twin)
            assert ours == theirs
            answers.add(ours.__name__ if isinstance(ours, type) else type(ours).__name__)
        whole = [timeless(await s.read(0, limit=10_000)) for s in (store, twin)]
    assert whole[0] == whole[1]
    assert {"VersionConflict", "list", "tuple"} <= answers


def as_new(record: StoredRecord) -> NewEvent:
    return NewEvent(**{field: getattr(record, field) for field in NewEvent.__struct_fields__})
