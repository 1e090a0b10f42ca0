"""Each veto by its name, at the edge of its limit; sizes and what bounds them."""

from dataclasses import replace as with_
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from alphapulse.domain.decision.strategy import Risk
from alphapulse.domain.market.timeframes import MINUTE_NS
from alphapulse.domain.signals import sizing
from alphapulse.domain.signals.book import Book
from alphapulse.domain.signals.issue import Issue, Issued, Repeated, Vetoed, answer
from tests.domain.signals.decided import (
    BTC,
    ETH,
    HOUR,
    LONG,
    NOON,
    SHORT,
    SOL,
    closed,
    decision,
    issued,
    outcome,
)

RISK = Risk(risk_ratio=0.01, max_correlation=1.0)  # a stop of 2 % makes a size of 0.5
DAY = 24 * HOUR


def reasons(command: Issue, book: Book) -> tuple[str, ...]:
    found = answer(command, book)
    assert isinstance(found, Vetoed), found
    return found.reasons


def reason(command: Issue, book: Book) -> str:
    (only,) = reasons(command, book)
    return only


def accepted(command: Issue, book: Book) -> float:
    found = answer(command, book)
    assert isinstance(found, Issued), found
    return found.signal.size_ratio


def holding(*instruments: str, risk: Risk = RISK, side: int = LONG) -> Book:
    book = Book()
    for instrument in instruments:
        book, _ = issued(book, Issue(decision=decision(instrument, side=side), risk=risk))
    return book


LATER = decision(minute=NOON + 60)


def test_a_signal_whose_horizon_is_over_binds_nobody_though_its_market_fell_silent() -> None:
    risk = replace(RISK, max_open=1, max_exposure_ratio=0.6, max_correlation=0.5)
    book = holding(BTC, risk=risk)
    (held,) = book.open.values()
    ends = held.signal.horizon_end // MINUTE_NS
    before = Issue(decision=decision(ETH, minute=ends - 6), risk=risk)
    assert any("max_open" in why for why in reasons(before, book))
    assert accepted(Issue(decision=decision(ETH, minute=ends - 5), risk=risk), book) > 0


def test_veto_max_open() -> None:
    risk = replace(RISK, max_open=2)
    command = Issue(decision=decision(SOL), risk=risk)
    assert accepted(command, holding(BTC)) == 0.5
    assert reason(command, holding(BTC, ETH)) == "veto: max_open 2 of 2 signals are open"


def test_veto_max_per_instrument() -> None:
    risk = replace(RISK, max_per_instrument=2)
    book = holding(BTC)
    book, _ = issued(book, Issue(decision=decision(minute=NOON + 5), risk=risk))
    assert reason(Issue(decision=LATER, risk=risk), book) == (
        "veto: max_per_instrument 2 of 2 are open in kraken:BTC/USD"
    )
    assert accepted(Issue(decision=decision(ETH), risk=risk), book) == 0.5


def test_veto_correlation() -> None:
    book, risk = holding(BTC), replace(RISK, max_correlation=0.8)
    same = Issue(decision=decision(ETH), risk=risk, correlations={1: 0.8})
    assert accepted(same, book) == 0.5
    assert reason(with_(same, correlations={1: 0.8001}), book) == (
        "veto: correlation 0.8001 with signal 1 in kraken:BTC/USD, the limit is 0.8"
    )


def test_veto_correlation_that_is_unknown_counts_as_one() -> None:
    book, risk = holding(BTC), replace(RISK, max_correlation=0.8)
    for unknown in ({}, {2: 0.1}, {1: nan}, {1: 1.5}):
        command = Issue(decision=decision(ETH), risk=risk, correlations=unknown)
        assert reason(command, book).startswith("veto: correlation 1 with signal 1")
    other_side = Issue(decision=decision(ETH, side=SHORT), risk=risk)
    assert accepted(other_side, book) == 0.5


def test_veto_correlation_of_opposite_sides_has_the_sign_turned() -> None:
    book, risk = holding(BTC), replace(RISK, max_correlation=0.8)
    short = Issue(decision=decision(ETH, side=SHORT), risk=risk, correlations={1: -0.9})
    assert "correlation -0.9" in reason(short, book)
    assert accepted(with_(short, correlations={1: 0.9}), book) == 0.5


