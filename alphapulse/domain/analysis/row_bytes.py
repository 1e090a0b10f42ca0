"""Rows of features as bytes, and what they hold as one hash.

Both are functions of the rows alone: where they were cut and in which order series came leave no trace.
"""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

from alphapulse.domain.analysis.compiled import piece
from alphapulse.domain.analysis.feature_rows import FeatureRows
from alphapulse.domain.analysis.fields import Floats, Int64s

Buffer = bytes | memoryview
Series = tuple[str, int]  # instrument, timeframe in minutes
# What a row says in whole numbers.
WHOLE = ("start", "known_time", "position", "first_position", "input_position", "flags")


def series_of(rows: FeatureRows) -> Series:
    return rows.instrument, rows.timeframe


def taken(rows: FeatureRows, which: slice | Int64s) -> FeatureRows:
    """The same rows, only ``which``."""
    return FeatureRows(
        instrument=rows.instrument,
        timeframe=rows.timeframe,
        values=rows.values[which],
        **{name: getattr(rows, name)[which] for name in WHOLE},
    )


def joined(pieces: Sequence[FeatureRows]) -> FeatureRows:
    """Pieces of one series, one behind the other."""
    if len(pieces) == 1:
        return pieces[0]
    return FeatureRows(
        instrument=pieces[0].instrument,
        timeframe=pieces[0].timeframe,
        values=np.concatenate([piece.values for piece in pieces]),
        **{name: np.concatenate([getattr(piece, name) for piece in pieces]) for name in WHOLE},
    )


def packed(rows: FeatureRows) -> memoryview:
    """Row by row as little-endian 8-byte numbers, all NaN alike."""
    table = np.empty((len(rows), len(WHOLE) + rows.values.shape[1]), dtype="<i8")
    whole = np.stack([getattr(rows, name) for name in WHOLE])
    _pack(whole, np.ascontiguousarray(rows.values), table.view("<f8"), table)
    return table.reshape(-1).data.cast("B")


@piece
def _pack(whole: Int64s, values: Floats, floats: Floats, table: Int64s) -> None:
    """``floats`` and ``table`` are the same memory."""
    names = whole.shape[0]
    for i in range(values.shape[0]):
        for name in range(names):
            table[i, name] = whole[name, i]
        for feature in range(values.shape[1]):
            value = values[i, feature]
            floats[i, names + feature] = value if value == value else np.nan


def unpacked(series: Series, data: Buffer, features: int) -> FeatureRows:
    """Back from ``packed``."""
    table = np.frombuffer(data, dtype="<i8").reshape(-1, len(WHOLE) + features)
    return FeatureRows(
        instrument=series[0],
        timeframe=series[1],
        values=table.view("<f8")[:, len(WHOLE) :],
        **{name: table[:, i] for i, name in enumerate(WHOLE)},
    )


class RowsDigest:
    """A hash of rows, series by series."""

    def __init__(self) -> None:
        self._series: dict[Series, hashlib._Hash] = {}
        self.counts: dict[Series, int] = {}

    def add(self, rows: FeatureRows) -> None:
        """The next rows of their series."""
        if len(rows):
            self.add_packed(series_of(rows), len(rows), packed(rows))

    def add_packed(self, series: Series, count: int, data: Buffer) -> None:
        """The same, of rows that are packed already."""
        self._series.setdefault(series, hashlib.sha256()).update(data)
        self.counts[series] = self.counts.get(series, 0) + count

    def parts(self) -> dict[Series, tuple[int, str]]:
        """Number and hash of the rows of each series."""
        return {series: (self.counts[series], h.hexdigest()) for series, h in self._series.items()}


def whole_digest(parts: Iterable[tuple[Series, tuple[int, str]]]) -> str:
    """One hash of all series: of a line for each, in order of instrument and timeframe."""
    lines = (f"{i} {t} {count} {digest}\n" for (i, t), (count, digest) in sorted(parts))
    return hashlib.sha256("".join(lines).encode()).hexdigest()
