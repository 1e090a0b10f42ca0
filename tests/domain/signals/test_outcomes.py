"""What becomes of ideas, rule by rule; each example decided by the kernel, and again from the log."""

from typing import Any

import pytest

from alphapulse.domain.signals.idea import Idea
from alphapulse.domain.signals.outcome import Outcome
from alphapulse.domain.signals.rederivation import Open, outcome_of
from alphapulse.domain.signals.ticks import Sight, market_ticks
from alphapulse.domain.signals.watcher import MAX_CAPACITY, TooManyOpen, Watch
from tests.domain.signals.outcome_oracle import facts, verdict
from tests.domain.signals.outcome_worlds import (
    T0,
    assert_agrees,
    at,
    bars,
    connected,
    gap,
    log_of,
    long,
    lost,
    passed,
    short,
    trades,
    watched,
)

SECOND = 10**9


def became(idea: Idea, *events: Any) -> Outcome | None:
    """None: still open."""
    log = log_of(*events)
    found, again = watched(idea, log), outcome_of(idea, log)
    assert found == (None if isinstance(again, Open) else again)
    assert_agrees(found, verdict(idea, facts(log)))
    return found


def closed(idea: Idea, *events: Any) -> tuple[str, float, float]:
    """Reason, price, and seconds from T0 to when it was known."""
    found = became(idea, *events)
    assert found is not None, "still open"
    return found.reason, found.exit_price, (found.closed_at - T0) / SECOND


def test_the_first_level_that_trades_reach_decides() -> None:
    assert closed(long(), trades((1, 101), (2, 103), (3, 98))) == ("target", 103, 2)
    assert closed(long(), trades((1, 101), (2, 98), (3, 103))) == ("stop", 98, 2)
    assert closed(short(), trades((1, 101), (2, 97), (3, 102))) == ("target", 97, 2)
    assert closed(short(), trades((1, 101), (2, 102), (3, 97))) == ("stop", 102, 2)


def test_a_trade_beyond_the_stop_fills_at_its_price_and_one_beyond_the_target_at_the_limit() -> None:
    assert closed(long(), trades((1, 97.5))) == ("stop", 97.5, 1)
    assert closed(long(), trades((1, 104))) == ("target", 103, 1)


def test_what_is_as_old_as_the_decision_is_no_evidence() -> None:
    assert became(long(), trades((0, 90), (-5, 120))) is None
    assert closed(long(), trades((0, 90), (1, 103))) == ("target", 103, 1)


def test_a_bar_from_the_decision_on_is_evidence_and_one_that_began_before_is_not() -> None:
    assert closed(long(), bars((0, 100, 103, 99, 102))) == ("target", 103, 60)
    assert became(long(decided=at(1), horizon_end=at(601)), bars((0, 100, 103, 90, 102))) is None


def test_a_late_trade_is_known_when_the_clock_is_further() -> None:
    assert closed(long(), trades((30, 100), (20, 98))) == ("stop", 98, 30)
    assert closed(long(), passed(40), trades((20, 98))) == ("stop", 98, 40)


def test_a_bar_that_spans_both_levels_is_ambiguous_and_booked_at_the_stop() -> None:
    found = became(long(), bars((0, 100, 104, 97, 100)))
    assert found is not None
    assert (found.reason, found.exit_price) == ("ambiguous", 98)
    assert (found.worst_price, found.best_price) == (98, 103)
    assert (found.label, found.worst_label, found.best_label) == (0, 0, 1)
    assert not found.is_win


def test_a_bar_that_opens_beyond_a_level_closes_at_its_open() -> None:
    assert closed(long(), bars((0, 97, 105, 96, 104))) == ("gap_stop", 97, 60)
    assert closed(long(), bars((0, 104, 105, 96, 97))) == ("gap_target", 104, 60)
    assert closed(short(), bars((0, 102.5, 105, 96, 97))) == ("gap_stop", 102.5, 60)
    assert closed(short(), bars((0, 96.5, 105, 96, 97))) == ("gap_target", 96.5, 60)


def test_a_bar_that_opens_at_a_level_has_not_jumped_it() -> None:
    assert closed(long(), bars((0, 98, 105, 96, 104))) == ("stop", 98, 60)
    assert closed(long(), bars((0, 103, 105, 96, 97))) == ("target", 103, 60)


def test_trades_win_over_a_bar_of_the_same_minute() -> None:
    assert became(long(), trades((10, 100)), bars((0, 100, 110, 90, 100))) is None
    assert closed(long(), trades((10, 100)), bars((60, 100, 101, 97, 100))) == ("stop", 98, 120)


def test_bars_of_the_smallest_timeframe_count_once_each() -> None:
    quiet = bars((0, 100, 101, 99, 100), (60, 100, 101, 99, 100))
    assert became(long(), quiet, bars((0, 100, 110, 90, 100), timeframe=5)) is None
    assert became(long(), quiet, bars((300, 100, 110, 90, 100), timeframe=5)) is None
    assert became(long(), quiet, bars((60, 100, 110, 90, 100))) is None, "a correction comes too late"


