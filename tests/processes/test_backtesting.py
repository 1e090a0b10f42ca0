"""A backtest gives what the live role records, and leaves the log as it was."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest

from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.store.memory import MemoryEventStore
from alphapulse.domain.decision.decisions import ISSUED, VETO
from alphapulse.domain.decision.strategy import StrategyDefined
from alphapulse.domain.market.timeframes import MINUTE_NS
from alphapulse.domain.performance.equity import equity_of
from alphapulse.processes.backtesting import Progress, run_backtest
from tests.decided_log import MARKETS, append_bars
from tests.domain.signals.engine_world import (
    START,
    bar_events,
    closes_and_volumes,
    log,
    strategy,
    trade_events,
)
from tests.processes.backtest_worlds import ONE, backtest, decided, define, events, market, same


def wide(**changes: Any) -> StrategyDefined:
    """Several signals of a market at a time, so that the book has more to say."""
    risk = msgspec.structs.replace(strategy().risk, max_per_instrument=2, max_open=3)
    return strategy(risk=risk, timeframes=(1, 5), **changes)


def closed(trades: Any) -> Sequence[tuple[Any, ...]]:
    """What is said of signals, by number."""
    of = trades.signals
    columns = (of.number, of.decision, of.opened, of.closed, of.reason, of.net_bps, of.net_r, of.size_ratio)
    return sorted(zip(*(column.tolist() for column in columns), strict=True))


async def assert_as_recorded(store: MemoryEventStore, defined: StrategyDefined, **how: Any) -> None:
    """The backtest of a log beside what the role has recorded in it."""
    run = await backtest(store, defined, **how)
    issued = {each.decision: each for each in await events(store, "signal.issued.v1")}
    made = await events(store, "decision.made.v1")
    outcomes = {each.decision: each for each in await events(store, "outcome.recorded.v1")}
    ended = {each.number: each for each in await events(store, "signal.closed.v1")}
    assert len(issued) > 10
    assert [e.decision for e in run.issued] == list(issued)
    assert list(run.issued) == [e for e in made if e.verdict == ISSUED]
    assert run.counts.decisions == len(made)
    assert run.counts.signals == len(issued)
    refused = [reason for e in made for reason in e.refusals]
    assert run.counts.refused == {reason: refused.count(reason) for reason in set(refused)}
    assert run.counts.open == len(issued) - len(ended)
    assert closed(run.trades) == [
        (n, e.decision, issued[e.decision].time, e.time, e.reason, e.net_bps, e.r_multiple,
         issued[e.decision].size_ratio)
        for n, e in sorted(ended.items())
    ]  # fmt: skip
    assert run.equity == list(ended.values())[-1].equity != 1.0
    assert run.counts.outcomes == len(outcomes) == len(run.trades)
    regimes = {e.decision: e.regime for e in made}
    for trade in run.trades.rows():
        recorded, outcome = outcomes[trade.decision], outcomes[trade.decision].outcome
        assert (trade.number, trade.side, trade.closed) == (recorded.number, recorded.side, outcome.closed_at)
        assert (trade.gross_bps, trade.net_bps) == (outcome.gross_bps, outcome.net_bps)
        assert (trade.net_r, trade.reason) == (outcome.net_r_multiple, outcome.reason)
        assert (trade.is_win, trade.worst_win, trade.best_win) == (
            outcome.is_win, outcome.worst_label == 1, outcome.best_label == 1
        )  # fmt: skip
        assert trade.regime == regimes[trade.decision]
        assert trade.confidence == recorded.confidence or np.isnan(trade.confidence)
        assert trade.position == outcome.position


async def test_a_backtest_gives_what_the_role_recorded() -> None:
    store = MemoryEventStore()
    await define(store, strategy())
    await append_bars(store, MARKETS)
    await decided(store)
    await assert_as_recorded(store, strategy())


async def test_in_a_log_in_order_of_time_the_equity_of_the_trades_is_that_of_the_book() -> None:
    run = await backtest(await market(ONE))
    of = equity_of(run.trades, of="signals", risk_ratio=strategy().risk.risk_ratio)
    assert of.final == pytest.approx(run.equity, rel=1e-12)
    assert run.equity != 1.0


async def test_so_it_does_on_several_timeframes_with_vetoes() -> None:
    store, defined = MemoryEventStore(), wide()
    await define(store, defined)
    await append_bars(store, MARKETS)
    await decided(store)
    assert any(VETO in e.refusals for e in await events(store, "decision.made.v1"))
    await assert_as_recorded(store, defined)


async def test_a_strategy_defined_later_is_run_from_there_on() -> None:
    """What lies before its definition has taught it, and is not its own."""
    store, half = MemoryEventStore(), len(MARKETS) // 3
    await append_bars(store, MARKETS[:half])
    await define(store, strategy())
    position = await store.head()
    await append_bars(store, MARKETS[half:])
    await decided(store)
    await assert_as_recorded(store, strategy(), after=position)


async def test_a_log_is_as_it_was_afterwards() -> None:
    store = await market()
    before = (await store.read(0, limit=10_000)).records
    await backtest(store)
    assert (await store.read(0, limit=10_000)).records == before


async def test_another_configuration_has_other_digests() -> None:
    store = await market()
    one, same_again = await backtest(store), await backtest(store)
    gate = msgspec.structs.replace(strategy().gate, threshold=0.92)
    stricter = await backtest(store, strategy(gate=gate))
    costlier = await backtest(store, strategy(risk=msgspec.structs.replace(strategy().risk, fee_bps=3.0)))
    of = [(run.decisions_digest, run.outcomes_digest) for run in (one, same_again, stricter, costlier)]
    assert of[0] == of[1]
    assert of[2][0] != of[0][0]
    assert of[3][1] != of[0][1]
    assert costlier.trades.net_bps.sum() < one.trades.net_bps.sum()


async def test_what_is_decided_before_since_only_teaches() -> None:
    store, since = await market(), START + 900 * MINUTE_NS
    whole, part = await backtest(store), await backtest(store, since=since)
    assert 0 < part.counts.decisions < whole.counts.decisions
    assert (part.trades.opened >= since).all()
    late = whole.trades.take(whole.trades.opened >= since)
    assert part.trades.decision.tolist() == late.decision.tolist()
    assert np.array_equal(part.trades.confidence, late.confidence, equal_nan=True)
    assert part.issued[0].claim.calibration > 0, "it has learnt from what came before"
    assert [made.time >= since for made in part.issued].count(False) == 0
    assert part.trades.signals.number.min() == 1, "numbers and equity begin with what counts"


async def test_what_is_open_at_until_is_watched_to_its_end_and_nothing_is_decided_after() -> None:
    store = await market()
    whole = await backtest(store)
    longest = int(np.argmax(whole.trades.closed - whole.trades.opened))
    until = int(whole.trades.opened[longest]) + 1
    part = await backtest(store, until=until)
    assert 0 < len(part.trades) < len(whole.trades)
    assert (part.trades.opened < until).all()
    assert (part.trades.closed > until).any()
    assert same(part.trades, whole.trades.take(whole.trades.opened < until))
    assert part.counts.open == 0


async def test_since_and_until_leave_a_range_that_may_be_empty() -> None:
    run = await backtest(await market(), since=START + 700 * MINUTE_NS, until=START + 700 * MINUTE_NS)
    assert (run.counts.decisions, len(run.trades), run.equity) == (0, 0, 1.0)


async def test_a_run_that_begins_later_knows_nothing_of_before() -> None:
    store, begin = await market(), START + 600 * MINUTE_NS
    fresh = await backtest(store, begin=begin)
    cut = [event for event in MARKETS if int(event.columns.start.max()) >= begin]
    assert len(cut) < len(MARKETS)
    alone = await backtest(await market(cut))
    assert closed(fresh.trades) == closed(alone.trades)
    assert fresh.first_time == alone.first_time > (await backtest(store)).first_time


async def test_progress_is_told_to_the_end_of_the_log() -> None:
    store, told = await market(), list[Progress]()
    run = await backtest(store, tell=told.append)
    assert told[-1] == Progress(await store.head(), await store.head(), run.bars)
    assert run.bars == 2 * 1_500
    assert run.markets == ("test:M0", "test:M1")


async def test_the_log_is_read_up_to_a_position_and_no_further() -> None:
    store, upto = await market(), 30
    run = await run_backtest(store, strategy(), upto=upto)
    assert run.last_position == upto
    assert run.bars < 2 * 1_500 * upto // len(MARKETS) + 1


async def test_without_candidates_the_signals_are_the_same() -> None:
    store = await market()
    whole, lean = await backtest(store), await backtest(store, candidates=False)
    assert same(lean.trades, whole.trades.signals)
    assert lean.counts == whole.counts
    assert lean.outcomes_digest == whole.outcomes_digest


async def test_several_parts_share_one_book() -> None:
    """Each part learns for itself; numbers have no gaps, and the limits hold for all of them together."""
    run = await backtest(await market(), strategy(parts=3))
    assert run.trades.signals.number.size > 5
    numbers = [int(made.size_ratio > 0) for made in run.issued]
    assert sum(numbers) == run.counts.signals
    assert {made.instrument for made in run.issued} == {"test:M0", "test:M1"}
    assert len({made.decision for made in run.issued}) == run.counts.signals


async def test_the_market_is_the_mean_of_those_decided_on() -> None:
    given = {}
    for n in range(2):
        closes, volumes = closes_and_volumes(n + 5, 3 * 1_440 + 10)
        given[f"M{n}"] = bar_events(f"M{n}", closes, volumes, seed=n)
    run = await backtest(await market([event for _, _, event in log(given)]))
    assert run.market is not None
    days, returns = run.market
    ends = [np.concatenate([e.columns.close for e in its])[1_439::1_440] / 1e4 for its in given.values()]
    assert days.tolist() == [START // (1_440 * MINUTE_NS) + n for n in (1, 2, 3)]
    expected = np.mean([each[1:] / each[:-1] - 1 for each in ends], axis=0)
    assert returns[:2] == pytest.approx(expected[:2], rel=1e-12)


async def test_what_cannot_be_read_is_passed_over_and_counted() -> None:
    store = await market(MARKETS[:20])
    record = (await store.read(0, limit=1)).records[0]
    await store.append(
        [
            msgspec.structs.replace(
                codec.new_event("bars-test-M9-1m", 1, MARKETS[0]), name=record.name, state=b"damaged"
            )
        ]
    )
    run = await backtest(store)
    assert run.skipped == 1
    assert run.bars > 0


def ticks_log() -> list[Any]:
    closes, volumes = closes_and_volumes(1, 2_000, edge=3e-4)
    return trade_events("T0", closes, volumes, seed=4)


async def append_trades(store: MemoryEventStore, given: Sequence[Any]) -> None:
    for event in given:
        stream = event.instrument.stream("trades")
        await store.append([codec.new_event(stream, await store.version(stream) + 1, event)])


async def test_with_latency_a_signal_is_entered_at_the_first_trade_so_much_later() -> None:
    """Against a plain search over all trades."""
    store, given, latency = MemoryEventStore(), ticks_log(), 20_000_000_000
    await append_trades(store, given)
    plain, late = await backtest(store), await backtest(store, latency_ns=latency)
    times = np.concatenate([event.columns.time for event in given])
    prices = np.concatenate([event.columns.price for event in given]) / 1e4
    made = {each.decision: each for each in plain.issued}
    exits = {each.decision: each for each in plain.trades.rows()}
    risk, checked = strategy().risk, 0
    for trade in late.trades.signals.rows():
        was, decision = exits[trade.decision], made.get(trade.decision)
        if decision is None:
            continue
        at = int(np.searchsorted(times, trade.opened + latency))
        assert (trade.closed, trade.reason, trade.is_win) == (was.closed, was.reason, was.is_win)
        if times[at] >= trade.closed:
            assert trade.net_bps == 0.0
            continue
        left = decision.entry * (1 + trade.side * was.gross_bps / 1e4)
        gross = trade.side * (left - prices[at]) / prices[at] * 1e4
        assert trade.gross_bps == pytest.approx(gross, abs=1e-6)
        slip = 0.0 if was.is_win else risk.slippage_bps
        net = trade.side * (left * (1 - trade.side * slip / 1e4) - prices[at]) / prices[at] * 1e4
        assert trade.net_bps == pytest.approx(net - risk.slippage_bps - 2 * risk.fee_bps, abs=1e-6)
        checked += 1
    assert checked > 5
    assert late.outcomes_digest != plain.outcomes_digest
    assert late.equity != plain.equity


async def test_the_equity_of_the_book_follows_from_the_fills() -> None:
    store = MemoryEventStore()
    await append_trades(store, ticks_log())
    run = await backtest(store, latency_ns=20_000_000_000)
    of = equity_of(run.trades, of="signals", risk_ratio=strategy().risk.risk_ratio)
    assert of.final == pytest.approx(run.equity, rel=1e-12)


async def test_a_latency_beyond_every_end_misses_every_trade() -> None:
    run = await backtest(await market(ONE), latency_ns=40 * MINUTE_NS)
    assert run.counts.missed == run.counts.trades > 5
    assert (run.trades.net_bps == 0).all()
    assert run.equity == 1.0


async def test_no_time_may_pass_backwards() -> None:
    with pytest.raises(ValueError, match="-5 ns"):
        await backtest(await market(ONE[:3]), latency_ns=-5)
