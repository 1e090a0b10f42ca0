"""Which checkpoint an export is of: the newest that holds all that was asked for, or the last by a moment."""

import asyncio
import time
from collections.abc import Sequence

from alphapulse.domain.ports import EventStore
from alphapulse.domain.provenance.sealing import Sealed, SealedLog
from alphapulse.domain.provenance.selection import AsOf, Selection
from alphapulse.processes.audit_chosen import choose, moment

_POLL_S = 0.1


class NotSealed(Exception):
    """There is no checkpoint, or none yet, that holds what was asked for."""


async def checkpoint_for(
    log: EventStore, seals: SealedLog, asked: Selection, positions: Sequence[int] | None, wait_s: float
) -> Sealed:
    """Waits up to ``wait_s`` for the seal of the newest event that fits. Raises NotSealed."""
    if asked.as_of is not None:
        return await _by(log, seals, asked.as_of)
    sealed = await seals.sealed()
    newest = await _newest(log, seals, asked, positions, sealed.position if sealed else 0)
    until = time.monotonic() + wait_s
    while sealed is None or sealed.position < newest:
        if time.monotonic() >= until:
            raise NotSealed(_why(sealed, newest, wait_s))
        await asyncio.sleep(_POLL_S)
        sealed = await seals.sealed()
    return sealed


async def _by(log: EventStore, seals: SealedLog, as_of: AsOf) -> Sealed:
    position = as_of.position
    if position is None:
        assert as_of.recorded is not None
        position = await log.position_at(moment(as_of.recorded))
    sealed = await seals.sealed_by(position)
    if sealed is None:
        raise NotSealed(f"no checkpoint ends at position {position} or before")
    return sealed


async def _newest(
    log: EventStore, seals: SealedLog, asked: Selection, positions: Sequence[int] | None, after: int
) -> int:
    """The last position after ``after`` of an event that fits; 0 where there is none."""
    newest = 0
    chosen = await choose(log, seals, asked, await log.head(), positions)
    async for page in chosen.pages(log, after):
        newest = max((r.position for r in page.records if asked.admits(r)), default=newest)
    return newest


def _why(sealed: Sealed | None, newest: int, wait_s: float) -> str:
    if sealed is None:
        return f"nothing is sealed after {wait_s:g} s: is the role seal running?"
    return (
        f"position {newest} is not sealed after {wait_s:g} s, the newest checkpoint ends at "
        f"{sealed.position}: is the role seal running?"
    )
