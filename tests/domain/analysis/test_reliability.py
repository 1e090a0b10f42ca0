"""The rules of the record of a pattern, on series made by hand and at random."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from alphapulse.domain.analysis.detections import MAX_HORIZON, BadDetections, Detections
from alphapulse.domain.analysis.proportions import equal_rates, holm, newcombe, wilson
from alphapulse.domain.analysis.reliability import Reliability, reliability, reliability_table
from alphapulse.domain.analysis.track_record import TrackRecord, track_record

CLOSES = np.array([10, 11, 12, 11, 11, 13, 12, 14], dtype=np.float64)


def found(*pairs: tuple[int, int]) -> Detections:
    bars = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return Detections(bars[:, 0], bars[:, 1])


def world(seed: int, size: int = 400) -> tuple[np.ndarray, Detections, np.ndarray]:
    """Closes that meet again often, detections on a fifth of them, three regimes and unknown bars."""
    rng = np.random.default_rng(seed)
    closes = 100 + np.cumsum(rng.integers(-1, 2, size)).astype(np.float64)
    signal = rng.choice([-1.0, 0.0, 1.0, math.nan], size, p=[0.1, 0.7, 0.1, 0.1])
    return closes, Detections.of(signal), np.repeat(rng.integers(-1, 3, size // 20), 20)


def test_a_hit_is_a_close_beyond_its_own_in_the_stated_direction():
    record = reliability("x", found((0, 1), (1, -1), (2, -1)), CLOSES, 1)
    assert (record.detections, record.hits, record.pending) == (3, 2, 0)
    assert record.hit_rate == 2 / 3


def test_an_equal_close_is_a_miss_both_ways_and_stays_in_the_base():
    for up in (1, -1):
        record = reliability("x", found((3, up)), CLOSES, 1)
        assert (record.detections, record.hits) == (1, 0)
    assert reliability("x", found((3, 1)), CLOSES, 1).base_rate == 4 / 7
    assert reliability("x", found((3, -1)), CLOSES, 1).base_rate == 2 / 7


def test_the_base_of_both_directions_is_weighted_as_the_detections_are():
    record = reliability("x", found((0, 1), (1, 1), (2, -1), (4, 1)), CLOSES, 1)
    assert record.base_rate == pytest.approx(3 / 4 * 4 / 7 + 1 / 4 * 2 / 7)


def test_the_base_is_that_of_the_same_regime():
    regimes = np.array([0, 0, 0, 0, 1, 1, 1, -1])
    record = reliability("x", found((0, 1), (4, 1)), CLOSES, 1, regimes=regimes, regime=1)
    assert (record.detections, record.base_bars, record.base_rate) == (1, 3, 2 / 3)
    both = reliability("x", found((0, 1), (4, 1)), CLOSES, 1, regimes=regimes)
    assert (both.detections, both.base_bars, both.base_rate) == (2, 7, pytest.approx((2 / 4 + 2 / 3) / 2))


def test_bars_without_a_regime_count_nowhere():
    regimes = np.array([-1, 0, 0, 0, 0, 0, 0, 0])
    record = reliability("x", found((0, 1), (1, 1)), CLOSES, 1, regimes=regimes)
    assert (record.detections, record.base_bars) == (1, 6)


def test_what_is_not_resolved_is_pending():
    record = reliability("x", found((5, 1), (6, 1), (7, 1)), CLOSES, 2)
    assert (record.detections, record.pending, record.hits) == (1, 2, 1)


def test_without_a_resolved_detection_there_is_no_figure():
    for detections in (found(), found((7, 1))):
        record = reliability("x", detections, CLOSES, 3)
        assert record.detections == 0
        assert all(math.isnan(v) for v in (record.hit_rate, record.hit_low, record.lift, record.p_value))


def test_a_horizon_beyond_the_bars_leaves_all_pending():
    record = reliability("x", found((0, 1)), CLOSES, MAX_HORIZON)
    assert (record.detections, record.pending, record.base_bars) == (0, 1, 0)
    assert len(track_record(found((0, 1)), CLOSES, MAX_HORIZON).hits) == 1


def test_outcomes_apart_count_in_full_and_outcomes_at_once_share():
    closes = np.arange(60, dtype=np.float64)
    apart = reliability("x", found((0, 1), (10, 1), (20, 1)), closes, 10)
    assert apart.effective == pytest.approx(3)
    half = reliability("x", found((0, 1), (5, 1)), closes, 10)
    assert half.effective == pytest.approx(1.5)
    every_bar = reliability("x", found(*((i, 1) for i in range(50))), closes, 10)
    assert every_bar.effective == pytest.approx(5, rel=0.4)


@pytest.mark.parametrize("apart", [1, 3, 7])
def test_the_effective_number_does_not_exceed_what_a_random_walk_leaves(apart):
    """The signs of two moves that share s of their bars correlate by 2 / pi * asin(s)."""
    horizon, count = 10, 200
    shared = np.maximum(
        0, 1 - apart * np.abs(np.subtract.outer(np.arange(count), np.arange(count))) / horizon
    )
    left = count**2 / (2 / np.pi * np.arcsin(shared)).sum()
    closes = np.arange(count * apart + horizon, dtype=np.float64)
    record = reliability("x", found(*((i * apart, 1) for i in range(count))), closes, horizon)
    assert record.effective <= 1.03 * left


@given(st.integers(0, 10_000), st.sampled_from([1, 2, 7]), st.integers(20, 399))
def test_later_bars_change_no_figure(seed, horizon, now):
    closes, detections, regimes = world(seed)
    before = reliability("x", detections, closes, horizon, regimes=regimes, as_of=now)
    track = track_record(detections, closes, horizon, regimes=regimes)
    rng = np.random.default_rng(seed + 1)
    later = len(closes) - now - 1
    closes[now + 1 :], regimes[now + 1 :] = rng.uniform(1, 1e6, later), rng.integers(-1, 5, later)
    kept = detections.until(now)
    after_bars = now + 1 + np.flatnonzero(rng.random(later) < 0.5)
    poisoned = Detections(
        np.concatenate([kept.bars, after_bars]),
        np.concatenate([kept.directions, rng.choice([-1, 1], len(after_bars))]),
    )
    assert_same(before, reliability("x", poisoned, closes, horizon, regimes=regimes, as_of=now))
    after = track_record(poisoned, closes, horizon, regimes=regimes)
    for name in TrackRecord.__slots__:
        assert np.array_equal(getattr(track, name)[: len(kept)], getattr(after, name)[: len(kept)], True), (
            name
        )


@given(st.integers(0, 10_000), st.sampled_from([1, 2, 7]))
def test_each_detection_knows_the_record_as_of_its_own_bar(seed, horizon):
    closes, detections, regimes = world(seed, 120)
    track = track_record(detections, closes, horizon, regimes=regimes)
    for i in range(0, len(detections), 5):
        bar, up, label = detections.bars[i], detections.directions[i], regimes[detections.bars[i]]
        if label < 0:
            assert track.detections[i] == 0
            assert math.isnan(track.base_rate[i])
            continue
        same = detections.directions == up
        alike = Detections(detections.bars[same], detections.directions[same])
        record = reliability("x", alike, closes, horizon, regimes=regimes, regime=label, as_of=bar)
        assert (track.detections[i], track.hits[i]) == (record.detections, record.hits)
        if record.detections:
            for name in ("effective", "hit_rate", "hit_low", "hit_high", "lift", "lift_low", "lift_high"):
                assert getattr(track, name)[i] == pytest.approx(getattr(record, name), rel=1e-9), name
            assert track.base_bars[i] == record.base_bars


@given(st.integers(0, 10_000))
def test_a_mirrored_market_mirrors_the_record(seed):
    closes, detections, regimes = world(seed)
    mirrored = Detections(detections.bars, -detections.directions)
    one = reliability("x", detections, closes, 5, regimes=regimes)
    assert_same(one, reliability("x", mirrored, 200 - closes, 5, regimes=regimes), within=1e-12)


def test_a_table_adjusts_over_all_its_rows_and_keeps_the_order():
    closes, detections, regimes = world(1)
    named = {"a": detections, "b": Detections(detections.bars, -detections.directions)}
    table = reliability_table(named, closes, horizons=(1, 5), regimes=regimes, by_regime=True)
    assert [(r.name, r.horizon, r.regime) for r in table[:5]] == [
        *(("a", 1, label) for label in (None, 0, 1, 2)),
        ("a", 5, None),
    ]
    assert [r.adjusted for r in table] == holm([r.p_value for r in table])
    assert_same(table[4], reliability("a", detections, closes, 5, regimes=regimes), leave="adjusted")


def test_a_table_of_nothing_is_empty():
    assert reliability_table({}, CLOSES) == []
    assert reliability_table({"x": found()}, CLOSES, horizons=()) == []
    assert reliability_table({"x": found()}, np.empty(0))[0].detections == 0


@pytest.mark.parametrize(
    ("bars", "directions"),
    [([1, 1], [1, 1]), ([2, 1], [1, 1]), ([-1], [1]), ([1], [0]), ([1], [2]), ([1], [1, 1])],
)
def test_detections_that_make_no_sense_are_refused(bars, directions):
    with pytest.raises(BadDetections):
        Detections(np.array(bars, dtype=np.int64), np.array(directions, dtype=np.int64))


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(BadDetections, match="bar 8 of 8"):
        reliability("x", found((8, 1)), CLOSES, 1)
    with pytest.raises(BadDetections, match="regimes"):
        reliability("x", found((0, 1)), CLOSES, 1, regimes=np.zeros(3, dtype=np.int64))
    with pytest.raises(BadDetections, match="as of bar 8"):
        reliability("x", found((0, 1)), CLOSES, 1, as_of=8)
    for horizon in (0, MAX_HORIZON + 1):
        with pytest.raises(BadDetections, match="horizon"):
            reliability("x", found((0, 1)), CLOSES, horizon)
    with pytest.raises(BadDetections, match="a detection at bar 9 of 8"):
        track_record(found((9, 1)), CLOSES, 1)


def test_a_signal_is_found_where_it_is_not_zero():
    detections = Detections.of(np.array([math.nan, 0.0, 0.7, -0.2, math.nan]))
    assert detections.bars.tolist() == [2, 3]
    assert detections.directions.tolist() == [1, -1]


@pytest.mark.parametrize(("hits", "count"), [(0, 5), (5, 5), (1, 30), (431, 1000)])
def test_wilson_is_that_of_scipy(hits, count):
    low, high = wilson(np.array([hits / count]), np.array([float(count)]))
    theirs = binomtest(hits, count).proportion_ci(0.95, "wilson")
    assert (low[0], high[0]) == (pytest.approx(theirs.low, abs=1e-12), pytest.approx(theirs.high, abs=1e-12))


def test_newcombe_gives_the_examples_of_the_paper():
    """Table II, method 10: 56/70 - 48/80, 9/10 - 3/10, 10/10 - 0/20."""
    low, high = newcombe(
        np.array([56 / 70, 0.9, 1.0]),
        np.array([70.0, 10, 10]),
        np.array([0.6, 0.3, 0]),
        np.array([80.0, 10, 20]),
    )
    assert low == pytest.approx([0.0524, 0.1705, 0.6791], abs=5e-5)
    assert high == pytest.approx([0.3339, 0.8090, 1.0], abs=5e-5)


@pytest.mark.parametrize("count", [5, 12, 40, 200])
def test_the_score_test_is_no_bolder_than_the_exact_one_where_it_matters(count):
    for hits in range(count + 1):
        ours = equal_rates(hits / count, count, 0.5, 1e12)
        exact = binomtest(hits, count, 0.5).pvalue
        assert ours > exact * 0.8 or exact < 1e-4 or ours > 0.05


def test_rates_without_trials_have_no_p_value_and_rates_without_spread_do_not_differ():
    assert math.isnan(equal_rates(math.nan, 0, 0.5, 10))
    assert equal_rates(1.0, 5, 1.0, 50) == 1.0


def test_holm_multiplies_by_what_is_left_and_never_falls():
    nan = math.nan
    assert holm([0.01, nan, 0.04, 0.03, 0.005]) == pytest.approx([0.03, nan, 0.06, 0.06, 0.02], nan_ok=True)
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def assert_same(a: Reliability, b: Reliability, leave: str = "", within: float = 0.0) -> None:
    for name in Reliability.__slots__:
        left, right = getattr(a, name), getattr(b, name)
        same = left == right or name == leave or (left != left and right != right)
        assert same or abs(left - right) <= within * abs(left), (name, left, right)
