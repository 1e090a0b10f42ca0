"""Open a file of trades or bars: what it is packed in, which format it has, where its columns are."""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

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
from alphapulse.adapters.files.reader import Reader, UnreadableFile
from alphapulse.adapters.files.source import container, file_sha256, verify_packing

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
    opened = open_as(path, file_format, TRADE_FORMATS, naming or Naming())
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
    return open_as(path, file_format, BAR_FORMATS, naming or Naming())


def open_as(path: Path, file_format: str | M, formats: Mapping[str, M], naming: Naming) -> OpenFile[M]:
    """The file at ``path`` in one of ``formats``; raises as open_trades."""
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
