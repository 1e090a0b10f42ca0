"""What every store of a sealed log does: PostgreSQL's and its twin in memory go through the same tests."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from uuid import uuid4

import msgspec
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphapulse.adapters.embedded.postgres import PostgresServer
from alphapulse.adapters.provenance.keys import KeySigner, ed25519
from alphapulse.adapters.store.memory import MemoryEventStore
from alphapulse.adapters.store.memory_seals import MemorySeals
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.adapters.store.seals import PostgresSeals
from alphapulse.domain.ports import (
    Envelope,
    EventStore,
    Fence,
    FencedOut,
    Leases,
    NewEvent,
    StoreUnavailable,
)
from alphapulse.domain.provenance.checkpoint import open_checkpoint
from alphapulse.domain.provenance.leaf import commitment_of, leaf_of, preimage_of
from alphapulse.domain.provenance.merkle import Frontier, Node, cover, range_root
from alphapulse.domain.provenance.sealing import (
    MAX_LEAVES_A_PAGE,
    OutOfPlace,
    Receipt,
    Seal,
    Tree,
    grown,
    seal,
    sealed_next,
)
from alphapulse.processes.seal import Seals
from tests import servers
from tests.adapters.store.events import event, run_of
from tests.adapters.store.proxy import proxy_to

ORIGIN = "example.org/log"


@dataclass
class World:
    store: EventStore
    seals: Seals
    leases: Leases
    skip: Callable[[], Awaitable[None]]  # the next event's position leaves a gap, where the log has gaps
    signer: KeySigner = field(default_factory=lambda: KeySigner(ORIGIN, bytes(32)))
    tree: Tree = field(default_factory=lambda: Tree(Frontier(), 0, {}))
    done: list[Seal] = field(default_factory=list)
    streams: int = 0

    async def fence(self) -> Fence:
        fence = await self.leases.acquire("seal", "test", 60)
        assert fence
        return fence

    async def append(self, count: int) -> None:
        self.streams += 1
        await self.store.append(run_of(f"s-{self.streams}", 1, count))

    async def next(self, count: int = 1_000) -> Seal:
        page = await self.store.read(self.tree.position, limit=count)
        salts = random.Random(self.tree.size).randbytes(16 * len(page.records))
        return seal(self.tree, page.records, salts, ORIGIN, self.signer)

    async def seal(self, count: int = 1_000) -> Seal:
        done = await self.next(count)
        await self.seals.append(done, fence=await self.fence())
        self.tree = grown(self.tree, done)
        self.done.append(done)
        return done

    @property
    def hashes(self) -> Sequence[bytes]:
        return [done.leaves.hash(leaf) for done in self.done for leaf in range(done.leaves.first, done.size)]

    @property
    def positions(self) -> Sequence[int]:
        return [position for done in self.done for position in done.leaves.positions]


@asynccontextmanager
async def _memory() -> AsyncIterator[World]:
    async def nothing() -> None: ...

    store = MemoryEventStore()
    yield World(store, MemorySeals(store.leases, store), store.leases, nothing)


@asynccontextmanager
async def _postgres(url: str) -> AsyncIterator[World]:
    async with PostgresEventStore(url) as store, PostgresSeals(url, timeout_s=5) as seals:

        async def skip() -> None:
            async with await psycopg.AsyncConnection.connect(url, autocommit=True) as db:
                await db.execute("SELECT nextval('log_positions') FROM generate_series(1, 7)")

        yield World(store, seals, store.leases, skip)


@pytest.fixture(params=["memory", "postgres"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "memory":
        async with _memory() as world:
            yield world
    else:
        async with _postgres(request.getfixturevalue("database_url")) as world:
            yield world


def naive(hashes: Sequence[bytes]) -> bytes:
    """The root over leaf hashes, word by word as RFC 6962 defines it."""
    if len(hashes) < 2:
        return hashes[0] if hashes else sha256(b"").digest()
    split = 1
    while 2 * split < len(hashes):
        split *= 2
    return sha256(b"\x01" + naive(hashes[:split]) + naive(hashes[split:])).digest()


# -- writing ------------------------------------------------------------------------------------


async def test_before_the_first_seal_there_is_nothing(world: World) -> None:
    await world.append(3)
    assert await world.seals.sealed() is None
    assert await world.seals.sealed(size=1) is None
    assert await world.seals.sealed_by(10) is None
    assert await world.seals.leaf_after(0) == 0
    assert (await world.seals.counts(0)).of == {}
    assert await world.seals.nodes([]) == {}
    assert list(await world.seals.receipts(0, 100)) == []
    assert len(await world.seals.leaves(0, 5)) == 0


async def test_a_seal_is_read_as_it_was_written(world: World) -> None:
    await world.append(5)
    done = await world.seal()
    found = await world.seals.sealed()
    assert found
    assert (found.size, found.root, found.note, found.position) == (5, done.root, done.note, 5)
    assert open_checkpoint(found.note, world.signer.key, ed25519).root == naive(world.hashes)
    assert await world.seals.leaves(0, 5) == done.leaves


async def test_the_same_seal_twice_is_one(world: World) -> None:
    await world.append(5)
    done, fence = await world.next(), await world.fence()
    await world.seals.append(done, fence=fence)
    await world.seals.append(done, fence=fence)
    assert len(await world.seals.leaves(0, 10)) == 5


async def test_a_seal_that_was_committed_is_known_again_also_without_the_lease(world: World) -> None:
    await world.append(5)
    done, fence = await world.next(), await world.fence()
    await world.seals.append(done, fence=fence)
    await world.leases.release(fence)
    await world.seals.append(done, fence=fence)
    assert len(await world.seals.leaves(0, 10)) == 5


async def test_nobody_seals_without_the_lease(world: World) -> None:
    await world.append(5)
    old = await world.fence()
    await world.leases.release(old)
    with pytest.raises(FencedOut, match=f"lease seal, epoch {old.epoch}"):
        await world.seals.append(await world.next(), fence=old)
    assert await world.seals.sealed() is None


async def test_a_seal_has_to_follow_the_last_one(world: World) -> None:
    await world.append(9)
    early = await world.next(4)
    await world.seal(3)
    fence = await world.fence()
    with pytest.raises(OutOfPlace, match="not"):
        await world.seals.append(early, fence=fence)
    later = await world.next(3)
    with pytest.raises(OutOfPlace, match=f"up to {later.after + 1}|after position {later.after + 1}"):
        await world.seals.append(replace(later, after=later.after + 1), fence=fence)
    await world.seals.append(later, fence=fence)


async def test_of_two_seals_for_one_place_the_first_stays(world: World) -> None:
    await world.append(9)
    one, other, fence = await world.next(4), await world.next(5), await world.fence()
    ended = await asyncio.gather(
        world.seals.append(one, fence=fence), world.seals.append(other, fence=fence), return_exceptions=True
    )
    assert sorted(type(end).__name__ for end in ended) == ["NoneType", "OutOfPlace"]
    found = await world.seals.sealed()
    assert found
    assert found.note == (one.note if ended[0] is None else other.note)


@pytest.mark.parametrize("missing", [0, 1, 3])
async def test_a_seal_that_leaves_an_event_out_is_refused(world: World, missing: int) -> None:
    await world.append(4)
    page = await world.store.read(0)
    kept = [record for at, record in enumerate(page.records) if at != missing]
    partial = seal(world.tree, kept, bytes(range(16 * len(kept))), ORIGIN, world.signer)
    if missing == 3:  # the last one: that is sealed next
        await world.seals.append(partial, fence=await world.fence())
        return
    with pytest.raises(OutOfPlace, match="the log holds 4 events after position 0 up to 4, not these 3"):
        await world.seals.append(partial, fence=await world.fence())


async def test_a_seal_over_an_event_that_the_log_does_not_hold_is_refused(world: World) -> None:
    await world.append(2)
    records = list((await world.store.read(0)).records)
    records.append(msgspec.structs.replace(records[-1], position=records[-1].position + 1))
    invented = seal(world.tree, records, bytes(48), ORIGIN, world.signer)
    with pytest.raises(OutOfPlace, match="the log holds 2 events"):
        await world.seals.append(invented, fence=await world.fence())


# -- reading ------------------------------------------------------------------------------------


async def test_leaves_are_contiguous_where_positions_have_gaps(world: World) -> None:
    for _ in range(3):
        await world.append(4)
        await world.skip()
    await world.seal(6)
    await world.seal(6)
    found = await world.seals.leaves(0, 100)
    assert list(found.positions) == world.positions
    for leaf, position in enumerate(world.positions):
        assert await world.seals.leaf_after(position - 1) == leaf
    assert await world.seals.leaf_after(world.positions[-1]) == 12
    between = world.positions[6] - 1  # in the gap or the event before
    found_by = await world.seals.sealed_by(between)
    assert found_by
    assert found_by.size == 6


async def test_a_page_of_leaves_is_cut_to_what_there_is_and_to_what_is_asked(world: World) -> None:
    await world.append(10)
    for count in (3, 4, 3):
        await world.seal(count)
    for lo in range(12):
        for hi in range(lo, 13):
            page = await world.seals.leaves(lo, hi)
            assert page.first == lo
            assert list(page.positions) == world.positions[lo:hi]
            assert [page.hash(leaf) for leaf in range(lo, min(hi, 10))] == world.hashes[lo:hi]
            assert len(page.salts) == 16 * len(page)
            assert len(page.commitments) == 32 * len(page)


async def test_pages_have_a_limit(world: World) -> None:
    assert len(await world.seals.leaves(1 << 40, (1 << 40) + MAX_LEAVES_A_PAGE)) == 0
    for lo, hi in ((0, MAX_LEAVES_A_PAGE + 1), (-1, 1), (3, 2)):
        with pytest.raises(ValueError, match=f"leaves {lo} to {hi}"):
            await world.seals.leaves(lo, hi)


async def test_nodes_of_every_level_are_those_of_the_leaves(world: World) -> None:
    await world.append(700)
    await world.append(600)
    for count in (1, 254, 1, 1, 1_000, 43):
        await world.seal(count)
    hashes = world.hashes
    wanted = [Node(level, number) for level in range(11) for number in range(len(hashes) >> level)]
    found = await world.seals.nodes(wanted)
    for node in wanted:
        assert found[node] == naive(hashes[node.number << node.level : (node.number + 1) << node.level])
    nodes = await world.seals.nodes(cover(0, 1_300))
    assert range_root(0, 1_300, nodes) == naive(hashes)


async def test_more_nodes_than_a_page_holds_are_read_in_pages(world: World) -> None:
    size = MAX_LEAVES_A_PAGE + 1_000
    for _ in range(size // 1_000):
        await world.append(1_000)
        await world.seal()
    hashes = world.hashes
    wanted = [Node(0, leaf) for leaf in range(0, size, 2)] + [Node(7, number) for number in range(size >> 7)]
    found = await world.seals.nodes(wanted)
    assert [found[node] for node in wanted[: size // 2]] == list(hashes[::2])
    for node in (wanted[size // 2], wanted[-1]):
        assert found[node] == naive(hashes[node.number << 7 : (node.number + 1) << 7])


async def test_a_node_that_is_not_complete_is_named(world: World) -> None:
    await world.append(300)
    await world.seal()
    for node in (Node(0, 300), Node(2, 75), Node(8, 1), Node(9, 0), Node(16, 0), Node(60, 5), Node(0, -1)):
        with pytest.raises(KeyError, match=rf"node {node.number} of level {node.level}"):
            await world.seals.nodes([Node(0, 0), node])


async def test_counts_of_signals_are_those_of_the_checkpoint(world: World) -> None:
    def issued(strategy: str, version: int) -> NewEvent:
        return event(f"signals-{strategy}", version, name="signal.issued.v1")

    await world.store.append([issued("é", 1), event("signals-b", 1, name="signal.closed.v1"), issued("a", 1)])
    await world.store.append([issued("a", 2), issued("a", 3), event("other", 1, name="signal.issued.v1")])
    await world.append(1)
    for count in (1, 3, 2, 1):
        await world.seal(count)
    assert [(await world.seals.counts(size)).of for size in (1, 4, 6, 7, 1 << 70)] == [
        {"é": 1},
        {"é": 1, "a": 2},
        {"é": 1, "a": 3},
        {"é": 1, "a": 3},
        {"é": 1, "a": 3},
    ]
    found = await world.seals.sealed()
    assert found
    line = open_checkpoint(found.note, world.signer.key, ed25519).signals_line
    assert line == (await world.seals.counts(7)).line()


async def test_checkpoints_are_found_by_size_and_by_position(world: World) -> None:
    await world.append(10)
    for count in (3, 4, 3):
        await world.seal(count)
    by_size = [await world.seals.sealed(size=size) for size in (0, 1, 3, 4, 7, 8, 10, 11)]
    assert [found and found.size for found in by_size] == [3, 3, 3, 7, 7, 10, 10, None]
    by_position = [await world.seals.sealed_by(position) for position in (0, 2, 3, 6, 7, 9, 10, 1 << 70)]
    assert [found and found.size for found in by_position] == [None, None, 3, 3, 7, 7, 10, 10]


async def test_checkpoints_follow_a_size_in_order_up_to_a_limit(world: World) -> None:
    await world.append(100)
    for count in (30, 20, 50):
        await world.seal(count)
    sizes = [each.size for each in await world.seals.checkpoints(0, limit=10)]
    assert sizes == [30, 50, 100]
    assert [each.size for each in await world.seals.checkpoints(30, limit=1)] == [50]
    assert [each.size for each in await world.seals.checkpoints(31, limit=10)] == [50, 100]
    assert await world.seals.checkpoints(100, limit=10) == await world.seals.checkpoints(2**64, limit=1) == []
    (last,) = await world.seals.checkpoints(99, limit=1)
    assert last == await world.seals.sealed()


async def test_a_part_of_leaves_is_what_is_read_of_it(world: World) -> None:
    await world.append(100)
    await world.seal()
    leaves = await world.seals.leaves(20, 90)
    for lo, hi in ((20, 90), (20, 20), (33, 57), (89, 90)):
        assert leaves.part(lo, hi) == await world.seals.leaves(lo, hi)


async def test_receipts_are_kept_once_and_found_by_size(world: World) -> None:
    await world.append(10)
    for count in (3, 4):
        await world.seal(count)
    early = Receipt(size=3, anchor="a", kind="file", time=None, data=b"\x00 pending")
    late = Receipt(size=3, anchor="a", kind="file", time=1_700_000_000_123_456, data=b"settled")
    other = Receipt(size=7, anchor="b", kind="rfc3161", time=-1, data=b"")
    for receipt in (other, early, late, early, late):
        await world.seals.keep(receipt)
    assert list(await world.seals.receipts(0, 100)) == [early, late, other]
    assert list(await world.seals.receipts(4, 1 << 70)) == [other]
    with pytest.raises(KeyError, match="no checkpoint of 5 leaves"):
        await world.seals.keep(Receipt(size=5, anchor="a", kind="file", time=None, data=b""))


async def test_what_leaves_are_hashed_from_is_what_the_records_say(world: World) -> None:
    full = Envelope(
        event_id=uuid4(),
        event_time=-(1 << 63),
        cause_id=uuid4(),
        correlation_id=uuid4(),
        actor="jürgen 🦉",
        trace="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )
    bounds = {"id_lo": -(1 << 63), "id_hi": (1 << 63) - 1}
    events = [
        msgspec.structs.replace(
            event("signals-ä-1", 1, bytes(range(256)), name="signal.issued.v1"), **bounds
        ),
        event("signals-ä-1", 2, b"", name="signal.closed.v1"),
        event("signals-b", 1, name="signal.issued.v2", id_lo=0, id_hi=0),
    ]
    fields = {"event_time": 0, "cause_id": full.cause_id, "correlation_id": full.correlation_id, "trace": "t"}
    for number, (name, value) in enumerate([*fields.items(), ("actor", full.actor)]):
        envelope = msgspec.structs.replace(Envelope(event_id=uuid4()), **{name: value})
        events.append(msgspec.structs.replace(event(f"s-{number}", 1), envelope=envelope))
    events.append(msgspec.structs.replace(event("last", 1), envelope=full))
    for each in events:
        await world.store.append([each])
    records = (await world.store.read(0)).records
    assert len(records) == len(events)
    assert await world.seals.ahead(0, 100) == [preimage_of(record) for record in records]
    assert await world.seals.ahead(records[1].position, 2) == [preimage_of(r) for r in records[2:4]]
    assert [strategy for *_, strategy in await world.seals.ahead(0, 3)] == ["ä-1", None, "b"]
    for record, (position, before, behind, state, _) in zip(
        records, await world.seals.ahead(0, 100), strict=True
    ):
        commitment = commitment_of(b"s" * 16, state)
        assert before + commitment + behind == b"\0" + leaf_of(record, commitment).data()
        assert position == record.position


# -- random seals -------------------------------------------------------------------------------


async def _any_seals(world: World, sizes: Sequence[int], chance: random.Random) -> None:
    for count in sizes:
        await world.append(count)
        if chance.random() < 0.3:
            await world.skip()
    while world.tree.size < sum(sizes):
        await world.seal(chance.choice((1, 2, 255, 256, 257, 1_000)))
    hashes, positions = world.hashes, world.positions
    assert [done.root for done in world.done] == [naive(hashes[: done.size]) for done in world.done]
    for _ in range(20):
        lo, hi = sorted(chance.choices(range(len(hashes) + 1), k=2))
        page = await world.seals.leaves(lo, hi)
        assert (list(page.positions), page.hashes) == (positions[lo:hi], b"".join(hashes[lo:hi]))
        nodes = await world.seals.nodes(cover(lo, hi))
        assert nodes == {
            node: naive(hashes[node.number << node.level :][: 1 << node.level]) for node in cover(lo, hi)
        }


SIZES = st.lists(st.integers(1, 700), min_size=1, max_size=4)


@settings(max_examples=25)
@given(SIZES, st.randoms(use_true_random=False))
def test_whatever_the_seals_the_tree_is_the_one_of_the_log(sizes: list[int], chance: random.Random) -> None:
    async def check() -> None:
        async with _memory() as world:
            await _any_seals(world, sizes, chance)

    asyncio.run(check())


@settings(max_examples=8)
@given(sizes=SIZES, chance=st.randoms(use_true_random=False))
def test_whatever_the_seals_the_tree_in_postgresql_is_the_one_of_the_log(
    migrated_postgres: PostgresServer, sizes: list[int], chance: random.Random
) -> None:
    async def check(url: str) -> None:
        async with _postgres(url) as world:
            await _any_seals(world, sizes, chance)

    with servers.fresh_database(migrated_postgres) as url:
        asyncio.run(check(url))


def test_sealing_fast_gives_what_sealing_plainly_gives() -> None:
    async def check() -> None:
        async with _memory() as world:
            chance = random.Random(1)
            for count in (1, 700, 2, 255, 1_000, 1, 1, 300):
                await world.append(count - 1)
                await world.store.append([event("signals-s", len(world.done) + 1, name="signal.issued.v1")])
                page = (await world.store.read(world.tree.position, limit=1_000)).records
                salts = chance.randbytes(16 * len(page))
                plain = seal(world.tree, page, salts, ORIGIN, world.signer)
                events = [preimage_of(record) for record in page]
                fast, after = sealed_next(world.tree, events, salts, ORIGIN, world.signer)
                assert replace(fast, nodes=sorted(fast.nodes)) == replace(plain, nodes=sorted(plain.nodes))
                world.done.append(fast)
                again = grown(world.tree, plain)
                assert (after.size, after.position, after.counts, after.frontier.hashes) == (
                    again.size,
                    again.position,
                    again.counts,
                    again.frontier.hashes,
                )
                world.tree = after

    asyncio.run(check())


@pytest.mark.parametrize("count", [0, 1_001])
def test_a_seal_of_nothing_or_of_too_much_is_refused(count: int) -> None:
    tree, signer = Tree(Frontier(), 0, {}), KeySigner(ORIGIN, bytes(32))
    events = [(position, b"", b"", b"", None) for position in range(1, count + 1)]
    with pytest.raises(ValueError, match=f"{count} events and {16 * count} bytes of salts"):
        sealed_next(tree, events, bytes(16 * count), ORIGIN, signer)


# -- PostgreSQL alone ---------------------------------------------------------------------------


async def test_a_seal_whose_reply_is_lost_is_committed_once(database_url: str) -> None:
    async with _postgres(database_url) as world, proxy_to(database_url) as proxy:
        await world.append(5)
        done, fence = await world.next(), await world.fence()
        async with PostgresSeals(proxy.url, timeout_s=2) as far:
            await far.sealed()  # connects
            proxy.hides_replies = proxy.refuses = True
            with pytest.raises(StoreUnavailable):
                await far.append(done, fence=fence)
            assert proxy.hidden.is_set()
            proxy.hides_replies = proxy.refuses = False
            proxy.cut()
            await far.append(done, fence=fence)
        found = await world.seals.sealed()
        assert found
        assert (found.size, found.note) == (5, done.note)


async def test_events_too_large_for_one_answer_are_left_to_be_read_as_records(database_url: str) -> None:
    async with _postgres(database_url) as world:
        for version in range(1, 7):
            await world.store.append([event("s", version, bytes(700_000))])
        assert await world.seals.ahead(0, 6) == []
        assert len(await world.seals.ahead(0, 5)) == 5


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE log_seals SET note = ''",
        "DELETE FROM log_nodes",
        "TRUNCATE log_signal_counts",
        "INSERT INTO log_nodes VALUES (8, 99, sha256(''))",
        "INSERT INTO log_receipts (size, anchor, kind, receipt) VALUES (3, 'a', 'b', 'c')",
    ],
)
async def test_the_application_can_neither_change_nor_add_by_itself(
    database_url: str, statement: str
) -> None:
    async with _postgres(database_url) as world:
        await world.append(300)
        await world.seal()
        async with await _as_application(world) as db:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await db.execute(statement.encode())


async def _as_application(world: World) -> psycopg.AsyncConnection[tuple[object, ...]]:
    assert isinstance(world.seals, PostgresSeals)
    return await psycopg.AsyncConnection.connect(world.seals._info, autocommit=True)
