"""Rows of a feature set as arrays, and what they hold as one hash.

A row is a bar of one instrument in one timeframe: when it began, when and at which position it was known,
the position of its last input, its flags, and the values of the set's features in their order.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np

from alphapulse.domain.analysis.fields import Floats, Int64s

Series = tuple[str, int]  # instrument, timeframe in minutes
# What a row says in whole numbers.
WHOLE = ("start", "known_time", "position", "first_position", "input_position", "flags")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FeatureRows:
    """T rows of one series, oldest first. Values that are not there are NaN."""

    instrument: str  # venue:symbol
    timeframe: int  # minutes
    start: Int64s  # (T,) minutes since 1970 UTC
    known_time: Int64s  # (T,) ns, the venue's clock
    position: Int64s  # (T,) of the event that made the bar known
    first_position: Int64s  # (T,) of the first event with anything in its windows
    input_position: Int64s  # (T,) of the last one
    flags: Int64s  # (T,) bars.SUPPLIED …
    values: Floats  # (T, F)

    def __len__(self) -> int:
        return len(self.start)

    @property
    def series(self) -> Series:
        return self.instrument, self.timeframe

    def take(self, rows: slice) -> "FeatureRows":
        """The same rows, only ``rows``."""
        return FeatureRows(
            instrument=self.instrument,
            timeframe=self.timeframe,
            values=self.values[rows],
            **{name: getattr(self, name)[rows] for name in WHOLE},
        )

    def packed(self) -> bytes:
        """Row by row as little-endian 8-byte numbers, all NaN alike: however rows are cut, the same bytes."""
        table = np.empty((len(self), len(WHOLE) + self.values.shape[1]), dtype="<i8")
        for i, name in enumerate(WHOLE):
            table[:, i] = getattr(self, name)
        values = table.view("<f8")[:, len(WHOLE) :]
        values[:] = self.values
        values[np.isnan(values)] = np.nan
        return table.tobytes()

    @classmethod
    def unpacked(cls, series: Series, data: bytes, features: int) -> Self:
        """Back from ``packed``."""
        table = np.frombuffer(data, dtype="<i8").reshape(-1, len(WHOLE) + features)
        return cls(
            instrument=series[0],
            timeframe=series[1],
            values=table.view("<f8")[:, len(WHOLE) :],
            **{name: table[:, i] for i, name in enumerate(WHOLE)},
        )


class RowsDigest:
    """A hash of rows that does not depend on how they were cut or in which order the series came."""

    def __init__(self) -> None:
        self._series: dict[Series, hashlib._Hash] = {}
        self.counts: dict[Series, int] = {}

    def add(self, rows: FeatureRows) -> None:
        """The next rows of their series."""
        if len(rows):
            self._series.setdefault(rows.series, hashlib.sha256()).update(rows.packed())
            self.counts[rows.series] = self.counts.get(rows.series, 0) + len(rows)

    def parts(self) -> dict[Series, tuple[int, str]]:
        """Number and hash of the rows of each series."""
        return {series: (self.counts[series], h.hexdigest()) for series, h in self._series.items()}


def whole_digest(parts: Iterable[tuple[Series, tuple[int, str]]]) -> str:
    """One hash of all series: of a line for each, in order of instrument and timeframe."""
    lines = (f"{i} {t} {count} {digest}\n" for (i, t), (count, digest) in sorted(parts))
    return hashlib.sha256("".join(lines).encode()).hexdigest()
