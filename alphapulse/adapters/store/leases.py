"""Leases in PostgreSQL: expiry by the database's clock, a new epoch with every change of hands.

A lease is a hint about who should act; the epoch, checked inside the effect's own transaction, is what
stops a holder that froze and woke up after its time.
"""

from alphapulse.adapters.store.connections import Connections
from alphapulse.domain.ports import Fence

MAX_DURATION_S = 3600.0


class PostgresLeases:
    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def acquire(self, lease: str, holder: str, duration_s: float) -> Fence | None:
        check_duration(duration_s)
        # Repeating it after a lost reply is safe: the same holder gets the next epoch.
        query = "SELECT lease_acquire(%s, %s, %s::double precision)"
        [[epoch]] = await self._connections.rows(query, (lease, holder, duration_s))
        return None if epoch is None else Fence(lease, epoch)

    async def renew(self, fence: Fence, duration_s: float) -> bool:
        check_duration(duration_s)
        query = "SELECT lease_renew(%s, %s::bigint, %s::double precision)"
        [[held]] = await self._connections.rows(query, (fence.lease, fence.epoch, duration_s))
        return bool(held)

    async def release(self, fence: Fence) -> None:
        query = "SELECT lease_release(%s, %s::bigint)"
        await self._connections.rows(query, (fence.lease, fence.epoch))


def check_duration(duration_s: float) -> None:
    """Raises ValueError unless 0 < ``duration_s`` <= an hour."""
    if not 0 < duration_s <= MAX_DURATION_S:
        raise ValueError(f"a lease runs for up to {MAX_DURATION_S:.0f} s, not {duration_s}")
