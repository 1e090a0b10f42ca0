"""All voters at once in the engine, with funding, headlines and a reference: the same however it is cut."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from alphapulse.domain.decision.decisions import DecisionMade
from alphapulse.domain.decision.fundamental_source import FundamentalSource
from alphapulse.domain.decision.reference import ReferenceSource
from alphapulse.domain.decision.strategy import VoterChoice
from alphapulse.domain.market.fundamentals import (
    HOUR_NS,
    FundingColumns,
    FundingObserved,
    Headline,
    HeadlinesObserved,
)
from alphapulse.domain.market.instrument import Instrument
from alphapulse.domain.signals.engine import Engine
from tests.domain.decision.voter_worlds import ours
from tests.domain.signals.engine_world import START, bar_events, strategy

BTC, ETH = "test:BTC_USD", "test:ETH_USD"
MINUTES, EACH = 3_000, 60  # bars, and bars of an event

# Four hours make 27 bars in four and a half days.
SEATS = [
    VoterChoice(
        name=kind.name,
        kind=kind.name,
        parameters={"first": 5, "second": 15} if kind.name == "technical.alignment" else {},
    )
    for kind in ours()
    if not kind.model
]
STRATEGY = strategy(*SEATS, reference=BTC, quorum=1.0, min_consensus=0.1)

Event = tuple[int, str, Any]


def fundamentals() -> list[Any]:
    """Rates that go wild in the end, and a headline an hour."""
    time = START + 8 * HOUR_NS * np.arange(-30, 7)
    rates = np.full(len(time), 100)
    rates[:-6] += np.arange(len(rates) - 6) % 3
    rates[-6:] = (500, -500, 600, -600, 700, -700)
    columns = FundingColumns(
        time=time, rate=rates, interval_hours=np.full(len(time), 8, dtype=np.int64), rate_exponent=6
    )
    headlines = [
        Headline(
            time=START + hour * HOUR_NS,
            title=f"{hour}",
            url="",
            publisher="",
            subjects=("ETH",),
            sentiment=0.8 if hour // 12 % 2 else -0.8,
        )
        for hour in range(MINUTES // 60)
    ]
    ordered = tuple(sorted(headlines, key=lambda headline: headline.key))
    rates_of = FundingObserved(instrument=Instrument("binance", "ETHUSDT"), columns=columns)
    return [rates_of, HeadlinesObserved(source="test", headlines=ordered)]


@cache
def log() -> Sequence[Event]:
    """Two markets of which one follows the other, an hour of each in turn."""
    rng = np.random.default_rng(1)
    x = rng.normal(0, 5e-4, MINUTES)
    y = 1.2 * x + rng.normal(0, 4e-4, MINUTES)
    volume = np.round(rng.lognormal(6, 1, MINUTES))
    first, second = (
        bar_events(symbol, 100 * np.exp(np.cumsum(r)), volume, seed=seed, size=EACH)
        for seed, (symbol, r) in enumerate((("BTC_USD", x), ("ETH_USD", y)))
    )
    events: list[tuple[str, Any]] = [("", event) for event in fundamentals()]
    for one, other in zip(first, second, strict=True):
        events += [(BTC, one), (ETH, other)]
    return [(position, *event) for position, event in enumerate(events, 1)]


def engine(**given: Any) -> Engine:
    contexts = [FundamentalSource(), ReferenceSource(BTC, STRATEGY.timeframes)]
    return Engine(STRATEGY, contexts=contexts, **given)


@cache
def at_once() -> Sequence[Any]:
    return tuple(engine().advance(log()))


def test_event_by_event_and_restored_half_way_it_decides_the_same():
    running, found = engine(), []
    for number, event in enumerate(log()):
        found += running.advance([event])
        if number % 40 == 20:
            running = engine(state=running.state())
    assert found == list(at_once())


def test_every_school_has_its_say_and_gives_its_reasons():
    decisions = [output.event for output in at_once() if isinstance(output.event, DecisionMade)]
    votes = [vote for decision in decisions for vote in decision.votes if vote.direction]
    spoke = {vote.voter for vote in votes}
    assert {"statistical.pair", "fundamental.funding", "fundamental.sentiment"} <= spoke
    assert {"technical.alignment", "technical.trend", "statistical.forecast"} <= spoke
    assert all(vote.reasons for vote in votes)
    # The reference market has no reference, and nobody wrote of it or paid for it.
    silent = {vote.voter for d in decisions if d.instrument == BTC for vote in d.votes if vote.direction}
    assert not silent & {"statistical.pair", "fundamental.funding", "fundamental.sentiment"}
