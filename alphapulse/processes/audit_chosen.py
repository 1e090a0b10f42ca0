"""Which events an export takes, as far as the log can find them without reading all of it.

A signal is found by what names it (its number, its decision) and by causes; a strategy by its streams.
"""

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from alphapulse.adapters.store.codec import codec
from alphapulse.domain.backtest.trials import stream_of as trials_stream
from alphapulse.domain.decision.decisions import stream_of as decisions_stream
from alphapulse.domain.decision.strategy import stream_of as strategy_stream
from alphapulse.domain.ports import EventStore, Page, StoredRecord
from alphapulse.domain.provenance.sealing import SealedLog
from alphapulse.domain.provenance.selection import Selection
from alphapulse.domain.signals.signal import SignalIssued
from alphapulse.domain.signals.signal import stream_of as signals_stream

PAGE = 2_000
_TOGETHER = 200  # positions: what lies no further apart is read at once
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ISSUED = "signal.issued.v1"


class NoSuchSignal(Exception):
    """The log holds no signal or decision of that name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Where to look: after a position, up to one; all streams and names, or some; all positions, or some."""

    after: int
    until: int
    streams: Sequence[str] | None = None
    names: Sequence[str] | None = None
    positions: Sequence[int] | None = None

    async def pages(self, log: EventStore, after: int) -> AsyncIterator[Page]:
        """What is there after ``after``, oldest first, with nothing missing in between."""
        at = max(after, self.after)
        if self.positions is not None:
            async for page in _at(log, [p for p in self.positions if at < p <= self.until]):
                yield page
            return
        while at < self.until and self.streams != () and self.names != ():
            page = await log.read(at, until=self.until, limit=PAGE, names=self.names, streams=self.streams)
            yield page
            if page.scanned_to <= at:  # the log ends before
                return
            at = page.scanned_to

    def ratio(self, scanned_to: int) -> float:
        """How much of it lies up to there, from 0 to 1."""
        return min(max((scanned_to - self.after) / max(self.until - self.after, 1), 0.0), 1.0)


async def choose(
    log: EventStore, seals: SealedLog, asked: Selection, last: int, only: Sequence[int] | None = None
) -> Chosen:
    """Where to look for what is ``asked`` in a log that ends at ``last``, perhaps ``only`` at some positions.

    Raises:
        NoSuchSignal: there is none up to there.
    """
    after, until = await _bounds(log, seals, asked, last)
    streams: Sequence[str] | None = asked.streams or None
    if asked.strategy is not None:
        of_it = await streams_of(log, asked.strategy)
        streams = [s for s in of_it if streams is None or s in streams]
    positions = only
    if asked.signal is not None:
        chain = await chain_of(log, asked.signal, last)
        positions = chain if only is None else sorted({*chain} & {*only})
    return Chosen(
        after=after,
        until=until,
        streams=None if streams is None else tuple(streams),
        names=asked.names or None,
        positions=positions,
    )


