"""A log in a real database and what is sealed of it: for whatever reads both back."""

import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from uuid import UUID

import psycopg

from alphapulse.adapters.provenance.keys import KeySigner
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.adapters.store.seals import PostgresSeals
from alphapulse.domain.ports import Envelope, Fence, NewEvent, StoredRecord
from alphapulse.domain.provenance.merkle import Frontier
from alphapulse.domain.provenance.sealing import Tree, grown, seal

ORIGIN = "example.org/log"
_GUARDED = ("stored_events", "log_seals", "log_nodes", "log_signal_counts", "log_receipts")


@dataclass(slots=True)
class SealedDatabase:
    url: str
    store: PostgresEventStore
    seals: PostgresSeals
    signer: KeySigner = field(default_factory=lambda: KeySigner(ORIGIN, sha256(b"key").digest()))
    tree: Tree = field(default_factory=lambda: Tree(Frontier(), 0, {}))
    _random: random.Random = field(default_factory=lambda: random.Random(1))
    _fence: Fence | None = None

    async def append(
        self, count: int, *, stream: str = "facts", name: str = "test.fact_noted.v1", size: int = 30
    ) -> Sequence[StoredRecord]:
        """Record ``count`` events with random payloads of up to ``size`` bytes and varied columns."""
        version = await self.store.version(stream)
        events = [self._event(stream, version + n, name, size) for n in range(1, count + 1)]
        stored: list[StoredRecord] = []
        for at in range(0, count, 500):
            stored += await self.store.append(events[at : at + 500])
        return stored

    async def seal(self, each: int = 1_000) -> None:
        """Seal all that is not yet, ``each`` events at a time."""
        self._fence = self._fence or await self.store.leases.acquire("seal", "test", 3600)
        assert self._fence is not None
        while records := (await self.store.read(self.tree.position, limit=each)).records:
            salts = self._random.randbytes(16 * len(records))
            done = seal(self.tree, records, salts, self.signer.key.name, self.signer)
            await self.seals.append(done, fence=self._fence)
            self.tree = grown(self.tree, done)

    async def by_hand(self, statement: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> None:
        """Change the database as its owner could, the guards against that switched off meanwhile."""
        async with await psycopg.AsyncConnection.connect(self.url) as db:
            for table in _GUARDED:
                await db.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
            await db.execute(statement, parameters)  # type: ignore[arg-type]
            for table in _GUARDED:
                await db.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")

    def _event(self, stream: str, version: int, name: str, size: int) -> NewEvent:
        draw = self._random
        lo = draw.choice([None, draw.randrange(10**9)])
        return NewEvent(
            stream=stream,
            version=version,
            name=name,
            state=draw.randbytes(draw.randint(1, size)),
            envelope=Envelope(
                event_id=self._id(),
                event_time=draw.choice([None, draw.randrange(2**60)]),
                cause_id=draw.choice([None, self._id()]),
                correlation_id=draw.choice([None, self._id()]),
                actor=draw.choice(["system", "älice"]),
                trace=draw.choice([None, "00-trace"]),
            ),
            id_lo=lo,
            id_hi=None if lo is None else lo + draw.randrange(5),
        )

    def _id(self) -> UUID:
        return UUID(bytes=self._random.randbytes(16), version=4)


@asynccontextmanager
async def sealed_database(url: str) -> AsyncIterator[SealedDatabase]:
    async with PostgresEventStore(url) as store, PostgresSeals(url) as seals:
        yield SealedDatabase(url, store, seals)
