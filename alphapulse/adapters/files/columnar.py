"""Parquet and Feather: any column type, handed on as text.

Whole numbers, decimals and strings come exactly. A float comes as the shortest decimal that reads
back as the same float (0.1 as 0.1): exact in the sense that the file's author wrote that text, or
that nothing the file holds is lost.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

from alphapulse.adapters.files.reader import CHUNK_ROWS, TextChunk, TextColumn, UnreadableFile


class ColumnarReader:
    """Reads the columns ``wanted`` of a Parquet or Feather file."""

    def __init__(
        self, path: Path, kind: str, *, wanted: Sequence[str], float_digits: int | None = None
    ) -> None:
        self._path, self._kind, self._wanted = path, kind, tuple(dict.fromkeys(wanted))
        self._float_digits = float_digits
        self.done_ratio, self._total = 0.0, 0  # rows, known once the file is open
        schema = columnar_schema(path, kind)
        self.time_units: Mapping[str, str] = {
            name: unit for name in self._wanted if (unit := _time_unit(schema.field(name).type))
        }

    def chunks(self) -> Iterator[TextChunk]:
        row = 1
        batches = self._batches()
        while (batch := self._next(batches, row)) is not None:
            for at in range(0, batch.num_rows, CHUNK_ROWS):
                part = batch.slice(at, CHUNK_ROWS)
                self.done_ratio = min(1.0, (row - 1 + part.num_rows) / max(self._total, 1))
                yield self._chunk(part, row)
                row += part.num_rows

    def _next(self, batches: Iterator[pa.RecordBatch], row: int) -> pa.RecordBatch | None:
        try:
            batch = next(batches, None)
            if batch is not None:
                batch.validate(full=True)  # what a damaged file says of its own lengths would be believed
            return batch
        except (pa.ArrowException, OSError) as error:
            raise UnreadableFile(f"{self._path}: broken after row {row - 1}: {error}") from None

    def _batches(self) -> Iterator[pa.RecordBatch]:
        if self._kind == "parquet":
            with pq.ParquetFile(self._path, pre_buffer=False, buffer_size=1 << 20) as file:
                self._total = file.metadata.num_rows
                yield from file.iter_batches(
                    batch_size=CHUNK_ROWS, columns=list(self._wanted), use_threads=False
                )
        else:
            with pa.memory_map(str(self._path)) as mapped, ipc.open_file(mapped) as file:
                self._total = file.num_record_batches * CHUNK_ROWS  # an estimate: batches have no fixed size
                for i in range(file.num_record_batches):
                    yield file.get_batch(i).select(list(self._wanted))

    def _chunk(self, batch: pa.RecordBatch, first_row: int) -> TextChunk:
        n = batch.num_rows
        return TextChunk(
            row=np.arange(first_row, first_row + n, dtype=np.int64),
            whole=np.ones(n, dtype=np.bool_),
            columns={name: self._column(batch, name, first_row) for name in self._wanted},
            raw=partial(_row_text, batch),
        )

    def _column(self, batch: pa.RecordBatch, name: str, first_row: int) -> TextColumn:
        column = batch.column(name)
        try:
            return _as_text(column, self._float_digits)
        except pa.ArrowException as error:
            raise UnreadableFile(
                f"{self._path}: column {name!r} of {column.type} after row {first_row - 1}: {error}"
            ) from None


def columnar_schema(path: Path, kind: str) -> Any:
    """The schema of a Parquet or Feather file.

    Raises:
        UnreadableFile: it is damaged or cut off.
    """
    try:
        schema = _schema(path, kind)
        names = schema.names
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UnreadableFile(f"{path}: a damaged or cut off {kind} file: {error}") from None
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UnreadableFile(f"{path}: column {twice[0]!r} stands {names.count(twice[0])} times in the file")
    return schema


def _schema(path: Path, kind: str) -> Any:
    if kind == "parquet":
        return pq.read_schema(path)
    with pa.memory_map(str(path)) as mapped, ipc.open_file(mapped) as file:
        return file.schema


def _time_unit(kind: pa.DataType) -> str | None:
    if pa.types.is_timestamp(kind):
        return str(kind.unit)
    return "s" if pa.types.is_date(kind) else None


def _as_text(column: pa.Array, float_digits: int | None) -> TextColumn:
    kind = column.type
    if float_digits is not None and pa.types.is_floating(kind):
        column = pa.array([None if v is None else f"{v:.{float_digits}g}" for v in column.to_pylist()])
    if pa.types.is_date(kind):
        column = column.cast(pa.timestamp("s"))
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    text = pc.fill_null(column.cast(pa.large_string()), "")
    offsets = np.frombuffer(text.buffers()[1], dtype=np.int64)[text.offset : text.offset + len(text) + 1]
    data = text.buffers()[2]
    return TextColumn(
        np.frombuffer(data if data is not None and data.size else b"\0", dtype=np.uint8),
        offsets[:-1],
        offsets[1:],
    )


def _row_text(batch: pa.RecordBatch, i: int) -> str:
    values = {name: _value(column, i) for name, column in zip(batch.schema.names, batch.columns, strict=True)}
    return json.dumps(values, default=str)


def _value(column: pa.Array, i: int) -> Any:
    try:
        return column[i].as_py()
    except (pa.ArrowException, ValueError, OverflowError) as error:  # a time that Python has no date for
        return f"a {column.type}: {error}"
