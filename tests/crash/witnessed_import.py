"""Import files one after another and write down, outside, each acknowledgement of the log.

Run as ``python -m tests.crash.witnessed_import DATABASE_URL WITNESS FILE…``; made to be killed. One line a
stored event is in WITNESS before the importer goes on: what a process handed to the kernel outlives it.
"""

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alphapulse.adapters.files.formats import TradeMapping
from alphapulse.adapters.files.open import Naming
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.ports import Fence, NewEvent, StoredRecord
from alphapulse.processes.importing import import_trades

FORMAT = TradeMapping(
    name="crash", time="time", time_unit="ns", price="price", size="size", side="side", id="id"
)


class WitnessedStore:
    """The real store; ``append`` returns after the acknowledgement was written down."""

    def __init__(self, store: PostgresEventStore, witness: int) -> None:
        self._store = store
        self._witness = witness

    async def append(
        self, events: Sequence[NewEvent], *, fence: Fence | None = None
    ) -> Sequence[StoredRecord]:
        stored = await self._store.append(events, fence=fence)
        lines = "".join(f"{record.position} {record.envelope.event_id}\n" for record in stored)
        os.write(self._witness, lines.encode())
        return stored

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


async def main(database_url: str, witness: str, files: Sequence[str]) -> None:
    descriptor = os.open(witness, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    async with PostgresEventStore(database_url, timeout_s=10) as store:
        for file in files:
            naming = Naming(venue="crash", symbol=Path(file).parent.name)
            watched: Any = WitnessedStore(store, descriptor)
            await import_trades(Path(file), watched, file_format=FORMAT, naming=naming)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
