"""Labels to be joined with features: an instrument and a moment a row, and whatever else the file holds.

Parquet, or CSV with a header. ``time`` is a timestamp (ISO 8601 in CSV, UTC where no offset is given) or ns
since 1970 UTC; ``position``, where there is such a column, is the end of the log as it was seen then.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np

from alphapulse.domain.analysis.fields import Int64s
from alphapulse.domain.analysis.point_in_time import FeatureTable, Joined, Labels

MAX_LABELS = 20_000_000
MAX_BYTES = 4_000_000_000


class BadLabels(ValueError):
    """Not a file of labels; the message names it and what is wrong."""


def read_labels(path: Path) -> tuple[Any, Labels]:
    """The table as it is, and its labels. Raises BadLabels."""
    import pyarrow as pa
    import pyarrow.csv as csv
    import pyarrow.parquet as pq

    if path.stat().st_size > MAX_BYTES:
        raise BadLabels(f"{path}: {path.stat().st_size} bytes, the limit is {MAX_BYTES}")
    try:
        table = pq.read_table(path) if path.suffix == ".parquet" else csv.read_csv(path)
        if table.num_rows > MAX_LABELS:
            raise BadLabels(f"{path}: {table.num_rows} labels, the limit is {MAX_LABELS}")
        for name in ("instrument", "time"):
            if name not in table.column_names:
                raise BadLabels(f"{path}: no column {name} among {', '.join(table.column_names)}")
        if twice := sorted({n for n in table.column_names if table.column_names.count(n) > 1}):
            raise BadLabels(f"{path}: column {twice[0]} stands {table.column_names.count(twice[0])} times")
        labels = Labels(
            instrument=table["instrument"].cast(pa.string()).to_pylist(),
            time=_integers(table["time"], path, "time", pa.timestamp("ns")),
            position=_integers(table["position"], path, "position", None)
            if "position" in table.column_names
            else None,
        )
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # the last: names of columns
        raise BadLabels(f"{path}: {error}") from None
    return table, labels


def _integers(column: Any, path: Path, name: str, stamp: Any) -> Int64s:
    import pyarrow as pa

    if column.null_count:
        raise BadLabels(f"{path}: {column.null_count} rows have no {name}")
    if pa.types.is_timestamp(column.type) and stamp is not None:
        column = column.cast(stamp)
    elif not pa.types.is_integer(column.type):
        raise BadLabels(f"{path}: {name} is of type {column.type}, neither a timestamp nor an integer")
    found: Int64s = column.cast(pa.int64()).combine_chunks().to_numpy(zero_copy_only=False).astype(np.int64)
    return found


def write_joined(path: Path, table: Any, rows: FeatureTable, joined: Joined) -> None:
    """``table`` with the features, and when each row was known: written whole or not at all.

    Raises:
        BadLabels: a column of the labels has the name of a feature.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    added = ("feature_start", "feature_known_time", "feature_position", *joined.columns)
    if taken := sorted(set(added) & set(table.column_names)):
        raise BadLabels(f"the labels have columns of the same name as features: {', '.join(taken)}")
    at, there = np.maximum(joined.row, 0), joined.row >= 0
    empty = not len(rows.start)
    for name, values in zip(added, (rows.start * 60_000, rows.known_time, rows.position), strict=False):
        kind = {"feature_start": pa.timestamp("ms", "UTC"), "feature_known_time": pa.timestamp("ns", "UTC")}
        seen = np.zeros(len(at), dtype=np.int64) if empty else values[at]
        column = pa.array(seen, mask=~there).cast(kind.get(name, pa.int64()))
        table = table.append_column(name, column)
    for i, name in enumerate(joined.columns):
        feature = joined.values[:, i]
        table = table.append_column(name, pa.array(feature, mask=~there | np.isnan(feature)))
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        pq.write_table(table, partial, compression="zstd")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
