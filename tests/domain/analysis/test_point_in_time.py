"""The point-in-time join against a slow oracle, and against a future that was poisoned."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse.domain.analysis.point_in_time import (
    FOREVER,
    MISSING,
    FeatureTable,
    KnownCursor,
    KnownRows,
    Labels,
    MovesBackwards,
    join,
)

SMALL = st.integers(0, 12)
ROW = st.tuples(st.integers(0, 2), SMALL, SMALL, SMALL)  # series, known time, position, order
MOMENT = st.tuples(st.integers(-1, 4), st.integers(-1, 14), st.integers(-1, 14))


def columns(rows, width):
    return [np.array(column, dtype=np.int64) for column in zip(*rows, strict=True)] or [
        np.empty(0, np.int64) for _ in range(width)
    ]


def slow(rows, moment, max_age):
    """The last row known by then, looked for one by one."""
    series, time, limit = moment
    known = [
        (known_time, position, order, i)
        for i, (s, known_time, position, order) in enumerate(rows)
        if s == series and known_time <= time and position <= limit
    ]
    if not known:
        return None
    last = max(known)
    return None if max_age is not None and time - last[0] > max_age else last[:3]


@given(st.lists(ROW, max_size=30), st.lists(MOMENT, max_size=20), st.none() | st.integers(0, 6))
def test_each_moment_gets_the_row_that_was_known_last(rows, moments, max_age):
    series, known, position, order = columns(rows, 4)
    table = KnownRows.of(series, known, position, order=order)
    of, time, limit = columns(moments, 3)
    found = table.latest(of, time, position=limit, max_age_ns=max_age)
    expected = [slow(rows, moment, max_age) for moment in moments]
    # Rows that are equal in all three cannot be told apart.
    assert [None if f == MISSING else rows[f][1:] for f in found] == expected


@given(st.lists(ROW, max_size=30), st.lists(MOMENT, max_size=20))
def test_a_second_clock_only_takes_rows_away(rows, moments):
    series, known, position, order = columns(rows, 4)
    table = KnownRows.of(series, known, position, order=order)
    of, time, limit = columns(moments, 3)
    free, limited = table.latest(of, time), table.latest(of, time, position=limit)
    for i in range(len(moments)):
        if limited[i] == MISSING:
            continue
        assert known[limited[i]] <= known[free[i]] <= time[i]
        assert position[limited[i]] <= limit[i]


@given(st.lists(ROW, min_size=1, max_size=30), st.lists(MOMENT, max_size=20), st.randoms())
def test_the_order_of_the_rows_does_not_matter(rows, moments, random):
    shuffled = random.sample(rows, len(rows))
    of, time, limit = columns(moments, 3)
    found = []
    for these in (rows, shuffled):
        series, known, position, order = columns(these, 4)
        at = KnownRows.of(series, known, position, order=order).latest(of, time, position=limit)
        found.append([None if i == MISSING else these[i] for i in at])
    assert found[0] == found[1]


def feature_table(rng, n=200):
    start = np.sort(rng.integers(0, 10_000, n)).astype(np.int64)
    known = start * 60 + rng.integers(60, 600, n)
    return FeatureTable(
        columns=("a", "b"),
        instrument=[f"test:{i % 3}" for i in range(n)],
        start=start,
        known_time=known.astype(np.int64),
        position=np.arange(n, dtype=np.int64),
        values=rng.normal(size=(n, 2)),
    )


@pytest.mark.parametrize("seed", range(5))
def test_noise_in_everything_that_is_not_known_yet_changes_no_join(seed):
    """Values, times and places of later rows are replaced; what was known at the label stays as it was."""
    rng = np.random.default_rng(seed)
    table, moment = feature_table(rng), 300_000
    labels = Labels(instrument=["test:0", "test:1", "test:2"], time=np.full(3, moment, dtype=np.int64))
    before = join(table, labels)
    assert (before.row != MISSING).all()
    later = table.known_time > moment
    assert later.any()
    values, known, start = table.values.copy(), table.known_time.copy(), table.start.copy()
    values[later] = rng.normal(size=(later.sum(), 2)) * 1e9
    known[later] = moment + 1 + rng.integers(0, 10**9, later.sum())
    start[later] = rng.integers(0, 10_000, later.sum())  # bars of any time, the past as well
    poisoned = FeatureTable(
        columns=table.columns,
        instrument=table.instrument,
        start=start,
        known_time=known,
        position=table.position,
        values=values,
    )
    after = join(poisoned, labels)
    assert after.values.tobytes() == before.values.tobytes()


def test_a_row_is_known_at_its_known_time_and_not_a_nanosecond_sooner():
    rows = KnownRows.of(*columns([(0, 1_000, 7)], 3))
    one = np.zeros(1, np.int64)
    at = [int(rows.latest(one, np.array([t]))[0]) for t in (999, 1_000, FOREVER)]
    assert at == [MISSING, 0, 0]
    assert [int(rows.latest(one, one + FOREVER, position=np.array([p]))[0]) for p in (6, 7)] == [MISSING, 0]


def test_a_stale_row_is_missing_and_no_older_one_is_taken_instead():
    rows = KnownRows.of(*columns([(0, 10, 1), (0, 20, 2)], 3))
    one = np.zeros(1, np.int64)
    ages = [int(rows.latest(one, one + 30, max_age_ns=age)[0]) for age in (9, 10, 11)]
    assert ages == [MISSING, 1, 1]
    assert rows.latest(one, one + FOREVER, max_age_ns=FOREVER)[0] == 1
    with pytest.raises(ValueError, match="age at most -1"):
        rows.latest(one, one, max_age_ns=-1)


def test_labels_without_a_row_get_nan():
    table = feature_table(np.random.default_rng(1))
    times = np.array([-1, FOREVER, FOREVER], dtype=np.int64)
    joined = join(table, Labels(instrument=["test:0", "test:9", "test:0"], time=times))
    assert joined.row.tolist()[:2] == [MISSING, MISSING]
    assert np.isnan(joined.values[:2]).all()
    assert not np.isnan(joined.values[2]).any()
    assert joined.missing_ratio == 2 / 3


def test_columns_of_different_length_are_refused():
    with pytest.raises(ValueError, match=r"\[1, 2\]"):
        KnownRows.of(np.zeros(1, np.int64), np.zeros(2, np.int64), np.zeros(2, np.int64))
    rows = KnownRows.of(*columns([(0, 1, 1)], 3))
    with pytest.raises(ValueError, match=r"\[1, 2\]"):
        rows.latest(np.zeros(1, np.int64), np.zeros(2, np.int64))


@given(st.lists(ROW, max_size=30), st.lists(st.tuples(SMALL, SMALL), max_size=10), st.integers(1, 5))
def test_a_cursor_hands_out_what_the_join_finds(rows, steps, count):
    series, known, position, order = columns(rows, 4)
    table = KnownRows.of(series, known, position, order=order)
    values = np.arange(len(rows), dtype=np.float64)[:, None]
    cursor = KnownCursor(table, values, time=-1, position=-1)
    for time, limit in sorted(steps):
        cursor.advance(time, max(limit, cursor.position))
        for s in range(4):
            row = int(table.latest(np.array([s]), np.array([time]), position=np.array([cursor.position]))[0])
            latest = cursor.latest(s)
            assert (MISSING if latest is None else int(latest[0])) == row
            mine = [
                (known[i], position[i], order[i], i)
                for i in range(len(rows))
                if series[i] == s and known[i] <= time and position[i] <= cursor.position
            ]
            expected = sorted(m[:3] for m in mine)[-count:]
            history = [int(v) for v in cursor.history(s, count)[:, 0]]
            assert [(known[i], position[i], order[i]) for i in history] == expected


def test_a_cursor_never_goes_back():
    cursor = KnownCursor(KnownRows.of(*columns([(0, 5, 5)], 3)), np.ones((1, 1)), time=5, position=5)
    for time, position in ((4, 5), (5, 4), (4, None)):
        with pytest.raises(MovesBackwards, match="from 5, 5"):
            cursor.advance(time, position)
    cursor.advance(5)
    assert (cursor.time, cursor.position) == (5, 5)


def test_no_way_leads_from_what_a_cursor_gave_to_later_rows():
    values = np.arange(4, dtype=np.float64)[:, None]
    rows = KnownRows.of(*columns([(0, t, t) for t in range(4)], 3))
    cursor = KnownCursor(rows, values, time=1)
    given_out = cursor.history(0, 10)
    assert given_out[:, 0].tolist() == [0, 1]
    assert given_out.base is None
    given_out[:] = -1  # whoever gets it may change it
    assert cursor.history(0, 10)[:, 0].tolist() == [0, 1]
    public = [name for name in dir(cursor) if not name.startswith("_")]
    assert public == ["advance", "history", "latest", "position", "time"]
