"""Feature rows as one Parquet file that the same rows always give again, byte for byte.

Series stand one behind the other, by instrument (code points) and timeframe; within one, rows by their bar.
A row group holds rows of one series only, ROW_GROUP of them or what is left, whatever pieces they came in.
Every option of the writer is fixed here, and nothing in the file tells when it was made. Another version of
pyarrow may write other bytes for the same rows: the manifest names the version, and holds a hash of the rows.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from alphapulse.domain.analysis.feature_rows import FeatureRows
from alphapulse.domain.analysis.row_bytes import WHOLE, Series, joined, series_of, taken

ROW_GROUP = 65_536
ROW_COLUMNS = ("instrument", "timeframe", *WHOLE)
WRITER: dict[str, Any] = {
    "version": "2.6",
    "compression": "zstd",
    "compression_level": 3,
    "use_dictionary": ["instrument", "timeframe"],
    "data_page_version": "1.0",
    "data_page_size": 1 << 20,
    "write_batch_size": 1024,
    "write_statistics": True,
    "write_page_index": False,
    "store_schema": True,
}
_MINUTE_MS = 60_000
_SPILL_ROWS = 8_192  # of a series are gathered before they go to its file


def writer_settings() -> dict[str, Any]:
    """All that shapes the bytes, for the manifest."""
    return {"library": "pyarrow", "version": pa.__version__, "row_group": ROW_GROUP, "options": WRITER}


class BadColumn(ValueError):
    """A feature has a name that a row has already."""


def schema(features: Sequence[str]) -> Any:
    """The columns of the file: what a row is, then a float64 a feature, null where there is no value.

    Raises:
        BadColumn: two columns would have one name.
    """
    twice = sorted({f for f in features if f in ROW_COLUMNS or list(features).count(f) > 1})
    if twice:
        raise BadColumn(f"columns {', '.join(twice)} would stand twice in the file")
    return pa.schema(
        [
            pa.field("instrument", pa.string(), nullable=False),
            pa.field("timeframe", pa.int32(), nullable=False),
            pa.field("start", pa.timestamp("ms", tz="UTC"), nullable=False),
            pa.field("known_time", pa.timestamp("ns", tz="UTC"), nullable=False),
            pa.field("position", pa.int64(), nullable=False),
            pa.field("first_position", pa.int64(), nullable=False),
            pa.field("input_position", pa.int64(), nullable=False),
            pa.field("flags", pa.int32(), nullable=False),
            *(pa.field(name, pa.float64()) for name in features),
        ]
    )


def _table(rows: FeatureRows, made: Any) -> Any:
    """``rows`` as Arrow: NaN becomes null, for it is no value."""
    n = len(rows)
    fixed = [
        pa.array([rows.instrument], pa.string()).take(pa.array(np.zeros(n, np.int64))),
        pa.array(np.full(n, rows.timeframe, np.int32)),
    ]
    for name in WHOLE:
        column = rows.start * _MINUTE_MS if name == "start" else getattr(rows, name)
        fixed.append(pa.array(np.ascontiguousarray(column)).cast(made.field(name).type))
    values = [pa.array(np.ascontiguousarray(column), from_pandas=True) for column in rows.values.T]
    return pa.Table.from_arrays([*fixed, *values], schema=made)


def rows_of(table: Any, features: Sequence[str]) -> FeatureRows:
    """One series of a file back as rows."""

    def numbers(name: str) -> Any:
        return table.column(name).cast(pa.int64()).to_numpy()

    values = [table.column(f).to_numpy() for f in features]
    whole = {name: numbers(name) for name in WHOLE}
    whole["start"] = whole["start"] // _MINUTE_MS
    return FeatureRows(
        instrument=table.column("instrument")[0].as_py(),
        timeframe=table.column("timeframe")[0].as_py(),
        values=np.column_stack(values) if values else np.empty((table.num_rows, 0)),
        **whole,
    )


def read_features(path: Path, *, instrument: str | None = None) -> Iterator[FeatureRows]:
    """The rows of a file, a row group at a time; of one ``instrument`` only, if given."""
    with pq.ParquetFile(path) as file:
        features = [name for name in file.schema_arrow.names if name not in ROW_COLUMNS]
        at = file.schema_arrow.get_field_index("instrument")
        for i in range(file.num_row_groups):
            statistics = file.metadata.row_group(i).column(at).statistics
            if instrument is None or statistics is None or statistics.min <= instrument <= statistics.max:
                yield rows_of(file.read_row_group(i, use_threads=False), features)


def feature_names(path: Path) -> tuple[str, ...]:
    """The features in a file, in its order."""
    names = pq.read_schema(path).names
    return tuple(name for name in names if name not in ROW_COLUMNS)


class FeatureFile:
    """Writes pieces of rows that come in the file's order, in any size."""

    def __init__(self, path: Path, features: Sequence[str], metadata: dict[str, str] | None = None) -> None:
        self._schema = schema(features).with_metadata(dict(sorted((metadata or {}).items())))
        self._writer = pq.ParquetWriter(path, self._schema, **WRITER)
        self._pending: list[FeatureRows] = []
        self._last: Series | None = None
        self.rows = 0

    def add(self, rows: FeatureRows) -> None:
        """The next rows. Raises ValueError when their series should have come earlier."""
        if not len(rows):
            return
        if self._last is not None and series_of(rows) < self._last:
            raise ValueError(f"rows of {series_of(rows)} after those of {self._last}")
        if series_of(rows) != self._last:
            self._flush(0)
            self._last = series_of(rows)
        self._pending.append(rows)
        self._flush(ROW_GROUP)

    def close(self) -> None:
        self._flush(0)
        self._writer.close()

    def _flush(self, least: int) -> None:
        """Write whole row groups while at least ``least`` rows wait; with 0, all that is left."""
        waiting = sum(len(rows) for rows in self._pending)
        if waiting == 0 or waiting < least:
            return
        rows, at = joined(self._pending), 0
        while len(rows) - at >= max(least, 1):
            piece = taken(rows, slice(at, at + ROW_GROUP))
            self._writer.write_table(_table(piece, self._schema), row_group_size=ROW_GROUP)
            self.rows += len(piece)
            at += len(piece)
        self._pending = [taken(rows, slice(at, None))] if at < len(rows) else []


def write_features(
    path: Path, features: Sequence[str], rows: Iterable[FeatureRows], metadata: dict[str, str] | None = None
) -> int:
    """Write ``rows``, in the file's order, to ``path``; returns how many. Not atomic: see AtomicFile."""
    file = FeatureFile(path, features, metadata)
    try:
        for piece in rows:
            file.add(piece)
    finally:
        file.close()
    return file.rows
