"""What a panel promises beside the contract of its indicators: shapes, copies, limits, snapshots."""

import numpy as np
import pytest

from alphapulse.domain.analysis.fields import INPUTS, Floats
from alphapulse.domain.analysis.panel import BadSnapshot, Panel, Plan, compute
from alphapulse.domain.analysis.registry import Spec
from tests.domain.analysis.series import walk

SPECS = tuple(Spec.parse(text) for text in ("sma(5)", "macd(3,6,2)", "stoch(5,2,2)"))


def bars_of(slots: int, count: int = 60) -> Floats:
    return np.stack([walk(count, seed) for seed in range(slots)], axis=2)


def test_columns_and_rows_stand_in_the_order_of_the_specs() -> None:
    plan = Plan(SPECS)
    assert plan.columns == tuple(column for spec in SPECS for column in spec.columns)
    got = compute(SPECS, walk(60))
    assert got.shape == (6, 60)
    for i, spec in enumerate(SPECS):
        rows = [plan.columns.index(column) for column in spec.columns]
        np.testing.assert_array_equal(got[rows], compute([spec], walk(60)), err_msg=str(i))


def test_an_indicator_stands_in_a_plan_once() -> None:
    with pytest.raises(ValueError, match=r"stands twice in sma\(period=5\), macd.*, sma\(period=5\)"):
        Plan([*SPECS, Spec.parse("sma(5)")])


def test_a_plan_waits_for_its_slowest_output_and_forgets_with_its_slowest_memory() -> None:
    plan = Plan(SPECS)
    assert plan.lookback == max(5 - 1, 6 - 1 + 2 - 1, 4 + 1 + 1)
    assert plan.forgets == Spec.parse("macd(3,6,2)").known.forgets((3, 6, 2))
    assert Plan([*SPECS, Spec.parse("obv")]).forgets is None


def test_a_plan_without_indicators_gives_nothing() -> None:
    assert compute([], walk(3)).shape == (0, 3)


@pytest.mark.parametrize("slots", [31, 32, 63, 64, 67, 130])
def test_every_slot_gets_what_it_would_get_alone(slots: int) -> None:
    """However many there are: patterns ask many slots otherwise than few, and many fill up their rows."""
    specs = tuple(Spec.parse(text) for text in ("bbands(5,2)", "aroon(3)", "cci(5)", "engulfing", "hikkake"))
    bars, panel = bars_of(slots, 80), Panel(Plan(specs), slots)
    steps = np.stack([panel.step(bars[:, t]).copy() for t in range(80)], axis=1)
    assert steps.shape == (panel.plan.outputs, 80, slots)
    alone = np.stack([compute(specs, bars[:, :, slot]) for slot in range(slots)], axis=2)
    np.testing.assert_array_equal(steps, alone)
    assert (steps[panel.plan.columns.index("engulfing.signal")] > 0).any()
    assert (steps[panel.plan.columns.index("hikkake.signal")] > 0).any()


def test_no_bars_change_nothing() -> None:
    panel = Panel(Plan(SPECS), 2, chunk=4)
    panel.advance(bars_of(2)[:, :10])
    before = [panel.snapshot(slot) for slot in range(2)]
    assert panel.advance(bars_of(2)[:, :0]).shape == (6, 0, 2)
    assert panel.advance(np.empty((INPUTS, 5, 0)), 1, 1).shape == (6, 5, 0)
    assert [panel.snapshot(slot) for slot in range(2)] == before


@pytest.mark.parametrize(
    ("shape", "lo", "hi"), [((7, 1, 2), 0, 2), ((8, 1, 3), 0, 2), ((8, 1, 2), 1, 3), ((8, 1, 2), -1, 1)]
)
def test_bars_that_do_not_fit_are_refused_and_change_nothing(
    shape: tuple[int, ...], lo: int, hi: int
) -> None:
    panel = Panel(Plan(SPECS), 2)
    before = panel.snapshot()
    with pytest.raises(ValueError, match=r"bars of shape .* for slots .* of 2"):
        panel.advance(np.ones(shape), lo, hi)
    assert panel.snapshot() == before


