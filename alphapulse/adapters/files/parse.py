"""Text columns to numbers, times and sides, by the kernels; grouping of rows by instrument."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from alphapulse.adapters.files import kernels
from alphapulse.adapters.files.reader import TextChunk, TextColumn
from alphapulse.domain.market.columns import UNKNOWN, Int8s
from alphapulse.domain.market.raw import BLANK, Decimals, Integers

_NS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}


class Clock:
    """Reads one column of times. ``epoch`` and ``auto`` settle on the column's first time, for good.

    ``typed`` is the unit that the column's type gives, which wins.
    """

    def __init__(self, unit: str, typed: str | None) -> None:
        self._unit = typed or unit

    def times(self, column: TextColumn) -> Integers:
        n = len(column.starts)
        value, status = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.uint8)
        if self._unit in ("auto", "epoch"):
            self._unit = _settle_unit(self._unit, column)
        if self._unit == "iso":
            kernels.parse_iso_times(column.data, column.starts, column.ends, value, status)
        else:
            scale = _NS.get(self._unit, 1)  # nothing but blanks so far: any unit does
            kernels.parse_epochs(column.data, column.starts, column.ends, scale, value, status)
        return Integers(value, status)

    def times_of(self, column: TextColumn, rows: NDArray[np.intp]) -> Integers:
        """The times of ``rows`` alone; the others stay blank."""
        n = len(column.starts)
        out = Integers(np.zeros(n, dtype=np.int64), np.full(n, BLANK, dtype=np.uint8))
        some = self.times(TextColumn(column.data, column.starts[rows], column.ends[rows]))
        out.value[rows], out.status[rows] = some.value, some.status
        return out


def _settle_unit(unit: str, column: TextColumn) -> str:
    filled = np.flatnonzero(column.ends > column.starts)
    if len(filled) == 0:
        return unit
    first = column.text(int(filled[0])).strip()
    if unit == "auto" and first[4:5] == "-":
        return "iso"
    digits = len(first.partition(".")[0].lstrip("+-"))
    return "s" if digits <= 11 else "ms" if digits <= 14 else "us" if digits <= 17 else "ns"


def decimals(column: TextColumn) -> Decimals:
    n = len(column.starts)
    out = Decimals(np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int8), np.empty(n, dtype=np.uint8))
    kernels.parse_decimals(column.data, column.starts, column.ends, out.mantissa, out.exponent, out.status)
    return out


def integers(column: TextColumn) -> Integers:
    n = len(column.starts)
    out = Integers(np.empty(n, dtype=np.int64), np.empty(n, dtype=np.uint8))
    kernels.parse_integers(column.data, column.starts, column.ends, out.value, out.status)
    return out


def sides(column: TextColumn | None, n: int, buy: Sequence[str], sell: Sequence[str]) -> Int8s:
    out = np.full(n, UNKNOWN, dtype=np.int8)
    if column is not None:
        kernels.parse_sides(column.data, column.starts, column.ends, _keys(buy), _keys(sell), out)
    return out


def _keys(words: Sequence[str]) -> NDArray[np.uint64]:
    return np.array([kernels.word_key(w) for w in words], dtype=np.uint64)


def settled(chunk: TextChunk, names: Sequence[str]) -> dict[str, TextColumn]:
    """The columns ``names``; rows that are not whole have the text of the whole row before (or the first)."""
    columns = {name: chunk.columns[name] for name in names}
    if chunk.whole.all():
        return columns
    rows = np.arange(len(chunk))
    before = np.maximum.accumulate(np.where(chunk.whole, rows, -1))
    anchor = np.where(before < 0, int(np.argmax(chunk.whole)), before)
    return {n: TextColumn(c.data, c.starts[anchor], c.ends[anchor]) for n, c in columns.items()}


def groups(columns: Sequence[TextColumn], n: int) -> Iterator[tuple[NDArray[np.intp] | None, int]]:
    """Rows with the same text in ``columns``, as (row numbers or None for all, one of them)."""
    changed = np.zeros(n, dtype=np.bool_)
    for column in columns:
        mark = np.zeros(n, dtype=np.bool_)
        if kernels.find_changes(column.data, column.starts, column.ends, mark):
            changed |= mark
    if not changed.any():
        yield None, 0
        return
    begins = [0, *np.flatnonzero(changed).tolist()]
    codes: dict[tuple[str, ...], int] = {}
    run_code = [codes.setdefault(tuple(c.text(b) for c in columns), len(codes)) for b in begins]
    row_code = np.repeat(run_code, np.diff([*begins, n]))
    for code in range(len(codes)):
        rows = np.flatnonzero(row_code == code)
        yield rows, int(rows[0])


def take(chunk: TextChunk, rows: NDArray[np.intp]) -> TextChunk:
    """Only ``rows`` of ``chunk``."""
    return TextChunk(
        row=chunk.row[rows],
        whole=chunk.whole[rows],
        columns={n: TextColumn(c.data, c.starts[rows], c.ends[rows]) for n, c in chunk.columns.items()},
        raw=lambda i: chunk.raw(int(rows[i])),
    )
