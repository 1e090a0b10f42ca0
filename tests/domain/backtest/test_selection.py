"""Choosing sees only what was known; what is measured afterwards is nothing that was chosen by."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from alphapulse.domain.backtest.selection import (
    MAX_CONFIGURATIONS,
    BadSelection,
    Rule,
    Sample,
    cross_validate,
    daily_sharpe,
    lower_mean_r,
    walk_forward,
)
from alphapulse.domain.backtest.splits import DAY_NS, Combinatorial, anchored, equal_groups, rolling
from alphapulse.domain.performance.trades import Trades
from tests.domain.backtest.ledgers import HOUR_NS, ledger, normal

SHARPE = Rule(criterion=daily_sharpe, least=5)


def days(count: float) -> int:
    return int(count * DAY_NS)


def test_the_best_of_the_past_is_measured_on_what_follows() -> None:
    """One is good first, the other later: each is chosen after the time in which it was good."""
    spring, autumn = (
        normal(1, days=200, mean=1.0, name="spring"),
        normal(2, days=200, mean=1.0, name="autumn"),
    )
    fades = ledger(spring.opened, spring.closed, np.where(spring.opened < days(100), 1.0, -1.0), name="fades")
    grows = ledger(autumn.opened, autumn.closed, np.where(autumn.opened < days(100), -1.0, 1.0), name="grows")
    ledgers = {"fades": fades, "grows": grows}
    windows = rolling(0, days(200), train=days(50), test=days(50), embargo=days(1))
    found = walk_forward(windows, lambda _: ledgers, Rule())
    assert [fold.chosen for fold in found.folds] == ["fades", "fades", "grows"]
    totals = [fold.out_of_sample_total for fold in found.folds]
    assert totals[0] > 0 > totals[1], "what had been good was not any more"
    assert totals[2] > 0
    assert sum(fold.out_of_sample_trades for fold in found.folds) == len(found.trades)
    assert len(found.trades) == np.count_nonzero(fades.opened[fades.opened >= days(50)] < days(150)) + (
        np.count_nonzero(grows.opened >= days(150))
    )


def test_an_outcome_not_yet_known_is_not_chosen_by() -> None:
    """A fortune that was only known an hour before the test, within the embargo, does not count."""
    steady = normal(3, days=60, mean=0.3, name="steady")
    windows = anchored(0, days(60), train=days(30), test=days(30), embargo=2 * HOUR_NS)

    def chosen(known: int) -> str:
        opened = np.arange(40) * 12 * HOUR_NS
        opened, closed = opened, opened + HOUR_NS
        closed[-30:] = known
        late = ledger(opened, closed, np.where(np.arange(40) < 10, 0.0, 5.0), name="late")
        ledgers = {"steady": steady, "late": late}
        (fold,) = walk_forward(windows, lambda _: ledgers, Rule(least=5)).folds
        return fold.chosen

    assert chosen(days(30) - 2 * HOUR_NS) == "late"
    assert chosen(days(30) - 2 * HOUR_NS + 1) == "steady"


@given(st.integers(0, 10_000))
@example(1_060)  # two trades opened and closed at the same times
def test_nothing_after_the_training_moves_a_choice(seed: int) -> None:
    ledgers = {str(n): normal(seed + n, days=60, name=str(n)) for n in range(4)}
    window = rolling(0, days(60), train=days(30), test=days(30), embargo=days(1))
    before = walk_forward(window, lambda _: ledgers, SHARPE).folds[0]
    rng = np.random.default_rng(seed)
    changed = {}
    for name, old in ledgers.items():
        known = old.closed <= days(29)
        later = np.where(known, old.net_r, rng.normal(0, 9, len(old)))
        changed[name] = replace(old, net_r=later, net_bps=later * 50.0)
    after = walk_forward(window, lambda _: changed, SHARPE).folds[0]
    assert (after.chosen, after.figure, after.in_sample) == (before.chosen, before.figure, before.in_sample)


def test_a_run_anew_for_each_window_is_asked_for_it() -> None:
    windows = rolling(0, days(120), train=days(40), test=days(40))
    asked = []

    def run(window: object) -> dict[str, Trades]:
        asked.append(window)
        return {"one": normal(len(asked), days=120)}

    found = walk_forward(windows, run, SHARPE)
    assert asked == list(windows)
    assert [fold.chosen for fold in found.folds] == ["one", "one"]


def test_too_few_trades_choose_nothing_and_say_so() -> None:
    windows = rolling(0, days(60), train=days(30), test=days(30))
    found = walk_forward(
        windows, lambda _: {"a": normal(1, days=60), "b": normal(2, days=60)}, Rule(least=500)
    )
    (fold,) = found.folds
    assert (fold.chosen, fold.figure, fold.out_of_sample, fold.out_of_sample_total) == ("", None, None, None)
    assert fold.note == "nothing chosen: 0 of 2 configurations have 500 trades that count"
    assert len(found.trades) == 0
    even = ledger(np.arange(20) * HOUR_NS, np.arange(1, 21) * HOUR_NS, np.zeros(20))
    (fold,) = walk_forward(windows, lambda _: {"even": even}, SHARPE).folds
    assert (
        fold.note == "nothing chosen: 1 of 1 configurations have 5 trades that count, none of them a figure"
    )


def test_the_first_of_equals_is_chosen() -> None:
    same = normal(5, days=60)
    windows = rolling(0, days(60), train=days(30), test=days(30))
    for names in (("a", "b"), ("b", "a")):
        ledgers = dict.fromkeys(names, same)
        assert walk_forward(windows, lambda _, its=ledgers: its, SHARPE).folds[0].chosen == names[0]


def test_refused_candidates_are_compared_at_a_risk_and_signals_leave_them_out() -> None:
    rng = np.random.default_rng(0)
    opened = np.sort(rng.integers(0, 60 * 24, 200)) * HOUR_NS
    numbers = [n + 1 if n % 4 == 0 else 0 for n in range(200)]
    trades = ledger(opened, opened + HOUR_NS, rng.normal(0.5, 1, 200), size=0.1, numbers=numbers)
    windows = rolling(0, days(60), train=days(30), test=days(30))
    signals, candidates = (
        walk_forward(windows, lambda _: {"a": trades}, Rule(of=of, risk_ratio=0.001)).folds[0]
        for of in ("signals", "candidates")
    )
    assert candidates.in_sample_trades > 3 * signals.in_sample_trades
    test = trades.opened >= days(30)
    assert candidates.out_of_sample_total == pytest.approx(0.001 * trades.net_r[test].sum())


@given(st.integers(0, 1_000), st.integers(2, 6), st.integers(1, 5))
def test_the_one_configuration_has_the_same_sharpe_on_each_path(seed: int, groups: int, tested: int) -> None:
    """With nothing to choose, each path is the whole history."""
    trades = normal(seed, days=60)
    cut = Combinatorial(equal_groups(0, days(60), groups), min(tested, groups - 1))
    found = cross_validate({"a": trades}, cut, Rule(criterion=daily_sharpe, least=1))
    assert len(found.sharpes) == cut.paths
    assert found.splits == len(found.chosen) == len(list(cut.splits()))
    for sharpe in found.sharpes:
        assert sharpe == pytest.approx(Sample(trades, np.arange(60), "signals", 0.01).sharpe, abs=1e-12)


def test_a_planted_edge_is_chosen_in_every_split_and_earns_on_every_path() -> None:
    ledgers = {f"chance {n}": normal(n, days=200, name=str(n)) for n in range(10)}
    ledgers["edge"] = normal(99, days=200, mean=0.4, name="edge")
    cut = Combinatorial(equal_groups(0, days(200), 6), 2, embargo=days(1), lead=days(1))
    found = cross_validate(ledgers, cut, Rule(criterion=lower_mean_r), overfit=0.0)
    assert set(found.chosen) == {"edge"}
    assert min(found.sharpes) > 0.2
    assert (found.groups, found.tested, found.splits, found.overfit, found.note) == (6, 2, 15, 0.0, "")


def test_a_path_where_nothing_was_chosen_has_no_sharpe() -> None:
    cut = Combinatorial(equal_groups(0, days(60), 4), 2)
    found = cross_validate({"a": normal(1, days=60)}, cut, Rule(least=1_000))
    assert found.sharpes == (None, None, None)
    assert found.chosen == ("",) * 6
    assert found.note == "nothing chosen in 6 of 6 splits: too few trades"


def test_the_bound_of_the_mean_lies_below_it_and_nears_it() -> None:
    means, bounds = [], []
    for count in (50, 500):
        sample = Sample(normal(7, days=count, mean=0.2), np.arange(count), "signals", 0.01)
        means.append(sample.trades.net_r.mean())
        bounds.append(lower_mean_r(sample))
        assert lower_mean_r(sample) == bounds[-1], "the same trades, the same bound"
    assert means[0] - bounds[0] > means[1] - bounds[1] > 0
    assert lower_mean_r(Sample(normal(7, days=1, a_day=1), np.arange(1), "signals", 0.01)) is None


def test_numbers_of_configurations_have_limits() -> None:
    windows = rolling(0, days(60), train=days(30), test=days(30))
    with pytest.raises(BadSelection, match="0 configurations, 1 to 5000"):
        walk_forward(windows, lambda _: {})
    many = dict.fromkeys(map(str, range(MAX_CONFIGURATIONS + 1)), normal(1, days=2))
    with pytest.raises(BadSelection, match="5001 configurations"):
        cross_validate(many, Combinatorial(equal_groups(0, days(60), 4), 2))
