"""Rows of many series on disk, until they can be read back series by series.

Rows come as the log gives them, all series at once; a file of them wants one series behind the other. Memory
holds some thousand rows a series, however long the history.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from alphapulse.domain.analysis.feature_rows import FeatureRows
from alphapulse.domain.analysis.row_bytes import WHOLE, Buffer, Series, series_of, unpacked

_WAITING_ROWS = 8_192  # of a series are gathered before they go to its file
_READ_ROWS = 65_536


class Spill:
    """Rows of many series, as they come, kept in a file for each until they can be put in order.

    Memory holds some thousand rows a series. The folder is of one process; several may write side by side.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting: dict[Series, list[Buffer]] = {}
        self._counts: dict[Series, int] = {}

    def add(self, rows: FeatureRows, data: Buffer) -> None:
        """The next rows of their series, ``data`` as row_bytes packs them."""
        if not len(rows):
            return
        series = series_of(rows)
        self._waiting.setdefault(series, []).append(data)
        self._counts[series] = self._counts.get(series, 0) + len(rows)
        if self._counts[series] >= _WAITING_ROWS:
            self._write(series)

    def flush(self) -> None:
        for series in list(self._waiting):
            self._write(series)

    def _write(self, series: Series) -> None:
        with spilled(self._folder, series).open("ab") as file:
            file.writelines(self._waiting.pop(series))
        self._counts[series] = 0


def spilled(folder: Path, series: Series) -> Path:
    instrument, timeframe = series
    name = hashlib.sha256(f"{instrument} {timeframe}".encode()).hexdigest()
    return folder / name


def unspilled(folder: Path, series: Series, features: int) -> Iterator[FeatureRows]:
    """The rows of one series back, in pieces of at most _READ_ROWS."""
    width = (len(WHOLE) + features) * 8
    with spilled(folder, series).open("rb") as file:
        while data := file.read(_READ_ROWS * width):
            yield unpacked(series, data, features)
