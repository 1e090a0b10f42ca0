"""Open a file of trades or bars: recognise the format, parse its columns, name the instrument."""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from alphapulse.adapters.files import parse
from alphapulse.adapters.files.columnar import ColumnarReader, columnar_schema
from alphapulse.adapters.files.delimited import DelimitedReader, first_lines, guess_delimiter, split_line
from alphapulse.adapters.files.formats import (
    BAR_FORMATS,
    TRADE_FORMATS,
    BarMapping,
    Columns,
    TradeMapping,
    recognise,
)
from alphapulse.adapters.files.json_array import JsonReader, first_members
from alphapulse.adapters.files.reader import Reader, TextChunk, TextColumn, UnreadableFile
from alphapulse.adapters.files.source import container, file_sha256, verify_packing
from alphapulse.domain.market.instrument import Instrument
from alphapulse.domain.market.raw import BLANK, Integers, RawBars, RawTrades

_HEADER_LINES = 3  # a banner may stand above the header
M = TypeVar("M", bound=Columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """How a file's venue and symbol become ours. ``symbols`` maps the venue's spelling to ours."""

    venue: str | None = None
    symbol: str | None = None
    symbols: Mapping[str, str] = field(default_factory=dict)


class Unnamed(Exception):
    """The file does not say which market it holds, and nobody else did: give venue and symbol."""


@dataclass(frozen=True, slots=True)
class OpenFile(Generic[M]):
    """A file whose format is known and whose first rows were readable."""

    path: Path
    sha256: str
    mapping: M
    reader: Reader
    naming: Naming


def open_trades(
    path: Path,
    *,
    file_format: str | TradeMapping = "auto",
    naming: Naming | None = None,
) -> OpenFile[TradeMapping]:
    """The file at ``path`` as trades.

    A file whose rows have no venue id is unpacked once before anything is taken from it: half of it
    could not be told from the whole one later.

    Raises:
        UnreadableFile: it cannot be read, or has not the columns of its format.
        Unnamed: venue or symbol is known neither from the file nor from ``naming``.
        ValueError: there is no such format.
    """
    opened = _open(path, file_format, TRADE_FORMATS, naming or Naming())
    if opened.mapping.id is None:
        verify_packing(path)
    return opened


def open_bars(
    path: Path,
    *,
    file_format: str | BarMapping = "auto",
    naming: Naming | None = None,
) -> OpenFile[BarMapping]:
    """The file at ``path`` as bars that a venue supplied; raises as open_trades."""
    return _open(path, file_format, BAR_FORMATS, naming or Naming())


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
    for instrument, refusal, chunk in _by_instrument(file):
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
            text=partial(_field_text, chunk, names),
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
    for instrument, refusal, chunk in _by_instrument(file):
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
            text=partial(_field_text, chunk, names),
        )


def _field_text(chunk: TextChunk, names: Mapping[str, str | None], i: int, field: str) -> str:
    name = names[field]
    return chunk.columns[name].text(i) if name else ""


def _open(path: Path, file_format: str | M, formats: Mapping[str, M], naming: Naming) -> OpenFile[M]:
    sha256 = file_sha256(path)
    if isinstance(file_format, str) and file_format != "auto" and file_format not in formats:
        raise ValueError(f"format {file_format!r} is none of auto, {', '.join(formats)}")
    asked = (
        None
        if file_format == "auto"
        else formats[file_format]
        if isinstance(file_format, str)
        else file_format
    )
    kind = container(path)
    if kind != "text":
        mapping, reader = _open_columnar(path, kind, asked, formats)
    elif (members := first_members(path)) is not None:
        mapping = _settle(path, asked, formats, members, "json")
        reader = JsonReader(path, wanted=mapping.wanted())
    else:
        mapping, reader = _open_delimited(path, asked, formats)
    _check_naming(path, mapping, naming)
    return OpenFile(path, sha256, mapping, reader, naming)


def _open_columnar(path: Path, kind: str, asked: M | None, formats: Mapping[str, M]) -> tuple[M, Reader]:
    columns = columnar_schema(path, kind).names
    mapping = _settle(path, asked, formats, columns, kind)
    return mapping, ColumnarReader(path, kind, wanted=mapping.wanted(), float_digits=mapping.float_digits)


