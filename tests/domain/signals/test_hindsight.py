"""What all that was ever recorded says of an idea, when what came later counts as well."""

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from alphapulse.domain.signals.idea import Idea
from alphapulse.domain.signals.outcome import Outcome
from alphapulse.domain.signals.rederivation import Open, outcome_of, resolve
from tests.domain.signals.outcome_worlds import (
    Log,
    bars,
    connected,
    gap,
    ideas,
    log_of,
    long,
    lost,
    passed,
    trades,
)

SPAN = (0, 100, 104, 97, 100)


def resolved(*events: Any) -> tuple[str, float, int]:
    found = resolve(long(), log_of(*events))
    assert isinstance(found, Outcome)
    return found.reason, found.exit_price, found.best_label - found.worst_label


@pytest.mark.parametrize(("first", "second", "reason"), [(103, 97, "target"), (97.5, 104, "stop")])
def test_trades_that_come_later_resolve_a_bar_that_spans_both_levels(
    first: float, second: float, reason: str
) -> None:
    log = log_of(bars(SPAN), trades((20, first), (40, second), fetched=True))
    assert resolved(*[event for _, event in log]) == (reason, first, 0)
    published = outcome_of(long(), log)
    assert isinstance(published, Outcome)
    assert (published.reason, published.position) == ("ambiguous", 10), "the first outcome stays as it was"


def test_a_few_trades_that_reach_no_level_do_not_speak_for_the_bar() -> None:
    assert resolved(bars(SPAN), trades((20, 100), fetched=True)) == ("ambiguous", 98, 1)


def test_trades_count_in_the_order_of_the_market_however_they_came() -> None:
    late = (trades((50, 103)), trades((20, 98)))
    assert resolved(*late) == ("stop", 98, 0)
    assert outcome_of(long(), log_of(*late)) != resolve(long(), log_of(*late))


def test_a_gap_that_was_filled_after_it_mattered_is_no_gap_in_hindsight() -> None:
    feed = (connected(-10), trades((1, 101)), lost(10), connected(100), trades((110, 95)))
    assert resolved(*feed) == ("gap_stop", 95, 1)
    fetched = trades((20, 101), (30, 103), fetched=True)
    assert resolved(*feed, fetched, gap(10, 100, filled=True)) == ("target", 103, 0)


def test_the_last_version_of_a_bar_counts() -> None:
    assert resolved(bars((0, 100, 101, 99, 100)), bars((0, 100, 103, 99, 100))) == ("target", 103, 0)


def test_time_is_up_in_hindsight_too() -> None:
    assert resolved(trades((1, 101)), passed(700)) == ("expiry", 101, 0)
    assert isinstance(resolve(long(), log_of(trades((1, 101)))), Open)


_STEP = st.tuples(
    st.sampled_from(("trade", "trade", "bar", "watermark", "lost", "connected")),
    st.integers(1, 90),
    st.integers(-16, 16),
    st.integers(1, 8),
)


def in_order(steps: list[tuple[str, int, int, int]]) -> Log:
    """A log in which everything is recorded when it happens."""
    second, events = 0, list[Any]()
    for kind, pause, quarters, wick in steps:
        second += pause
        price = 100 + quarters / 4
        match kind:
            case "trade":
                events.append(trades((second, price), first_id=second))
            case "bar":
                begin = -(-second // 60) * 60
                events.append(bars((begin, price, price + wick / 4, price - wick / 4, price)))
                second = begin + 60
            case "watermark":
                events.append(passed(second))
            case "lost":
                events.append(lost(second))
            case "connected":
                events.append(connected(second))
    return log_of(*events)


@given(st.lists(_STEP, max_size=25), ideas())
def test_where_nothing_came_late_hindsight_says_what_was_published(
    steps: list[tuple[str, int, int, int]], idea: Idea
) -> None:
    log = in_order(steps)
    published, seen = outcome_of(idea, log), resolve(idea, log)
    if isinstance(published, Open):
        assert isinstance(seen, Open)
    else:
        assert seen == published
