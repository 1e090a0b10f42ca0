"""An order that takes its time gets the market's first price at or after, and no other."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from alphapulse.domain.backtest.fills import Fill, Fills, moved
from alphapulse.domain.decision.strategy import Risk
from alphapulse.domain.signals.idea import Idea
from alphapulse.domain.signals.outcome import EXPIRY, STOP, TARGET, Exit, Outcome, booked
from tests.domain.signals.engine_world import MINUTE, START, bar_events, trade_events

LATENCY = 1_500_000_000
RISK = Risk(fee_bps=3.0, slippage_bps=2.0)
PRICES = 100.0 + np.arange(40.0)


def key(minute: int, market: str = "test:M") -> tuple[str, int, int]:
    return market, 1, minute


def trades(size: int = 1_000) -> list[Any]:
    """Four trades a minute, the first 1 ms after it began."""
    made = trade_events("M", PRICES, np.full(40, 1_000.0), size=size)
    return [(n + 1, "test:M", event) for n, event in enumerate(made)]


def bars() -> list[Any]:
    made = bar_events("M", PRICES, np.full(40, 1_000.0), size=10)
    return [(n + 1, "test:M", event) for n, event in enumerate(made)]


def ticks(given: list[Any]) -> list[tuple[int, float]]:
    """Time and price of each trade."""
    return [
        (int(time), float(price) / 1e4)
        for _, _, event in given
        for time, price in zip(event.columns.time, event.columns.price, strict=True)
    ]


@given(
    st.lists(st.integers(START - MINUTE, START + 41 * MINUTE), min_size=1, max_size=20),
    st.integers(0, 3 * MINUTE),
    st.integers(1, 60),
)
def test_it_is_the_first_trade_at_or_after_whatever_the_cuts(
    decided: list[int], latency: int, size: int
) -> None:
    """Orders are placed as soon as the events are seen that their decisions follow from."""
    given_, fills = trades(size), Fills(latency)
    expected, placed = {}, set[int]()
    for n, time in enumerate(decided):
        later = [tick for tick in ticks(given_) if tick[0] >= time + latency]
        expected[n] = Fill(*later[0]) if later else None
    for event in given_:
        fills.see([event])
        for n, time in enumerate(decided):
            if n not in placed and time <= int(event[2].columns.time.max()):
                # A decision follows from trades after its time: none of the trades before can fill it.
                placed.add(n)
                fills.place(key(n), time)
    for n in placed:
        assert fills.taken(key(n)) == expected[n]


def test_of_bars_it_is_the_opening_or_where_the_moment_lies_inside_the_close() -> None:
    fills = Fills(LATENCY)
    fills.see(bars())
    fills.place(key(1), START + 5 * MINUTE)
    fills.place(key(2), START + 5 * MINUTE - LATENCY)
    inside, opening = fills.taken(key(1)), fills.taken(key(2))
    assert inside == Fill(START + 6 * MINUTE, PRICES[5])
    assert opening == Fill(START + 5 * MINUTE, PRICES[4])


def test_an_order_waits_for_a_price_and_is_withdrawn_when_its_market_is_over_before() -> None:
    first, second, *_ = trades(80)
    fills = Fills(LATENCY)
    fills.see([first])
    last = int(first[2].columns.time.max())
    fills.place(key(1), last)
    fills.place(key(2), last)
    assert fills.taken(key(1)) is None
    fills.see([second])
    assert fills.taken(key(1)) is None, "it was withdrawn"
    later = [tick for tick in ticks([second]) if tick[0] >= last + LATENCY]
    assert fills.taken(key(2)) == Fill(*later[0])
    assert fills.taken(key(2)) is None, "a fill is given once"


def test_another_market_fills_nothing() -> None:
    fills = Fills(LATENCY)
    fills.see([(1, "test:N", trades()[0][2])])
    fills.place(key(1), START)
    assert fills.taken(key(1)) is None


def test_a_price_from_before_the_decision_is_no_latency() -> None:
    with pytest.raises(ValueError, match="-1 ns: prices from before"):
        Fills(-1)


def idea(side: int, entry: float) -> Idea:
    return Idea(
        side=side,
        entry=entry,
        stop=entry * (1 - 0.01 * side),
        target=entry * (1 + 0.02 * side),
        decided=START,
        horizon_end=START + 9 * MINUTE,
        fee_bps=RISK.fee_bps,
        slippage_bps=RISK.slippage_bps,
    )


def outcome(of: Idea, reason: int, price: float) -> Outcome:
    left = Exit(
        reason=reason, price=price, worst=price, best=price, highest=price, lowest=price,
        moment=START + MINUTE, unseen_from=0, unseen_until=0, position=7,
    )  # fmt: skip
    return booked(of, left)


ENTRIES = st.floats(50, 200)
REASONS = st.sampled_from([TARGET, STOP, EXPIRY])


@given(st.sampled_from([1, -1]), ENTRIES, ENTRIES, REASONS, st.floats(40, 250))
def test_moved_to_another_entry_it_is_what_would_have_been_booked_there(
    side: int, decided_at: float, entry: float, reason: int, price: float
) -> None:
    """Risk stays what the stop risked when it was decided."""
    was = idea(side, decided_at)
    made = moved(outcome(was, reason, price), was.entry, was.stop, side, entry, RISK)
    there = outcome(other_entry(was, entry), reason, price)
    assert (made.gross_bps, made.net_bps) == (there.gross_bps, there.net_bps)
    assert made.net_r_multiple == pytest.approx(there.net_bps / was.risk_bps)
    assert (made.label, made.reason, made.closed_at) == (there.label, there.reason, there.closed_at)


def other_entry(was: Idea, entry: float) -> Idea:
    return replace(was, entry=entry)


@given(st.sampled_from([1, -1]), ENTRIES, REASONS, st.floats(40, 250))
def test_at_the_price_decided_at_nothing_changes(
    side: int, decided_at: float, reason: int, price: float
) -> None:
    was = idea(side, decided_at)
    made = outcome(was, reason, price)
    assert moved(made, was.entry, was.stop, side, was.entry, RISK) == made


def test_what_was_over_before_its_fill_earned_and_cost_nothing() -> None:
    was = idea(1, 100.0)
    made = moved(outcome(was, TARGET, 102.0), was.entry, was.stop, 1, float("nan"), RISK)
    assert (made.gross_bps, made.net_bps, made.r_multiple, made.net_r_multiple) == (0.0, 0.0, 0.0, 0.0)
    assert made.is_win, "the market's label stays"
