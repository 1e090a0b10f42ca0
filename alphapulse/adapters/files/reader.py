"""What every reader of a file gives: chunks of named text columns, streamed, in bounded memory."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from alphapulse.domain.market.columns import Int64s

CHUNK_BYTES = 8 << 20  # of text in one chunk
CHUNK_ROWS = 1 << 16  # rows in one chunk of a columnar file
MAX_LINE_BYTES = 1 << 20


class UnreadableFile(Exception):
    """This file, or the rest of it, cannot be read. The message names file, row and value."""


@dataclass(frozen=True, slots=True, eq=False)
class TextColumn:
    """n fields: row i is ``data[starts[i]:ends[i]]``. Several columns may share one buffer."""

    data: NDArray[np.uint8]
    starts: Int64s
    ends: Int64s

    def text(self, i: int) -> str:
        field = self.data[int(self.starts[i]) : int(self.ends[i])].tobytes()
        return field.decode(errors="backslashreplace")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TextChunk:
    """Some consecutive rows of a file. ``raw(i)`` is row i as it stood, for messages."""

    row: Int64s  # 1-based, the header not counted
    whole: NDArray[np.bool_]  # False: too few or too many fields; such a row's fields may be blank
    columns: Mapping[str, TextColumn]
    raw: Callable[[int], str]

    def __len__(self) -> int:
        return len(self.row)


class Reader(Protocol):
    """One file, opened for the columns somebody wants.

    ``time_units`` holds the unit (s, ms, us, ns) of columns whose type says it, such as a Parquet
    timestamp; they come as whole numbers of that unit. ``done_ratio`` says how far chunks() has come.
    """

    time_units: Mapping[str, str]
    done_ratio: float

    def chunks(self) -> Iterator[TextChunk]:
        """The rows in file order.

        Raises:
            UnreadableFile: the file breaks here; the chunks before it were complete.
        """
        ...
