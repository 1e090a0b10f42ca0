"""Bars as an analysis sees them."""

import numpy as np

from alphapulse.domain.analysis.bars import AFTER_GAP, Bars
from tests.domain.analysis.series import MINUTE_OF_2024, walk


def bars(count: int = 5) -> Bars:
    numbers = np.arange(count, dtype=np.int64)
    return Bars(
        instrument="venue:BTCUSD",
        timeframe=1,
        values=walk(count),
        known_time=(MINUTE_OF_2024 + 1 + numbers) * 60_000_000_000,
        position=100 + numbers,
        input_position=90 + numbers,
        flags=np.where(numbers == 3, AFTER_GAP, 0),
    )


def test_bars_say_when_they_open_in_whole_minutes() -> None:
    assert bars().start.tolist() == [MINUTE_OF_2024 + i for i in range(5)]
    assert bars().start.dtype == np.int64
    assert len(bars()) == 5


def test_some_of_the_bars_are_those_bars_in_every_column() -> None:
    some = bars().take(slice(2, 4))
    assert len(some) == 2
    assert (some.instrument, some.timeframe) == ("venue:BTCUSD", 1)
    assert some.start.tolist() == [MINUTE_OF_2024 + 2, MINUTE_OF_2024 + 3]
    assert some.position.tolist() == [102, 103]
    assert some.input_position.tolist() == [92, 93]
    assert some.flags.tolist() == [0, AFTER_GAP]
    np.testing.assert_array_equal(some.values, bars().values[:, 2:4])
    assert (some.known_time >= (some.start + some.timeframe) * 60_000_000_000).all()
