"""CSV files of headlines: their formats and rows. A quoted field may hold line feeds, as bodies do."""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

from alphapulse.adapters.files.delimited import first_lines, guess_delimiter, split_line
from alphapulse.adapters.files.open import Unnamed
from alphapulse.adapters.files.reader import UnreadableFile
from alphapulse.adapters.files.source import container, file_sha256, line_blocks, open_bytes
from alphapulse.domain.market.fundamentals import news_desk
from alphapulse.domain.market.fundamentals_headlines import RawHeadline, RawHeadlines
from alphapulse.domain.market.instrument import Instrument
from alphapulse.domain.market.judging import MAX_RAW_TEXT

CHUNK = 1_000  # rows judged and stored together
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadlineMapping:
    """Which column means what. ``time_format``: ``iso``, one of s ms us ns, or as strptime takes it."""

    name: str
    time: str
    title: str
    url: str | None = None
    publisher: str | None = None
    subject: str | None = None
    sentiment: str | None = None
    source: str | None = None
    time_format: str = "iso"
    east_s: int | None = None  # the zone of stamps that carry none
    signature: tuple[str, ...] = ()

    def wanted(self) -> list[str]:
        columns = (self.time, self.title, self.url, self.publisher, self.subject, self.sentiment)
        return [c for c in columns if c is not None]


HEADLINE_FORMATS: Mapping[str, HeadlineMapping] = {
    m.name: m
    for m in (
        # Stamps are UTC: US figures of 12:30 (13:30 in winter) are told at 12:32 to 12:34 and 13:33, 13:36.
        HeadlineMapping(
            name="cryptonews", source="cryptonews", time="date", time_format="%d-%m-%Y %H:%M", east_s=0,
            title="title", url="url", publisher="source", subject="subject", sentiment="sentiment",
            signature=("date", "sentiment", "source", "subject", "text", "title", "url"),
        ),
        # A list of CryptoCompare's, which stamps in UTC; nothing in the file proves or refutes it.
        HeadlineMapping(
            name="quorix", source="quorix", time="published_on", east_s=0, title="title", url="url",
            publisher="source", signature=("title", "source", "published_on", "url", "body"),
        ),
    )
}  # fmt: skip


@dataclass(slots=True, kw_only=True)
class HeadlineFile:
    """A file whose columns are known. It is its own reader: ``done_ratio`` says how far chunks() is."""

    path: Path
    sha256: str
    mapping: HeadlineMapping
    desk: Instrument  # what refusals and the end of the import are filed under
    delimiter: str
    columns: Sequence[str]
    east_s: int | None
    done_ratio: float = 0.0
    reader: "HeadlineFile" = field(init=False)

    def __post_init__(self) -> None:
        self.reader = self

    def chunks(self) -> Iterator[RawHeadlines]:
        """The rows in file order.

        Raises:
            UnreadableFile: the file breaks; the chunks before it were complete.
        """
        found: list[RawHeadline] = []
        for row, (fields, raw, is_text) in enumerate(self._rows(), start=1):
            found.append(self._headline(row, fields, raw, is_text))
            if len(found) == CHUNK:
                yield RawHeadlines(instrument=self.desk, headlines=found)
                found = []
        if found:
            yield RawHeadlines(instrument=self.desk, headlines=found)

    def _rows(self) -> Iterator[tuple[list[str], str, bool]]:
        """Fields, text, and whether that is UTF-8, of each row after the header."""
        row = 0
        with open_bytes(self.path) as (source, done_ratio):
            lines = _Lines(line_blocks(source, self.path, lambda: row))
            reader = csv.reader(lines, delimiter=self.delimiter)
            try:
                next(reader)
                lines.taken.clear()
                for fields in reader:
                    if fields:
                        row += 1
                        self.done_ratio = done_ratio()
                        raw = "".join(lines.taken)[: MAX_RAW_TEXT + 2].rstrip("\r\n")
                        yield fields, raw, lines.is_text
                    lines.taken.clear()
                    lines.is_text = True
            except csv.Error as error:
                raise UnreadableFile(
                    f"{self.path}: no delimited text after row {row}: {error} (a quote that is never closed?)"
                ) from None

    def _headline(self, row: int, fields: Sequence[str], raw: str, is_text: bool) -> RawHeadline:
        m, problem, time = self.mapping, None, None
        if not is_text:
            problem = "not UTF-8"
        elif len(fields) != len(self.columns):
            problem = f"{len(fields)} fields, the header has {len(self.columns)}"
        by_name = dict(zip(self.columns, fields, strict=False))

        def value(column: str | None) -> str:
            return by_name.get(column or "", "")

        if problem is None:
            try:
                time = time_ns(value(m.time), m.time_format, self.east_s)
            except ValueError as error:
                problem = str(error)
        return RawHeadline(
            row=row, raw=raw, problem=problem, time=time, title=value(m.title), url=value(m.url),
            publisher=value(m.publisher), subject=value(m.subject), sentiment=value(m.sentiment),
        )  # fmt: skip