def _open_delimited(path: Path, asked: M | None, formats: Mapping[str, M]) -> tuple[M, Reader]:
    lines = first_lines(path)
    delimiter = guess_delimiter(lines[-1])
    try:
        rows = [split_line(line, delimiter) for line in lines]
    except csv.Error as error:
        raise UnreadableFile(f"{path}: no delimited text: {error}") from None
    if asked is None or asked.header is not False:
        for at, columns in enumerate(rows[:_HEADER_LINES]):
            known = recognise([asked] if asked else list(formats.values()), columns, "text")
            if known is None and asked is not None and set(asked.wanted()) <= set(_numbered(columns)):
                known = asked
            if known is not None:
                mapping = asked or formats[known.name]
                return mapping, _delimited(path, mapping, columns, at + 1, delimiter)
    if asked is not None and asked.header is True:
        _settle(path, asked, formats, rows[0], "text")
    mapping = _without_header(path, asked, formats, rows)
    names = mapping.names or tuple(f"#{i + 1}" for i in range(len(rows[0])))
    return mapping, _delimited(path, mapping, names[: len(rows[0])], 0, delimiter)


def _delimited(path: Path, mapping: Columns, columns: Sequence[str], skip: int, delimiter: str) -> Reader:
    wanted = mapping.wanted()
    for name in wanted:
        if columns.count(name) > 1:
            raise UnreadableFile(
                f"{path}: column {name!r} stands {columns.count(name)} times in the header {columns}"
            )
        if name not in columns and not name.startswith("#"):
            raise UnreadableFile(f"{path}: no column {name!r}; the header has {list(columns)}")
    names = [n if n in wanted else f"#{i + 1}" for i, n in enumerate(columns)]
    return DelimitedReader(path, names=names, wanted=wanted, skip=skip, delimiter=delimiter)


def _numbered(columns: Sequence[str]) -> list[str]:
    return [*columns, *(f"#{i + 1}" for i in range(len(columns)))]


def _without_header(
    path: Path, asked: M | None, formats: Mapping[str, M], rows: Sequence[Sequence[str]]
) -> M:
    first = rows[0]
    must_look_like_data = asked is None or asked.header is None
    if must_look_like_data and not all(_is_datum(value) for value in first):
        problem = (
            f"the first line {first[:12]} fits no known format"
            if asked is None
            else f"the first line is {first}"
        )
        raise UnreadableFile(f"{path}: {problem}; expected " + _expected(asked, formats))
    fitting = [m for m in ([asked] if asked else formats.values()) if _fits_width(m, first)]
    if len(fitting) == 1 or (fitting and asked):
        return fitting[0]
    raise UnreadableFile(
        f"{path}: no header, and {len(first)} columns {list(first)} fit no known format; expected "
        + _expected(asked, formats)
    )


def _fits_width(mapping: Columns, first: Sequence[str]) -> bool:
    if mapping.names is None:
        return mapping.header is False and all(
            n.startswith("#") and 1 <= int(n[1:]) <= len(first) for n in mapping.wanted()
        )
    if len(first) != len(mapping.names):
        return False
    flags = [i for i, name in enumerate(mapping.names) if name.lower().replace("_", "") == "isbuyermaker"]
    return all(first[i].lower() in ("true", "false", "0", "1") for i in flags)


def _is_datum(text: str) -> bool:
    return re.fullmatch(r"[-+0-9.:TZe ]*|true|false", text, re.IGNORECASE) is not None


def _expected(asked: Columns | None, formats: Mapping[str, M]) -> str:
    if asked is not None:
        return f"the columns {asked.wanted()} of {asked.name}"
    return f"one of {', '.join(formats)}, or say which column is which (--map)"


def _settle(path: Path, asked: M | None, formats: Mapping[str, M], columns: Sequence[str], kind: str) -> M:
    if asked is not None:
        if missing := [name for name in asked.wanted() if name not in columns]:
            raise UnreadableFile(f"{path}: no column {missing[0]!r}; the file has {list(columns)}")
        return asked
    known = recognise(list(formats.values()), columns, kind)
    if known is None:
        raise UnreadableFile(
            f"{path}: the columns {list(columns)} fit no known format; expected {_expected(None, formats)}"
        )
    return formats[known.name]


def _check_naming(path: Path, mapping: Columns, naming: Naming) -> None:
    if not (naming.venue or mapping.venue or mapping.venue_column):
        raise Unnamed(f"{path}: {mapping.name} does not say which venue it comes from: give --venue")
    if not (naming.symbol or mapping.symbol or mapping.symbol_column):
        raise Unnamed(f"{path}: {mapping.name} does not say which symbol it holds: give --symbol")


def _by_instrument(file: OpenFile[M]) -> Iterator[tuple[Instrument, str | None, TextChunk]]:
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
