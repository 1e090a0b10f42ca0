"""Small worlds for the engine: markets with a planted edge or none, voters that see it or guess."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from alphapulse.domain.analysis.features import Feature
from alphapulse.domain.decision.strategy import (
    Adaptation,
    Gate,
    Geometry,
    Learning,
    Risk,
    StrategyDefined,
    VoterChoice,
)
from alphapulse.domain.decision.votes import Kind, View, Vote, register
from alphapulse.domain.market.columns import BarColumns, TradeColumns
from alphapulse.domain.market.events import BarsObserved, TradesObserved
from alphapulse.domain.market.instrument import Instrument

MINUTE = 60_000_000_000
START = 1_700_006_400_000_000_000  # a midnight


class Echo:
    """Says what the volume of the bar tells: 1,000 is nothing, 1,100 a rise for sure, 900 a fall.

    ``offset`` bars of noise of its own: with ``noise`` it adds a number that depends on the bar and ``seed``.
    """

    version = 1

    def __init__(self, numbers: Mapping[str, float]) -> None:
        self.numbers = numbers
        self.inputs: Sequence[Feature] = (Feature(name="return", rule="return"),)

    def vote(self, view: View) -> Vote:
        told = (view.bars[:, 4] / view.timeframe - 1_000.0) / 100.0
        if self.numbers["lag"]:
            told = np.sign(view["return"])
        seed = self.numbers["seed"]
        phase = (view.known_time // MINUTE) * (2.0 * seed + 1.0) * 0.754877666
        noise = 2.0 * (phase - np.floor(phase)) - 1.0
        signed = self.numbers["sign"] * told + self.numbers["noise"] * noise
        signed = np.where(np.abs(signed) >= self.numbers["least"], signed, 0.0)
        signed = np.where(np.isnan(view["return"]), np.nan, signed)
        return Vote.of(signed, lambda row: (f"told {told[row]:.3f}",), self.version)


ECHO = register(
    Kind(
        name="test.echo",
        title="Says what the volume tells",
        parameters={"sign": 1.0, "noise": 0.0, "seed": 1.0, "least": 0.0, "lag": 0.0},
        make=lambda numbers, _: Echo(numbers),
    )
)


def seat(name: str, **numbers: float) -> VoterChoice:
    return VoterChoice(name=name, kind="test.echo", parameters=numbers, version=1)


def strategy(*voters: VoterChoice, **changes: Any) -> StrategyDefined:
    """Learns quickly and asks little, so that a small world shows everything."""
    plain = StrategyDefined(
        name="world",
        version=1,
        owner="test",
        description="",
        timeframes=(1,),
        voters=voters
        or (seat("a", noise=0.4, seed=1.0), seat("b", noise=0.4, seed=2.0), seat("c", noise=0.4, seed=3.0)),
        geometries=(
            Geometry(stop_atr=2.0, target_atr=1.0, horizon_bars=30),
            Geometry(stop_atr=1.5, target_atr=1.5, horizon_bars=30),
        ),
        quorum=2.0,
        min_consensus=0.5,
        gate=Gate(threshold=0.6, margin=0.0),
        learning=Learning(least=60, least_effective=10.0, half_life=100.0),
        risk=Risk(fee_bps=0.5, slippage_bps=0.1),
    )
    return msgspec.structs.replace(plain, **changes)


ADAPTATIONS = (
    Adaptation(name="turbulent", regimes=("turbulence",), change={"stop": 1.5, "horizon": 2.0}),
    Adaptation(name="loud", volatility="high", change={"target": 1.25, "consensus": 0.05}),
)


def closes_and_volumes(
    seed: int, bars: int, *, edge: float = 0.0, ahead: int = 10
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """A random walk; with ``edge`` the volume of some bars tells where it drifts for the next ``ahead``."""
    rng = np.random.default_rng(seed)
    returns = rng.normal(0.0, 5e-4, bars)
    volumes = np.full(bars, 1_000.0)
    at = rng.integers(300, max(bars - ahead, 301), bars // 25)
    sides = rng.choice([-1.0, 1.0], len(at))
    for place, side in zip(at, sides, strict=True):
        volumes[place] = 1_000.0 + 80.0 * side
        returns[place + 1 : place + 1 + ahead] += side * edge
    return 100.0 * np.exp(np.cumsum(returns)), volumes


def bar_events(
    symbol: str, closes: Any, volumes: Any, *, seed: int = 0, size: int = 500, start: int = START
) -> list[BarsObserved]:
    rng = np.random.default_rng(seed + 1)
    count = len(closes)
    opens = np.concatenate([[100.0], closes[:-1]])
    spread = closes * np.abs(rng.normal(0.0, 2e-4, count))
    highs, lows = np.maximum(opens, closes) + spread, np.minimum(opens, closes) - spread
    whole = [np.round(x * 10_000).astype(np.int64) for x in (opens, highs, lows, closes)]
    found = []
    for a in range(0, count, size):
        cut = slice(a, a + size)
        columns = BarColumns(
            start=start + np.arange(count, dtype=np.int64)[cut] * MINUTE,
            open=whole[0][cut],
            high=whole[1][cut],
            low=whole[2][cut],
            close=whole[3][cut],
            volume=np.round(volumes[cut] * 1_000).astype(np.int64),
            trade_count=np.full(len(closes[cut]), 10, dtype=np.int64),
            price_exponent=4,
            volume_exponent=3,
        )
        instrument = Instrument(venue="test", symbol=symbol)
        found.append(
            BarsObserved(instrument=instrument, timeframe_minutes=1, volume_unit="base", columns=columns)
        )
    return found


def trade_events(
    symbol: str, closes: Any, volumes: Any, *, seed: int = 0, size: int = 200, start: int = START
) -> list[TradesObserved]:
    """Four trades a minute that make bars of these closes and volumes."""
    rng = np.random.default_rng(seed + 2)
    count = len(closes)
    opens = np.concatenate([[100.0], closes[:-1]])
    way = np.stack([opens, opens, closes, closes], axis=1) * (1 + rng.normal(0.0, 1e-4, (count, 4)))
    way[:, 3] = closes
    prices = np.round(way.ravel() * 10_000).astype(np.int64)
    sizes = np.repeat(np.round(volumes * 250).astype(np.int64), 4)
    times = start + np.arange(4 * count, dtype=np.int64) * (MINUTE // 4) + 1_000_000
    found = []
    for a in range(0, 4 * count, size):
        cut = slice(a, a + size)
        n = len(prices[cut])
        columns = TradeColumns(
            time=times[cut],
            price=prices[cut],
            size=sizes[cut],
            side=np.where(np.arange(n) % 2 == 0, 1, -1).astype(np.int8),
            id=np.arange(4 * count, dtype=np.int64)[cut] + 1,
            flags=np.zeros(n, dtype=np.uint8),
            price_exponent=4,
            size_exponent=3,
        )
        found.append(TradesObserved(instrument=Instrument(venue="test", symbol=symbol), columns=columns))
    return found


Log = list[tuple[int, str, Any]]


def log(events: Mapping[str, Sequence[Any]]) -> Log:
    """Events of several markets one after the other, in turns, at positions 1, 2, 3 …"""
    found: Log = []
    longest = max(len(its) for its in events.values())
    for n in range(longest):
        for symbol, its in events.items():
            if n < len(its):
                found.append((len(found) + 1, f"test:{symbol}", its[n]))
    return found


def world(*, markets: int = 2, bars: int = 2_000, edge: float = 2e-4, seed: int = 1, size: int = 500) -> Log:
    made = {}
    for n in range(markets):
        closes, volumes = closes_and_volumes(seed + n, bars, edge=edge)
        made[f"M{n}"] = bar_events(f"M{n}", closes, volumes, seed=seed + n, size=size)
    return log(made)
