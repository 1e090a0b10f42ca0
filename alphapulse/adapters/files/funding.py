"""Files of funding rates: their formats, what their stamps and intervals mean, and their rows.

A dump's zone is a property of the program and machine that wrote it, not of the venue: presets hold for
the one format they were measured on (docs/decisions/0116), and whoever imports may say otherwise.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from alphapulse.adapters.files import parse
from alphapulse.adapters.files.formats import Columns
from alphapulse.adapters.files.observe import by_instrument, field_text
from alphapulse.adapters.files.open import Naming, OpenFile, Unnamed, open_as
from alphapulse.adapters.files.zones import in_utc
from alphapulse.domain.market.fundamentals_judging import RawFunding


@dataclass(frozen=True, slots=True, kw_only=True)
class FundingMapping(Columns):
    rate: str
    interval: str | None = None  # hours
    zero: tuple[str, ...] = ()  # columns that hold 0 in such a file

    def wanted(self) -> list[str]:
        own = (self.rate, self.interval, *self.zero)
        return [*Columns.wanted(self), *(c for c in own if c is not None)]


FUNDING_FORMATS: Mapping[str, FundingMapping] = {
    m.name: m
    for m in (
        FundingMapping(
            name="funding_history", time="Date", time_unit="iso", symbol_column="Symbol",
            rate="Funding Rate", signature=("Symbol", "Date", "Funding Rate"),
        ),
        FundingMapping(
            name="binance_vision", venue="binance", time="calc_time", time_unit="epoch",
            rate="last_funding_rate", interval="funding_interval_hours",
            signature=("calc_time", "funding_interval_hours", "last_funding_rate"),
        ),
        FundingMapping(
            name="ccxt_json", time="timestamp", time_unit="ms", symbol_column="symbol", rate="fundingRate",
            signature=("timestamp", "symbol", "fundingRate"), kinds=("json",),
        ),
        # freqtrade keeps rates as candles: the rate is the open, the rest is 0.
        FundingMapping(
            name="freqtrade", time="date", time_unit="ms", rate="open", float_digits=15,
            zero=("high", "low", "close", "volume"), kinds=("parquet", "feather"),
            signature=("date", "open", "high", "low", "close", "volume"),
        ),
    )
}  # fmt: skip


class Preset(NamedTuple):
    """What is known of one venue's funding_history files."""

    east_s: int
    interval_hours: int


_MOSCOW = 3 * 3600
PRESETS: Mapping[str, Preset] = {
    **dict.fromkeys(("binance", "bybit", "htx", "kucoin", "mexc"), Preset(_MOSCOW, 8)),
    "gate": Preset(0, 8),
    "dydx": Preset(0, 1),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FundingFile(OpenFile[FundingMapping]):
    """An opened file; ``east_s`` is the zone of stamps that carry none, None where there are no such."""

    east_s: int | None
    interval_hours: int | None


def open_funding(
    path: Path,
    *,
    file_format: str | FundingMapping = "auto",
    naming: Naming | None = None,
    east_s: int | None = None,
    interval_hours: int | None = None,
) -> FundingFile:
    """The file at ``path`` as funding rates.

    Raises:
        UnreadableFile: it cannot be read, or has not the columns of its format.
        Unnamed: venue, symbol, zone or interval is known neither from the file, nor from a preset, nor
            from the caller.
        ValueError: there is no such format.
    """
    opened = open_as(path, file_format, FUNDING_FORMATS, naming or Naming())
    m = opened.mapping
    preset = PRESETS.get(opened.naming.venue or m.venue or "")
    if east_s is None and _is_text(opened):
        if preset is None or m.name != "funding_history":
            raise Unnamed(
                f"{path}: nobody says in which zone the stamps of {m.name} are: give --zone UTC or such as "
                "--zone +03:00 (a stamp with an offset of its own keeps that)"
            )
        east_s = preset.east_s
    if interval_hours is None and m.interval is None:
        if preset is None:
            raise Unnamed(f"{path}: {m.name} does not say for how long a rate holds: give --interval-hours")
        interval_hours = preset.interval_hours
    return FundingFile(
        path=opened.path,
        sha256=opened.sha256,
        mapping=m,
        reader=opened.reader,
        naming=opened.naming,
        east_s=east_s if _is_text(opened) else None,
        interval_hours=interval_hours,
    )


def funding_chunks(file: FundingFile) -> Iterator[RawFunding]:
    """The rows of ``file`` in file order, each chunk of one instrument.

    Raises:
        UnreadableFile: the file breaks; the chunks before were complete.
    """
    m = file.mapping
    clock = parse.Clock(m.time_unit, file.reader.time_units.get(m.time))
    names = {"time": m.time, "rate": m.rate, "interval": m.interval, **{name: name for name in m.zero}}
    for instrument, refusal, chunk in by_instrument(file):
        columns = chunk.columns
        time = clock.times(columns[m.time])
        yield RawFunding(
            instrument=instrument,
            refusal=refusal,
            row=chunk.row,
            whole=chunk.whole,
            time=time if file.east_s is None else in_utc(time, columns[m.time], file.east_s),
            rate=parse.decimals(columns[m.rate]),
            interval=parse.integers(columns[m.interval]) if m.interval else None,
            interval_hours=file.interval_hours,
            zero={name: parse.decimals(columns[name]) for name in m.zero},
            raw=chunk.raw,
            text=partial(field_text, chunk, names),
        )


def _is_text(file: OpenFile[FundingMapping]) -> bool:
    """Whether its stamps may be text, which may lack a zone; numbers and typed columns are UTC."""
    m = file.mapping
    return m.time_unit in ("iso", "auto") and m.time not in file.reader.time_units
