"""Outcomes on real markets: trades of bitFlyer, minute bars of Bitfinex and BitMEX; ideas of any geometry."""

import asyncio
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest

from alphapulse.adapters.store.codec import decode
from alphapulse.adapters.store.memory import MemoryEventStore
from alphapulse.domain.market.columns import BarColumns, TradeColumns
from alphapulse.domain.market.events import (
    BarsObserved,
    FeedConnected,
    FeedLost,
    GapClosed,
    TradesObserved,
)
from alphapulse.domain.signals.idea import Idea
from alphapulse.domain.signals.outcome import Outcome, booked
from alphapulse.domain.signals.rederivation import outcome_of, resolve
from alphapulse.domain.signals.ticks import Sight, market_ticks
from alphapulse.domain.signals.watcher import Watch
from alphapulse.processes.importing import import_trades
from tests.domain.signals.outcome_oracle import MINUTE, Fact, facts, verdict
from tests.domain.signals.outcome_worlds import BTC, NAMES, Log, assert_agrees, log_of
from tests.market_data import data_file

TRADES = 30_000
BARS = 6_000


@pytest.fixture(scope="module")
def day() -> TradeColumns:
    """The first TRADES of a day, by id; their times step back now and then."""
    return asyncio.run(real_trades(TRADES))


async def real_trades(count: int) -> TradeColumns:
    store = MemoryEventStore()
    await import_trades(data_file("trades/bitflyer/bitflyer.execution.20180128.BTC_JPY.csv.gz"), store)
    page = await store.read(0, limit=1_000, names=["market.trades_observed.v1"])
    columns, left = list[TradeColumns](), count
    for record in page.records:
        batch = decode(record).event.columns
        columns.append(batch.take(slice(left)))
        left -= len(columns[-1])
    return joined([each for each in columns if len(each)])


def joined(columns: Sequence[TradeColumns]) -> TradeColumns:
    assert len({(c.price_exponent, c.size_exponent) for c in columns}) == 1
    arrays = ("time", "price", "size", "side", "id", "flags")
    return TradeColumns(
        **{name: np.concatenate([getattr(c, name) for c in columns]) for name in arrays},
        price_exponent=columns[0].price_exponent,
        size_exponent=columns[0].size_exponent,
    )


def observed(columns: TradeColumns, size: int) -> list[TradesObserved]:
    return [
        TradesObserved(instrument=BTC, columns=columns.take(slice(at, at + size)))
        for at in range(0, len(columns), size)
    ]


def random_ideas(
    rng: np.random.Generator, facts_: Sequence[Fact], *, count: int = 200, on_minutes: bool = False
) -> list[Idea]:
    """Each at the price of its time; levels from 0.01 % to 4 % away, for a minute to three hours."""
    priced = [fact for fact in facts_ if fact.prices]
    found = list[Idea]()
    for row in np.sort(rng.integers(0, len(priced), count)).tolist():
        side, entry = int(rng.choice((1, -1))), float(priced[row].prices[3])
        scale = np.exp(rng.uniform(np.log(1e-4), np.log(0.02)))
        risk, gain = (float(entry * scale * x) for x in rng.uniform(0.5, 2, 2))
        decided = priced[row].known
        if on_minutes:  # so that a trade counts where its bar does
            decided = decided // MINUTE * MINUTE - 1
        lasts = int(np.exp(rng.uniform(np.log(1), np.log(180)))) * MINUTE
        found.append(
            Idea(
                side=side,
                entry=entry,
                stop=round(entry - side * risk, 2),
                target=round(entry + side * gain, 2),
                decided=decided,
                horizon_end=decided + lasts + on_minutes,
                fee_bps=10.0,
                slippage_bps=2.0,
            )
        )
    return found


def kernel(log: Log, ideas: Sequence[Idea], size: int) -> dict[int, Outcome]:
    """The log in pieces of ``size`` events."""
    watch, sight, found = Watch.empty(len(ideas)), Sight(), dict[int, Outcome]()
    for number, idea in enumerate(ideas):
        watch.add(number, idea)
    for begin in range(0, len(log), size):
        sight, ticks = market_ticks(sight, log[begin : begin + size])
        for left in watch.feed(ticks):
            found[left.number] = booked(ideas[left.number], left.exit)
    return found


def assert_all_agree(log: Log, ideas: Sequence[Idea], told: Sequence[Fact]) -> Counter[str]:
    """By reason: what became of ``ideas``, after kernel, oracle and (of some) re-derivation said the same."""
    found, reasons = kernel(log, ideas, 7), Counter[str]()
    known = np.maximum.accumulate([fact.known for fact in told]).tolist()
    for number, idea in enumerate(ideas):
        # What was known before the decision is no evidence, except holes that came to light.
        expected = verdict(idea, told[bisect_left(known, idea.decided) :])
        assert_agrees(found.get(number), expected)
        reasons[expected["reason"] if expected else "open"] += 1
    for number, idea in list(enumerate(ideas))[::20]:
        again = outcome_of(idea, log)
        assert (again if isinstance(again, Outcome) else None) == found.get(number)
    return reasons


def test_outcomes_on_real_trades_are_those_of_the_oracle(day: TradeColumns) -> None:
    log = log_of(*observed(day, 500))
    told = list(facts(log))
    ideas = random_ideas(np.random.default_rng(1), told)
    reasons = assert_all_agree(log, ideas, told)
    assert min(reasons[reason] for reason in ("target", "stop", "expiry")) > 20, reasons


