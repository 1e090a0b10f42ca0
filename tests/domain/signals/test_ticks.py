"""Events to ticks: exact prices, and what happens at the limits of what is remembered."""

from typing import Any

import numpy as np
import pytest

from alphapulse.domain.market.columns import TradeColumns
from alphapulse.domain.market.events import TradesObserved
from alphapulse.domain.signals.darkness import MAX_STRETCHES
from alphapulse.domain.signals.ticks import (
    BAR,
    KIND,
    MAX_RUNS,
    MOMENT,
    START,
    UNSEEN,
    Sight,
    market_ticks,
)
from tests.domain.signals.outcome_worlds import BTC, Log, at, bars, connected, log_of, lost, trades


def test_prices_are_the_floats_nearest_to_the_exact_decimals() -> None:
    mantissas = [1, 3, 10**15 + 1, (1 << 62) + 1, 123_456_789_012_345_678]
    for exponent in (0, 2, 8, 18):
        event = TradesObserved(
            instrument=BTC,
            columns=TradeColumns(
                time=np.arange(5) + at(1),
                price=np.array(mantissas),
                size=np.ones(5, dtype=np.int64),
                side=np.zeros(5, dtype=np.int8),
                id=np.arange(5),
                flags=np.zeros(5, dtype=np.uint8),
                price_exponent=exponent,
                size_exponent=0,
            ),
        )
        _, ticks = market_ticks(Sight(), [(1, event)])
        assert ticks.prices.tolist() == [[m / 10**exponent for m in mantissas]] * 4


def test_a_trade_is_known_at_the_running_maximum_of_times() -> None:
    _, ticks = market_ticks(Sight(), log_of(trades((5, 1), (3, 1)), trades((4, 1), (7, 1), (6, 1))))
    assert ticks.numbers[START].tolist() == [at(s) for s in (5, 3, 4, 7, 6)]
    assert ticks.numbers[MOMENT].tolist() == [at(s) for s in (5, 5, 5, 7, 7)]


def test_of_more_runs_of_traded_minutes_than_are_kept_all_before_counts_as_traded() -> None:
    """A bar there would be evidence twice, perhaps: rather it is none."""
    log: Log = log_of(*(trades((120 * i, 100)) for i in range(MAX_RUNS + 1)))
    sight, _ = market_ticks(Sight(), log)
    assert len(sight.traded) == MAX_RUNS
    assert sight.traded[0] == (0, at(120 + 60))
    flat = (100, 101, 99, 100)
    _, ticks = market_ticks(sight, log_of(bars((60, *flat), (180, *flat), (240, *flat), (300, *flat))))
    assert ticks.numbers[START].tolist() == [at(180), at(300)]
    assert (ticks.numbers[KIND] == BAR).all()


def test_the_earliest_of_more_dark_times_than_are_kept_are_taken_for_one() -> None:
    feed: list[Any] = [connected(0), trades((1, 100))]
    for i in range(MAX_STRETCHES + 3):
        feed += [lost(100 * i + 10), connected(100 * i + 20)]
    sight, _ = market_ticks(Sight(), log_of(*feed))
    assert len(sight.darkness.pending) == MAX_STRETCHES
    assert sight.darkness.pending[0] == (at(10), at(320))
    assert sight.darkness.pending[1] == (at(410), at(420))
    after, ticks = market_ticks(sight, log_of(trades((50, 100), (415, 100))))
    assert ticks.numbers[UNSEEN].tolist() == [at(10), at(50)]
    assert after.darkness.pending[0] == (at(415), at(420))


def test_an_event_that_is_no_evidence_is_named() -> None:
    strange: Any = "a headline"
    with pytest.raises(TypeError, match="'a headline' is none of the events that ticks are made of"):
        market_ticks(Sight(), [(1, strange)])
