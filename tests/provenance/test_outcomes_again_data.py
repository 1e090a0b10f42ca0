"""The verifier's outcomes on real markets: trades of bitFlyer, minute bars of Bitfinex."""

import asyncio
from bisect import bisect_left
from collections import Counter
from typing import Any

import msgspec
import numpy as np
import pytest

from alphapulse.adapters.verifier.market import Tick, market_ticks_of
from alphapulse.adapters.verifier.outcomes import Claimed, IdeaLife, differences_of_outcome
from alphapulse.domain.signals.idea import Idea
from tests.domain.signals.outcome_oracle import facts
from tests.domain.signals.outcome_worlds import Log, log_of
from tests.domain.signals.test_outcomes_data import kernel, observed, random_ideas, real_bars, real_trades
from tests.provenance.market_facts import facts_of

TRADES = 10_000


def again(idea: Idea, ticks: list[Tick], known: list[int]) -> dict[str, Any] | None:
    """What was known before the decision is passed over: it is no evidence, and would take long."""
    life = IdeaLife(Claimed(**{name: getattr(idea, name) for name in Claimed._fields}))
    for tick in ticks[bisect_left(known, idea.decided) :]:
        found = life.meets(tick)
        if found is not None:
            return life.left(tick, *found)
    return None


def compare(log: Log, seed: int, count: int) -> Counter[str]:
    """By reason: what became of random ideas, after the kernel and the verifier said the same."""
    ideas = random_ideas(np.random.default_rng(seed), list(facts(log)), count=count)
    ticks = list(market_ticks_of(facts_of(log)))
    known = np.maximum.accumulate([tick.moment for tick in ticks]).tolist()
    compiled, reasons = kernel(log, ideas, 7), Counter[str]()
    for number, idea in enumerate(ideas):
        found = again(idea, ticks, known)
        recorded = compiled.get(number)
        if found is None or recorded is None:
            assert found is recorded
            reasons["open"] += 1
            continue
        assert differences_of_outcome(msgspec.structs.asdict(recorded), found) == []
        reasons[found["reason"]] += 1
    return reasons


def test_on_trades_of_a_day_the_verifier_says_what_was_recorded() -> None:
    day = asyncio.run(real_trades(TRADES))
    reasons = compare(log_of(*observed(day, 500)), 1, 60)
    assert min(reasons[reason] for reason in ("target", "stop", "expiry")) > 3, reasons


@pytest.mark.parametrize("name", ["bitfinex_1m/BTCUSD-1m-2018.parquet", "bitmex/XBTUSD-1m.parquet"])
def test_on_bars_of_a_venue_the_verifier_says_what_was_recorded(name: str) -> None:
    reasons = compare(real_bars(name)[:4], 3, 400)
    assert min(reasons[reason] for reason in ("target", "stop", "expiry")) > 10, reasons