def test_outcomes_on_real_trades_of_a_feed_that_breaks_are_those_of_the_oracle(day: TradeColumns) -> None:
    """Every now and then some minutes are lost; some are fetched later, before or after the next trades."""
    columns, rng = day, np.random.default_rng(2)
    clock = np.maximum.accumulate(columns.time)
    edges = [0, *np.sort(rng.choice(np.arange(500, TRADES - 500), 60, replace=False)).tolist(), TRADES]
    events: list[Any] = [FeedConnected(**NAMES, time=int(clock[0]))]
    for nth, (begin, end) in enumerate(pairwise(edges)):
        chunk = columns.take(slice(begin, end))
        if nth % 2 == 0:
            events += observed(chunk, 200)
            continue
        span = {"start": int(clock[begin - 1]), "end": int(clock[end - 1]) + 1}
        events += [FeedLost(**NAMES, time=span["start"], reason="test")]
        events += [FeedConnected(**NAMES, time=span["end"])]
        if nth % 3 == 0:
            fetched = TradeColumns(**{**_arrays(chunk), "flags": chunk.flags | 2})
            events += [*observed(fetched, 200), GapClosed(**NAMES, **span, back_filled=True)]
        elif nth % 3 == 1:
            events += [GapClosed(**NAMES, **span, back_filled=False)]
    log = log_of(*events)
    told = list(facts(log))
    ideas = random_ideas(rng, told)
    reasons = assert_all_agree(log, ideas, told)
    names = ("target", "stop", "expiry", "gap_stop", "gap_target", "unseen_expiry")
    assert all(reasons[name] for name in names), reasons


def _arrays(columns: TradeColumns) -> dict[str, Any]:
    return {name: getattr(columns, name) for name in columns.__slots__}


@cache
def real_bars(file: str) -> Log:
    """BARS of a venue in events of 500."""
    table = parquet.read_table(data_file(f"klines/{file}"))
    scale = 10**8
    fields = {
        name: np.round(table[name].to_numpy()[200_000 : 200_000 + BARS] * scale).astype(np.int64)
        for name in ("open", "high", "low", "close")
    }
    unit = ("ts_ms", 10**6) if "ts_ms" in table.column_names else ("ts_s", 10**9)
    start = table[unit[0]].to_numpy()[200_000 : 200_000 + BARS].astype(np.int64) * unit[1]
    return log_of(
        *(
            BarsObserved(
                instrument=BTC,
                timeframe_minutes=1,
                volume_unit="base",
                columns=BarColumns(
                    start=start[at : at + 500],
                    **{name: values[at : at + 500] for name, values in fields.items()},
                    volume=np.ones(len(start[at : at + 500]), dtype=np.int64),
                    trade_count=np.full(len(start[at : at + 500]), -1, dtype=np.int64),
                    price_exponent=8,
                    volume_exponent=0,
                ),
            )
            for at in range(0, BARS, 500)
        )
    )


@pytest.mark.parametrize("name", ["bitfinex_1m/BTCUSD-1m-2018.parquet", "bitmex/XBTUSD-1m.parquet"])
def test_outcomes_on_real_bars_are_those_of_the_oracle(name: str) -> None:
    log = real_bars(name)
    told = list(facts(log))
    ideas = random_ideas(np.random.default_rng(3), told, count=1_000)
    reasons = assert_all_agree(log, ideas, told)
    names = {"target", "stop", "expiry", "ambiguous"}
    if "bitfinex" in name:  # a bar of BitMEX opens where the last one closed
        names |= {"gap_stop", "gap_target"}
    assert all(reasons[name] for name in names), reasons


def test_bars_bound_what_their_trades_say_and_trades_that_come_later_resolve_them(day: TradeColumns) -> None:
    supplied, told = bars_of(day), list(facts(log_of(*observed(day, 500))))
    ideas = random_ideas(np.random.default_rng(4), told, on_minutes=True)
    clock, reasons = np.maximum.accumulate(day.time), Counter[str]()
    for idea in ideas[::3]:
        if idea.horizon_end + 10 * MINUTE > clock[-1]:
            continue
        lived = slice(*np.searchsorted(clock, (idea.decided - MINUTE, idea.horizon_end + 10 * MINUTE)))
        after = observed(day.take(lived), 10_000)
        by_bars = outcome_of(idea, log_of(supplied))
        truth = resolve(idea, log_of(*after))
        assert isinstance(truth, Outcome)
        assert isinstance(by_bars, Outcome)
        assert by_bars.worst_label <= truth.label <= by_bars.best_label
        resolved = resolve(idea, log_of(supplied, *after))
        assert isinstance(resolved, Outcome)
        assert (resolved.reason, resolved.exit_price) == (truth.reason, truth.exit_price)
        reasons[by_bars.reason] += 1
    assert reasons["ambiguous"] > 0, reasons


def bars_of(columns: TradeColumns) -> BarsObserved:
    """Minute bars of trades in order of (time, id), minute by minute."""
    order = np.lexsort((columns.id, columns.time))
    minutes: dict[int, list[int]] = {}
    for time, price in zip(columns.time[order].tolist(), columns.price[order].tolist(), strict=True):
        minutes.setdefault(time // MINUTE * MINUTE, []).append(price)
    prices = list(minutes.values())
    return BarsObserved(
        instrument=BTC,
        timeframe_minutes=1,
        volume_unit="base",
        columns=BarColumns(
            start=np.array(list(minutes)),
            open=np.array([p[0] for p in prices]),
            high=np.array([max(p) for p in prices]),
            low=np.array([min(p) for p in prices]),
            close=np.array([p[-1] for p in prices]),
            volume=np.ones(len(prices), dtype=np.int64),
            trade_count=np.array([len(p) for p in prices]),
            price_exponent=columns.price_exponent,
            volume_exponent=0,
        ),
    )
