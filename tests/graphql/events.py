"""Events to fill a log with."""

from collections.abc import Sequence

from alphapulse.adapters.store.codec import codec
from alphapulse.domain.market.events import RefusedRow, RowsRefused, WatermarkPassed
from alphapulse.domain.ports import EventStore, StoredRecord

STREAM = "feed-test-BTC_USD"


async def append_watermarks(store: EventStore, count: int, stream: str = STREAM) -> Sequence[StoredRecord]:
    """Append ``count`` small events, one commit; return them as recorded."""
    version = await store.version(stream)
    venue, symbol = stream.split("-")[1:]
    events = [WatermarkPassed(venue=venue, symbol=symbol, time=(version + n) * 10**9) for n in range(count)]
    new = [codec.new_event(stream, version + n, event) for n, event in enumerate(events, start=1)]
    return await store.append(new)


async def append_large(store: EventStore, count: int) -> Sequence[StoredRecord]:
    """Append ``count`` events of about 100 kB, one commit each."""
    stream = "refusals-test-BTC_USD"
    first = await store.version(stream) + 1
    rows = tuple(RefusedRow(row=row, reason="test", raw="x" * 2000) for row in range(50))
    recorded: list[StoredRecord] = []
    for version in range(first, first + count):
        refused = RowsRefused(
            venue="test", symbol="BTC_USD", source="a.csv", sha256=f"{version:064x}", rows=rows
        )
        recorded += await store.append([codec.new_event(stream, version, refused)])
    return recorded
