"""Worlds of bars that are known through and through: nothing to be had in them, or an edge that was planted.

A bar is made of STEPS steps of its price, so that highs and lows are those of the same walk. Volumes are
drawn beside the prices. Whoever wins here by more than costs has seen what was planted, or the future.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from alphapulse.domain.decision.decisions import (
    BREAKER,
    ISSUED,
    UNCALIBRATED,
    CalibrationFitted,
    DecisionMade,
)
from alphapulse.domain.decision.strategy import StrategyDefined
from alphapulse.domain.decision.strategy_decider import strategy as strategy_decider
from alphapulse.domain.decision.strategy_defaults import default_strategy
from alphapulse.domain.market.columns import BarColumns
from alphapulse.domain.market.events import BarsObserved
from alphapulse.domain.market.instrument import Instrument
from alphapulse.domain.signals.engine import Engine
from alphapulse.domain.signals.signal import OutcomeRecorded
from alphapulse.domain.versions import Versions

Floats = NDArray[np.float64]

STEPS = 6  # of the price in a bar
MINUTE = 60_000_000_000
START = 1_700_006_400_000_000_000  # a midnight
EVENT = 500  # bars of a market that come in one event
LIVELY = 3e-3  # standard deviation of a bar's return: costs are small against it

Walk = Callable[[np.random.Generator, int], Floats]


def gaussian(rng: np.random.Generator, steps: int) -> Floats:
    return rng.standard_normal(steps)


def heavy_tailed(rng: np.random.Generator, steps: int) -> Floats:
    """Student's t with 3 degrees of freedom, of variance 1."""
    found: Floats = rng.standard_t(3, steps) / np.sqrt(3)
    return found


def clustered(rng: np.random.Generator, steps: int) -> Floats:
    """Volatility that comes and goes: a GARCH(1,1) by the bar."""
    noise, found, variance = rng.standard_normal(steps), np.empty(steps), 1.0
    for begin in range(0, steps, STEPS):
        its = noise[begin : begin + STEPS] * np.sqrt(variance)
        found[begin : begin + STEPS] = its
        variance = 0.04 + 0.12 * min(float(its.sum()) ** 2 / STEPS, 25.0) + 0.84 * variance
    return found


def jumping(rng: np.random.Generator, steps: int) -> Floats:
    """A calm walk, and about once in 200 bars a jump of eight bars' standard deviations."""
    jumps = rng.random(steps) < 1 / (200 * STEPS)
    return 0.8 * rng.standard_normal(steps) + jumps * rng.normal(0.0, 8.0 * np.sqrt(STEPS), steps)


def switching(rng: np.random.Generator, steps: int) -> Floats:
    """Two volatilities, one four times the other, for some hundred bars each."""
    loud = np.cumsum(rng.random(steps) < 1 / (150 * STEPS)) % 2 == 1
    return rng.standard_normal(steps) * np.where(loud, 1.6, 0.4)


