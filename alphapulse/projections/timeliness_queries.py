"""The provable track record: of each signal, what became of it, and whether it was committed in time.

Read from ``signals`` and ``outcomes``, from the seals and from the receipts of anchors. As of a position
everything is as a log that ends there would say, with the receipts for its checkpoints that have come by now.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from psycopg import AsyncConnection

from alphapulse.domain.market.timeframes import MINUTE_NS, TIMEFRAMES
from alphapulse.domain.ports import EventStore
from alphapulse.domain.provenance.sealing import Receipt
from alphapulse.domain.provenance.timeliness import COMMITTED, Anchorings, Fate, Timeliness, judged
from alphapulse.projections.candle_view import QueryTooLarge, snapshot
from alphapulse.projections.performance_queries import reached

MAX_SIGNALS = 100_000  # of one strategy
MAX_RECEIPTS = 1_000_000

_SIGNALS = """
SELECT s.number, s.strategy_version, s.decision, s.instrument, s.timeframe, s.side, s.time, s.position,
    s.horizon_end, o.closed_at, o.reason, o.net_bps, o.is_win, e.notification_id, e.originator_id, l.leaf
FROM signals s
LEFT JOIN outcomes o ON o.decision = s.decision AND o.position <= %(as_of)s
LEFT JOIN stored_events e
    ON e.notification_id = (o.detail::json #>> '{outcome,position}')::bigint
LEFT JOIN LATERAL (
    SELECT first_leaf + array_position(positions, s.position) - 1 AS leaf FROM log_seals
    WHERE last_position >= s.position AND s.position >= positions[1] ORDER BY last_position LIMIT 1) l ON true
WHERE s.strategy = %(strategy)s AND s.position <= %(as_of)s
ORDER BY s.number LIMIT %(limit)s
"""
_RECEIPTS = """
SELECT r.size, r.anchor, r.kind, (extract(epoch FROM r.anchored_at) * 1000000)::bigint
FROM log_receipts r JOIN log_seals s USING (size)
WHERE r.anchored_at IS NOT NULL AND r.kind <> 'file' AND s.last_position <= %(as_of)s AND r.size > %(leaf)s
ORDER BY r.size LIMIT %(limit)s
"""
_SEALED = """
SELECT s.size, coalesce((SELECT c.count FROM log_signal_counts c
    WHERE c.strategy = %(strategy)s AND c.size <= s.size ORDER BY c.size DESC LIMIT 1), 0)
FROM log_seals s WHERE s.last_position <= %(as_of)s ORDER BY s.last_position DESC LIMIT 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedSignal:
    """A signal, with its leaf (None: not sealed yet), what became of it, and whether it was in time."""

    number: int
    version: int
    decision: str
    instrument: str
    timeframe: int
    side: int
    time: int  # ns: when it was decided
    position: int
    horizon_end: int
    leaf: int | None
    closed_at: int | None
    reason: str | None
    net_bps: float | None
    is_win: bool | None
    timeliness: Timeliness


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackRecord:
    """Of all signals of ``strategy`` up to ``position``; margins in ns, of those committed in time.

    ``size`` and ``counted``: of the newest checkpoint by then, and how many signals it counts.
    """

    strategy: str
    position: int
    size: int
    counted: int
    decided: int
    wins: int
    by_state: Mapping[str, int]
    least_margin_ns: int | None
    median_margin_ns: int | None
    signals: Sequence[TrackedSignal]


async def track_record(
    conn: AsyncConnection[Any], store: EventStore, strategy: str, *, as_of: int | None = None
) -> TrackRecord:
    """The whole of it, by number.

    Raises:
        NotYetFolded: ``as_of`` lies ahead.
        QueryTooLarge: over MAX_SIGNALS signals or MAX_RECEIPTS receipts.
    """
    async with snapshot(conn):
        position = await reached(conn, as_of, "signals", "decisions")
        rows = await _rows(conn, _SIGNALS, MAX_SIGNALS, {"strategy": strategy, "as_of": position})
        first = min((row[15] for row in rows if row[15] is not None), default=0)
        receipts = await _rows(conn, _RECEIPTS, MAX_RECEIPTS, {"leaf": first, "as_of": position})
        sealed = await (await conn.execute(_SEALED, {"strategy": strategy, "as_of": position})).fetchone()
    anchorings = Anchorings([Receipt(size=s, anchor=a, kind=k, time=t, data=b"") for s, a, k, t in receipts])
    open_in = {row[3] for row in rows if row[9] is None}
    seen = {instrument: await _seen_until(store, instrument, position) for instrument in open_in}
    signals = [_tracked(row, anchorings, seen) for row in rows]
    return _summed(strategy, position, sealed or (0, 0), signals)


async def _rows(
    conn: AsyncConnection[Any], query: str, most: int, values: Mapping[str, object]
) -> list[tuple[Any, ...]]:
    found = await (await conn.execute(query.encode(), {**values, "limit": most + 1})).fetchall()
    if len(found) > most:
        raise QueryTooLarge(f"over {most:,} rows for one track record")
    return found


def _tracked(row: tuple[Any, ...], anchorings: Anchorings, seen: Mapping[str, int]) -> TrackedSignal:
    number, version, decision, instrument, timeframe, side, time, position, horizon_end, *rest = row
    closed_at, reason, net_bps, is_win, closing_position, closing_stream, leaf = rest
    fate = Fate(
        decided=time,
        horizon_end=horizon_end,
        closed_at=closed_at,
        seen_until=seen.get(instrument, 0),
        bar_ns=_bar_ns(closing_stream),
        was_known=closing_position is not None and closing_position < position,
    )
    return TrackedSignal(
        number=number,
        version=version,
        decision=decision,
        instrument=instrument,
        timeframe=timeframe,
        side=side,
        time=time,
        position=position,
        horizon_end=horizon_end,
        leaf=leaf,
        closed_at=closed_at,
        reason=reason,
        net_bps=net_bps,
        is_win=None if is_win is None else bool(is_win),
        timeliness=judged(fate, None if leaf is None else anchorings.of(leaf)),
    )


def _bar_ns(stream: str | None) -> int:
    """The length of the bars in a stream; 0: it is of trades, or of a feed."""
    if stream is None or not stream.startswith("bars-"):
        return 0
    return TIMEFRAMES.get(stream.rpartition("-")[2], 0) * MINUTE_NS


async def _seen_until(store: EventStore, instrument: str, position: int) -> int:
    """The time of the newest trade, bar (its beginning) or watermark of the market up to ``position``."""
    venue, _, symbol = instrument.partition(":")
    market = f"{venue}-{symbol}"
    streams = [*await store.streams(f"bars-{market}-"), f"feed-{market}", f"trades-{market}"]
    return max([await _last_time(store, stream, position) for stream in streams])


async def _last_time(store: EventStore, stream: str, position: int) -> int:
    """Of the last event of the stream up to ``position``, by bisection: positions rise with versions."""
    lo, hi = 0, await store.version(stream)
    while lo < hi:
        middle = (lo + hi + 1) // 2
        (record,) = await store.read_stream(stream, after=middle - 1, limit=1)
        lo, hi = (middle, hi) if record.position <= position else (lo, middle - 1)
    if not lo:
        return 0
    (record,) = await store.read_stream(stream, after=lo - 1, limit=1)
    return record.envelope.event_time or 0


def _summed(
    strategy: str, position: int, sealed: tuple[Any, ...], signals: Sequence[TrackedSignal]
) -> TrackRecord:
    states = Counter(each.timeliness.state for each in signals)
    margins = [
        each.timeliness.margin_ns
        for each in signals
        if each.timeliness.state == COMMITTED and each.timeliness.margin_ns is not None
    ]
    return TrackRecord(
        strategy=strategy,
        position=position,
        size=sealed[0],
        counted=sealed[1],
        decided=sum(each.is_win is not None for each in signals),
        wins=sum(bool(each.is_win) for each in signals),
        by_state=dict(states),
        least_margin_ns=min(margins, default=None),
        median_margin_ns=round(median(margins)) if margins else None,
        signals=signals,
    )
