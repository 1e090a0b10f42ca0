"""What importing does differently for trades and for bars: streams, judging, events, keys.

For funding rates and headlines see import_fundamentals.py.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from alphapulse.adapters.files.formats import BarMapping, TradeMapping
from alphapulse.adapters.files.observe import bar_chunks, trade_chunks
from alphapulse.adapters.files.open import OpenFile
from alphapulse.domain.market import normalise, normalise_bars
from alphapulse.domain.market.columns import BarColumns, Int64s, TradeColumns
from alphapulse.domain.market.events import BarsObserved, TradesObserved
from alphapulse.domain.market.fundamentals import FundingColumns, Headline
from alphapulse.domain.market.fundamentals_headlines import RawHeadlines
from alphapulse.domain.market.fundamentals_judging import RawFunding
from alphapulse.domain.market.instrument import Instrument
from alphapulse.domain.market.raw import RawBars, RawTrades
from alphapulse.domain.market.timeframes import LABELS

Raw = TypeVar("Raw", RawTrades, RawBars, RawFunding, RawHeadlines)
Columns = TypeVar("Columns", TradeColumns, BarColumns, FundingColumns, tuple[Headline, ...])


@dataclass(frozen=True, slots=True)
class Batch(Generic[Columns]):
    """Columns that become one event; ``first_row`` is the lowest file row inside."""

    columns: Columns
    first_row: int


class Kind(Protocol[Raw, Columns]):
    """What differs between trades, bars, funding rates and headlines."""

    label: str
    salt: str  # part of event ids: what else than file and row decides what a row says

    def chunks(self) -> Iterator[Raw]: ...
    def stream(self, instrument: Instrument) -> str: ...
    def judge(self, raw: Raw) -> Any: ...
    def against(self, verdict: Any, stored: Sequence[Columns]) -> Any: ...
    def batches(self, accepted: Any, last: Columns | None) -> Iterator[Batch[Columns]]: ...
    def event(self, instrument: Instrument, columns: Columns) -> object: ...
    def columns(self, event: Any) -> Columns: ...
    def keys(self, accepted: Any) -> Int64s: ...
    def times(self, columns: Columns) -> Int64s: ...


class TradeKind:
    salt = ""

    def __init__(self, file: OpenFile[TradeMapping]) -> None:
        self._file, self.label = file, file.mapping.name

    def chunks(self) -> Iterator[RawTrades]:
        return trade_chunks(self._file)

    def stream(self, instrument: Instrument) -> str:
        return instrument.stream("trades")

    def judge(self, raw: RawTrades) -> normalise.Verdict:
        return normalise.judge(raw, self._file.sha256)

    def against(self, verdict: normalise.Verdict, stored: Sequence[TradeColumns]) -> normalise.Verdict:
        return normalise.against(verdict, stored)

    def batches(
        self, accepted: normalise.Accepted, last: TradeColumns | None
    ) -> Iterator[Batch[TradeColumns]]:
        price, size = (last.price_exponent, last.size_exponent) if last else (0, 0)
        for columns, row in normalise.batches(accepted, price_exponent=price, size_exponent=size):
            yield Batch(columns, row)

    def event(self, instrument: Instrument, columns: TradeColumns) -> TradesObserved:
        return TradesObserved(instrument=instrument, columns=columns)

    def columns(self, event: TradesObserved) -> TradeColumns:
        return event.columns

    def keys(self, accepted: normalise.Accepted | TradeColumns) -> Int64s:
        return accepted.id

    def times(self, columns: TradeColumns) -> Int64s:
        return columns.time


class BarKind:
    salt = ""

    def __init__(self, file: OpenFile[BarMapping], timeframe_minutes: int) -> None:
        if timeframe_minutes not in LABELS:
            raise ValueError(
                f"timeframe of {timeframe_minutes} minutes is none of {', '.join(LABELS.values())}"
            )
        self._file, self._minutes = file, timeframe_minutes
        self.label = f"{file.mapping.name}:{LABELS[timeframe_minutes]}"

    def chunks(self) -> Iterator[RawBars]:
        return bar_chunks(self._file)

    def stream(self, instrument: Instrument) -> str:
        return f"{instrument.stream('bars')}-{LABELS[self._minutes]}"

    def judge(self, raw: RawBars) -> normalise_bars.BarVerdict:
        return normalise_bars.judge_bars(
            raw,
            timeframe_minutes=self._minutes,
            open_is_last_close=self._file.mapping.open_is_last_close,
        )

    def against(
        self, verdict: normalise_bars.BarVerdict, stored: Sequence[BarColumns]
    ) -> normalise_bars.BarVerdict:
        return normalise_bars.bars_against(verdict, stored)

    def batches(
        self, accepted: normalise_bars.AcceptedBars, last: BarColumns | None
    ) -> Iterator[Batch[BarColumns]]:
        price, volume = (last.price_exponent, last.volume_exponent) if last else (0, 0)
        for columns, row in normalise_bars.bar_batches(
            accepted, price_exponent=price, volume_exponent=volume
        ):
            yield Batch(columns, row)

    def event(self, instrument: Instrument, columns: BarColumns) -> BarsObserved:
        return BarsObserved(
            instrument=instrument,
            timeframe_minutes=self._minutes,
            volume_unit=self._file.mapping.volume_unit,
            columns=columns,
        )

    def columns(self, event: BarsObserved) -> BarColumns:
        return event.columns

    def keys(self, accepted: normalise_bars.AcceptedBars | BarColumns) -> Int64s:
        return accepted.start // normalise_bars.SECOND_NS

    def times(self, columns: BarColumns) -> Int64s:
        return columns.start