def test_time_is_up_at_the_last_price_before_the_horizon() -> None:
    assert closed(long(), trades((10, 101), (599, 102), (600, 103))) == ("expiry", 102, 600)
    assert closed(long(), trades((10, 101)), passed(599), passed(650)) == ("expiry", 101, 650)
    assert closed(long(), passed(700)) == ("expiry", 100, 700), "the entry, where nothing was traded"


def test_a_bar_counts_if_it_ends_by_the_horizon() -> None:
    within = long(horizon_end=at(120))
    flat = (0, 100, 101, 99, 100.5)
    assert closed(within, bars(flat, (60, 100, 103, 99, 102))) == ("target", 103, 120)
    assert closed(within, bars(flat, (60, 100, 101, 99, 100.25))) == ("expiry", 100.25, 120)
    spanned = long(horizon_end=at(90))
    assert closed(spanned, bars(flat, (60, 100, 103, 99, 102))) == ("expiry", 100.5, 120)


def test_nothing_is_concluded_from_the_silence_of_a_lost_feed() -> None:
    log = log_of(connected(-10), trades((1, 101)), lost(10), passed(5000))
    found = outcome_of(long(), log)
    assert isinstance(found, Open)
    assert found.is_suspended
    assert watched(long(), log) is None


def test_the_first_price_beyond_a_level_after_a_lost_feed_is_a_gap() -> None:
    feed = (connected(-10), trades((1, 101)), lost(10), connected(100))
    found = became(long(), *feed, trades((110, 95)))
    assert found is not None
    assert (found.reason, found.exit_price, found.worst_price, found.best_price) == ("gap_stop", 95, 95, 103)
    assert (found.unseen_from, found.unseen_until) == (at(10), at(110))
    assert closed(long(), *feed, trades((110, 105))) == ("gap_target", 105, 110)
    assert closed(long(), *feed, bars((120, 98, 99, 97, 98))) == ("gap_stop", 98, 180)


def test_what_closes_an_idea_that_was_suspended_leaves_both_bounds_open() -> None:
    feed = (connected(-10), trades((1, 101)), lost(10), connected(100), trades((110, 101)))
    found = became(long(), *feed, trades((120, 103)))
    assert found is not None
    assert (found.reason, found.label, found.worst_label, found.best_label) == ("target", 1, 0, 1)
    assert (found.worst_price, found.best_price) == (98, 103)
    assert found.suspended


def test_a_horizon_that_ends_unseen_waits_for_the_first_price_after() -> None:
    feed = (connected(-10), trades((1, 101)), lost(500), passed(650), connected(700), passed(705))
    assert closed(long(), *feed, trades((710, 120))) == ("unseen_expiry", 120, 710)
    assert closed(long(), *feed, bars((720, 101.5, 120, 90, 100))) == ("unseen_expiry", 101.5, 780)


@pytest.mark.parametrize("second", [600, 605])
def test_a_horizon_before_the_feed_was_lost_is_over_as_ever(second: int) -> None:
    feed = (connected(-10), trades((1, 101)), lost(second), connected(700))
    assert closed(long(), *feed, trades((710, 120))) == ("expiry", 101, 710)
    assert closed(long(), *feed, passed(705), trades((710, 120))) == ("expiry", 101, 705)


def test_a_gap_that_was_filled_is_as_if_it_had_been_seen() -> None:
    feed = (connected(-10), trades((1, 101)), lost(10), connected(100))
    fetched = trades((20, 101), (30, 97), fetched=True)
    found = became(long(), *feed, fetched, gap(10, 100, filled=True), trades((110, 120)))
    assert found is not None
    assert (found.reason, found.exit_price, found.suspended) == ("stop", 97, False)
    quiet = trades((20, 101), (30, 101), fetched=True)
    again = became(long(), *feed, quiet, gap(10, 100, filled=True), trades((110, 120)))
    assert again is not None
    assert (again.reason, again.exit_price, again.suspended) == ("target", 103, False)


def test_trades_that_are_fetched_into_a_gap_do_not_end_it() -> None:
    feed = (connected(-10), lost(10), connected(100), trades((20, 101), fetched=True))
    assert closed(long(), *feed, trades((110, 95)))[0] == "gap_stop"


def test_a_process_that_died_unheard_saw_nothing_since_its_last_sign_of_life() -> None:
    found = became(long(), connected(-10), trades((1, 101)), passed(40), connected(100), trades((110, 95)))
    assert found is not None
    assert (found.reason, found.unseen_from) == ("gap_stop", at(40))


def test_before_anybody_watched_no_time_was_dark() -> None:
    found = became(long(), trades((1, 101)), connected(50), connected(100), trades((110, 95)))
    assert found is not None
    assert (found.reason, found.unseen_from) == ("gap_stop", at(50))


