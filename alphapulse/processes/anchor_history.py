"""How far each anchor is, by the receipts that it gave."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from alphapulse.domain.provenance.anchors import is_settled
from alphapulse.domain.provenance.sealing import Receipt, SealedLog

PAGE = 10_000  # receipts at once, as SealedLog gives them
_MOST_PAGES = 100  # then it is enough of looking back
_FIRST_WIDTH = 1_000  # leaves


@dataclass(slots=True)
class Standing:
    """What is known of one anchor."""

    size: int = 0  # leaves of the newest checkpoint that it has a receipt for
    pending: list[Receipt] = field(default_factory=list)  # has not settled, oldest first
    _next: int = 0  # of ``pending``, to be asked about

    def add(self, receipt: Receipt) -> None:
        self.size = max(self.size, receipt.size)
        if not is_settled(receipt):
            self.pending.append(receipt)

    def next_pending(self, most: int) -> Sequence[Receipt]:
        """Some that have not settled: at the next call those behind them, and in time all of them."""
        start = self._next if self._next < len(self.pending) else 0
        found = self.pending[start : start + most]
        self._next = start + len(found)
        return found

    def settle(self, receipt: Receipt, settled: Receipt) -> None:
        """``settled`` takes the place of ``receipt``; what more may become of it is asked about no more."""
        at = self.pending.index(receipt)
        if is_settled(settled):
            del self.pending[at]
            self._next -= at < self._next
        else:
            self.pending[at] = settled


async def standings(
    log: SealedLog, names: Collection[str], *, most_pending: int = 1_000
) -> Mapping[str, Standing]:
    """How far the anchors of ``names`` are, with the newest ``most_pending`` receipts that have not settled.

    Looks back from the newest checkpoint until each has a receipt and no more pending ones turn up, through a
    million receipts at most: an anchor of which nothing was found begins anew, which does no harm.

    Raises:
        StoreUnavailable: see SealedLog.
    """
    found = {name: Standing() for name in names}
    async for window in _windows(log):
        more = _take(found, [receipt for receipt in window if receipt.anchor in found], most_pending)
        if not more and all(standing.size for standing in found.values()):
            break
    return found


async def newest_receipts(log: SealedLog, most: int) -> Sequence[Receipt]:
    """The last receipts, those of the largest trees first.

    Raises:
        StoreUnavailable: see SealedLog.
    """
    found: list[Receipt] = []
    async for window in _windows(log):
        found += window[::-1]
        if len(found) >= most:
            break
    return found[:most]


async def _windows(log: SealedLog) -> AsyncIterator[Sequence[Receipt]]:
    """Receipts in order of size, of ever wider stretches of the log from its end to its beginning."""
    newest = await log.sealed()
    hi, width, pages = newest.size if newest else 0, _FIRST_WIDTH, 0
    while hi > 0 and pages < _MOST_PAGES:
        lo, window = max(hi - width + 1, 0), dict[tuple[int, str, bytes], Receipt]()
        async for page in _pages(log, lo, hi):
            window |= {(receipt.size, receipt.anchor, receipt.data): receipt for receipt in page}
            pages += 1
        yield list(window.values())
        hi, width = lo - 1, 2 * width


def _take(found: Mapping[str, Standing], window: Sequence[Receipt], most_pending: int) -> bool:
    """Add what ``window``, older than all before, says; whether older pending ones may be of use."""
    settled = {(receipt.anchor, receipt.size) for receipt in window if is_settled(receipt)}
    latest: dict[tuple[str, int], Receipt] = {}
    for receipt in window:  # of one size the last counts: it was upgraded
        found[receipt.anchor].size = max(found[receipt.anchor].size, receipt.size)
        latest[receipt.anchor, receipt.size] = receipt
    has_more = False
    for name, standing in found.items():
        pending = [receipt for key, receipt in latest.items() if key[0] == name and key not in settled]
        standing.pending = [*pending, *standing.pending][-most_pending:]
        has_more |= bool(pending) and len(standing.pending) < most_pending
    return has_more


async def _pages(log: SealedLog, lo: int, hi: int) -> AsyncIterator[Sequence[Receipt]]:
    """Receipts for checkpoints of ``lo`` to ``hi`` leaves; some of them twice."""
    while True:
        page = await log.receipts(lo, hi)
        yield page
        if len(page) < PAGE or page[-1].size == lo:
            return
        lo = page[-1].size
