"""Labels by first touch equal a slow walk from bar to bar, and are known no sooner than the market tells."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse.domain.analysis.bars import FEED_DOWN, Bars
from alphapulse.domain.analysis.fields import CLOSE, HIGH, LOW, OPEN, TIME, Floats
from alphapulse.domain.analysis.panel import compute
from alphapulse.domain.analysis.registry import Spec
from alphapulse.domain.learning.labels import (
    AMBIGUOUS,
    DOWN,
    EXPIRED,
    NEVER,
    UNKNOWN,
    UNSEEN,
    UP,
    BadBarriers,
    Barriers,
    Labels,
    first_touch,
)
from tests.domain.analysis.series import from_ohlcv, walk

MINUTE_NS = 60_000_000_000
QUIET = 40  # bars in which nothing happens, so that the average true range is 2


def bars_of(values: Floats, flags: object = None, late: object = 0) -> Bars:
    count = values.shape[1]
    numbers = np.arange(1, count + 1)
    return Bars(
        instrument="a:B", timeframe=1, values=values, position=numbers, input_position=numbers,
        known_time=(values[TIME].astype(np.int64) + 1) * MINUTE_NS + np.asarray(late, dtype=np.int64),
        flags=np.zeros(count, np.int64) if flags is None else np.asarray(flags),
    )  # fmt: skip


def slow(bars: Bars, barriers: Barriers) -> list[tuple[float, int, int]]:
    """Rises, how and known time of each bar, one bar after the other."""
    ranges = compute([Spec.parse("atr(14)")], bars.values)[0]
    found = []
    for i in range(len(bars)):
        close, distance = bars.values[CLOSE, i], barriers.atr * ranges[i]
        found.append(_one(bars, barriers, i, close, distance) if distance > 0 else (np.nan, UNKNOWN, NEVER))
    return found


def _one(bars: Bars, barriers: Barriers, i: int, close: float, distance: float) -> tuple[float, int, int]:
    top, bottom, last = close + distance, close - distance, close
    over = bars.start[i] + 1 + barriers.bars

    def drift() -> float:
        return np.nan if last == close else float(last > close)

    for j in range(i + 1, len(bars)):
        known = int(bars.known_time[j])
        if bars.flags[j] & FEED_DOWN:
            return np.nan, UNSEEN, known
        if bars.start[j] >= over:
            return drift(), EXPIRED, known
        open_, high, low = (bars.values[f, j] for f in (OPEN, HIGH, LOW))
        last = bars.values[CLOSE, j]
        if open_ >= top:
            return 1.0, UP, known
        if open_ <= bottom:
            return 0.0, DOWN, known
        if high >= top and low <= bottom:
            return np.nan, AMBIGUOUS, known
        if high >= top:
            return 1.0, UP, known
        if low <= bottom:
            return 0.0, DOWN, known
        if bars.start[j] + 1 >= over:
            return drift(), EXPIRED, known
    return np.nan, UNKNOWN, NEVER


def assert_same(labels: Labels, expected: list[tuple[float, int, int]]) -> None:
    assert labels.how.tolist() == [how for _, how, _ in expected]
    assert labels.known_time.tolist() == [known for *_, known in expected]
    np.testing.assert_array_equal(labels.rises, [rises for rises, *_ in expected])


@given(
    st.integers(0, 10_000), st.floats(0.2, 4), st.integers(1, 40), st.sampled_from([0.0, 0.1, 0.5]),
    st.sampled_from([0.0, 0.02]),
)  # fmt: skip
def test_labels_equal_those_of_a_walk_from_bar_to_bar(
    seed: int, atr: float, horizon: int, missing: float, down: float
) -> None:
    rng = np.random.default_rng(seed)
    values = walk(300, seed)
    kept = rng.random(300) >= missing
    kept[0] = True
    flags = np.where(rng.random(300) < down, FEED_DOWN, 0)[kept]
    bars = bars_of(values[:, kept], flags)
    barriers = Barriers(atr=atr, bars=horizon)
    assert_same(first_touch(bars, barriers), slow(bars, barriers))


def after_quiet(*bars: tuple[float, float, float, float], **more: object) -> tuple[Labels, int]:
    """Labels where ``bars`` (open, high, low, close) follow a market at 100, range 2; and the row."""
    rows = np.array([(100, 101, 99, 100)] * QUIET + list(bars), dtype=np.float64).T
    values = from_ohlcv(*rows, np.ones(rows.shape[1]))
    return first_touch(bars_of(values, **more), Barriers(atr=1.0, bars=3)), QUIET - 1  # 98 and 102


@pytest.mark.parametrize(
    ("bars", "rises", "how"),
    [
        ([(100, 102, 100, 101)], 1.0, UP),
        ([(100, 101, 98, 99)], 0.0, DOWN),
        ([(100, 102, 98, 100)], np.nan, AMBIGUOUS),
        ([(103, 104, 97, 98)], 1.0, UP),
        ([(97, 103, 96, 102)], 0.0, DOWN),
        ([(100, 101, 99, 100.5)] * 3, 1.0, EXPIRED),
        ([(100, 101, 99, 99.5)] * 3, 0.0, EXPIRED),
        ([(100, 101, 99, 100)] * 3, np.nan, EXPIRED),
        ([(100, 101, 99, 100)] * 2, np.nan, UNKNOWN),
        ([(100, 101, 99, 100)] * 3 + [(100, 110, 100, 110)], np.nan, EXPIRED),
        ([(100, 101.9, 98.1, 100), (100, 101, 90, 95)], 0.0, DOWN),
    ],
)
def test_what_comes_first_is_the_label(bars: list[tuple[float, ...]], rises: float, how: int) -> None:
    labels, row = after_quiet(*bars)
    np.testing.assert_equal((labels.rises[row], labels.how[row]), (rises, how))


def test_a_market_that_was_not_seen_gives_no_label() -> None:
    flags = np.zeros(QUIET + 2, dtype=np.int64)
    flags[QUIET] = FEED_DOWN
    labels, row = after_quiet((100, 101, 99, 100), (100, 110, 100, 110), flags=flags)
    assert (labels.how[row], np.isnan(labels.rises[row])) == (UNSEEN, True)


def test_a_bar_that_is_told_late_makes_its_label_late() -> None:
    late = np.zeros(QUIET + 1, dtype=np.int64)
    late[QUIET] = 7 * MINUTE_NS
    labels, row = after_quiet((100, 102, 100, 101), late=late)
    prompt, _ = after_quiet((100, 102, 100, 101))
    assert labels.known_time[row] - prompt.known_time[row] == 7 * MINUTE_NS


def test_later_bars_change_no_label_that_is_known() -> None:
    values = walk(400, 8)
    whole = first_touch(bars_of(values), Barriers(bars=10))
    for end in (250, 251, 320):
        cut = first_touch(bars_of(values[:, :end]), Barriers(bars=10))
        known = cut.how != UNKNOWN
        assert known.sum() > end - 40
        np.testing.assert_array_equal(cut.rises[known], whole.rises[:end][known])
        assert (cut.known_time[known] == whole.known_time[:end][known]).all()
        assert (cut.known_time[known] > bars_of(values[:, :end]).known_time[known]).all()


def test_a_market_that_never_moved_has_no_labels() -> None:
    flat = np.full(60, 100.0)
    labels = first_touch(bars_of(from_ohlcv(flat, flat, flat, flat, flat)), Barriers())
    assert (labels.how == UNKNOWN).all()
    assert (labels.known_time == NEVER).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [({"atr": 0.05}, "0.05 average true ranges"), ({"atr": float("nan")}, "nan average"),
     ({"atr": 21}, "21 average"), ({"bars": 0}, "for 0 bars"), ({"bars": 501}, "for 501 bars .1 to 500")],
)  # fmt: skip
def test_barriers_have_limits(change: dict[str, float], words: str) -> None:
    with pytest.raises(BadBarriers, match=words):
        replace(Barriers(), **change)
    assert Barriers(atr=0.1, bars=500).as_data() == {"range": "atr(14)", "atr": 0.1, "bars": 500}