def test_veto_daily_loss() -> None:
    book, _ = closed(holding(BTC), decision(), outcome(NOON + 30, net_bps=-200, reason="expiry"))
    same_day, limit = LATER, 1 - 0.99
    assert accepted(Issue(decision=same_day, risk=replace(RISK, daily_loss_ratio=limit + 1e-9)), book) == 0.5
    risk = replace(RISK, daily_loss_ratio=limit)
    assert reason(Issue(decision=same_day, risk=risk), book) == (
        "veto: daily_loss 0.01 of the day's equity, the limit is 0.01"
    )
    assert accepted(Issue(decision=decision(minute=NOON + DAY), risk=risk), book) == 0.5


def test_veto_drawdown() -> None:
    book, _ = closed(holding(BTC), decision(), outcome(NOON + 30, net_bps=-200, reason="expiry"))
    tomorrow, limit = decision(minute=NOON + DAY), 1 - 0.99
    loose = replace(RISK, max_drawdown_ratio=limit + 1e-9)
    assert accepted(Issue(decision=tomorrow, risk=loose), book) == 0.5
    risk = replace(RISK, max_drawdown_ratio=limit)
    assert reason(Issue(decision=tomorrow, risk=risk), book) == (
        "veto: drawdown 0.01 from the highest equity of version 1, the limit is 0.01"
    )


def test_a_new_version_begins_without_a_drawdown_and_the_old_one_stays_stopped() -> None:
    book, _ = closed(holding(BTC), decision(), outcome(NOON + 30, net_bps=-200, reason="expiry"))
    risk = replace(RISK, max_drawdown_ratio=0.01)
    book, _ = issued(book, Issue(decision=decision(ETH, NOON + DAY, version=2), risk=risk))
    assert "drawdown" in reason(Issue(decision=decision(SOL, NOON + DAY), risk=risk), book)
    assert accepted(Issue(decision=decision(SOL, NOON + DAY, version=2), risk=risk), book) == 0.5


def test_veto_cooldown() -> None:
    book, _ = closed(holding(BTC), decision(), outcome(NOON + 30, net_bps=-200, reason="stop"))
    risk = replace(RISK, cooldown_bars=3)
    early = decision(minute=NOON + 39)  # known at NOON + 44
    assert reason(Issue(decision=early, risk=risk), book) == (
        "veto: cooldown 3 bars of 5 minutes after the stop at 2023-11-14T12:30:00+00:00 in kraken:BTC/USD: "
        "until 2023-11-14T12:45:00+00:00"
    )
    assert accepted(Issue(decision=decision(minute=NOON + 40), risk=risk), book) == 0.5
    assert accepted(Issue(decision=decision(ETH, NOON + 39), risk=risk), book) == 0.5


@pytest.mark.parametrize(
    ("why", "cools"), [("gap_stop", True), ("ambiguous", True), ("expiry", False), ("target", False)]
)
def test_only_stops_cool_a_market_down(why: str, *, cools: bool) -> None:
    book, _ = closed(holding(BTC), decision(), outcome(NOON + 30, net_bps=-20, reason=why))
    found = answer(Issue(decision=decision(minute=NOON + 31), risk=RISK), book)
    assert isinstance(found, Vetoed) == cools


def test_veto_exposure() -> None:
    book = holding(BTC, ETH)  # 0.5 each
    command = Issue(decision=decision(SOL), risk=replace(RISK, max_exposure_ratio=1.25))
    assert accepted(command, book) == 0.25
    full = replace(RISK, max_exposure_ratio=1.0, min_size_ratio=0.125)
    assert reason(with_(command, risk=full), book) == ("veto: exposure 1 of 1 is open: 0 is under 0.125")
    assert accepted(with_(command, risk=replace(full, max_exposure_ratio=1.125)), book) == 0.125


def test_veto_size() -> None:
    command = Issue(decision=decision(), risk=replace(RISK, min_size_ratio=0.5))
    assert accepted(command, Book()) == 0.5
    assert reason(with_(command, size_factor=0.875), Book()) == (
        "veto: size fixed_fractional times 0.875, at most 1: 0.4375 is under 0.5"
    )


