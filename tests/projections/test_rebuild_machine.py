"""Whatever happens while a read model is rebuilt, its live rows are those of the log, folded once."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import psycopg
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from alphapulse.adapters.database import connection_info
from alphapulse.adapters.embedded.postgres import PostgresServer
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.projections.generations import NoSuchGeneration
from alphapulse.projections.rebuild import Rebuilder
from alphapulse.projections.runner import Limits
from tests import servers
from tests.machines import AsyncMachine, run_machine
from tests.projections.conftest import SOON, World, make_tally_tables
from tests.projections.tally import Tally, codec

SMALL = Limits(page_events=5, batch_events=5)
TALLY = "SELECT stream, events, total, position FROM public.tally ORDER BY stream"
LIVE = "SELECT count(*) FILTER (WHERE state = 'live'), count(*) FROM projections WHERE name = 'tally'"


class PowerGone(Exception):
    pass


class Mortal(Tally):
    """Dies at its ``left``-th write, before the write or behind it; lives on for ever with None."""

    def __init__(self, left: int | None = None, behind: bool = False) -> None:
        self._left, self._behind = left, behind

    async def write(self, db: Any, changes: Any) -> None:
        dies = self._left == 0
        self._left = None if self._left is None else self._left - 1
        if dies and not self._behind:
            raise PowerGone
        await super().write(db, changes)
        if dies:
            raise PowerGone


class Cut(psycopg.AsyncConnection[Any]):
    """Is gone at the statement that ``left`` counts down to."""

    left = 0
    behind = False

    async def execute(self, *arguments: Any, **options: Any) -> Any:
        Cut.left -= 1
        if Cut.left == -1 and not Cut.behind:
            await self._end()
        answer = await super().execute(*arguments, **options)
        if Cut.left == -1:
            await self._end()
        return answer

    async def _end(self) -> None:
        """The server hangs up, as when its process is killed."""
        async with await psycopg.AsyncConnection.connect(self.info.dsn, autocommit=True) as other:
            await other.execute("SELECT pg_terminate_backend(%s, 5000)", (self.info.backend_pid,))


class RebuildMachine(AsyncMachine):
    """The model is ``amounts``: what was counted, by stream, with the position of the last."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        self.exits = AsyncExitStack()
        self.amounts: dict[str, list[tuple[int, int]]] = {}

    async def open(self) -> None:
        raise NotImplementedError

    def teardown(self) -> None:
        self.do(self._compare())
        self.do(self.exits.aclose())
        super().teardown()

    @initialize()
    def begin(self) -> None:
        self.do(self.open())
        self.count([1, 2, 3], "counts-a-1")
        self.catch_up()

    @rule(
        amounts=st.lists(st.integers(0, 100), min_size=1, max_size=12),
        stream=st.sampled_from(["counts-a-1", "counts-b-1", "counts-c-1"]),
    )
    def count(self, amounts: list[int], stream: str) -> None:
        self.do(self._count(amounts, stream))

    async def _count(self, amounts: list[int], stream: str) -> None:
        last = await self.world.count(*amounts, stream=stream)
        first = last - len(amounts) + 1
        self.amounts.setdefault(stream, []).extend((amount, first + i) for i, amount in enumerate(amounts))

    @rule()
    def catch_up(self) -> None:
        self.do(self.world.caught_up(Tally(), SOON))

    def rebuilder(self, model: Tally) -> Rebuilder:
        return Rebuilder(
            model=model, connect=self.world.connect, store=self.world.store, decode=codec.decode, limits=SMALL
        )

    @rule(writes=st.integers(0, 6), behind=st.booleans())
    def rebuild_and_die(self, writes: int, behind: bool) -> None:
        self.do(self._die(writes, behind))

    async def _die(self, writes: int, behind: bool) -> None:
        try:
            await self.rebuilder(Mortal(writes, behind)).rebuild()
        except PowerGone:
            return

    @rule(statements=st.integers(0, 60), behind=st.booleans())
    def rebuild_and_lose_the_connection(self, statements: int, behind: bool) -> None:
        """At any statement, before it runs or when it has."""
        Cut.left, Cut.behind = statements, behind
        self.do(self._cut())

    async def _cut(self) -> None:
        async def connect() -> Cut:
            return await Cut.connect(connection_info(self.world.url, role=None), autocommit=True)

        rebuilder = Rebuilder(
            model=Tally(), connect=connect, store=self.world.store, decode=codec.decode, limits=SMALL
        )
        try:
            await rebuilder.rebuild()
        except psycopg.Error:  # of the connection, or of a transaction around the one that it ended in
            assert Cut.left < 0

    @rule(amounts=st.lists(st.integers(0, 9), min_size=1, max_size=5))
    def rebuild_while_events_arrive(self, amounts: list[int]) -> None:
        self.do(self._rebuild(amounts))

    async def _rebuild(self, amounts: list[int]) -> None:
        async with self.world.running(self.world.runner(Tally(), SOON)):
            rebuild = asyncio.create_task(self.rebuilder(Tally()).rebuild())
            for amount in amounts:
                await self._count([amount], "counts-b-1")
            outcome = await rebuild
        assert outcome.comparison is None or outcome.comparison.equal

    @precondition(lambda self: bool(self.amounts))
    @rule()
    def roll_back(self) -> None:
        self.do(self._roll_back())

    async def _roll_back(self) -> None:
        try:
            await self.rebuilder(Tally()).rollback()
        except NoSuchGeneration:
            retired = await self.world.rows("SELECT 1 FROM projections WHERE state = 'retired'")
            assert not retired

    async def _compare(self) -> None:
        """Caught up, the live rows are what was counted; at most one other generation remains."""
        await self.world.caught_up(Tally(), SOON)
        wanted = [
            (stream, len(each), sum(amount for amount, _ in each), each[-1][1])
            for stream, each in sorted(self.amounts.items())
        ]
        assert await self.world.rows(TALLY) == wanted
        [(live, _)] = await self.world.rows(LIVE)
        assert live == 1
        outcome = await self.rebuilder(Tally()).rebuild()
        assert outcome.comparison is None or outcome.comparison.equal
        assert await self.world.rows(TALLY) == wanted
        [(live, every)] = await self.world.rows(LIVE)
        assert live == 1
        assert every <= 2


def test_rebuilds_that_are_killed_resumed_and_rolled_back_end_in_the_rows_of_the_log(
    migrated_postgres: PostgresServer,
) -> None:
    class OnPostgres(RebuildMachine):
        async def open(self) -> None:
            url = self.exits.enter_context(servers.fresh_database(migrated_postgres))
            make_tally_tables(url)
            store = await self.exits.enter_async_context(PostgresEventStore(url))
            self.world = World(url, store)

    run_machine(OnPostgres, examples=5, steps=12)
