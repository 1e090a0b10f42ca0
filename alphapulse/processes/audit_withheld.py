"""The rule of what is kept back, as the log stood when it came to some position.

By the store's clock at the last event of the checkpoint: so an export of that checkpoint keeps back the same
whenever it is made.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from alphapulse.adapters.store.codec import codec
from alphapulse.domain.ports import EventStore
from alphapulse.domain.provenance.leaf import microseconds
from alphapulse.domain.provenance.withholding import Withholding, withholding
from alphapulse.processes.audit_chosen import Chosen

_DEFINED, _ISSUED = ("strategy.defined.v1",), ("signal.issued.v1",)


async def withheld_at(log: EventStore, position: int) -> Withholding:
    """What is kept back of the events up to ``position``, which is that of an event."""
    last = (await log.read(position - 1, until=position, limit=1)).records[0]
    defined = [event async for event in _events(log, position, await log.streams("strategy-"), _DEFINED)]
    issued = [event async for event in _events(log, position, await log.streams("signals-"), _ISSUED)]
    return withholding(microseconds(last.recorded_at) * 1_000, defined, issued)


async def _events(
    log: EventStore, until: int, streams: Sequence[str], names: Sequence[str]
) -> AsyncIterator[Any]:
    chosen = Chosen(after=0, until=until, streams=tuple(streams), names=names)
    async for page in chosen.pages(log, 0):
        for record in page.records:
            if record.state:  # else it was erased
                yield codec.decode(record).event