def bouncing(rng: np.random.Generator, steps: int) -> Floats:
    """A walk seen through a spread: each bar's last price is at the bid or the ask, 3 bps from the middle.

    The next bar tends back. That is there to be seen, and less than it costs to trade on it.
    """
    noise = np.zeros(steps + 1)
    sides = rng.choice([-1.0, 1.0], (steps + 1) // STEPS + 1)
    noise[STEPS::STEPS] = sides[: len(noise[STEPS::STEPS])] * 3e-4 * np.sqrt(STEPS) / LIVELY
    return rng.standard_normal(steps) + np.diff(noise)


WALKS: Mapping[str, Walk] = {
    walk.__name__: walk for walk in (gaussian, heavy_tailed, clustered, jumping, switching, bouncing)
}


@dataclass(frozen=True, slots=True, eq=False)
class Bars:
    """(n,) each."""

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats

    @classmethod
    def of(cls, returns: Floats, volume: Floats) -> "Bars":
        """From log returns of steps, (n * STEPS,), and volumes (n,)."""
        path = 100.0 * np.exp(np.cumsum(returns)).reshape(-1, STEPS)
        opens = np.concatenate([[100.0], path[:-1, -1]])
        high, low = np.maximum(path.max(axis=1), opens), np.minimum(path.min(axis=1), opens)
        return cls(opens, high, low, path[:, -1].copy(), volume)

    def events(self, symbol: str, timeframe: int) -> list[BarsObserved]:
        whole = [np.round(x * 1e8).astype(np.int64) for x in (self.open, self.high, self.low, self.close)]
        start = START + np.arange(len(self.open), dtype=np.int64) * timeframe * MINUTE
        volume = np.maximum(np.round(self.volume * 1_000), 1.0).astype(np.int64)
        found = []
        for a in range(0, len(start), EVENT):
            cut = slice(a, a + EVENT)
            opens, highs, lows, closes = (x[cut] for x in whole)
            columns = BarColumns(
                start=start[cut],
                open=opens,
                high=highs,
                low=lows,
                close=closes,
                volume=volume[cut],
                trade_count=np.full(len(opens), 10, dtype=np.int64),
                price_exponent=8,
                volume_exponent=3,
            )
            found.append(
                BarsObserved(
                    instrument=Instrument(venue="test", symbol=symbol),
                    timeframe_minutes=timeframe,
                    volume_unit="base",
                    columns=columns,
                )
            )
        return found


def aimless(walk: Walk, seed: int, bars: int) -> Bars:
    """A walk that nothing foretells, with volumes that tell how much the price moves, never whereto."""
    rng = np.random.default_rng(seed)
    returns = walk(rng, bars * STEPS) * LIVELY / np.sqrt(STEPS)
    moved = np.abs(returns.reshape(-1, STEPS).sum(axis=1)) / LIVELY
    return Bars.of(returns, 1_000.0 * (0.3 + moved) * rng.lognormal(0.0, 0.7, bars))


# What is planted: a bar of heavy one-sided trading, and a run the same way, or against it.
BETWEEN = 60  # bars from the end of one run to the next burst, on average
RUN = 10  # bars
BURST_MOVE, RUN_MOVE = 4.0, 1.5  # by the bar, in standard deviations of its return
BURST_VOLUME = 15.0  # times the usual


def planted(seed: int, share: Floats) -> Bars:
    """A Gaussian walk with bursts; ``share[i]`` of those in bar i are followed by a run the same way."""
    rng, bars = np.random.default_rng(seed), len(share)
    moves = rng.standard_normal((bars, STEPS)) / np.sqrt(STEPS)
    volume = 1_000.0 * rng.lognormal(0.0, 0.4, bars)
    at = 50 + int(rng.integers(BETWEEN))
    while at + RUN + 1 < bars:
        side = float(rng.choice([-1.0, 1.0]))
        way = side if rng.random() < share[at] else -side
        moves[at] += side * BURST_MOVE / STEPS
        moves[at + 1 : at + 1 + RUN] += way * RUN_MOVE / STEPS
        volume[at] *= BURST_VOLUME
        at += RUN + BETWEEN // 2 + int(rng.integers(BETWEEN))
    return Bars.of(moves.ravel() * LIVELY, volume)


def in_turns(markets: Mapping[str, Bars], timeframe: int) -> Iterator[list[tuple[int, str, Any]]]:
    """The log in slices: an event of every market each."""
    events = {symbol: bars.events(symbol, timeframe) for symbol, bars in markets.items()}
    position = 0
    for batch in zip(*events.values(), strict=True):
        found = []
        for symbol, event in zip(events, batch, strict=True):
            position += 1
            found.append((position, f"test:{symbol}", event))
        yield found


def start_of(bar: int, timeframe: int = 5) -> int:
    return START + bar * timeframe * MINUTE


def default(timeframe: int, **changes: Any) -> StrategyDefined:
    """The strategy that ships, on bars of ``timeframe`` minutes, with its production gate."""
    (defined,) = strategy_decider.decide(default_strategy("world", timeframes=(timeframe,)), Versions())
    assert isinstance(defined, StrategyDefined)
    return msgspec.structs.replace(defined, **changes)


@dataclass(slots=True)
class Told:
    """What came of a world, without keeping every event of it."""

    candidates: int = 0
    issued: list[DecisionMade] = field(default_factory=list)
    calibrated: list[tuple[int, float]] = field(default_factory=list)  # time and confidence of candidates
    outcomes: dict[str, OutcomeRecorded] = field(default_factory=dict)  # by decision
    muted: list[DecisionMade] = field(default_factory=list)  # passed all rules but the breaker's
    refusals: Counter[str] = field(default_factory=Counter)
    fits: list[CalibrationFitted] = field(default_factory=list)
    nearest: float = -1.0  # the most that a confidence was over what levels and costs need

    def take(self, event: object) -> None:
        if isinstance(event, DecisionMade):
            self.candidates += 1
            self.refusals.update(event.refusals)
            if UNCALIBRATED not in event.refusals:
                self.calibrated.append((event.time, event.claim.confidence))
                self.nearest = max(self.nearest, event.gate.margin)
            if event.verdict == ISSUED:
                self.issued.append(event)
            elif event.refusals == (BREAKER,):
                self.muted.append(event)
        elif isinstance(event, OutcomeRecorded):
            self.outcomes[event.decision] = event
        elif isinstance(event, CalibrationFitted):
            self.fits.append(event)


def told(defined: StrategyDefined, markets: Mapping[str, Bars], timeframe: int) -> Told:
    engine, found = Engine(defined), Told()
    for events in in_turns(markets, timeframe):
        for output in engine.advance(events):
            found.take(output.event)
    return found
