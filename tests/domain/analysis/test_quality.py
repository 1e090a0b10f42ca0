"""Verdicts on features, and the record of when they changed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphapulse.domain.analysis.feature_rows import FeatureRows
from alphapulse.domain.analysis.features import WARMING
from alphapulse.domain.analysis.quality import BadThreshold, Facts, Thresholds, assess
from alphapulse.domain.analysis.quality_record import (
    Look,
    QualityBreached,
    QualityRecovered,
    quality_decider,
)
from alphapulse.domain.analysis.row_bytes import WHOLE

MINUTE = 60_000_000_000
FREE = Facts(name="rsi", is_free=True, low=0.0, high=100.0)
PRICE = Facts(name="sma", is_free=False)
LOOSE = Facts(name="roc", is_free=True)
LIMITS = Thresholds(window=300, reference=600, min_rows=100)


def rows(values, timeframe=5):
    n = len(values)
    whole = {name: np.zeros(n, dtype=np.int64) for name in WHOLE}
    whole["start"] = np.arange(n, dtype=np.int64) * timeframe
    return FeatureRows(instrument="a:X", timeframe=timeframe, values=np.asarray(values)[:, None], **whole)


def verdicts(fact, values, *, clock=None, thresholds=LIMITS):
    table = rows(values)
    end = (len(table) * 5) * MINUTE
    found = assess([fact], table, clock=end if clock is None else clock, thresholds=thresholds)
    return {finding.check: finding for finding in found}


def steady(n=900, seed=0, low=20.0, high=80.0):
    return np.random.default_rng(seed).uniform(low, high, n)


def test_a_steady_feature_passes_every_check():
    found = verdicts(FREE, steady())
    assert {check: finding.breached for check, finding in found.items()} == dict.fromkeys(
        ["stale", "missing", "range", "psi", "ks"], False
    )
    assert (found["ks"].rows, found["ks"].reference_rows) == (300, 600)


def test_a_shifted_feature_drifts():
    moved = steady()
    moved[-300:] = moved[-300:] / 3
    found = verdicts(FREE, moved)
    assert found["psi"].breached
    assert found["ks"].breached
    assert found["ks"].value > 0.5
    assert not found["range"].breached


def test_a_small_shift_of_many_rows_is_no_breach_however_small_its_p_value():
    limits = Thresholds(window=20_000, reference=20_000)
    values = np.random.default_rng(1).normal(size=40_000)
    values[20_000:] += 0.1
    found = verdicts(LOOSE, values, thresholds=limits)
    assert float(found["ks"].detail.removeprefix("p = ")) < 1e-10
    assert not found["ks"].breached


def test_a_feature_that_moves_with_prices_is_not_judged_by_its_distribution():
    found = verdicts(PRICE, np.linspace(1, 9, 900))
    assert [found[c].breached for c in ("psi", "ks", "range")] == [None, None, None]
    assert found["psi"].detail == "moves with prices or volumes"
    assert found["psi"].value is None
    assert found["missing"].breached is False


@pytest.mark.parametrize(("n", "judged"), [(399, False), (400, True)])
def test_below_the_least_sample_nothing_is_judged(n, judged):
    found = verdicts(LOOSE, steady(n))
    assert [found[c].breached is not None for c in ("psi", "ks", "range")] == [judged] * 3
    if not judged:
        assert found["ks"].detail == "300 values against 99, 100 each are needed"


def test_a_hole_in_a_warm_feature_is_a_breach():
    values = steady()
    values[-7] = np.nan
    found = verdicts(FREE, values)
    assert found["missing"].breached
    assert found["missing"].value == 1 / 300
    assert found["missing"].detail == "1 of 300"
    before = steady()
    before[:600] = np.nan
    assert not verdicts(FREE, before)["missing"].breached


def test_a_value_out_of_its_declared_bounds_is_a_breach():
    values = steady()
    values[-1] = 100.5
    assert verdicts(FREE, values)["range"].breached
    values[-1] = 100.0
    assert not verdicts(FREE, values)["range"].breached


def test_without_bounds_far_outside_of_what_was_seen_is_a_breach():
    values = steady()
    values[-20:] = 1_000.0
    assert verdicts(LOOSE, values)["range"].value == 20 / 300
    assert verdicts(LOOSE, values)["range"].breached
    values[-20:] = 100.0  # outside, but not by the whole span
    assert not verdicts(LOOSE, values)["range"].breached


@pytest.mark.parametrize(("age", "breached"), [(10.0, False), (10.2, True)])
def test_an_old_row_is_stale_by_the_venues_clock(age, breached):
    end = 900 * 5 * MINUTE
    found = verdicts(FREE, steady(), clock=end + round(age * 5 * MINUTE))
    assert found["stale"].breached is breached


def test_rows_that_are_warming_up_are_neither_judged_nor_held_against():
    values = steady()
    values[:250] = np.nan
    table = rows(values)
    table.flags[:250] = WARMING
    found = {f.check: f for f in assess([FREE], table, clock=900 * 5 * MINUTE, thresholds=LIMITS)}
    assert (found["ks"].rows, found["ks"].reference_rows) == (300, 350)
    table.flags[:] = WARMING
    found = {f.check: f for f in assess([FREE], table, clock=900 * 5 * MINUTE, thresholds=LIMITS)}
    assert {c: f.breached for c, f in found.items() if f.breached is not None} == {"stale": False}


def test_no_rows_are_not_judged():
    found = verdicts(FREE, steady(0))
    assert {finding.breached for finding in found.values()} == {None}


def test_thresholds_are_read_from_a_text():
    assert Thresholds.parse("") == Thresholds()
    assert Thresholds.parse(" psi=0.5, window=100 ") == Thresholds(psi=0.5, window=100)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("psy=1", "'psy' is no threshold"),
        ("psi=much", "'much' is no number"),
        ("window=1.5", "'1.5' is no number"),
        ("min_rows=5", "min_rows 5 needs 20 to 100000"),
        ("missing_ratio=2", "missing_ratio 2 needs 0 to 1"),
    ],
)
def test_a_threshold_out_of_range_is_refused(text, message):
    with pytest.raises(BadThreshold, match=message):
        Thresholds.parse(text)


def look(values, position, fact=FREE):
    table = rows(values)
    findings = assess([fact], table, clock=len(table) * 5 * MINUTE, thresholds=LIMITS)
    return Look(set_name="s", set_version=1, seen_position=position, clocks={"a:X": 7}, findings=findings)


def test_a_breach_is_recorded_once_and_so_is_its_end():
    holed = steady()
    holed[-1] = np.nan
    record = quality_decider.initial
    seen = []
    for position, values in enumerate([steady(), holed, holed, holed, steady(), steady()], 1):
        events = quality_decider.decide(look(values, position), record)
        record = quality_decider.fold(events, record)
        seen.append([type(event) for event in events])
    assert seen == [[], [QualityBreached], [], [], [QualityRecovered], []]


def test_a_look_that_saw_less_than_was_recorded_changes_nothing():
    holed = steady()
    holed[-1] = np.nan
    record = quality_decider.fold(quality_decider.decide(look(holed, 10), quality_decider.initial))
    assert quality_decider.decide(look(steady(), 9), record) == []
    assert len(quality_decider.decide(look(steady(), 10), record)) == 1


def test_what_can_not_be_judged_stays_as_it_was():
    moved = steady()
    moved[-300:] = moved[-300:] / 3
    record = quality_decider.fold(quality_decider.decide(look(moved, 1), quality_decider.initial))
    assert {key[3] for key in record.open} == {"psi", "ks"}
    again = quality_decider.decide(look(steady(399), 2), record)
    assert again == []


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 5)), max_size=8))
@settings(max_examples=30)
def test_every_look_may_be_repeated(steps):
    holed = steady()
    holed[-1] = np.nan
    record = quality_decider.initial
    for is_holed, position in steps:
        seen = look(holed if is_holed else steady(), position)
        record = quality_decider.fold(quality_decider.decide(seen, record), record)
        assert quality_decider.decide(seen, record) == []
