"""A relay at work, and what the stream has to look like then."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from alphapulse.adapters.bus.envelope import ForeignMessage, from_message
from alphapulse.domain.ports import Bus, EventStore, Leases, Message, StoredRecord
from alphapulse.processes.relay import Relay, RelayLimits, RelayReport

QUICK = RelayLimits(poll_s=0.05, lease_s=1.0, backoff_s=(0.01, 0.1))


@dataclass
class Running:
    relay: Relay
    reports: list[RelayReport]
    reported: asyncio.Event

    async def problem(self, text: str) -> None:
        """Return once the relay reports a problem with ``text`` in it, or with "" that all is well."""
        async with asyncio.timeout(30):
            while not self.reports or not _says(self.reports[-1].problem, text):
                self.reported.clear()
                await self.reported.wait()


def _says(problem: str | None, text: str) -> bool:
    return text in problem if text and problem else not text and not problem


@asynccontextmanager
async def relaying(
    store: EventStore, bus: Bus, leases: Leases, limits: RelayLimits = QUICK, holder: str = "test"
) -> AsyncIterator[Running]:
    """A relay that runs while the context is open, then stops by itself."""
    reports: list[RelayReport] = []
    reported = asyncio.Event()

    async def report(state: RelayReport) -> None:
        reports.append(state)
        reported.set()

    relay = Relay(store=store, bus=bus, leases=leases, report=report, holder=holder, limits=limits)
    stop = asyncio.Event()
    task = asyncio.create_task(relay.run(stop))
    try:
        yield Running(relay, reports, reported)
        stop.set()
        async with asyncio.timeout(30):
            await task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def whole_log(store: EventStore) -> Sequence[StoredRecord]:
    records: list[StoredRecord] = []
    while page := (await store.read(records[-1].position if records else 0, limit=5_000)).records:
        records += page
    return records


async def whole_stream(bus: Bus) -> Sequence[Message]:
    messages: list[Message] = []
    while page := await bus.read(messages[-1].sequence + 1 if messages else 1, limit=1_000):
        messages += page
    return messages


async def caught_up(store: EventStore, bus: Bus, timeout_s: float = 60.0) -> None:
    """Return when the stream's last message is the log's last event."""
    async with asyncio.timeout(timeout_s):
        while True:
            end = await bus.end()
            with suppress(ForeignMessage):
                if end.message and from_message(end.message).position == await store.head():
                    return
            await asyncio.sleep(0.01)


async def assert_exact(store: EventStore, bus: Bus, *, first: int = 1) -> None:
    """The stream holds every event from position ``first`` on: once, in order, chained, unchanged."""
    log = [r for r in await whole_log(store) if r.position >= first]
    stream = await whole_stream(bus)
    deliveries = [from_message(m) for m in stream]
    assert [d.position for d in deliveries] == [r.position for r in log]
    assert [d.record for d in deliveries] == list(log)
    assert [d.previous for d in deliveries[1:]] == [d.position for d in deliveries[:-1]]
    assert [m.sequence for m in stream] == list(range(stream[0].sequence, stream[0].sequence + len(stream)))
    assert {d.epoch for d in deliveries} == {stream[0].sequence}
