"""Arrays that are worked on together, in memory of large pages where there is enough of them.

A step of a panel goes over a few megabytes, a row here and a row there. In pages of 4 KiB its addresses are
looked up all the time, and the rows lie scattered over the cache. numpy asks the system for pages of 2 MiB
for arrays from 4 MiB on: so what is worked on together is one such array. And it begins with a line of the
cache: a vector that lies across two lines is loaded twice.
"""

from itertools import accumulate
from math import prod

import numpy as np

from alphapulse.domain.analysis.fields import Floats

LINE = 64 // 8  # floats in a line of the cache
PAGE = (2 << 20) // 8  # and in a large page
WORTH = PAGE // 2  # from here on: less is as well off in small pages


def whole_lines(size: int) -> int:
    return -(-size // LINE) * LINE


def side_by_side(*shapes: tuple[int, ...]) -> list[Floats]:
    """Arrays of these shapes, not filled, one behind the other, each from the beginning of a line."""
    sizes = [prod(shape) for shape in shapes]
    begins = [0, *accumulate(whole_lines(size) for size in sizes)]
    block = _block(begins[-1])
    return [
        block[at : at + size].reshape(shape)
        for shape, size, at in zip(shapes, sizes, begins, strict=False)  # the last one begins nothing
    ]


def _block(size: int) -> Floats:
    """Begins a line, and a large page if it is worth one."""
    large = size >= WORTH
    unit = PAGE if large else LINE
    given: Floats = np.empty(max(size, PAGE if large else 0) + unit)
    skipped = -(given.ctypes.data // 8) % unit
    return given[skipped : skipped + size]
