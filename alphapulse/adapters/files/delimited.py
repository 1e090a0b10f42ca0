"""CSV and its kin: one header line or none, a delimiter, quotes allowed, one row a line."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alphapulse.adapters.files import kernels
from alphapulse.adapters.files.reader import CHUNK_ROWS, TextChunk, TextColumn, UnreadableFile
from alphapulse.adapters.files.source import line_blocks, open_bytes, read_block

_DELIMITERS = (",", ";", "\t", "|")
_PROBE_LINES = 12
_LINE_FEED = 10
_WIDE_BOMS = (b"\xff\xfe", b"\xfe\xff")
_BOM = b"\xef\xbb\xbf"


def first_lines(path: Path) -> list[str]:
    """The first lines of a text file, as UTF-8.

    Raises:
        UnreadableFile: it is not text in UTF-8.
    """
    with open_bytes(path) as (source, _):
        head = read_block(source, path, 64 << 10)
    if not head:
        raise UnreadableFile(f"{path} is empty (0 bytes when unpacked)")
    if head[:2] in _WIDE_BOMS:
        raise UnreadableFile(f"{path}: encoded as UTF-16, expected UTF-8 (begins {head[:8]!r})")
    head = head.removeprefix(_BOM)
    if b"\0" in head:
        at = head.index(b"\0")
        raise UnreadableFile(
            f"{path}: binary data, not text: a zero byte at byte {at} (begins {head[:24]!r})"
        )
    whole = head[: head.rfind(b"\n") + 1] or head
    lines = whole.splitlines()[:_PROBE_LINES]
    try:
        return [line.decode() for line in lines]
    except UnicodeDecodeError as error:
        raise UnreadableFile(f"{path}: not UTF-8 in the first lines: {error}") from None


def split_line(line: str, delimiter: str) -> list[str]:
    """The fields of one line, quotes and outer blanks removed."""
    return [field.strip() for field in next(csv.reader([line], delimiter=delimiter), [])]


def guess_delimiter(line: str) -> str:
    return max(_DELIMITERS, key=line.count)


class DelimitedReader:
    """Reads the columns ``wanted`` of a delimited text file.

    ``names`` are the file's columns in order; ``skip`` lines stand before the first data row.
    """

    time_units: Mapping[str, str] = {}

    def __init__(
        self, path: Path, *, names: Sequence[str], wanted: Sequence[str], skip: int, delimiter: str = ","
    ) -> None:
        self._path, self._names, self._wanted = path, names, tuple(dict.fromkeys(wanted))
        self._skip, self._delimiter = skip, delimiter
        self._rows = 0
        self.done_ratio = 0.0
        self._slots = np.full(len(names), -1, dtype=np.int64)
        for slot, name in enumerate(self._wanted):
            self._slots[names.index(name)] = slot

    def chunks(self) -> Iterator[TextChunk]:
        skip = self._skip
        with open_bytes(self._path) as (source, done_ratio):
            for block in line_blocks(source, self._path, lambda: self._rows + self._skip):
                cut = 0
                while skip and cut < len(block):
                    cut = block.index(b"\n", cut) + 1
                    skip -= 1
                for data, rows in _portions(block, cut):
                    chunk = self._chunk(data, rows)
                    self.done_ratio = done_ratio()
                    if len(chunk):
                        yield chunk

    def _chunk(self, data: NDArray[np.uint8], most: int) -> TextChunk:
        starts = np.empty((len(self._wanted), most), dtype=np.int64)
        ends = np.empty_like(starts)
        row_start, row_end = np.empty(most, dtype=np.int64), np.empty(most, dtype=np.int64)
        whole = np.empty(most, dtype=np.bool_)
        n = kernels.split_rows(
            data, ord(self._delimiter), len(self._names), self._slots, row_start, row_end, whole, starts, ends
        )
        lines = TextColumn(data, row_start, row_end)
        first = self._rows + 1
        self._rows += n
        return TextChunk(
            row=np.arange(first, first + n, dtype=np.int64),
            whole=whole[:n],
            columns={
                name: TextColumn(data, starts[slot, :n], ends[slot, :n])
                for slot, name in enumerate(self._wanted)
            },
            raw=lines.text,
        )


def _portions(block: bytes, start: int) -> Iterator[tuple[NDArray[np.uint8], int]]:
    """What follows ``start``, in parts of at most CHUNK_ROWS lines, each with how many it has.

    Short lines would otherwise make chunks of so many rows that their arrays outgrow the text.
    """
    data = np.frombuffer(block, dtype=np.uint8)[start:]
    is_end = data == _LINE_FEED
    lines = int(np.count_nonzero(is_end))
    if lines <= CHUNK_ROWS:
        yield data, lines
        return
    ends, at = np.flatnonzero(is_end) + 1, 0
    for first in range(0, lines, CHUNK_ROWS):
        last = min(first + CHUNK_ROWS, lines)
        end = int(ends[last - 1])
        yield data[at:end], last - first
        at = end
