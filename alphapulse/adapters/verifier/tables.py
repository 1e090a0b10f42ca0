"""The tables in a bundle say what its events say, row by row.

Reads the events a second time, side by side with the table, so nothing has to be remembered of them.
"""

from __future__ import annotations

import base64
import csv
import importlib
import tempfile
from datetime import datetime, timedelta, timezone
from typing import Any, BinaryIO, Iterable, Iterator

from alphapulse.adapters.verifier.archive import MAX_LINE_BYTES, Archive, Member
from alphapulse.adapters.verifier.findings import Broken, Findings
from alphapulse.adapters.verifier.leaf import Event, LineRefused, event_of, json_of, same

TABLE_COLUMNS = (
    *("leaf", "position", "id", "stream", "version", "name", "recorded_at", "event_time"),
    *("cause", "correlation", "actor", "trace", "hash", "event"),
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would compute has an apostrophe before it
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_ROWS_AT_ONCE = 1_000


class Spool:
    """A member as a file that can be read from anywhere, for as long as it is open."""

    def __init__(self, member: Member) -> None:
        self.file = tempfile.TemporaryFile()  # noqa: SIM115  closed by whoever holds it
        while True:
            block = member.read()
            if not block:
                break
            self.file.write(block)
        self.file.seek(0)


def compare_csv(member: Member, bundle: BinaryIO, found: Findings) -> None:
    """``bundle`` is the same file, opened again.

    Raises:
        Broken: it is no CSV.
    """
    rows = csv.reader(line.decode() + "\n" for line in member.lines())
    before = csv.field_size_limit(MAX_LINE_BYTES)  # of the whole process
    try:
        if next(rows, None) != list(TABLE_COLUMNS):
            found.fault("events.csv has other columns", None, "events.csv")
            return
        _compare(events_again(bundle), rows, _cells, found, "events.csv")
    except (csv.Error, UnicodeDecodeError) as error:
        raise Broken(f"events.csv: {error}", "events.csv") from None
    finally:
        csv.field_size_limit(before)


def compare_parquet(member: Member, bundle: BinaryIO, found: Findings) -> bool:
    """Whether this Python could read it."""
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError:
        return False
    with Spool(member).file as file:
        try:
            table = parquet.ParquetFile(file)
            if tuple(table.schema_arrow.names) != TABLE_COLUMNS:
                found.fault("events.parquet has other columns", None, "events.parquet")
                return True
            _compare(events_again(bundle), _parquet_rows(table), _values, found, "events.parquet")
        except (OSError, ValueError) as error:  # pyarrow's own are these two
            raise Broken(f"events.parquet: {str(error)[:200]}", "events.parquet") from None
    return True


def events_again(file: BinaryIO) -> Iterator[Event]:
    """The events of a bundle that were read before; what is wrong with them was told then."""
    archive = Archive(file)
    while True:
        member = archive.member()
        if member is None:
            return
        if not member.name.startswith("events/"):
            continue
        for raw in member.lines():
            line = json_of(raw.decode())
            if "gap" not in line:
                yield event_of(line)


def _compare(events: Iterator[Event], rows: Iterable[Any], cells: Any, found: Findings, table: str) -> None:
    try:
        for row in rows:
            event = next(events, None)
            if event is None:
                found.fault(f"{table} has more rows than there are events", None, table)
                return
            _compare_row(event, row, cells(event), found, table)
        left = next(events, None)
    except (LineRefused, UnicodeDecodeError, Broken):
        found.fault(f"{table} was not compared: the events cannot be read", None, table)
        return
    if left is not None:
        found.fault(f"{table} ends before this event", left.leaf, table)


def _compare_row(event: Event, row: list[Any], wanted: list[Any], found: Findings, table: str) -> None:
    if len(row) != len(TABLE_COLUMNS):
        found.fault(f"{table} has a row of {len(row)} cells", event.leaf, table)
        return
    *cells, shown = row
    for name, cell, value in zip(TABLE_COLUMNS, cells, wanted):
        if cell != value:
            found.fault(f"{table} says {name} {cell!r:.100}, the event {value!r:.100}", event.leaf, name)
    if not _says(shown, event.event):
        found.fault(f"{table} shows another payload", event.leaf, "event")


def _says(cell: str | None, value: Any) -> bool:
    if not cell:
        return value is None
    try:
        return same(json_of(cell[1:] if cell.startswith("'") else cell), value)
    except LineRefused:
        return False


def _cells(event: Event) -> list[str]:
    """All but the payload, as CSV writes them."""
    return [
        "" if value is None else _safe(str(value)) for value in _values_in(event, iso_time(event.recorded_at))
    ]


def _values(event: Event) -> list[Any]:
    """All but the payload, as Parquet holds them."""
    return _values_in(event, event.recorded_at)


def _values_in(event: Event, recorded_at: Any) -> list[Any]:
    return [
        *(event.leaf, event.position, event.id, event.stream, event.version, event.name, recorded_at),
        *(event.event_time, event.cause, event.correlation, event.actor, event.trace),
        base64.b64encode(event.hash).decode(),
    ]


def _safe(text: str) -> str:
    return "'" + text if text.startswith(_FORMULA) else text


def iso_time(microseconds: int | None) -> str:
    """A time in µs since 1970 UTC for people."""
    if microseconds is None:
        return "no time"
    try:
        return (_EPOCH + timedelta(microseconds=microseconds)).isoformat(timespec="microseconds")
    except OverflowError:
        return f"{microseconds} µs"


def _parquet_rows(table: Any) -> Iterator[list[Any]]:
    whole_numbers = importlib.import_module("pyarrow").int64()
    at = TABLE_COLUMNS.index("recorded_at")
    for batch in table.iter_batches(batch_size=_ROWS_AT_ONCE):
        columns = batch.columns
        columns[at] = columns[at].cast(whole_numbers)
        yield from map(list, zip(*(column.to_pylist() for column in columns)))
