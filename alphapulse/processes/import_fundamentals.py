"""Bring files of funding rates and of headlines into the log, as importing.py does with trades.

A rate is known by its settlement and a headline by its time and address, so a repeat of a file, or
of the same rows in another file, appends nothing.
"""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from alphapulse.adapters.files.funding import FundingFile, FundingMapping, funding_chunks, open_funding
from alphapulse.adapters.files.headlines import HeadlineFile, HeadlineMapping, open_headlines
from alphapulse.adapters.files.open import Naming
from alphapulse.adapters.files.zones import zone_text
from alphapulse.domain.market import fundamentals_headlines as news
from alphapulse.domain.market import fundamentals_judging as funding
from alphapulse.domain.market.columns import Int64s
from alphapulse.domain.market.fundamentals import (
    FundingColumns,
    FundingObserved,
    Headline,
    HeadlinesObserved,
    news_stream,
    settlement,
)
from alphapulse.domain.market.instrument import Instrument
from alphapulse.domain.ports import EventStore
from alphapulse.processes.import_kinds import Batch
from alphapulse.processes.importing import FileImport, Imported, Progress


async def import_funding(
    path: Path,
    store: EventStore,
    *,
    file_format: str | FundingMapping = "auto",
    naming: Naming | None = None,
    east_s: int | None = None,
    interval_hours: int | None = None,
    max_refused: int = 10_000,
    progress: Progress | None = None,
) -> Imported:
    """Import the funding rates of one file; ``east_s`` is the zone of stamps that carry none.

    Raises:
        UnreadableFile, Unnamed, ValueError: see open_funding; nothing was appended.
        ImportBroken, TooManyRefused, StoreUnavailable: see importing.import_trades.
    """
    file = await asyncio.to_thread(
        open_funding,
        path,
        file_format=file_format,
        naming=naming,
        east_s=east_s,
        interval_hours=interval_hours,
    )
    return await FileImport(file, FundingKind(file), store, max_refused, progress).run()


async def import_news(
    path: Path,
    store: EventStore,
    *,
    file_format: str | HeadlineMapping = "auto",
    source: str | None = None,
    east_s: int | None = None,
    max_refused: int = 10_000,
    progress: Progress | None = None,
) -> Imported:
    """Import the headlines of one file; raises as import_funding, see open_headlines."""
    file = await asyncio.to_thread(
        open_headlines, path, file_format=file_format, source=source, east_s=east_s
    )
    return await FileImport(file, NewsKind(file), store, max_refused, progress).run()


class FundingKind:
    def __init__(self, file: FundingFile) -> None:
        self._file = file
        self.label = _label(file.mapping.name, file.east_s)
        self.salt = f"\n{self.label}"

    def chunks(self) -> Iterator[funding.RawFunding]:
        return funding_chunks(self._file)

    def stream(self, instrument: Instrument) -> str:
        return instrument.stream("funding")

    def judge(self, raw: funding.RawFunding) -> funding.FundingVerdict:
        return funding.judge_funding(raw)

    def against(
        self, verdict: funding.FundingVerdict, stored: Sequence[FundingColumns]
    ) -> funding.FundingVerdict:
        return funding.funding_against(verdict, stored)

    def batches(
        self, accepted: funding.AcceptedFunding, last: FundingColumns | None
    ) -> Iterator[Batch[FundingColumns]]:
        exponent = last.rate_exponent if last else 0
        for columns, row in funding.funding_batches(accepted, rate_exponent=exponent):
            yield Batch(columns, row)

    def event(self, instrument: Instrument, columns: FundingColumns) -> FundingObserved:
        return FundingObserved(instrument=instrument, columns=columns)

    def columns(self, event: FundingObserved) -> FundingColumns:
        return event.columns

    def keys(self, accepted: funding.AcceptedFunding | FundingColumns) -> Int64s:
        return settlement(accepted.time)

    def times(self, columns: FundingColumns) -> Int64s:
        return columns.time


class NewsKind:
    def __init__(self, file: HeadlineFile) -> None:
        self._file = file
        self.label = _label(file.mapping.name, file.east_s)
        self.salt = f"\n{self.label}"

    def chunks(self) -> Iterator[news.RawHeadlines]:
        return self._file.chunks()

    def stream(self, instrument: Instrument) -> str:
        return news_stream(instrument.symbol)

    def judge(self, raw: news.RawHeadlines) -> news.HeadlineVerdict:
        return news.judge_headlines(raw)

    def against(
        self, verdict: news.HeadlineVerdict, stored: Sequence[tuple[Headline, ...]]
    ) -> news.HeadlineVerdict:
        return news.headlines_against(verdict, stored)

    def batches(
        self,
        accepted: news.AcceptedHeadlines,
        last: tuple[Headline, ...] | None,  # noqa: ARG002 - text has no exponent
    ) -> Iterator[Batch[tuple[Headline, ...]]]:
        for headlines, row in news.headline_batches(accepted):
            yield Batch(headlines, row)

    def event(self, instrument: Instrument, columns: tuple[Headline, ...]) -> HeadlinesObserved:
        return HeadlinesObserved(source=instrument.symbol, headlines=columns)

    def columns(self, event: HeadlinesObserved) -> tuple[Headline, ...]:
        return event.headlines

    def keys(self, accepted: news.AcceptedHeadlines | tuple[Headline, ...]) -> Int64s:
        if isinstance(accepted, tuple):
            return np.array([headline.key for headline in accepted], dtype=np.int64)
        return accepted.keys

    def times(self, columns: tuple[Headline, ...]) -> Int64s:
        return np.array([headline.time for headline in columns], dtype=np.int64)


def _label(format_name: str, east_s: int | None) -> str:
    """The format and the zone it was read in: the same file read in two zones is two imports."""
    return format_name if east_s is None else f"{format_name}:{zone_text(east_s)}"
