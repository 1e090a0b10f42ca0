"""Arrays side by side are arrays like others: apart from each other, and where the processor likes them."""

import numpy as np
import pytest

from alphapulse.domain.analysis.large_pages import LINE, PAGE, WORTH, side_by_side, whole_lines

SMALL = ((3, 5), (0, 4, 7), (2, 1, 9), (1,))
LARGE = ((3, WORTH // 2), (7,), (2, PAGE))


@pytest.mark.parametrize("shapes", [SMALL, LARGE, ((0,),)])
def test_no_array_shares_its_memory(shapes: tuple[tuple[int, ...], ...]) -> None:
    arrays = side_by_side(*shapes)
    assert tuple(a.shape for a in arrays) == shapes
    for i, array in enumerate(arrays):
        array[...] = i
    assert all((array == i).all() for i, array in enumerate(arrays))
    assert all(array.flags.c_contiguous and array.flags.writeable for array in arrays)


@pytest.mark.parametrize("shapes", [SMALL, LARGE])
def test_each_begins_a_line_of_the_cache(shapes: tuple[tuple[int, ...], ...]) -> None:
    assert not any(array.ctypes.data % 64 for array in side_by_side(*shapes) if array.size)


def test_much_begins_a_large_page() -> None:
    assert side_by_side(*LARGE)[0].ctypes.data % (8 * PAGE) == 0


def test_little_takes_little() -> None:
    (array,) = side_by_side((LINE,))
    assert isinstance(array.base, np.ndarray)
    assert array.base.size <= 2 * LINE


@pytest.mark.parametrize(("size", "whole"), [(0, 0), (1, LINE), (LINE, LINE), (LINE + 1, 2 * LINE)])
def test_lines_are_filled_up(size: int, whole: int) -> None:
    assert whole_lines(size) == whole
