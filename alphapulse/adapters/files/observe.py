"""The rows of an opened file, parsed: chunks of one instrument each, as the normaliser takes them."""

import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TypeVar

import numpy as np

from alphapulse.adapters.files import parse
from alphapulse.adapters.files.formats import BarMapping, Columns, TradeMapping
from alphapulse.adapters.files.open import OpenFile
from alphapulse.adapters.files.reader import TextChunk, TextColumn
from alphapulse.domain.market.instrument import Instrument
from alphapulse.domain.market.raw import BLANK, Integers, RawBars, RawTrades

M = TypeVar("M", bound=Columns)


def trade_chunks(file: OpenFile[TradeMapping]) -> Iterator[RawTrades]:
    """The rows of ``file`` in file order, each chunk of one instrument.

    Raises:
        UnreadableFile: the file breaks; the chunks before were complete.
    """
    m, clock = (
        file.mapping,
        parse.Clock(file.mapping.time_unit, file.reader.time_units.get(file.mapping.time)),
    )
    received_clock = parse.Clock(m.received_unit, file.reader.time_units.get(m.received or ""))
    names = {
        "time": m.time,
        "price": m.price,
        "size": m.size,
        "side": m.side,
        "id": m.id,
        "received": m.received,
    }
    for instrument, refusal, chunk in by_instrument(file):
        columns = chunk.columns
        time = clock.times(columns[m.time])
        blank = np.flatnonzero(time.status == BLANK)
        yield RawTrades(
            instrument=instrument,
            refusal=refusal,
            row=chunk.row,
            whole=chunk.whole,
            time=time,
            received=received_clock.times_of(columns[m.received], blank)
            if m.received and len(blank)
            else None,
            price=parse.decimals(columns[m.price]),
            size=parse.decimals(columns[m.size]),
            side=parse.sides(columns[m.side] if m.side else None, len(chunk), m.buy, m.sell),
            id=parse.integers(columns[m.id]) if m.id else None,
            raw=chunk.raw,
            text=partial(field_text, chunk, names),
        )


def bar_chunks(file: OpenFile[BarMapping]) -> Iterator[RawBars]:
    """As trade_chunks, for bars."""
    m, clock = (
        file.mapping,
        parse.Clock(file.mapping.time_unit, file.reader.time_units.get(file.mapping.time)),
    )
    names = {
        "start": m.time, "open": m.open, "high": m.high, "low": m.low, "close": m.close,
        "volume": m.volume, "trade count": m.trade_count,
    }  # fmt: skip
    for instrument, refusal, chunk in by_instrument(file):
        columns = chunk.columns
        counts: Integers | None = parse.integers(columns[m.trade_count]) if m.trade_count else None
        yield RawBars(
            instrument=instrument,
            refusal=refusal,
            row=chunk.row,
            whole=chunk.whole,
            start=clock.times(columns[m.time]),
            open=parse.decimals(columns[m.open]),
            high=parse.decimals(columns[m.high]),
            low=parse.decimals(columns[m.low]),
            close=parse.decimals(columns[m.close]),
            volume=parse.decimals(columns[m.volume]),
            trade_count=counts,
            raw=chunk.raw,
            text=partial(field_text, chunk, names),
        )


def field_text(chunk: TextChunk, names: Mapping[str, str | None], i: int, field: str) -> str:
    name = names[field]
    return chunk.columns[name].text(i) if name else ""


def by_instrument(file: OpenFile[M]) -> Iterator[tuple[Instrument, str | None, TextChunk]]:
    """The chunks of ``file``, split where the instrument changes, rows of one instrument together.

    A row with too few or too many fields says nothing sure: it goes with the row before it.
    """
    m = file.mapping
    naming = [c for c in (None if file.naming.venue else m.venue_column, m.symbol_column) if c]
    last: tuple[Instrument, str | None] | None = None
    for chunk in file.reader.chunks():
        if not naming:
            yield *_instrument(file, None, None), chunk
            continue
        sure = np.flatnonzero(chunk.whole)
        lead = int(sure[0]) if len(sure) else len(chunk)
        if lead and (last or not len(sure)):
            leading = parse.take(chunk, np.arange(lead))
            yield *(last or _instrument(file, None, None)), leading
            chunk = parse.take(chunk, np.arange(lead, len(chunk)))
        if not len(chunk):
            continue
        names = parse.settled(chunk, naming)
        for rows, first in parse.groups(list(names.values()), len(chunk)):
            yield *_named(file, names, first), chunk if rows is None else parse.take(chunk, rows)
        last = _named(file, names, len(chunk) - 1)


def _named(file: OpenFile[M], names: Mapping[str, TextColumn], row: int) -> tuple[Instrument, str | None]:
    texts = {column: names[column].text(row) for column in names}
    venue, symbol = file.mapping.venue_column, file.mapping.symbol_column
    return _instrument(file, texts.get(venue or ""), texts.get(symbol or ""))


def _instrument(file: OpenFile[M], venue: str | None, symbol: str | None) -> tuple[Instrument, str | None]:
    """Whose row it is, and why it must be refused if it must."""
    m, naming = file.mapping, file.naming
    our_venue = naming.venue or m.venue or re.sub(r"[^a-z0-9_]", "_", (venue or "").lower()) or "unknown"
    spelled = symbol if symbol is not None else (naming.symbol or m.symbol or "")
    ours = naming.symbols.get(spelled) or re.sub(r"[-:]", "_", spelled)
    try:
        instrument = Instrument(our_venue[:32], ours)
    except ValueError:
        return Instrument(
            our_venue[:32], naming.symbol or "unknown"
        ), f"symbol {spelled[:80]!r} cannot be used"
    if naming.symbol and ours != naming.symbol:
        return Instrument(our_venue[:32], naming.symbol), f"symbol {spelled!r} is not {naming.symbol}"
    return instrument, None
