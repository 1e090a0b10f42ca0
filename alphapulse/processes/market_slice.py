"""The events of one market from the bar that was decided on up to the one that closed the decision.

With all of them, and in each stream one before and one behind: that shows that nothing was left out. What
came before the bar matters only to what the market was like then (whether it was seen, whether its bars were
evidence); where that makes another outcome, the slice begins earlier.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from alphapulse.adapters.provenance.decoded import decoded
from alphapulse.adapters.verifier.market import MARKET_NAMES, MarketFact
from alphapulse.adapters.verifier.outcomes import claimed_of, differences_of_outcome, outcome_again
from alphapulse.domain.decision.decisions import DecisionMade
from alphapulse.domain.decision.strategy import StrategyDefined
from alphapulse.domain.market.timeframes import MINUTE_NS
from alphapulse.domain.ports import EventStore, Recorded, StoredRecord

MAX_EVENTS = 50_000  # of one slice
MAX_BYTES = 256_000_000
_PAGE = 500
_EARLIER = 4  # how many times as many events before the bar at each attempt


class SliceTooLarge(Exception):
    """More happened in the market meanwhile than goes into one file: the message says how much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketSlice:
    """``versions``: first and last of each stream. ``is_whole``: nothing was recorded before."""

    positions: frozenset[int]
    first: int
    last: int
    versions: Mapping[str, tuple[int, int]]
    is_whole: bool


async def market_slice(
    log: EventStore,
    made: DecisionMade,
    strategy: StrategyDefined,
    outcome: Recorded | None,
    last: int,
) -> MarketSlice:
    """The slice of ``made`` in a log that is sealed up to ``last``; of an open decision, up to there.

    Raises:
        SliceTooLarge: over MAX_EVENTS events or MAX_BYTES bytes.
    """
    until = last if outcome is None else outcome.event.outcome.position
    starts = {stream: await _before(log, stream, made) for stream in await _streams(log, made.instrument)}
    earlier = 1
    while True:
        records = [r for stream, at in starts.items() for r in await _some(log, stream, at, until, last)]
        is_whole = not any(starts.values())
        if is_whole or outcome is None or _agrees(made, strategy, outcome, records, until):
            return _slice(records, until, is_whole=is_whole)
        starts = {
            stream: await _back(log, stream, max(at - earlier, 0), made) for stream, at in starts.items()
        }
        earlier *= _EARLIER


async def _streams(log: EventStore, instrument: str) -> list[str]:
    venue, _, symbol = instrument.partition(":")
    market = f"{venue}-{symbol}"
    return [*await log.streams(f"bars-{market}-"), f"feed-{market}", f"trades-{market}"]


async def _before(log: EventStore, stream: str, made: DecisionMade) -> int:
    """After which version to begin, so that the first event is from before the bar, or the first of all.

    By bisection, since times of events rise; where some do not, the slice begins earlier than it might.
    """
    lo, hi = 0, await log.version(stream)
    while lo < hi:
        middle = (lo + hi) // 2
        if await _is_before(log, stream, middle, made):
            lo = middle + 1
        else:
            hi = middle
    return max(lo - 1, 0)


async def _back(log: EventStore, stream: str, after: int, made: DecisionMade) -> int:
    """The last version not after ``after`` that an event from before the bar follows; 0: there is none."""
    while after > 0 and not await _is_before(log, stream, after, made):
        after -= 1
    return after


async def _is_before(log: EventStore, stream: str, after: int, made: DecisionMade) -> bool:
    """Whether what follows version ``after`` was over before the bar began."""
    (record,) = await log.read_stream(stream, after=after, limit=1)
    time = record.envelope.event_time
    return record.position < made.position and time is not None and time < made.bar_start * MINUTE_NS


async def _some(log: EventStore, stream: str, after: int, until: int, last: int) -> list[StoredRecord]:
    """From version ``after`` on up to position ``until`` and one more, if that is sealed at ``last``."""
    found: list[StoredRecord] = []
    size = 0
    while records := await log.read_stream(stream, after=after, limit=_PAGE):
        after = records[-1].version
        for record in records:
            if record.position > last:
                return found
            found.append(record)
            size += len(record.state)
            if record.position > until:
                return found
        if len(found) > MAX_EVENTS or size > MAX_BYTES:
            raise SliceTooLarge(
                f"over {len(found):,} events ({size:,} bytes) of {stream}: too many for one file"
            )
    return found


def _agrees(
    made: DecisionMade,
    strategy: StrategyDefined,
    outcome: Recorded,
    records: list[StoredRecord],
    until: int,
) -> bool:
    """Whether the slice alone gives the recorded outcome, as whoever verifies it derives it."""
    claimed = claimed_of(msgspec.to_builtins(made), msgspec.to_builtins(strategy))
    again = outcome_again(claimed, [_fact(record) for record in _in_order(records, until)])
    told = msgspec.to_builtins(outcome.event.outcome)
    return again is not None and not differences_of_outcome(told, again)


def _in_order(records: list[StoredRecord], until: int) -> list[StoredRecord]:
    its = (r for r in records if r.position <= until and r.name.startswith(MARKET_NAMES))
    return sorted(its, key=lambda record: record.position)


def _fact(record: StoredRecord) -> MarketFact:
    return MarketFact(
        record.position, record.stream, record.name, msgspec.json.decode(decoded(record.state) or b"null")
    )


def _slice(records: list[StoredRecord], until: int, *, is_whole: bool) -> MarketSlice:
    versions: dict[str, tuple[int, int]] = {}
    for record in records:
        first, last = versions.get(record.stream, (record.version, record.version))
        versions[record.stream] = min(first, record.version), max(last, record.version)
    positions = frozenset(record.position for record in records)
    return MarketSlice(
        positions=positions,
        first=min(positions, default=until),
        last=until,
        versions=versions,
        is_whole=is_whole,
    )
