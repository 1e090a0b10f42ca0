"""How much each principal or address may ask per second, in units of cost: a bucket for each."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from alphapulse.graphql.errors import RateLimited


@dataclass(slots=True)
class _Bucket:
    level: float
    at: float


class Rates:
    """Buckets of ``burst`` units that refill at ``per_s``; the one least recently used goes first.

    ``clock`` counts seconds and never runs backwards. ``per_s`` 0 switches the limit off.
    """

    def __init__(self, per_s: float, burst: float, keys: int, clock: Callable[[], float]) -> None:
        self._per_s, self._burst, self._keys, self._clock = per_s, burst, keys, clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, key: str, cost: int) -> None:
        """Take ``cost`` units from the bucket of ``key``.

        Raises:
            RateLimited: it holds too few; nothing is taken.
        """
        if not self._per_s:
            return
        bucket = self._bucket(key)
        if cost > bucket.level:
            wait_s = (min(cost, self._burst) - bucket.level) / self._per_s
            raise RateLimited(
                f"{key} asked for {cost} units of cost, {bucket.level:.0f} are left; wait {wait_s:.1f} s",
                retryAfterS=round(wait_s, 1),
            )
        bucket.level -= cost

    def _bucket(self, key: str) -> _Bucket:
        now = self._clock()
        bucket = self._buckets.setdefault(key, _Bucket(self._burst, now))
        bucket.level = min(self._burst, bucket.level + (now - bucket.at) * self._per_s)
        bucket.at = now
        self._buckets.move_to_end(key)
        if len(self._buckets) > self._keys:
            self._buckets.popitem(last=False)
        return bucket

    def __len__(self) -> int:
        return len(self._buckets)
