"""The equity of trades: as the book has it, by close and by day; what refused ones would have added."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from alphapulse.domain.decision.intervals import BadSample
from alphapulse.domain.decision.strategy import Risk
from alphapulse.domain.market.timeframes import MINUTE_NS
from alphapulse.domain.performance.equity import daily_of, equity_of
from alphapulse.domain.performance.trades import Trade, Trades
from alphapulse.domain.signals.book import Book, Close, book_of_signals
from alphapulse.domain.signals.idea import DAY_NS
from alphapulse.domain.signals.issue import Issue
from tests.domain.performance.ledgers import FIRST_DAY, HOUR_NS, START, generated, trade
from tests.domain.signals.decided import decision, issued, outcome

ISSUED = issued(Book(), Issue(decision=decision(), risk=Risk(risk_ratio=0.01, max_size_ratio=1.0)))[1]

LEDGERS = st.lists(
    st.tuples(
        st.integers(0, 400), st.integers(0, 300), st.floats(0.0, 1.0), st.floats(-3_000, 3_000)
    ),  # opened and held (hours), size, net bps
    max_size=20,
)


def ledger(rows: list[tuple[int, int, float, float]]) -> list[Trade]:
    return [
        trade(f"d/{i:02}", opened, opened + held, net, size_ratio=size)
        for i, (opened, held, size, net) in enumerate(rows)
    ]


def folded(rows: list[Trade]) -> dict[int, float]:
    """The book's own equity after each time of a close: closes first, but for what opens at that time."""
    events = [(t.opened, 1, t) for t in rows] + [(t.closed, 0 if t.closed > t.opened else 2, t) for t in rows]
    book, after = Book(), {}
    for time, kind, t in sorted(events, key=lambda e: (e[0], e[1], e[2].opened, e[2].decision)):
        if kind == 1:
            signal = replace(ISSUED, decision=t.decision, number=book.next_number, size_ratio=t.size_ratio)
            book = book_of_signals.evolve(book, signal)
        else:
            became = outcome(time // MINUTE_NS, net_bps=t.net_bps)
            book = book_of_signals.fold(book_of_signals.decide(Close(t.decision, became), book), book)
            after[time] = book.equity
    return after


@given(LEDGERS)
def test_the_equity_is_that_of_the_book_folded_over_the_same_signals(
    rows: list[tuple[int, int, float, float]],
) -> None:
    trades = ledger(rows)
    found = equity_of(Trades.of(trades), of="signals", risk_ratio=0.01)
    after = folded(trades)
    assert found.time.tolist() == sorted(after)
    assert found.value.tolist() == pytest.approx([after[t] for t in sorted(after)], rel=1e-12, abs=1e-12)


@given(LEDGERS)
def test_daily_returns_compound_to_the_final_equity(rows: list[tuple[int, int, float, float]]) -> None:
    equity = equity_of(Trades.of(ledger(rows)), of="signals", risk_ratio=0.01)
    daily = daily_of(equity)
    if equity.is_ruined:
        assert np.isnan(daily.returns).all()
    else:
        assert float(np.prod(1 + daily.returns)) == pytest.approx(equity.final, rel=1e-9)
        assert daily.end[-1:].tolist() == [equity.final][: len(daily.end)]


@given(LEDGERS)
def test_daily_returns_of_a_fixed_risk_add_up_to_the_final_equity(
    rows: list[tuple[int, int, float, float]],
) -> None:
    equity = equity_of(Trades.of(ledger(rows)), of="candidates", risk_ratio=0.02)
    assert float(daily_of(equity).returns.sum()) == pytest.approx(equity.final - 1, abs=1e-9)
    assert equity.final - 1 == pytest.approx(sum(0.02 * net / 200 for *_, net in rows), abs=1e-9)


def test_a_contribution_is_the_size_times_the_equity_at_the_opening_times_the_net_return() -> None:
    """The second opens after the first closed, the third before."""
    rows = [trade("a", 0, 10, 1_000), trade("b", 10, 30, 1_000), trade("c", 5, 40, 1_000)]
    found = equity_of(Trades.of(rows), of="signals", risk_ratio=0.01)
    assert found.contribution.tolist() == pytest.approx([0.05, 0.5 * 1.05 * 0.1, 0.05])
    assert found.notional.tolist() == pytest.approx([0.5, 0.525, 0.5])


def test_what_closes_counts_before_what_opens_at_the_same_time() -> None:
    rows = [trade("a", 0, 10, 1_000), trade("b", 10, 20, 1_000)]
    assert equity_of(Trades.of(rows), of="signals", risk_ratio=0.01).notional[1] == 0.5 * 1.05


def test_a_trade_that_ends_as_it_begins_counts_after_its_opening() -> None:
    found = equity_of(Trades.of([trade("a", 5, 5, 1_000)]), of="signals", risk_ratio=0.01)
    assert found.final == pytest.approx(1.05)


def test_every_day_from_the_first_opening_to_the_last_close_has_a_return() -> None:
    daily = daily_of(equity_of(Trades.of([trade("a", 23, 24 * 3 + 1, 1_000)]), of="signals", risk_ratio=0.01))
    assert daily.day.tolist() == [FIRST_DAY, FIRST_DAY + 1, FIRST_DAY + 2, FIRST_DAY + 3]
    assert daily.returns.tolist() == pytest.approx([0, 0, 0, 0.05])


def test_a_close_at_midnight_counts_for_the_day_that_begins() -> None:
    daily = daily_of(equity_of(Trades.of([trade("a", 1, 24)]), of="signals", risk_ratio=0.01))
    assert daily.returns.tolist() == pytest.approx([0, 0.005])


def test_days_run_up_to_the_end_asked_for() -> None:
    rows = Trades.of([trade("a", 1, 2)])
    equity = equity_of(rows, of="signals", risk_ratio=0.01, until=START + 3 * DAY_NS)
    assert daily_of(equity).returns.tolist() == pytest.approx([0.005, 0, 0, 0])


def test_what_closed_after_the_end_asked_for_is_left_out() -> None:
    rows = Trades.of([trade("a", 1, 2), trade("b", 1, 3)])
    equity = equity_of(rows, of="signals", risk_ratio=0.01, until=START + 2 * HOUR_NS)
    assert equity.trades.decision.tolist() == ["a"]


def test_a_refused_candidate_is_taken_at_its_risk_over_the_distance_of_its_stop() -> None:
    """Stopped at 200 bps with a risk of 1 %: half the equity."""
    rows = Trades.of([trade("a", 1, 2, -210, net_r=-1.05, number=0, size_ratio=0.0)])
    found = equity_of(rows, of="refused", risk_ratio=0.01)
    assert found.size.tolist() == pytest.approx([0.5])
    assert found.contribution.tolist() == pytest.approx([-0.0105])


def test_signals_and_refused_are_told_apart_and_candidates_are_both() -> None:
    rows = Trades.of([trade("a", 1, 2), trade("b", 1, 3, number=0)])
    chosen = {
        of: equity_of(rows, of=of, risk_ratio=0.01).trades.decision.tolist()
        for of in ("signals", "refused", "candidates")
    }
    assert chosen == {"signals": ["a"], "refused": ["b"], "candidates": ["a", "b"]}


def test_nothing_without_trades() -> None:
    equity = equity_of(Trades.of([]), of="signals", risk_ratio=0.01)
    assert (equity.final, equity.begin, equity.end, len(equity.time)) == (1.0, 0, 0, 0)
    assert len(daily_of(equity).day) == 0


def test_the_equity_of_a_fixed_risk_may_fall_below_nothing_and_days_are_still_told() -> None:
    rows = Trades.of([trade(f"d{i}", 24 * i, 24 * i + 1, -400, number=0) for i in range(60)])
    equity = equity_of(rows, of="refused", risk_ratio=0.01)
    assert equity.final == pytest.approx(1 - 60 * 0.02)
    assert not equity.is_ruined
    assert daily_of(equity).returns.tolist() == pytest.approx([-0.02] * 60)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"closed_h": 0.5}, "opened at"),
        ({"net_bps": float("nan")}, "net_bps of a is nan"),
        ({"size_ratio": float("inf")}, "size_ratio of a is inf"),
    ],
)
def test_a_trade_that_cannot_be_is_refused_by_name(changes: dict[str, float], says: str) -> None:
    given = {"opened_h": 1.0, "closed_h": 2.0, **changes}
    with pytest.raises(BadSample, match=says):
        equity_of(Trades.of([trade("a", **given)]), of="signals", risk_ratio=0.01)


def test_a_set_or_risk_that_is_none_is_refused() -> None:
    with pytest.raises(BadSample, match="wins is none of signals, candidates, refused"):
        equity_of(generated(3), of="wins", risk_ratio=0.01)
    with pytest.raises(BadSample, match=r"a risk of 0\.0"):
        equity_of(generated(3), of="signals", risk_ratio=0.0)
