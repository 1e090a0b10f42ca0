"""Events as tables beside the proof: CSV that is safe to open in a spreadsheet, and Parquet.

A cell that a spreadsheet would take for a formula begins with an apostrophe instead. One row is one event;
gaps have none. Made of the lines of events, part by part, so memory is bounded by a part.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

COLUMNS = (
    *("leaf", "position", "id", "stream", "version", "name", "recorded_at", "event_time"),
    *("cause", "correlation", "actor", "trace", "hash", "event"),
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_GAP = b'{"gap"'
_NUMBERS = ("leaf", "position", "version", "event_time")  # times of events are ns: Parquet's end in 2262


class Row(msgspec.Struct, frozen=True, gc=False):
    """The columns of an event line, as it stands there."""

    leaf: int
    position: int
    id: str
    stream: str
    version: int
    name: str
    recorded_at: int
    event_time: str | None
    cause: str | None
    correlation: str | None
    actor: str
    trace: str | None
    hash: str
    event: msgspec.Raw

    @property
    def text(self) -> str | None:
        """What it says, as JSON."""
        found = bytes(self.event)
        return None if found == b"null" else found.decode()


_decoder = msgspec.json.Decoder(Row)


def rows_of(part: bytes) -> Iterator[Row]:
    """The events among the lines of a part."""
    return (_decoder.decode(line) for line in part.splitlines() if not line.startswith(_GAP))


def safe(cell: str) -> str:
    """``cell``, so that no spreadsheet computes it."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def write_csv(path: Path, parts: Iterable[bytes]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for part in parts:
            writer.writerows(_cells(row) for row in rows_of(part))


def _cells(row: Row) -> Sequence[object]:
    optional = [row.event_time, row.cause, row.correlation, row.actor, row.trace]
    return (
        row.leaf,
        row.position,
        row.id,
        safe(row.stream),
        row.version,
        safe(row.name),
        (_EPOCH + timedelta(microseconds=row.recorded_at)).isoformat(timespec="microseconds"),
        *("" if cell is None else safe(cell) for cell in optional),
        safe(row.hash),
        safe(row.text or ""),
    )


def write_parquet(path: Path, parts: Iterable[bytes]) -> None:
    """A row group for each part."""
    import pyarrow as pa  # 30 MB that no other export needs
    import pyarrow.parquet as pq

    types = {name: pa.int64() if name in _NUMBERS else pa.string() for name in COLUMNS}
    schema = pa.schema({**types, "recorded_at": pa.timestamp("us", tz="UTC")})
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for part in parts:
            if rows := list(rows_of(part)):
                writer.write_table(pa.table(_columns(rows), schema=schema), row_group_size=len(rows))


def _columns(rows: Sequence[Row]) -> dict[str, Any]:
    plain = {name: [getattr(row, name) for row in rows] for name in COLUMNS if name != "event"}
    return {
        **plain,
        "event_time": [None if time is None else int(time) for time in plain["event_time"]],
        "event": [row.text for row in rows],
    }
