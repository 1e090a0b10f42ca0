"""Where there is nothing to be had no signal is issued; where an edge was planted the claims come true.

The strategies are made of the voters that ship, with the production gate and with fees. In worlds without an
edge they are also made reckless (one voter is enough, at any strength, and trusted whatever it was worth),
so that nearly every bar is a candidate and nothing but calibration and gate stands between it and a signal.
"""

from collections import Counter
from functools import cache

import msgspec
import numpy as np
import pytest

from alphapulse.domain.decision.decisions import DOES_NOT_PAY
from alphapulse.domain.decision.intervals import block_length, effective_size, mean_interval
from alphapulse.domain.decision.strategy import Geometry, Learning, StrategyDefined
from alphapulse.domain.signals.engine import Engine
from tests.domain.signals.worlds import (
    EVENT,
    WALKS,
    Floats,
    Told,
    aimless,
    default,
    in_turns,
    planted,
    start_of,
    told,
)

RECKLESS = {"quorum": 1.0, "min_consensus": 0.01, "learning": Learning(prior_weight=1e9)}
# They win more often than the gate asks for without any edge: what they cost is all that speaks against them.
SURE = (
    Geometry(stop_atr=5.0, target_atr=0.8, horizon_bars=60),
    Geometry(stop_atr=4.0, target_atr=0.5, horizon_bars=60),
)


@cache
def strategies() -> dict[str, tuple[int, StrategyDefined]]:
    """Timeframe and strategy by name."""
    return {
        "reckless": (15, default(15, **RECKLESS)),
        "reckless and sure": (5, default(5, **RECKLESS, geometries=SURE)),
    }


def aimless_world(kind: str, name: str, seed: int, markets: int, bars: int) -> Told:
    timeframe, defined = strategies()[name]
    made = {f"M{n}": aimless(WALKS[kind], 1_000 * seed + n, bars) for n in range(markets)}
    return told(defined, made, timeframe)


@pytest.mark.parametrize("name", ["reckless", "reckless and sure"])
@pytest.mark.parametrize("kind", sorted(WALKS))
def test_no_edge_world_gives_no_signal(kind: str, name: str) -> None:
    found = aimless_world(kind, name, seed=1, markets=5, bars=1_500)
    assert found.candidates > 4_200, "fifty thousand in all"
    assert len(found.fits) > 5
    assert found.issued == []
    assert found.refusals[DOES_NOT_PAY] > 3_500


@pytest.mark.long
@pytest.mark.parametrize("name", ["reckless", "reckless and sure"])
@pytest.mark.parametrize("kind", sorted(WALKS))
def test_no_edge_world_gives_no_signal_among_a_million_candidates(kind: str, name: str) -> None:
    """A twelfth of them a case."""
    found = aimless_world(kind, name, seed=2, markets=30, bars=4_500)
    assert found.candidates > 84_000
    assert found.issued == []


@pytest.mark.parametrize("kind", sorted(WALKS))
def test_no_edge_world_gives_the_default_strategy_no_signal(kind: str) -> None:
    made = {f"M{n}": aimless(WALKS[kind], 5_000 + n, 2_500) for n in range(5)}
    found = told(default(5), made, 5)
    assert found.candidates > 300
    assert found.fits
    assert found.issued == []


# Planted. The voters of volume and of breakouts are there to see it, and both must.

MARKETS, BARS = 12, 15_000
AFTER = BARS // 2


@cache
def looking() -> StrategyDefined:
    whole = default(5)
    seats = tuple(s for s in whole.voters if s.name in ("technical_volume", "technical_breakout"))
    return msgspec.structs.replace(whole, voters=seats, quorum=1.2, min_consensus=0.4)


@cache
def planted_world(edge: float, later: float, seed: int = 1) -> Told:
    share: Floats = np.full(BARS, edge)
    share[AFTER:] = later
    return told(looking(), {f"M{n}": planted(1_000 * seed + n, share) for n in range(MARKETS)}, 5)


def results(found: Told) -> tuple[Floats, Floats, Floats]:
    """Claims, wins and net results (bps) of the signals whose outcome is known, in order of time."""
    known = [made for made in found.issued if made.decision in found.outcomes]
    known.sort(key=lambda made: (made.time, made.instrument))
    outcomes = [found.outcomes[made.decision].outcome for made in known]
    claims = np.array([made.claim.confidence for made in known])
    wins, net = [o.is_win for o in outcomes], [o.net_bps for o in outcomes]
    return claims, np.array(wins, dtype=np.float64), np.array(net)


def open_at_once(found: Told) -> float:
    """How many signals are open at the same time as one of them, on average."""
    known = [
        (m.time, found.outcomes[m.decision].outcome.closed_at)
        for m in found.issued
        if m.decision in found.outcomes
    ]
    begun, ended = (np.array(x, dtype=np.int64) for x in zip(*known, strict=True))
    return len(known) / effective_size(begun, ended)


@pytest.mark.parametrize("seed", [1, 2])
def test_planted_edge_world_wins_as_often_as_it_claims(seed: int) -> None:
    found = planted_world(0.97, 0.97, seed)
    claims, wins, net = results(found)
    assert len(claims) >= 1_000
    block = block_length(len(wins), overlapping=open_at_once(found))
    low, high = mean_interval(wins, block=block, seed=seed)
    assert low <= claims.mean() <= high
    assert high - low < 0.04
    assert net.mean() > 0
    assert len(found.muted) < 0.15 * len(found.issued), (
        "a breaker looks again and again, and is wrong at times"
    )


@pytest.mark.parametrize(("later", "most"), [(0.0, 8), (0.5, 24)])
def test_planted_edge_world_that_breaks_closes_the_breaker(later: float, most: int) -> None:
    """``most``: signals of a market after the break, once the breaker has seen outcomes enough to judge."""
    found = planted_world(0.97, later)
    broken, least = start_of(AFTER), looking().gate.breaker_outcomes
    before = Counter(made.instrument for made in found.issued if made.time < broken)
    after = Counter(made.instrument for made in found.issued if made.time >= broken)
    assert before.total() > 500
    for market, count in after.items():
        assert count <= max(least - before[market], 0) + most, market
    muted = [made for made in found.muted if made.time >= broken]
    assert len(muted) > 20
    assert all(made.gate.is_closed and made.gate.upper_bound < made.gate.mean_claim for made in muted)
    assert not [made for made in found.issued if made.time >= start_of(BARS * 7 // 8)]


def test_planted_edge_world_that_breaks_is_learnt_by_the_next_fits() -> None:
    """What is claimed at the end is what is there at the end: the tables have forgotten the edge."""
    found = planted_world(0.97, 0.0)
    claims = np.array([claim for time, claim in found.calibrated if time >= start_of(BARS * 7 // 8)])
    assert len(claims) > 50
    assert claims.mean() < looking().gate.threshold - 0.1


# Memory


def test_what_an_engine_carries_does_not_grow_with_history() -> None:
    """Of five times the history as much is carried, within a tenth: rings and decayed sums, no lists."""
    bars, defined = 1_600, default(15, **{**RECKLESS, "learning": Learning(prior_weight=1e9, window=2_000)})
    made = {f"M{n}": aimless(WALKS["gaussian"], n, 5 * bars) for n in range(4)}
    engine, sizes, candidates = Engine(defined), list[int](), 0
    for number, events in enumerate(in_turns(made, 15), 1):
        candidates += len(engine.advance(events))
        if number in (bars // EVENT, 5 * bars // EVENT):
            sizes.append(len(engine.state().packed()))
    assert candidates > 10_000
    assert abs(sizes[1] / sizes[0] - 1) < 0.1, sizes
