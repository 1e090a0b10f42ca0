"""Rows of fixed width in PostgreSQL's binary COPY format, column by column, without an object a value; and
arrays in its binary format, to be handed over as parameters.

Format: PostgreSQL manual, COPY, "Binary Format"; arrays: src/backend/utils/adt/arrayfuncs.c, array_recv.
"""

from collections.abc import Sequence
from struct import pack

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg.adapt import Dumper
from psycopg.pq import Format

from alphapulse.domain.analysis.fields import Floats
from alphapulse.projections.pg_copy import HEADER, TRAILER

__all__ = ["HEADER", "TRAILER", "Column", "bytea_array", "float8_array", "int8_array", "rows", "text_array"]

_BYTEA, _TEXT, _INT8, _FLOAT8 = 17, 25, 20, 701  # their object ids
_KINDS = {"int2": ">i2", "int4": ">i4", "int8": ">i8", "float8": ">f8"}

# A text that all rows share, or the name of a type and one value a row (or one for all), or float8 arrays.
Column = str | tuple[str, NDArray[np.generic] | int] | Floats


def rows(count: int, columns: Sequence[Column]) -> bytes:
    """``count`` rows, without header and trailer."""
    fields: list[tuple[str, object]] = [("fields", ">i2")]
    for i, column in enumerate(columns):
        fields += [(f"size{i}", ">i4"), (f"value{i}", _form(column))]
    table = np.zeros(count, dtype=np.dtype(fields))
    table["fields"] = len(columns)
    for i, column in enumerate(columns):
        cell = table[f"value{i}"]
        table[f"size{i}"] = cell.dtype.itemsize
        if isinstance(column, str):
            cell[:] = column.encode()
        elif isinstance(column, tuple):
            cell[:] = column[1]
        else:
            cell["dimensions"], cell["type"], cell["length"], cell["first"] = 1, _FLOAT8, column.shape[1], 1
            cell["items"]["size"] = 8
            cell["items"]["value"] = column
    return table.tobytes()


def _form(column: Column) -> object:
    if isinstance(column, str):
        return f"S{len(column.encode())}"
    if isinstance(column, tuple):
        return _KINDS[column[0]]
    numbers = [(name, ">i4") for name in ("dimensions", "nulls", "type", "length", "first")]
    return [*numbers, ("items", [("size", ">i4"), ("value", ">f8")], (column.shape[1],))]


class Int8Array(bytes):
    """A bigint[] as a parameter."""


class Float8Array(bytes):
    """A double precision[] as a parameter."""


class TextArray(bytes):
    """A text[] as a parameter."""


class ByteaArray(bytes):
    """A bytea[] as a parameter."""


def int8_array(values: Sequence[int] | NDArray[np.int64]) -> Int8Array:
    return Int8Array(_cells(np.asarray(values, dtype=np.int64), _INT8, ">i8"))


def float8_array(values: Sequence[float] | Floats) -> Float8Array:
    return Float8Array(_cells(np.asarray(values, dtype=np.float64), _FLOAT8, ">f8"))


def text_array(values: Sequence[str]) -> TextArray:
    return TextArray(_texts([value.encode() for value in values], _TEXT))


def bytea_array(values: Sequence[bytes]) -> ByteaArray:
    return ByteaArray(_texts(values, _BYTEA))


def _texts(values: Sequence[bytes], of: int) -> bytes:
    cells = [part for value in values for part in (pack(">i", len(value)), value)]
    return _array_head(of, len(values)) + b"".join(cells)


def _cells(values: NDArray[np.generic], of: int, form: str) -> bytes:
    """All ``values`` as one array without dimensions of its own."""
    table = np.empty(values.size, dtype=[("size", ">i4"), ("value", form)])
    table["size"], table["value"] = 8, values.reshape(-1)
    return _array_head(of, values.size) + table.tobytes()


def _array_head(of: int, count: int) -> bytes:
    """Dimensions, whether there are nulls, object id; for the one dimension its length and first index."""
    return pack(">5i", 1, 0, of, count, 1) if count else pack(">3i", 0, 0, of)


class _Packed(Dumper):
    """Of what is in binary format already."""

    format = Format.BINARY

    def dump(self, obj: bytes) -> bytes:
        return obj


class _Int8Array(_Packed):
    oid = 1016


class _Float8Array(_Packed):
    oid = 1022


class _TextArray(_Packed):
    oid = 1009


class _ByteaArray(_Packed):
    oid = 1001


for _of, _dumper in (
    (Int8Array, _Int8Array),
    (Float8Array, _Float8Array),
    (TextArray, _TextArray),
    (ByteaArray, _ByteaArray),
):
    psycopg.adapters.register_dumper(_of, _dumper)
