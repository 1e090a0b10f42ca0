"""Two runs side by side: sums that add up, intervals that repeat, the first decision at which they part."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse.domain.backtest.counterfactuals import Counterfactual, counterfactual_of, gated
from alphapulse.domain.backtest.results import Counts
from alphapulse.domain.decision.decisions import DecisionMade
from alphapulse.domain.decision.strategy import StrategyDefined
from alphapulse.domain.performance.trades import Trade, Trades
from tests.decision_events import decision
from tests.domain.signals.engine_world import strategy

HOUR = 3_600 * 10**9


@dataclass(frozen=True)
class Run:
    """What is compared of a run."""

    strategy: StrategyDefined
    trades: Trades
    issued: Sequence[DecisionMade]
    counts: Counts = field(default_factory=Counts)
    equity: float = 1.0
    decisions_digest: str = "d"
    outcomes_digest: str = "o"


def trade(bar: int, net: float, number: int, *, confidence: float = 0.9, size: float = 1.0) -> Trade:
    """Of one hour, on bar ``bar``; ``net`` in R of 50 bps."""
    return Trade(
        decision=f"world.1/test:M/5/{bar}",
        strategy_version=1,
        instrument="test:M",
        timeframe=5,
        regime="range",
        side=1,
        number=number,
        opened=bar * HOUR,
        closed=(bar + 1) * HOUR,
        confidence=confidence,
        size_ratio=size if number else 0.0,
        reason="target" if net > 0 else "stop",
        is_win=net > 0,
        worst_win=net > 0,
        best_win=net > 0,
        gross_bps=net * 50,
        net_bps=net * 50,
        net_r=net,
    )


def run(*trades: Trade) -> Run:
    numbered = sorted((each for each in trades if each.number), key=lambda each: each.number)
    issued = [
        decision(0, strategy="world", decision=t.decision, time=t.opened, side=1, size_ratio=t.size_ratio)
        for t in numbered
    ]
    return Run(strategy(), Trades.of(trades), issued)


def compared(base: Run, changed: Run) -> Counterfactual:
    return counterfactual_of(base, changed, change="a change", upto=9, since=0, until=0)


def test_what_only_one_has_is_told_apart_from_what_both_have() -> None:
    base = run(trade(1, 1.0, 1), trade(2, -1.0, 2), trade(3, 2.0, 0))
    changed = run(trade(1, 1.0, 1), trade(2, -1.0, 0), trade(3, 2.0, 2))
    found = compared(base, changed)
    assert (found.both_base.signals, found.both_base.won, found.both_base.r) == (1, 1, 1.0)
    assert (found.only_base.signals, found.only_base.won, found.only_base.r) == (1, 0, -1.0)
    assert (found.only_changed.signals, found.only_changed.won, found.only_changed.r) == (1, 1, 2.0)
    assert found.difference_r.value == pytest.approx(3.0)
    assert found.difference.value == pytest.approx(
        found.changed.signals.contribution - found.base.signals.contribution
    )
    assert (found.base.gate.missed, found.base.gate.missed_r, found.base.gate.avoided) == (1, 2.0, 0)
    assert (found.changed.gate.missed, found.changed.gate.avoided_r) == (0, -1.0)


def test_the_first_to_differ_is_the_earliest_and_says_what_it_was_in_both() -> None:
    base = run(trade(1, 1.0, 1), trade(2, 1.0, 0), trade(4, 1.0, 2))
    changed = run(
        trade(1, 1.0, 1), trade(2, 1.0, 0), trade(3, 1.0, 0, confidence=float("nan")), trade(4, 1.0, 0)
    )
    parted = compared(base, changed).first_divergence
    assert parted is not None
    assert (parted.decision, parted.time, parted.base) == ("world.1/test:M/5/3", 3 * HOUR, None)
    assert parted.changed is not None
    assert (parted.changed.confidence, parted.changed.number) == (None, 0)


def test_runs_that_are_the_same_do_not_part_and_bring_nothing() -> None:
    one = run(*(trade(bar, (-1.0) ** bar, bar) for bar in range(1, 9)))
    found = compared(one, one)
    assert found.first_divergence is None
    assert (found.difference.value, found.difference.low, found.difference.high) == (0.0, 0.0, 0.0)
    assert found.only_base.signals == found.only_changed.signals == 0


def test_of_few_signals_no_interval_is_made_and_that_is_said() -> None:
    found = compared(run(trade(1, 1.0, 1)), run(trade(1, 1.0, 0)))
    assert (found.difference.low, found.difference.high) == (None, None)
    assert found.difference.note == "1 signals are too few for an interval"
    nothing = compared(run(), run())
    assert (nothing.difference.value, nothing.difference.sample) == (0.0, 0)


def test_a_signal_that_is_still_open_counts_as_one_and_brings_nothing() -> None:
    base = run(trade(1, 1.0, 1))
    open_ = decision(0, strategy="world", decision="world.1/test:M/5/7", time=7 * HOUR, size_ratio=1.0)
    found = compared(base, replace(base, issued=[*base.issued, open_]))
    assert (found.only_changed.signals, found.only_changed.resolved, found.only_changed.r) == (1, 0, 0.0)
    assert found.first_divergence is not None
    assert found.first_divergence.decision == open_.decision


TRADES = st.lists(
    st.tuples(st.floats(-3, 3, allow_nan=False), st.booleans(), st.booleans()), min_size=0, max_size=40
)


def _runs(rows: list[tuple[float, bool, bool]]) -> tuple[Run, Run]:
    found = []
    for which in (0, 1):
        number = 0
        trades: list[Trade] = []
        for bar, (net, *is_signal) in enumerate(rows, start=1):
            number += is_signal[which]
            trades.append(trade(bar, net, number if is_signal[which] else 0, size=0.1))
        found.append(run(*trades))
    return found[0], found[1]


@given(TRADES)
def test_the_parts_of_each_run_sum_to_the_whole_and_the_difference_is_theirs(
    rows: list[tuple[float, bool, bool]],
) -> None:
    found = compared(*_runs(rows))
    for side, both, only in (
        (found.base.signals, found.both_base, found.only_base),
        (found.changed.signals, found.both_changed, found.only_changed),
    ):
        for part in ("signals", "resolved", "won", "contribution", "r"):
            assert getattr(both, part) + getattr(only, part) == pytest.approx(getattr(side, part), abs=1e-12)
    assert found.both_base.signals == found.both_changed.signals
    for figure, name in ((found.difference, "contribution"), (found.difference_r, "r")):
        value = getattr(found.changed.signals, name) - getattr(found.base.signals, name)
        assert figure.value == pytest.approx(value, abs=1e-9)
        if figure.low is not None and figure.high is not None:
            assert figure.low <= figure.high
    other = compared(*reversed(_runs(rows)))
    assert other.difference_r.value == pytest.approx(-(found.difference_r.value or 0.0), abs=1e-9)


@given(TRADES)
def test_what_was_refused_is_either_missed_or_avoided(rows: list[tuple[float, bool, bool]]) -> None:
    trades = _runs(rows)[0].trades
    found = gated(trades)
    assert found.missed + found.avoided == found.refused == len(trades.refused)
    assert found.missed_r + found.avoided_r == pytest.approx(trades.refused.net_r.sum(), abs=1e-9)
    assert found.missed_r >= 0 >= found.avoided_r


def test_the_same_runs_give_the_same_bits() -> None:
    runs = _runs([(float(n % 7 - 3), n % 2 == 0, n % 3 == 0) for n in range(60)])
    assert compared(*runs) == compared(*runs)
    assert compared(*runs).difference.low is not None