def moment(microseconds: int) -> datetime:
    """The time that is so many µs after 1970 UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)


async def streams_of(log: EventStore, strategy: str) -> Sequence[str]:
    """Where a strategy leaves its events: its definition, calibrations, decisions, signals and trials."""
    decisions = [s for s in await log.streams("decisions-") if _name(s.split("-", 3)[3:]) == strategy]
    calibrations = [
        s
        for s in await log.streams(f"calibration-{strategy}.")
        if _name([s.removeprefix("calibration-").rpartition("-")[0]]) == strategy
    ]
    own = (strategy_stream(strategy), signals_stream(strategy), trials_stream(strategy))
    return [*own, *calibrations, *decisions]


def _name(named: Sequence[str]) -> str | None:
    """The strategy in ``strategy.version``."""
    name, dot, version = (named[0] if named else "").rpartition(".")
    return name if dot and version.isdecimal() else None


async def chain_of(log: EventStore, signal: str, last: int) -> Sequence[int]:
    """The positions of a signal, of what was decided, advised and recorded of it, and of their causes.

    Of the market that is the events that ended its bars and closed it: not what else those led to.

    Raises:
        NoSuchSignal: there is none up to position ``last``.
    """
    strategy, version, instrument, decision, number = await _named(log, signal, last)
    found: dict[UUID, StoredRecord] = {}
    hints: set[int] = set()
    streams = [decisions_stream(instrument, strategy, version), signals_stream(strategy)]
    async for page in Chosen(after=0, until=last, streams=streams).pages(log, 0):
        for record in page.records:
            event = codec.decode(record).event
            if isinstance(event, SignalIssued) and event.decision == decision:
                number = event.number
            by_number = number and record.stream == streams[1] and getattr(event, "number", 0) == number
            named = by_number or getattr(event, "decision", None) == decision
            if named or record.envelope.cause_id in found:
                found[record.envelope.event_id] = record
                hints |= _positions_in(event)
    if not found:
        raise NoSuchSignal(f"there is no {signal} in the log up to position {last}")
    await _add_causes(log, found, hints)
    return sorted(record.position for record in found.values())


async def _named(log: EventStore, signal: str, last: int) -> tuple[str, int, str, str, int]:
    """Strategy, version, instrument, decision and number; the number is 0 where the decision is named."""
    head, _, rest = signal.partition("/")
    if rest.isdecimal():
        issued = await _issued(log, head, int(rest), last)
        return head, issued.strategy_version, issued.instrument, issued.decision, int(rest)
    strategy, _, version = head.rpartition(".")
    instrument = rest.rsplit("/", 2)[0]
    if not strategy or not version.isdecimal() or ":" not in instrument:
        raise NoSuchSignal(f"{signal!r} is neither <strategy>/<number> nor the id of a decision")
    return strategy, int(version), instrument, signal, 0


async def _issued(log: EventStore, strategy: str, number: int, last: int) -> SignalIssued:
    wanted = Chosen(after=0, until=last, streams=[signals_stream(strategy)], names=[_ISSUED])
    async for page in wanted.pages(log, 0):
        for record in page.records:
            event = codec.decode(record).event
            if isinstance(event, SignalIssued) and event.number == number:
                return event
    raise NoSuchSignal(f"strategy {strategy!r} has issued no signal {number} up to position {last}")


def _positions_in(event: Any) -> set[int]:
    """Positions of market events that it names."""
    outcome = getattr(event, "outcome", None)
    return {p for e in (event, outcome) if isinstance(p := getattr(e, "position", None), int) and p > 0}


async def _add_causes(log: EventStore, found: dict[UUID, StoredRecord], hints: Collection[int]) -> None:
    """Add what led to ``found``: looked for at positions that are named, else in all of the log before."""
    for position in sorted(hints):
        _take_causes(found, (await log.read(position - 1, until=position, limit=1)).records)
    end = max(record.position for record in found.values())
    missing: Collection[UUID] = ()
    while (now := _missing(found)) and now != missing:
        missing = now
        async for page in Chosen(after=0, until=end).pages(log, 0):
            _take_causes(found, page.records)


def _take_causes(found: dict[UUID, StoredRecord], records: Sequence[StoredRecord]) -> None:
    wanted = _missing(found)
    found.update((r.envelope.event_id, r) for r in records if r.envelope.event_id in wanted)


def _missing(found: dict[UUID, StoredRecord]) -> Collection[UUID]:
    envelopes = [record.envelope for record in found.values()]
    named = {i for e in envelopes for i in (e.cause_id, e.correlation_id) if i is not None}
    return named - found.keys()


async def _bounds(log: EventStore, seals: SealedLog, asked: Selection, last: int) -> tuple[int, int]:
    """What positions, leaves and recorded times leave to read: after the first, up to the second."""
    after, until = 0, last
    if asked.positions is not None:
        first, final = asked.positions
        after, until = max(after, (first or 1) - 1), until if final is None else min(until, final)
    if asked.leaves is not None:
        lo, hi = asked.leaves
        after = max(after, await _before_leaf(seals, lo or 0, last))
        until = min(until, last if hi is None else await _before_leaf(seals, hi, last))
    if asked.recorded is not None:
        lo, hi = asked.recorded
        after = max(after, 0 if lo is None else await log.position_at(moment(lo - 1)))
        until = min(until, last if hi is None else await log.position_at(moment(hi - 1)))
    return after, until


async def _before_leaf(seals: SealedLog, leaf: int, last: int) -> int:
    """The position of the leaf before ``leaf``; ``last`` where the tree has no such leaf yet."""
    if not leaf:
        return 0
    positions = (await seals.leaves(leaf - 1, leaf)).positions
    return positions[0] if positions else last


async def _at(log: EventStore, positions: Sequence[int]) -> AsyncIterator[Page]:
    """The records at these positions, which rise; those close together are read at once."""
    wanted = set(positions)
    start = 0
    while start < len(positions):
        end = start
        while end + 1 < len(positions) and positions[end + 1] <= positions[start] + _TOGETHER:
            end += 1
        page = await log.read(positions[start] - 1, until=positions[end], limit=PAGE)
        yield Page([r for r in page.records if r.position in wanted], page.scanned_to)
        if page.scanned_to < positions[start]:  # the log ends before
            return
        start = next((i for i in range(start, end + 1) if positions[i] > page.scanned_to), end + 1)
