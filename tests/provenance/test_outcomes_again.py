"""The verifier's outcome, from committed events in plain Python, is the product's."""

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings

from alphapulse.adapters.verifier.market import market_ticks_of
from alphapulse.adapters.verifier.outcomes import Claimed, differences_of_outcome, outcome_again
from alphapulse.domain.market.events import BarsObserved
from alphapulse.domain.signals.idea import Idea
from alphapulse.domain.signals.outcome import Outcome
from alphapulse.domain.signals.rederivation import outcome_of
from alphapulse.domain.signals.ticks import Sight, market_ticks
from tests.domain.signals.outcome_worlds import (
    Log,
    at,
    bars,
    connected,
    gap,
    ideas,
    log_of,
    long,
    lost,
    passed,
    short,
    trades,
    worlds,
)
from tests.provenance.market_facts import facts_of


def claimed(idea: Idea) -> Claimed:
    return Claimed(**{name: getattr(idea, name) for name in Claimed._fields})


def told(outcome: Any) -> dict[str, Any] | None:
    return msgspec.structs.asdict(outcome) if isinstance(outcome, Outcome) else None


def assert_same(idea: Idea, log: Log) -> str:
    """The verifier says of ``log`` what the labeller says; that reason."""
    recorded, again = told(outcome_of(idea, log)), outcome_again(claimed(idea), facts_of(log))
    if recorded is None or again is None:
        assert recorded == again
        return "open"
    assert differences_of_outcome(recorded, again) == []
    return str(again["reason"])


@settings(max_examples=150)
@given(worlds(), ideas())
def test_the_verifier_decides_as_the_labeller_does(log: Log, idea: Idea) -> None:
    assert_same(idea, log)


@settings(max_examples=60)
@given(worlds())
def test_the_verifier_sees_the_same_ticks(log: Log) -> None:
    _, ticks = market_ticks(Sight(), log)
    again = list(market_ticks_of(facts_of(log)))
    kinds = ("trade", "bar", "clock", "hole", "late")
    numbers = [(kinds.index(t.kind), t.start, t.moment, t.unseen, t.position) for t in again]
    assert numbers == [tuple(column) for column in ticks.numbers.T.tolist()]
    prices = np.array([t.prices or (np.nan,) * 4 for t in again]).reshape(-1, 4)
    assert np.array_equal(prices.T, ticks.prices, equal_nan=True)


# Each reason, so that none agrees only where it never comes up.
DARK = (connected(0), trades((5, 100)), lost(30))
CASES = {
    "target": (long(), [trades((5, 101), (9, 103.5))]),
    "stop": (long(), [trades((5, 101), (9, 97))]),
    "gap_stop": (long(), [bars((0, 97, 99, 96, 98))]),
    "gap_target": (short(), [bars((0, 96, 99, 95, 98))]),
    "ambiguous": (long(), [bars((0, 100, 104, 97, 101))]),
    "expiry": (short(), [trades((5, 101)), passed(600)]),
    "unseen_expiry": (long(), [*DARK, connected(700), trades((720, 101))]),
    "open": (long(), [*DARK, passed(600), gap(0, 20, filled=False)]),
}


@pytest.mark.parametrize("reason", CASES)
def test_every_reason_is_recomputed(reason: str) -> None:
    idea, events = CASES[reason]
    assert assert_same(idea, log_of(*events)) == reason


def test_a_market_with_many_runs_of_trades_forgets_the_oldest_as_the_product_does() -> None:
    """Before the oldest run that is remembered bars are no evidence, in both."""
    many = [trades((120 * n + 1, 100.0), first_id=n + 1) for n in range(1_100)]
    for second in (60, 60 + 120 * 200):  # a bar in the forgotten time, and one that is still evidence
        idea = long(decided=at(0), horizon_end=at(400_000), target=101.0)
        assert_same(idea, log_of(*many, bars((second, 100, 102, 99, 101))))
    assert assert_same(long(horizon_end=at(400_000)), log_of(*many, bars((60, 100, 104, 99, 101)))) == "open"


def test_what_differs_is_told_with_both_values() -> None:
    idea, events = CASES["stop"]
    again = outcome_again(claimed(idea), facts_of(log_of(*events)))
    assert again is not None
    told_ = differences_of_outcome({**again, "reason": "target", "net_bps": again["net_bps"] + 1e-3}, again)
    assert [each.partition(":")[0] for each in told_] == ["reason", "net_bps"]
    assert "recorded 'target', the market's events give 'stop'" in told_[0]


def test_bars_that_do_not_say_how_long_they_are_are_refused() -> None:
    (fact,) = facts_of(log_of(bars((0, 100, 101, 99, 100))))
    del fact.event["timeframe_minutes"]
    with pytest.raises(KeyError):
        list(market_ticks_of([fact]))


def test_empty_bars_say_nothing() -> None:
    event: BarsObserved = bars((0, 100, 101, 99, 100))
    (fact,) = facts_of(log_of(event))
    nothing = {name: [] for name in fact.event["columns"]}
    assert list(market_ticks_of([fact._replace(event={**fact.event, "columns": nothing})])) == []
