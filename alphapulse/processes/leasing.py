"""Holding a lease for as long as one is at work, and waits that end when one is asked to stop."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from alphapulse.domain.ports import Fence, FencedOut, Leases, StoreUnavailable


@dataclass(slots=True, kw_only=True)
class Holding:
    """The lease ``name``, held by ``holder``, which is unique to this process."""

    leases: Leases
    name: str
    holder: str
    duration_s: float
    fence: Fence | None = None  # while it is held, as far as we know
    _renewed_at: float = 0.0

    @asynccontextmanager
    async def held(self, stop: asyncio.Event) -> AsyncIterator[None]:
        """Wait for the lease, or for ``stop``; let go of it at the end if that is possible."""
        while not stop.is_set():
            self._renewed_at = _now()
            self.fence = await self.leases.acquire(self.name, self.holder, self.duration_s)
            if self.fence:
                break
            await stoppable(stop, asyncio.sleep(self.duration_s / 4))
        try:
            yield
        finally:
            if self.fence:
                fence, self.fence = self.fence, None
                with suppress(StoreUnavailable):
                    await self.leases.release(fence)

    async def renewed(self) -> Fence:
        """The fence of the lease, renewed when a third of its time is over.

        Raises:
            FencedOut: it has gone to another.
        """
        assert self.fence, "only while it is held"
        if _now() - self._renewed_at >= self.duration_s / 3:
            renewed_at = _now()
            if not await self.leases.renew(self.fence, self.duration_s):
                fence, self.fence = self.fence, None
                raise FencedOut(f"lease {fence.lease}, epoch {fence.epoch}: another one has taken over")
            self._renewed_at = renewed_at
        return self.fence


async def stoppable(stop: asyncio.Event, wait: Coroutine[Any, Any, None]) -> None:
    """Wait, but not when asked to stop."""
    tasks = [asyncio.create_task(wait), stopping := asyncio.create_task(stop.wait())]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done - {stopping}:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _now() -> float:
    return asyncio.get_running_loop().time()
