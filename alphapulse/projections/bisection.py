"""Finds the event at which two versions of a read model part: equal before it, different after it.

Both are folded over prefixes of the log, halving the stretch in which they come to differ. The last
prefix on which they agree is kept as a copy, so each step folds only half of what is left: in all
about twice the log.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection, sql

from alphapulse.domain.ports import Decode, EventStore
from alphapulse.projections import generations
from alphapulse.projections.digest import Differences, differences, digest
from alphapulse.projections.generations import Generation
from alphapulse.projections.read_model import AnyReadModel
from alphapulse.projections.rebuild import fold_until
from alphapulse.projections.runner import Connect, connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Parting:
    """The event after which they differ; in ``differences`` the first version stands as live."""

    position: int
    stream: str
    version: int
    name: str
    differences: Differences


class NotComparable(Exception):
    """The versions do not have the same tables and columns."""


@dataclass(frozen=True, slots=True)
class _Lane:
    """One version's tables, and a copy of them at the last position where both agreed."""

    db: AsyncConnection[Any]
    model: AnyReadModel
    generation: Generation

    @property
    def kept(self) -> str:
        return generations.kept_copy(self.generation)

    async def copy(self, source: str, target: str) -> None:
        for table in self.model.tables:
            names = {"t": sql.Identifier(target, table.name), "s": sql.Identifier(source, table.name)}
            await self.db.execute(sql.SQL("TRUNCATE {t}").format(**names))
            await self.db.execute(sql.SQL("INSERT INTO {t} SELECT * FROM {s}").format(**names))

    async def keep(self) -> None:
        async with self.db.transaction():
            await self.copy(self.generation.schema, self.kept)

    async def go_back(self, position: int) -> None:
        """Return to the copy, which was made at ``position``."""
        this = (self.generation.name, self.generation.generation)
        async with self.db.transaction():
            await self.copy(self.kept, self.generation.schema)
            await self.db.execute(
                "DELETE FROM parked WHERE projection = %s AND generation = %s AND position > %s",
                (*this, position),
            )
            await self.db.execute(
                "UPDATE projections SET position = %s, epoch = epoch + 1 WHERE name = %s AND generation = %s",
                (position, *this),
            )


async def bisect(
    one: AnyReadModel,
    other: AnyReadModel,
    *,
    connect: Connect,
    store: EventStore,
    decode: Decode,
    until: int,
    report: Callable[[int, int], None] = lambda _lo, _hi: None,
) -> Parting | None:
    """The position at which ``one`` and ``other`` part, at most ``until``; None if they agree there.

    Where they part, agree again and part again, it is one of those places. ``report`` gets the ends
    of the stretch that is left.

    Raises:
        NotComparable: their tables or columns are not the same.
        AlreadyRunning: a rebuild of this read model is at work.
    """
    async with connection(connect) as db, generations.alone(db, one.name), connection(connect) as db_2:
        for left in await generations.generations(db, one.name, state="scratch"):
            await generations.drop(db, left)
        lanes = await _lane(db, one), await _lane(db_2, other)
        try:
            return await _search(lanes, store, decode, until, report)
        finally:
            for lane in lanes:
                await generations.drop(db, lane.generation)


async def _search(
    lanes: tuple[_Lane, _Lane],
    store: EventStore,
    decode: Decode,
    until: int,
    report: Callable[[int, int], None],
) -> Parting | None:
    async def agree_at(position: int) -> bool:
        for lane in lanes:
            await fold_until(lane.db, lane.model, store, decode, lane.generation, position)
        one, other = [await digest(lane.db, lane.model) for lane in lanes]
        return one.whole == other.whole

    if not await agree_at(0):
        raise NotComparable(
            f"{lanes[0].model.name}: the two versions do not have the same tables and columns"
        )
    if await agree_at(until):
        return None
    agreed, parted = 0, until
    while parted - agreed > 1:
        report(agreed, parted)
        for lane in lanes:
            await lane.go_back(agreed)
        while parted - agreed > 1:
            middle = (agreed + parted) // 2
            if not await agree_at(middle):
                parted = middle
                break
            agreed = middle
            for lane in lanes:
                await lane.keep()
    for lane in lanes:
        await lane.go_back(agreed)
    again = await agree_at(parted)
    assert not again, f"they parted at {parted} before, now they agree: a fold depends on something else"
    return await _parting(lanes, store, parted)


async def _parting(lanes: tuple[_Lane, _Lane], store: EventStore, position: int) -> Parting:
    page = await store.read(position - 1, until=position, limit=1)
    event = page.records[0]
    return Parting(
        position=position,
        stream=event.stream,
        version=event.version,
        name=event.name,
        differences=await differences(lanes[0].db, lanes[1].db, lanes[0].model),
    )


async def _lane(db: AsyncConnection[Any], model: AnyReadModel) -> _Lane:
    lane = _Lane(db, model, await generations.create(db, model, "scratch"))
    await generations.make_tables(db, model, lane.kept)
    return lane