def test_step_refuses_bars_for_other_slots() -> None:
    panel = Panel(Plan(SPECS), 3)
    for shape in ((INPUTS, 2), (INPUTS, 4), (INPUTS - 1, 3), (INPUTS, 3, 1)):
        with pytest.raises(ValueError, match=r"of 3 slots"):
            panel.step(np.ones(shape))
    assert panel.seen.tolist() == [0, 0, 0]


def test_what_advance_gives_is_the_callers_and_what_step_gives_is_lent() -> None:
    panel, bars = Panel(Plan(SPECS), 1), bars_of(1)
    kept = panel.advance(bars[:, :20])
    copy = kept.copy()
    lent = panel.step(bars[:, 20])
    first = lent.copy()
    panel.step(bars[:, 21])
    np.testing.assert_array_equal(kept, copy)
    assert not np.array_equal(lent, first)


def test_the_callers_bars_are_only_read() -> None:
    bars = bars_of(2)
    before = bars.tobytes()
    Panel(Plan(SPECS), 2, chunk=7).advance(bars)
    assert bars.tobytes() == before


def test_bars_may_come_as_views_into_something_larger() -> None:
    wide = np.zeros((INPUTS, 120, 4))
    wide[:, ::2, 1:3] = bars_of(2)
    want = Panel(Plan(SPECS), 2, chunk=60).advance(bars_of(2))
    got = Panel(Plan(SPECS), 2, chunk=60).advance(wide[:, ::2, 1:3])
    np.testing.assert_array_equal(got, want)


def test_a_snapshot_is_the_same_bytes_wherever_the_slot_stands_and_however_it_came_there() -> None:
    bars = bars_of(3)
    together, alone = Panel(Plan(SPECS), 3, chunk=16), Panel(Plan(SPECS), 1)
    together.advance(bars)
    for t in range(bars.shape[1]):
        alone.step(bars[:, t, 1:2])
    assert together.snapshot(1) == alone.snapshot()
    moved = Panel(Plan(SPECS), 2, chunk=3)
    moved.restore(alone.snapshot(), 1)
    assert moved.snapshot(1) == alone.snapshot()


def test_a_snapshot_of_another_plan_is_refused_and_changes_nothing() -> None:
    panel = Panel(Plan(SPECS), 1)
    panel.advance(bars_of(1))
    before = panel.snapshot()
    others = [
        Panel(Plan(SPECS[:2]), 1).snapshot(),
        Panel(Plan(SPECS[::-1]), 1).snapshot(),  # of the same length
        Panel(Plan([Spec.parse("sma(4)"), *SPECS[1:]]), 1).snapshot(),  # too
        b"",
        before[:-8],
        before + bytes(8),
    ]
    for other in others:
        with pytest.raises(BadSnapshot):
            panel.restore(other)
    assert panel.snapshot() == before


def test_snapshots_of_many_slots_are_those_of_each_and_are_put_back_all_or_none() -> None:
    specs = [Spec.parse(text) for text in ("sma(7)", "rsi(5)", "cmf(6)")]
    slots = 150  # more than are read at once
    bars = np.stack([walk(60, seed) for seed in range(slots)], axis=2)
    panel = Panel(Plan(specs), slots, chunk=60)
    panel.advance(bars[:, :40])
    panel.advance(bars[:, 40:50, 3:9], 3, 9)  # some are ahead of the others
    taken = panel.snapshot_all()
    assert taken == [panel.snapshot(slot) for slot in range(slots)]
    other = Panel(Plan(specs), slots + 1, chunk=3)
    before = other.snapshot_all()
    with pytest.raises(BadSnapshot):
        other.restore_all([*taken[:-1], taken[-1][:-8]])
    with pytest.raises(ValueError, match="snapshots for slots 2 to 152 of 151"):
        other.restore_all(taken, 2)
    assert other.snapshot_all() == before
    other.restore_all(taken, 1)
    assert other.snapshot_all(1) == taken
    assert other.snapshot() == before[0]
