"""Whether a signal was committed before its outcome could be known: by whose clock, and by how much.

The time of a commitment is an anchor's own, of the first checkpoint with the signal that it vouches for;
the log's clock proves nothing, nor does a file witness, whose clock is ours. The time from which an outcome
could be known is the market's, by the venue's clock, taken as early as it may have been: that of the trade
that decided; the beginning of the bar, where a bar did; in any case the end of the horizon. Both are clocks
of others, and may be off by what they are off.

Where the log itself held the event that decided before it held the signal, no anchor makes up for it.

Receipts are in µs since 1970 UTC, everything else in ns.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from alphapulse.domain.provenance.anchors import FILE
from alphapulse.domain.provenance.sealing import Receipt

COMMITTED = "committed before"
LATE = "late"
NOT_ANCHORED = "not anchored"
# Anchored, and the market has not said anything since that could have decided: nobody was late yet.
UNDECIDED = "undecided"

TIMELINESS = (COMMITTED, LATE, NOT_ANCHORED, UNDECIDED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What the market has said of a signal so far.

    ``closed_at`` is None while it is open; then ``seen_until`` is the time of the newest market event
    that could have decided, 0 without any. ``bar_ns``: length of the bar that decided, 0 where none did.
    ``was_known``: the event that decided stands before the signal in the log.
    """

    decided: int  # when the signal was
    horizon_end: int
    closed_at: int | None
    seen_until: int = 0
    bar_ns: int = 0
    was_known: bool = False

    @property
    def knowable(self) -> int:
        """The earliest time at which the outcome may have been known; while open, not before this."""
        until = self.seen_until if self.closed_at is None else self.closed_at
        return max(min(until - self.bar_ns, self.horizon_end), self.decided)


@dataclass(frozen=True, slots=True)
class Timeliness:
    """``margin_ns``: from the commitment to ``knowable``; negative: too late. None: never anchored.

    ``receipt`` is what the commitment rests on.
    """

    state: str
    knowable: int
    margin_ns: int | None
    receipt: Receipt | None


class Anchorings:
    """Settled receipts, by the size of their trees: the earliest that holds a leaf.

    A file witness counts for nothing here: its clock is ours.
    """

    def __init__(self, receipts: Sequence[Receipt]) -> None:
        settled = sorted((r for r in receipts if r.time is not None and r.kind != FILE), key=lambda r: r.size)
        self._sizes = [receipt.size for receipt in settled]
        self._first = list[Receipt]()  # the earliest in time of each and all later
        for receipt in reversed(settled):
            best = self._first[-1] if self._first else receipt
            self._first.append(min(best, receipt, key=_time))
        self._first.reverse()

    def of(self, leaf: int) -> Receipt | None:
        """The one that vouched first for a tree with ``leaf``; None: there is none."""
        at = bisect_right(self._sizes, leaf)
        return self._first[at] if at < len(self._first) else None


def _time(receipt: Receipt) -> int:
    assert receipt.time is not None
    return receipt.time


def judged(fate: Fate, receipt: Receipt | None) -> Timeliness:
    """What ``receipt``, the first that holds the signal, says of it."""
    if receipt is None or receipt.time is None:
        return Timeliness(LATE if fate.was_known else NOT_ANCHORED, fate.knowable, None, None)
    margin = fate.knowable - receipt.time * 1_000
    if margin > 0 and not fate.was_known:
        state = COMMITTED
    else:
        state = LATE if fate.closed_at is not None else UNDECIDED
    return Timeliness(state, fate.knowable, margin, receipt)