def test_a_feed_that_is_lost_twice_was_lost_the_first_time() -> None:
    for first, second in ((10, 30), (30, 10)):
        found = became(long(), trades((1, 101)), lost(first), lost(second), trades((110, 95)))
        assert found is not None
        assert (found.reason, found.unseen_from) == ("gap_stop", at(10))


def test_what_was_traded_until_the_feed_was_lost_is_no_gap() -> None:
    feed = (connected(-10), trades((1, 101)), lost(90))
    assert closed(long(), *feed, trades((90, 95))) == ("stop", 95, 90)
    assert closed(long(), *feed, trades((91, 95))) == ("gap_stop", 95, 91)
    assert closed(long(), *feed, bars((60, 98, 99, 97, 98))) == ("stop", 98, 120), "the bar holds all of it"


def test_a_gap_that_is_found_out_later_suspends_what_was_open_and_concludes_nothing() -> None:
    feed = (trades((1, 101), (50, 101)), gap(10, 40, filled=False))
    found = became(long(), *feed, trades((60, 97)))
    assert found is not None
    assert (found.reason, found.worst_label, found.best_label) == ("stop", 0, 1)
    assert (found.unseen_from, found.unseen_until) == (at(10), at(40))
    two = (*feed, gap(2, 5, filled=False), trades((60, 97)))
    again = became(long(), *two)
    assert again is not None
    assert (again.unseen_from, again.unseen_until) == (at(2), at(40)), "from the first to the last"


def test_returns_are_after_two_fees_and_slippage_against_us() -> None:
    idea = long(fee_bps=10.0, slippage_bps=5.0)
    stopped = became(idea, trades((1, 98)))
    assert stopped is not None
    assert stopped.gross_bps == pytest.approx(-200)
    assert stopped.net_bps == pytest.approx(-200 - 5 - 4.9 - 20)
    assert (stopped.r_multiple, stopped.net_r_multiple) == pytest.approx((-1, -229.9 / 200))
    won = became(idea, trades((1, 103)))
    assert won is not None
    assert (won.fill_price, won.net_bps) == (103, pytest.approx(300 - 5 - 20)), "a limit does not slip"


def test_a_short_pays_slippage_upwards() -> None:
    stopped = became(short(slippage_bps=5.0), trades((1, 102)))
    assert stopped is not None
    assert stopped.fill_price == pytest.approx(102 * 1.0005)
    assert stopped.net_bps == pytest.approx(-200 - 5 - 5.1)


def test_excursions_are_from_the_decision_to_the_exit_and_never_negative() -> None:
    found = became(long(), trades((0, 120), (1, 102), (2, 99), (3, 98.5), (4, 105)))
    assert found is not None
    assert (found.mfe_bps, found.mae_bps) == pytest.approx((300, 150))
    plunge = became(long(), trades((1, 97)))
    assert plunge is not None
    assert (plunge.mfe_bps, plunge.mae_bps) == pytest.approx((0, 300))
    mirrored = became(short(), trades((1, 101), (2, 96)))
    assert mirrored is not None
    assert (mirrored.mfe_bps, mirrored.mae_bps) == pytest.approx((300, 100))


def test_of_the_bar_that_closes_only_its_open_and_the_exit_were_surely_lived_through() -> None:
    found = became(long(), bars((0, 101, 102.5, 90, 92)))
    assert found is not None
    assert (found.mfe_bps, found.mae_bps) == pytest.approx((100, 200))


def test_the_event_that_decided_is_named() -> None:
    found = became(long(), trades((1, 101)), passed(5), trades((6, 101), (7, 103)), trades((8, 98)))
    assert found is not None
    assert found.position == 30
    assert found.holding_ns == 7 * SECOND


def test_one_more_than_may_be_open_is_refused_and_room_comes_with_the_next_close() -> None:
    watch = Watch.empty(2)
    watch.add(1, long())
    watch.add(2, long(stop=90.0))
    before = watch.packed()
    with pytest.raises(TooManyOpen, match="idea 3: 2 ideas are open, as many as may be"):
        watch.add(3, long())
    assert watch.packed() == before
    left = watch.feed(market_ticks(Sight(), log_of(trades((1, 97))))[1])
    assert [each.number for each in left] == [1]
    watch.add(3, long(stop=80.0))
    assert len(watch) == 2


@pytest.mark.parametrize("capacity", [0, MAX_CAPACITY + 1])
def test_a_watch_has_room_for_one_idea_to_a_limit(capacity: int) -> None:
    with pytest.raises(ValueError, match=f"{capacity} open ideas: from 1 to {MAX_CAPACITY} of an instrument"):
        Watch.empty(capacity)


def test_one_tick_closes_all_that_it_reaches() -> None:
    watch = Watch.empty(256)
    for number in range(256):
        watch.add(number, long(stop=98.0 - number % 2 * 10))
    left = watch.feed(market_ticks(Sight(), log_of(trades((1, 97), (2, 80))))[1])
    assert {each.number for each in left[:128]} == set(range(0, 256, 2))
    assert len(left) == 256
    assert len({each.number for each in left}) == 256
    assert len(watch) == 0
