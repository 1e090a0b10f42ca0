"""The book of a strategy: numbers, equity, days, advice to leave."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from alphapulse.domain.decision.decisions import CastVote
from alphapulse.domain.decision.strategy import Risk
from alphapulse.domain.market.timeframes import MINUTE_NS
from alphapulse.domain.signals.book import Book, Close, RecommendExit, book_of_signals
from alphapulse.domain.signals.issue import Issue
from alphapulse.domain.signals.signal import ExitRecommended, SignalClosed, SignalIssued
from tests.domain.signals.decided import (
    BTC,
    ETH,
    HOUR,
    LONG,
    NOON,
    SHORT,
    closed,
    decision,
    issued,
    outcome,
)

RISK = Risk(risk_ratio=0.01, max_size_ratio=1.0, max_correlation=1.0)  # a stop of 2 % makes a size of 0.5
DAY = 24 * HOUR


def one_open() -> tuple[Book, SignalIssued]:
    return issued(Book(), Issue(decision=decision(), risk=RISK))


def test_a_signal_says_all_that_its_decision_did() -> None:
    vote = CastVote(
        voter="v",
        version=1,
        direction=1,
        score=1.0,
        measured=0.0,
        outcomes=0.0,
        prior=0.0,
        skill=0.1,
        crowd=1.0,
        weight=1.0,
        model="m.2",
    )
    made = decision(votes=(vote, replace(vote, voter="w"), replace(vote, voter="x", model="")))
    _, signal = issued(Book(next_number=7), Issue(decision=made, risk=RISK))
    assert (signal.number, signal.decision, signal.strategy_version) == (7, made.decision, 1)
    assert (signal.entry, signal.stop, signal.targets, signal.side) == (100.0, 98.0, (102.0,), LONG)
    assert (signal.models, signal.calibration, signal.confidence) == (("m.2",), 1, 0.9)
    assert (signal.time, signal.horizon_end, signal.position) == (made.time, made.horizon_end, 1_000)
    assert (signal.size_ratio, signal.label) == (0.5, "production")


def test_a_closed_signal_moves_the_equity_by_its_notional() -> None:
    book, signal = one_open()
    after, (event,) = closed(book, decision(), outcome(NOON + 60, net_bps=-210, reason="stop", price=98))
    assert event == SignalClosed(
        strategy="mine",
        number=signal.number,
        decision=signal.decision,
        time=(NOON + 60) * MINUTE_NS,
        reason="stop",
        price=98,
        net_bps=-210,
        r_multiple=0.95,
        equity=1 - 0.5 * 0.021,
    )
    assert (after.equity, after.open, after.closed) == (1 - 0.5 * 0.021, {}, 1)


def test_the_notional_is_that_of_the_issue_whatever_happens_in_between() -> None:
    """A size is a share of the equity when the signal was issued: what others earn later changes nothing."""
    book, _ = one_open()
    book, _ = issued(book, Issue(decision=decision(ETH), risk=RISK))
    book, _ = closed(book, decision(), outcome(NOON + 60, net_bps=2_000))
    assert book.equity == pytest.approx(1.1)
    book, _ = closed(book, decision(ETH), outcome(NOON + 60, net_bps=1_000))
    assert book.equity == pytest.approx(1.1 + 0.5 * 0.1)


def test_what_is_not_open_cannot_be_closed() -> None:
    """A refused candidate has an outcome as well, and a repeat finds nothing open."""
    book, _ = one_open()
    assert book_of_signals.decide(Close(decision(ETH).decision, outcome(NOON + 60)), book) == []
    after, _ = closed(book, decision(), outcome(NOON + 60))
    assert book_of_signals.decide(Close(decision().decision, outcome(NOON + 60)), after) == []


CHANGES = st.lists(
    st.tuples(st.sampled_from([BTC, ETH]), st.sampled_from([LONG, SHORT]), st.floats(-300, 300)), max_size=12
)


@given(CHANGES)
def test_numbers_count_without_gaps_and_the_equity_is_the_sum_of_what_was_earned(
    trades: list[tuple[str, int, float]],
) -> None:
    book, earned, numbers = Book(), 0.0, []
    for i, (instrument, side, net) in enumerate(trades):
        made = decision(instrument, NOON + i * DAY, side=side)
        risk = replace(RISK, daily_loss_ratio=1.0, max_drawdown_ratio=0.99, cooldown_bars=0)
        book, signal = issued(book, Issue(decision=made, risk=risk))
        numbers.append(signal.number)
        earned += book.open[made.decision].notional * net / 1e4
        book, _ = closed(book, made, outcome(NOON + i * DAY + 60, net_bps=net))
    assert numbers == list(range(1, len(trades) + 1))
    assert book.equity == pytest.approx(1 + earned, abs=1e-12)
    assert book.closed == len(trades)


@given(CHANGES)
def test_the_equity_of_a_short_is_that_of_a_long_in_a_mirror(trades: list[tuple[str, int, float]]) -> None:
    risk = replace(RISK, daily_loss_ratio=1.0, max_drawdown_ratio=0.99, cooldown_bars=0)
    equities = []
    for turn in (1, -1):
        book = Book()
        for i, (instrument, side, net) in enumerate(trades):
            made = decision(instrument, NOON + i * DAY, side=turn * side)
            book, _ = issued(book, Issue(decision=made, risk=risk))
            book, _ = closed(book, made, outcome(NOON + i * DAY + 60, net_bps=net))
        equities.append(book.equity)
    assert equities[0] == equities[1]


def test_the_day_begins_with_the_first_close_after_midnight() -> None:
    book = Book(equity=1.0)
    for i, (minute, net) in enumerate([(NOON, -100), (NOON + 60, -100), (NOON + DAY, -100)]):
        made = decision(BTC, NOON - 60 + i)
        book, _ = issued(book, Issue(decision=made, risk=replace(RISK, cooldown_bars=0)))
        book, _ = closed(book, made, outcome(minute, net_bps=net))
        lost = book.day_loss(minute * MINUTE_NS)
        assert lost == pytest.approx([0.005, 1 - 0.995**2, 0.005][i])
    assert book.day_loss((NOON + 2 * DAY) * MINUTE_NS) == 0


def test_a_day_that_won_lost_nothing() -> None:
    book, _ = one_open()
    book, _ = closed(book, decision(), outcome(NOON + 60))
    assert book.day_loss((NOON + 60) * MINUTE_NS) == 0


def test_a_late_close_of_an_earlier_day_counts_on_the_day_that_is() -> None:
    """The stream is in the order in which markets were decided, not of their clocks."""
    book, _ = one_open()
    book, _ = issued(book, Issue(decision=decision(ETH), risk=RISK))
    book, _ = closed(book, decision(), outcome(NOON + DAY))
    before = book.equity
    book, _ = closed(book, decision(ETH), outcome(NOON + 60, net_bps=-1_000))
    assert book.day == (NOON + DAY) // DAY
    assert book.day_loss((NOON + DAY) * MINUTE_NS) == pytest.approx(1 - (before - 0.05) / 1.0)


# -- advice to leave -----------------------------------------------------------------------------


ADVICE = RecommendExit(
    decision=decision().decision,
    against="mine.1/kraken:BTC/USD/5/28332725",
    time=(NOON + 10) * MINUTE_NS,
    price=101.0,
    consensus=-0.5,
    reasons=("trend: it turned",),
)


def test_an_exit_is_recommended_once_and_the_signal_stays_open() -> None:
    book, signal = one_open()
    (event,) = book_of_signals.decide(ADVICE, book)
    assert event == ExitRecommended(
        strategy="mine",
        number=signal.number,
        decision=ADVICE.against,
        time=ADVICE.time,
        price=101.0,
        consensus=-0.5,
        reasons=("trend: it turned",),
    )
    after = book_of_signals.evolve(book, event)
    assert book_of_signals.decide(ADVICE, after) == []
    assert list(after.open) == list(book.open)
    assert len(closed(after, decision(), outcome(NOON + 60))[1]) == 1


def test_no_exit_is_recommended_from_what_is_not_open() -> None:
    """A candidate that was vetoed is watched like any other, and has nothing to leave."""
    book, _ = issued(Book(), Issue(decision=decision(ETH), risk=RISK))
    assert book_of_signals.decide(ADVICE, book) == []