def test_veto_depth() -> None:
    """A tenth of 100,000 is the whole capital of 10,000; a tenth of 99 is less than a thousandth of it."""
    risk = replace(RISK, capital_quote=10_000, depth_ratio=0.1, min_size_ratio=0.001)
    command = Issue(decision=decision(), risk=risk, depth=100_000.0)
    assert accepted(command, Book()) == 0.5
    assert accepted(with_(command, depth=25_000.0), Book()) == 0.25
    assert accepted(with_(command, depth=100.0), Book()) == pytest.approx(0.001)
    for thin in (99.0, 0.0, -5.0, nan):
        assert reason(with_(command, depth=thin), Book()).startswith("veto: depth 0.1 of")


def test_veto_slippage() -> None:
    """Taking all of the depth slips by 5 bps, 3 more than assumed: 3 of 400 bps between stop and target."""
    risk = replace(RISK, depth_ratio=1.0, slippage_bps=2.0, capital_quote=10_000)
    gate = replace(decision().gate, margin=0.03 + 3 / 400 + 1e-12)
    command = Issue(decision=decision(gate=gate), risk=risk, depth=5_000.0)
    assert accepted(command, Book()) == 0.5
    less = replace(gate, margin=0.03 + 3 / 400 - 1e-12)
    assert reason(with_(command, decision=decision(gate=less)), Book()).startswith(
        "veto: slippage 5 bps for 5000 of 5000, assumed were 2: the margin of 0.0375 becomes 0.03"
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"stop": 101.0}, "levels long needs 101 < entry 100 < 102"),
        ({"stop": 100.0}, "levels long needs 100 < entry 100"),
        ({"target": 99.0}, "levels long needs 98 < entry 100 < 99"),
        ({"side": SHORT, "stop": 98.0, "target": 102.0}, "levels short needs 102 < entry 100 < 98"),
        ({"stop": nan}, "levels stop nan is"),
        ({"target": inf}, "levels target inf"),
        ({"horizon_end": 0}, "levels horizon ends at 0 ns"),
        ({"horizon_end": 10**19}, "levels horizon of"),
        ({"claim": replace(decision().claim, confidence=nan)}, "confidence nan"),
        ({"claim": replace(decision().claim, confidence=1.0)}, "confidence 1.0"),
    ],
)
def test_veto_of_levels_or_claims_that_make_no_sense(change: dict[str, Any], words: str) -> None:
    assert reason(Issue(decision=decision(**change), risk=RISK), Book()).startswith(f"veto: {words}")


def test_veto_where_nothing_is_left_to_risk() -> None:
    for equity in (0.0, -0.5, nan):
        assert "equity" in reason(Issue(decision=decision(), risk=RISK), Book(equity=equity))


def test_every_veto_is_told_not_only_the_first() -> None:
    risk = replace(RISK, max_open=1, max_per_instrument=1)
    found = reasons(Issue(decision=LATER, risk=risk), holding(BTC))
    assert [text.split()[1] for text in found] == ["max_open", "max_per_instrument"]


def test_a_decision_is_answered_once() -> None:
    """While its signal is open, and after it was closed."""
    command = Issue(decision=decision(), risk=RISK)
    book = holding(BTC)
    assert answer(command, book) == Repeated()
    book, _ = closed(book, decision(), outcome(NOON + 60))
    assert answer(command, book) == Repeated()
    assert accepted(Issue(decision=LATER, risk=RISK), book) == 0.5


def test_veto_of_a_bar_before_the_last_one_issued() -> None:
    """Else nobody could tell a repeat of a signal that is long closed from a new one."""
    assert reason(Issue(decision=decision(minute=NOON - 5), risk=RISK), holding(BTC)) == (
        f"veto: late the bar at {NOON - 5} minutes is before that of the last signal here, at {NOON}"
    )


def test_bars_of_other_timeframes_and_versions_are_other_decisions() -> None:
    risk = replace(RISK, max_per_instrument=9)
    for other in (decision(timeframe=15), decision(version=2)):
        assert accepted(Issue(decision=other, risk=risk), holding(BTC)) == 0.5


# -- size ----------------------------------------------------------------------------------------


def test_fixed_fractional_loses_its_share_at_the_stop() -> None:
    assert sizing.fixed_fractional(decision(), RISK) == 0.5
    assert sizing.fixed_fractional(decision(stop=99.0), RISK) == 1.0


