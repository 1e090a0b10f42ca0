"""What an engine makes of events before its kernel runs: stretches of them, and the steps of each market."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alphapulse.domain.analysis.closing import Fed
from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.decision import consensus as c
from alphapulse.domain.decision.strategy import ADAPTABLE, StrategyDefined, change_of
from alphapulse.domain.market.events import BarsObserved, TradesObserved
from alphapulse.domain.signals import engine_arrays as k
from alphapulse.domain.signals.engine_state import MarketState

STRETCH = 80_000  # rows of events that are looked at together: eight markets of full events, some 60 MB


@dataclass(slots=True)
class MarketSteps:
    """One instrument during one stretch."""

    state: MarketState
    steps: k.Steps
    lineage: Int64s
    cursor: Int64s = field(default_factory=lambda: np.zeros(2, dtype=np.int64))


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """R rows as the kernel takes them, and their lineage (R, 3): first position, input position, flags."""

    whole: Int64s
    floats: Floats
    votes: Floats
    lineage: Int64s

    def take(self, rows: "slice | NDArray[np.intp]") -> "Rows":
        return Rows(self.whole[rows], self.floats[rows], self.votes[rows], self.lineage[rows])


def joined(parts: Sequence[Rows]) -> Rows:
    if len(parts) == 1:
        return parts[0]
    return Rows(
        np.concatenate([part.whole for part in parts]),
        np.concatenate([part.floats for part in parts]),
        np.concatenate([part.votes for part in parts]),
        np.concatenate([part.lineage for part in parts]),
    )


def stretches(
    events: Sequence[tuple[int, str, Any]],
) -> Iterator[tuple[bool, list[tuple[int, str, Any]]]]:
    """``events`` cut into market events and others, and the former into what is worked on at once."""
    for is_market, group in groupby(events, key=lambda e: isinstance(e[2], Fed)):
        stretch: list[tuple[int, str, Any]] = []
        rows = 0
        for event in group:
            stretch.append(event)
            rows += len(event[2].columns) if isinstance(event[2], BarsObserved | TradesObserved) else 1
            if rows >= STRETCH:
                yield is_market, stretch
                stretch, rows = [], 0
        if stretch:
            yield is_market, stretch


def rules_of(strategy: StrategyDefined, timeframes: Sequence[int]) -> k.Rules:
    gate, learning, risk = strategy.gate, strategy.learning, strategy.risk
    numbers = np.zeros(10)
    numbers[k.QUORUM], numbers[k.LEAST_CONSENSUS] = strategy.quorum, strategy.min_consensus
    numbers[k.SHARPNESS], numbers[k.THRESHOLD] = strategy.sharpness, gate.threshold
    numbers[k.MARGIN], numbers[k.BREAKER_LEAST] = gate.margin, gate.breaker_outcomes
    numbers[k.COST_RATIO] = (2 * risk.fee_bps + risk.slippage_bps) / 1e4
    numbers[k.PRIOR_WEIGHT] = learning.prior_weight
    numbers[k.SKILL_DECAY] = 0.5 ** (1 / learning.half_life)
    numbers[k.PAIR_DECAY] = 0.5 ** (1 / c.PAIR_HALF_LIFE)
    geometries = np.array(
        [(g.stop_atr, g.target_atr, float(g.horizon_bars), float(g.to_levels)) for g in strategy.geometries]
    ).reshape(len(strategy.geometries), 4)
    changes = [change_of(None), *(change_of(adaptation) for adaptation in strategy.adaptations)]
    return k.Rules(
        numbers,
        np.array(timeframes, dtype=np.int64),
        geometries,
        np.array([[change[name] for name in ADAPTABLE] for change in changes]),
    )
