"""Rows of fixed width in PostgreSQL's binary COPY format, column by column, without an object a value.

Format: PostgreSQL manual, COPY, "Binary Format"; arrays: src/backend/utils/adt/arrayfuncs.c, array_recv.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from alphapulse.domain.analysis.fields import Floats
from alphapulse.projections.pg_copy import HEADER, TRAILER

__all__ = ["HEADER", "TRAILER", "Column", "rows"]

_FLOAT8 = 701  # its object id
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