def open_headlines(
    path: Path,
    *,
    file_format: str | HeadlineMapping = "auto",
    source: str | None = None,
    east_s: int | None = None,
) -> HeadlineFile:
    """The CSV file at ``path`` as headlines.

    Raises:
        UnreadableFile: it cannot be read, or has not the columns of its format.
        Unnamed: its source or zone is known neither from its format nor from the caller.
        ValueError: there is no such format, or ``source`` cannot name a stream.
    """
    sha256 = file_sha256(path)
    if (kind := container(path)) != "text":
        raise UnreadableFile(f"{path}: a {kind} file; headlines are read from CSV")
    header = first_lines(path)[0]
    delimiter = guess_delimiter(header)
    try:
        columns = split_line(header, delimiter)
    except csv.Error as error:
        raise UnreadableFile(f"{path}: no delimited text: {error}") from None
    mapping = _settle(path, file_format, columns)
    named = source or mapping.source
    if named is None:
        raise Unnamed(f"{path}: {mapping.name} does not say which source it comes from: give --source")
    zone = mapping.east_s if east_s is None else east_s
    if zone is None and mapping.time_format not in _NS and "%z" not in mapping.time_format:
        raise Unnamed(f"{path}: nobody says in which zone the stamps of {mapping.name} are: give --zone")
    return HeadlineFile(
        path=path, sha256=sha256, mapping=mapping, desk=news_desk(named), delimiter=delimiter,
        columns=columns, east_s=zone,
    )  # fmt: skip


def time_ns(text: str, time_format: str, east_s: int | None) -> int:
    """The moment of a stamp in ns since 1970 UTC; without an offset of its own it is ``east_s`` of Greenwich.

    Raises:
        ValueError: it is blank or cannot be read.
    """
    stamp = text.strip()
    if not stamp:
        raise ValueError("time is blank")
    if time_format in _NS:
        if re.fullmatch(r"\d{1,19}", stamp) is None:
            raise ValueError(f"time {text[:200]!r} is no count of {time_format} since 1970")
        return int(stamp) * _NS[time_format]
    try:
        if time_format == "iso":
            when = datetime.fromisoformat(stamp)
        else:
            when = datetime.strptime(stamp, time_format)  # noqa: DTZ007 - the zone follows below
    except ValueError:
        raise ValueError(f"time {text[:200]!r} cannot be read as {time_format}") from None
    if when.tzinfo is None:
        when = when.replace(tzinfo=timezone(timedelta(seconds=east_s or 0)))
    return (when - _EPOCH) // timedelta(microseconds=1) * 1_000


def _settle(path: Path, asked: str | HeadlineMapping, columns: Sequence[str]) -> HeadlineMapping:
    if isinstance(asked, str) and asked != "auto":
        if asked not in HEADLINE_FORMATS:
            raise ValueError(f"format {asked!r} is none of auto, {', '.join(HEADLINE_FORMATS)}")
        asked = HEADLINE_FORMATS[asked]
    if isinstance(asked, HeadlineMapping):
        if missing := [name for name in asked.wanted() if columns.count(name) != 1]:
            raise UnreadableFile(f"{path}: column {missing[0]!r} is not there once; the header has {columns}")
        return asked
    for mapping in HEADLINE_FORMATS.values():
        if sorted(columns) == sorted(mapping.signature):
            return mapping
    raise UnreadableFile(
        f"{path}: the columns {list(columns)[:12]} fit no known format; expected one of "
        f"{', '.join(HEADLINE_FORMATS)}, or say which column is which (--map)"
    )


class _Lines:
    """Lines as text; ``taken`` are those handed out since it was cleared, for messages."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._lines = (line for block in blocks for line in block.splitlines(keepends=True))
        self._first = True
        self.taken: list[str] = []
        self.is_text = True

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        if self._first:
            line, self._first = line.removeprefix(b"\xef\xbb\xbf"), False
        try:
            text = line.decode()
        except UnicodeDecodeError:
            text, self.is_text = line.decode(errors="backslashreplace"), False
        self.taken.append(text)
        return text
