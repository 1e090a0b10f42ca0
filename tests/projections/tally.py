"""Small read models with every property that the machinery has to cope with, and the events they fold.

``Counted`` with an amount below zero breaks the fold; with one above 2**62 the write, as two of them
overflow their column. ``Tally`` commutes and may be folded in parts. ``Peaks`` carries state along and
depends on order. Both are wide enough to corrupt.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, LiteralString

import msgspec
from psycopg import AsyncConnection
from sqlalchemy import BigInteger, Column, Index, MetaData, Table, Text

from alphapulse.adapters.store.codec import Codec, json_form
from alphapulse.domain.ports import NewEvent, Recorded
from alphapulse.projections.at_once import Part
from alphapulse.projections.read_model import Folded


class Counted(msgspec.Struct, frozen=True):
    amount: int


class Ignored(msgspec.Struct, frozen=True):
    """An event of no interest to the read models here."""

    text: str


codec = Codec({"test.counted.v1": json_form(Counted), "other.ignored.v1": json_form(Ignored)})

metadata = MetaData()
tally = Table(
    "tally",
    metadata,
    Column("stream", Text, primary_key=True),
    Column("events", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("position", BigInteger, nullable=False),
    Index("tally_total", "total"),
)
peaks = Table(
    "peaks",
    metadata,
    Column("position", BigInteger, primary_key=True),
    Column("stream", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
)

Sums = Mapping[str, tuple[int, int, int]]  # stream: events, total, last position


class Tally:
    """One row a stream: how many events, their sum, the last of them."""

    name = "tally"
    code_version = 1
    names = frozenset({"test.counted.v1"})
    tables: Sequence[Table] = (tally,)
    partitioned = True
    commutes = True

    async def load(self, db: AsyncConnection[Any]) -> None:
        return None

    def fold(self, state: None, events: Sequence[Recorded]) -> Folded[None, Sums]:
        sums: dict[str, tuple[int, int, int]] = defaultdict(lambda: (0, 0, 0))
        for event in events:
            count, total, _ = sums[event.stream]
            sums[event.stream] = (count + 1, total + self.amount(event), event.position)
        return Folded(None, sums, {f"test:{stream}": (0, 0) for stream in sums})

    def amount(self, event: Recorded) -> int:
        if event.event.amount < 0:
            raise ValueError(f"amount {event.event.amount} < 0")
        return int(event.event.amount)

    async def write(self, db: AsyncConnection[Any], changes: Sums) -> None:
        for stream, row in sorted(changes.items()):
            await db.execute(_ADD, (stream, *row))


_ADD: LiteralString = (
    "INSERT INTO tally AS t (stream, events, total, position) VALUES (%s, %s, %s, %s) "
    "ON CONFLICT (stream) DO UPDATE SET events = t.events + excluded.events, "
    "total = t.total + excluded.total, position = greatest(t.position, excluded.position)"
)


class BriefTally(Tally):
    """The same, in one statement where a batch has few streams."""

    def parts(self, changes: Sums) -> Sequence[Part] | None:
        if len(changes) > MOST_STREAMS:
            return None
        return [Part(_ADD, (stream, *row)) for stream, row in sorted(changes.items())]


MOST_STREAMS = 3  # of BriefTally


class TallyOfTwo(Tally):
    """The next version of Tally, which counts everything twice."""

    code_version = 2

    def amount(self, event: Recorded) -> int:
        return 2 * super().amount(event)


class TallyThatTires(Tally):
    """A faulty version: adds one too few from amounts of a million on."""

    code_version = 2

    def amount(self, event: Recorded) -> int:
        return super().amount(event) - (event.event.amount >= 1_000_000)


class Peaks:
    """One row an event that is larger than all before it."""

    name = "peaks"
    code_version = 1
    names = frozenset({"test.counted.v1"})
    tables: Sequence[Table] = (peaks,)
    partitioned = False
    commutes = False

    async def load(self, db: AsyncConnection[Any]) -> int:
        row = await (await db.execute("SELECT coalesce(max(amount), -1) FROM peaks")).fetchone()
        assert row is not None
        return int(row[0])

    def fold(self, state: int, events: Sequence[Recorded]) -> Folded[int, list[tuple[int, str, int]]]:
        rows = []
        for event in events:
            if event.event.amount > state:
                state = event.event.amount
                rows.append((event.position, event.stream, state))
        return Folded(state, rows, None)

    async def write(self, db: AsyncConnection[Any], changes: list[tuple[int, str, int]]) -> None:
        async with db.cursor() as cursor:
            await cursor.executemany("INSERT INTO peaks VALUES (%s, %s, %s)", changes)


def counted(stream: str, version: int, amount: int) -> NewEvent:
    return codec.new_event(stream, version, Counted(amount))


def raw(stream: str, version: int, name: str, state: bytes) -> NewEvent:
    """An event as newer or broken code would write it."""
    like = counted(stream, version, 0)
    return NewEvent(stream=stream, version=version, name=name, state=state, envelope=like.envelope)
