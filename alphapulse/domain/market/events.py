"""What happened on a market, as facts in the past tense.

Streams ``trades-{venue}-{symbol}``, ``bars-{venue}-{symbol}-{timeframe}``, ``feed-{venue}-{symbol}``,
``refusals-{venue}-{symbol}``, ``imports-{sha256}``. Prices are in quote currency; times are the
venue's clock in nanoseconds. TradesObserved and BarsObserved are stored as columns, the rest as JSON.
"""

from dataclasses import dataclass

import msgspec

from alphapulse.domain.market.columns import BarColumns, TradeColumns
from alphapulse.domain.market.instrument import Instrument


@dataclass(frozen=True, slots=True, kw_only=True)
class TradesObserved:
    """All that one instrument traded in one micro-batch: 1 to 10,000 rows, no id twice."""

    instrument: Instrument
    columns: TradeColumns


@dataclass(frozen=True, slots=True, kw_only=True)
class BarsObserved:
    """Bars as a venue supplied them, not built by us."""

    instrument: Instrument
    timeframe_minutes: int
    volume_unit: str  # base, quote or contracts
    columns: BarColumns


class FeedConnected(msgspec.Struct, frozen=True, kw_only=True):
    """From ``time`` on, the feed of this instrument is alive: silence means a quiet market."""

    venue: str
    symbol: str
    time: int


class FeedLost(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing after ``time`` is known: a gap is open until GapClosed. ``reason`` says how we noticed."""

    venue: str
    symbol: str
    time: int
    reason: str


class GapClosed(msgspec.Struct, frozen=True, kw_only=True):
    """The gap [start, end) is over; ``back_filled`` when its trades were fetched afterwards."""

    venue: str
    symbol: str
    start: int
    end: int
    back_filled: bool


class WatermarkPassed(msgspec.Struct, frozen=True, kw_only=True):
    """The venue's clock has passed ``time`` with the feed alive: bars that end by then have ended."""

    venue: str
    symbol: str
    time: int


class RefusedRow(msgspec.Struct, frozen=True, kw_only=True):
    row: int  # 1-based data row of the file, the header not counted
    reason: str
    raw: str  # the row as it stood, cut at 2,000 characters


class RowsRefused(msgspec.Struct, frozen=True, kw_only=True):
    """Rows that the normaliser did not accept, kept as they were."""

    venue: str
    symbol: str
    source: str  # file name without its folder
    sha256: str
    rows: tuple[RefusedRow, ...]


class ImportFinished(msgspec.Struct, frozen=True, kw_only=True):
    """A file was read to its end."""

    venue: str
    symbol: str
    source: str
    sha256: str
    format: str
    rows: int
    accepted: int
    duplicates: int
    refused: int
    time_lo: int | None
    time_hi: int | None


MarketEvent = (
    TradesObserved
    | BarsObserved
    | FeedConnected
    | FeedLost
    | GapClosed
    | WatermarkPassed
    | RowsRefused
    | ImportFinished
)