def test_volatility_target_moves_its_share_with_one_average_true_range() -> None:
    risk = replace(RISK, volatility_ratio=0.02)
    assert sizing.volatility_target(decision(average_true_range=4.0), risk) == 0.5
    assert sizing.volatility_target(decision(average_true_range=0.0), risk) == 0.0


def test_kelly_is_the_formula_after_costs_with_its_cap() -> None:
    """Target 3 %, stop 1 %, no costs: b = 3; (0.6 * 3 - 0.4) / 3 of the equity is lost at the stop."""
    free = replace(RISK, fee_bps=0, slippage_bps=0, kelly_cap=0.25)
    made = decision(confidence=0.6, stop=99.0, target=103.0)
    assert sizing.kelly(made, free) == pytest.approx(0.25 * (0.6 * 3 - 0.4) / 3 / 0.01)
    costly = replace(free, fee_bps=20, slippage_bps=10)
    b = (0.03 - 0.005) / (0.01 + 0.005)
    assert sizing.kelly(made, costly) == pytest.approx(0.25 * (0.6 * b - 0.4) / b / 0.015)


def test_kelly_takes_nothing_where_nothing_pays() -> None:
    risk = replace(RISK, sizing="kelly", fee_bps=0, slippage_bps=0)
    assert sizing.kelly(decision(confidence=0.5), risk) == 0.0
    assert sizing.kelly(decision(confidence=0.9), replace(risk, fee_bps=100)) == 0.0
    assert "veto: size kelly" in reason(Issue(decision=decision(confidence=0.5), risk=risk), Book())


@pytest.mark.parametrize("way", sorted(sizing.WAYS))
@given(st.floats(50, 150), st.floats(0.1, 40), st.floats(0.1, 40), st.floats(0.01, 10), st.floats(0.51, 0.99))
def test_the_size_of_a_short_is_that_of_a_long_in_a_mirror(
    way: str, entry: float, stop: float, target: float, atr: float, confidence: float
) -> None:
    risk = replace(RISK, sizing=way, max_size_ratio=10.0)
    sizes = [
        sizing.wanted(
            decision(
                side=side,
                entry=0.0 + entry,
                stop=entry - side * stop,
                target=entry + side * target,
                average_true_range=atr,
                confidence=confidence,
            ),
            risk,
        )
        for side in (LONG, SHORT)
    ]
    assert sizes[0] == pytest.approx(sizes[1], rel=1e-9, abs=1e-12)
    assert 0 <= sizes[0] <= 10


@pytest.mark.parametrize("way", sorted(sizing.WAYS))
def test_no_size_is_over_the_largest(way: str) -> None:
    risk = replace(RISK, sizing=way, max_size_ratio=0.125)
    assert accepted(Issue(decision=decision(average_true_range=1e-9), risk=risk), Book()) == 0.125


@given(st.floats(0.01, 3), st.floats(1, 1e6), st.floats(0.001, 10))
def test_no_signal_takes_more_than_what_is_left(exposure: float, depth: float, factor: float) -> None:
    risk = replace(RISK, max_exposure_ratio=exposure, max_size_ratio=1.0, min_size_ratio=0.001)
    book = holding(BTC, risk=replace(risk, max_exposure_ratio=3.0))
    found = answer(Issue(decision=decision(ETH), risk=risk, depth=depth, size_factor=factor), book)
    if isinstance(found, Issued):
        size = found.signal.size_ratio
        assert size <= min(
            1.0,
            exposure - sum(held.notional for held in book.open.values()) / book.equity,
            0.1 * depth / 10_000,
        )
        assert size >= 0.001


@given(st.floats(0.01, 1.0), st.floats(10, 1e7))
def test_slippage_is_half_of_what_the_last_part_pays(share: float, depth: float) -> None:
    assert sizing.slippage_bps(share * depth, depth) == pytest.approx(10 * share / 2)


def test_the_notes_say_what_bounded_the_size() -> None:
    found = answer(Issue(decision=decision(), risk=RISK, depth=25_000.0), Book())
    assert isinstance(found, Issued)
    least, _, among = found.notes[0].partition(" of size ")
    assert least == "size_ratio 0.25 is the least"
    assert among == (
        "0.5 (fixed_fractional, at most 1), exposure 3 (0 of 3 is open), "
        "depth 0.25 (0.1 of 25000 within 10 bps)"
    )
