"""The rule of what an export keeps back, made of a log."""

from collections.abc import AsyncIterator
from typing import Any

from alphapulse.adapters.store.codec import codec
from alphapulse.domain.decision.strategy import StrategyDefined
from alphapulse.domain.ports import EventStore
from alphapulse.domain.provenance.leaf import microseconds
from alphapulse.domain.provenance.sealing import SealedLog
from alphapulse.domain.provenance.withholding import Withholding, withholding
from alphapulse.domain.signals.signal import SignalIssued

_PAGE = 500


async def withholding_of(log: EventStore, seals: SealedLog) -> Withholding:
    """By the log's own clock at its newest checkpoint, whichever is exported: what is open then is kept back."""
    sealed = await seals.sealed()
    position = 0 if sealed is None else sealed.position
    last = (await log.read(position - 1, until=position, limit=1)).records
    now = microseconds(last[0].recorded_at) * 1_000 if last else 0
    strategies = [event async for event in _all(log, "strategy-") if isinstance(event, StrategyDefined)]
    issued = [event async for event in _all(log, "signals-") if isinstance(event, SignalIssued)]
    return withholding(now, strategies, issued)


async def _all(log: EventStore, prefix: str) -> AsyncIterator[Any]:
    """The events of all streams of a category that can be read."""
    for stream in await log.streams(prefix):
        version = 0
        while records := await log.read_stream(stream, after=version, limit=_PAGE):
            version = records[-1].version
            for record in records:
                if record.state:  # else it was deleted
                    yield codec.decode(record).event
