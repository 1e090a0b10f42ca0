"""What became of an idea, once more, from the events alone: slow, plain, and what an audit runs.

``outcome_of`` walks the log as it was recorded and gives what was published; ``resolve`` puts all that was
recorded in the order of the market first, so trades that were fetched later decide what was ambiguous or
not seen. The first outcome stays as it was: what came later was not known then. The rules are those of
watch.py.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from alphapulse.domain.analysis.closing import Fed
from alphapulse.domain.signals.hindsight import hindsight
from alphapulse.domain.signals.idea import Idea, check
from alphapulse.domain.signals.outcome import (
    AMBIGUOUS,
    EXPIRY,
    GAP_STOP,
    GAP_TARGET,
    STOP,
    TARGET,
    UNSEEN_EXPIRY,
    Exit,
    Outcome,
    booked,
    excursions,
)
from alphapulse.domain.signals.ticks import BAR, CLOCK, HOLE, LATE, SEEN, Sight, Ticks, market_ticks


class Open(msgspec.Struct, frozen=True, kw_only=True):
    """An idea of which the log does not say yet what became."""

    last_price: float
    mfe_bps: float
    mae_bps: float
    unseen_from: int  # suspended for some of this time; 0, 0: never
    unseen_until: int
    is_suspended: bool  # the market has not been seen again yet


def outcome_of(idea: Idea, events: Iterable[tuple[int, Fed]]) -> Outcome | Open:
    """What became of ``idea`` by ``events`` of its instrument (position and event, in order).

    Raises:
        BadIdea: nothing can become of it.
    """
    check(idea)
    sight, story = Sight(), _Story(idea)
    for position, event in events:
        sight, ticks = market_ticks(sight, [(position, event)])
        left = story.told(ticks)
        if left is not None:
            return booked(idea, left)
    return story.open(is_suspended=bool(sight.darkness.pending))


def resolve(idea: Idea, events: Sequence[tuple[int, Fed]]) -> Outcome | Open:
    """The same in hindsight: all that ``events`` hold, in the order of the market.

    Raises:
        BadIdea: nothing can become of it.
    """
    check(idea)
    story = _Story(idea)
    left = story.told(hindsight(idea, events))
    return story.open(is_suspended=False) if left is None else booked(idea, left)


class _Tick(NamedTuple):
    """Prices are those of a long: of a short, they and all levels are negative."""

    kind: int
    start: int
    moment: int
    unseen_from: int
    position: int
    open: float
    high: float
    low: float
    close: float


def _of_long(ticks: Ticks, side: int) -> Iterator[_Tick]:
    for numbers, prices in zip(ticks.numbers.T.tolist(), ticks.prices.T.tolist(), strict=True):
        open_, high, low, close = (side * price for price in prices)
        yield _Tick._make((*numbers, open_, max(high, low), min(high, low), close))


@dataclass(slots=True)
class _Story:
    """What an idea has lived through so far."""

    idea: Idea
    last: float = 0.0  # price that counted; this and the next two as of a long
    furthest: float = 0.0
    deepest: float = 0.0
    unseen: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.last = self.furthest = self.deepest = self.idea.side * self.idea.entry

    def told(self, ticks: Ticks) -> Exit | None:
        """How the idea left by ``ticks``; None where it is still open after them."""
        for tick in _of_long(ticks, self.idea.side):
            verdict = self._verdict(tick)
            if verdict is not None:
                return self._exit(tick, *verdict)
        return None

    def _verdict(self, tick: _Tick) -> tuple[int, float] | None:
        """Reason and price."""
        idea = self.idea
        if tick.kind == HOLE:
            self._miss(tick.unseen_from, tick.moment)
            return None
        counts = tick.kind != CLOCK and (
            tick.start >= idea.decided if tick.kind == BAR else tick.start > idea.decided
        )
        inside = counts and (
            tick.moment <= idea.horizon_end if tick.kind == BAR else tick.moment < idea.horizon_end
        )
        is_first_seen = counts and tick.unseen_from != SEEN and tick.kind != LATE
        if is_first_seen:
            self._miss(tick.unseen_from, tick.start)
        if inside:
            hit = self._hit(tick, is_first_seen)
            if hit is not None:
                self._saw(hit[1], tick.open if tick.kind == BAR else hit[1])
                return hit
            self._saw(tick.high, tick.low)
            self.last = tick.close
        if tick.moment < idea.horizon_end:
            return None
        if inside or tick.unseen_from >= idea.horizon_end:
            return EXPIRY, self.last
        if is_first_seen:
            self._saw(tick.open)
            return UNSEEN_EXPIRY, tick.open
        return None

    def _hit(self, tick: _Tick, is_first_seen: bool) -> tuple[int, float] | None:
        stop, target = self._levels()
        is_bar = tick.kind == BAR
        if tick.open <= stop:
            is_gap = is_first_seen or (is_bar and tick.open < stop)
            return GAP_STOP if is_gap else STOP, tick.open
        if tick.open >= target:
            is_gap = is_first_seen or (is_bar and tick.open > target)
            return (GAP_TARGET, tick.open) if is_gap else (TARGET, target)
        if tick.low <= stop and tick.high >= target:
            return AMBIGUOUS, stop
        if tick.low <= stop:
            return STOP, stop
        if tick.high >= target:
            return TARGET, target
        return None

    def _levels(self) -> tuple[float, float]:
        return self.idea.side * self.idea.stop, self.idea.side * self.idea.target

    def _saw(self, *prices: float) -> None:
        self.furthest = max(self.furthest, *prices)
        self.deepest = min(self.deepest, *prices)

    def _miss(self, since: int, until: int) -> None:
        since = max(since, self.idea.decided)
        if since < until:
            self.unseen.append((since, until))

    def _missed(self) -> tuple[int, int]:
        """From when to when the market was not seen for some of the time."""
        if not self.unseen:
            return 0, 0
        return min(since for since, _ in self.unseen), max(until for _, until in self.unseen)

    def _extremes(self) -> tuple[float, float]:
        """The highest and the lowest price."""
        ends = self.idea.side * self.furthest, self.idea.side * self.deepest
        return max(ends), min(ends)

    def _exit(self, tick: _Tick, reason: int, price: float) -> Exit:
        side, bounds = self.idea.side, [price]
        if reason == AMBIGUOUS or self.unseen:
            bounds += self._levels()
        highest, lowest = self._extremes()
        since, until = self._missed()
        return Exit(
            reason=reason,
            price=side * price,
            worst=side * min(bounds),
            best=side * max(bounds),
            highest=highest,
            lowest=lowest,
            moment=tick.moment,
            unseen_from=since,
            unseen_until=until,
            position=tick.position,
        )

    def open(self, *, is_suspended: bool) -> Open:
        mfe, mae = excursions(self.idea, *self._extremes())
        since, until = self._missed()
        return Open(
            last_price=self.idea.side * self.last,
            mfe_bps=mfe,
            mae_bps=mae,
            unseen_from=since,
            unseen_until=until,
            is_suspended=is_suspended,
        )
