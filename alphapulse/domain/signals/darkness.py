"""When a market was not seen, as far as that matters to prices that are still to come.

It is dark from FeedLost to FeedConnected or GapClosed, from the last sign of life to a second FeedConnected,
and in a gap that was not filled; not in one that was. The rules are those of market/coverage.py. Times are
the venue's clock in nanoseconds, intervals [since, until).
"""

from dataclasses import dataclass, replace

from alphapulse.domain.market.coverage import FOREVER, Intervals, subtract
from alphapulse.domain.market.events import FeedConnected, FeedLost, GapClosed

MAX_STRETCHES = 64  # the earliest of more are taken for one, with what lies between them

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Darkness:
    """What is dark after ``seen_until``, the latest trade or end of a bar that was seen."""

    seen_until: int = 0
    connected: int | None = None  # since when; None: it is not
    lost: int | None = None  # since when; None: it is not, or nobody ever watched
    stretches: tuple[Pair, ...] = ()  # besides what is lost until now; in order, apart

    @property
    def pending(self) -> tuple[Pair, ...]:
        """Dark time after the last price that was seen, in order; what is still lost lasts for ever."""
        if self.lost is None:
            return self.stretches
        lost = max(self.lost, self.seen_until), FOREVER
        return tuple(Intervals.of((*self.stretches, lost)).pairs())

    def seen(self, until: int) -> "Darkness":
        """After a price of ``until``."""
        if until <= self.seen_until:
            return self
        left = self.stretches and tuple(sorted(subtract(self.stretches, 0, until)))
        return replace(self, seen_until=until, stretches=left)

    def after(self, fact: FeedConnected | FeedLost | GapClosed, alive: int) -> "Darkness":
        """What ``fact`` makes of it; ``alive`` is the last sign of life before it."""
        match fact:
            case FeedConnected(time=time):
                known = self
                if self.lost is not None:
                    known = self._with((self.lost, time))
                elif self.connected is not None:  # a process died unheard
                    known = self._with((max(alive, self.connected), time))
                return replace(known, connected=time, lost=None)
            case FeedLost(time=time):
                return replace(self, connected=None, lost=time if self.lost is None else min(self.lost, time))
            case GapClosed():
                return self._after_gap(fact)

    def _after_gap(self, gap: GapClosed) -> "Darkness":
        lost, fresh = self.lost, list[Pair]()
        if lost is not None and gap.end > lost:
            fresh.append((lost, gap.end))
            lost = None
        if not gap.back_filled:
            fresh.append((gap.start, gap.end))
        known = replace(self._with(*fresh), lost=lost)
        if not gap.back_filled:
            return known
        return replace(known, stretches=tuple(sorted(subtract(known.stretches, gap.start, gap.end))))

    def _with(self, *fresh: Pair) -> "Darkness":
        after = [(max(since, self.seen_until), until) for since, until in fresh]
        dark = Intervals.of([*self.stretches, *after]).pairs()
        extra = len(dark) - MAX_STRETCHES
        if extra > 0:
            dark = [(dark[0][0], dark[extra][1]), *dark[extra + 1 :]]
        return replace(self, stretches=tuple(dark))
