"""Recalibration inside the engine: from resolved candidates to the table that makes claims, and to priors."""

import math
from collections.abc import Sequence

import numpy as np

from alphapulse.domain.decision.consensus import BASE_ERRORS, COUNT, ERRORS
from alphapulse.domain.decision.decisions import CalibrationFitted
from alphapulse.domain.decision.intervals import uniqueness
from alphapulse.domain.decision.selection import choose
from alphapulse.domain.decision.strategy import Learning, StrategyDefined
from alphapulse.domain.decision.table import Table
from alphapulse.domain.signals import engine_arrays as k
from alphapulse.domain.signals.engine_clerk import REGIME_NAMES
from alphapulse.domain.signals.engine_state import BASE, CLOSED, DECIDED, FROM, SCORE, UNTIL, WON, EngineState


def next_due(resolved: int, learning: Learning) -> int:
    """How many must be resolved for the next fit, when the last one was at ``resolved``."""
    return resolved + max(1, math.ceil(learning.refit_ratio * resolved))


def fit(
    state: EngineState,
    strategy: StrategyDefined,
    timeframes: Sequence[int],
    voters: Sequence[str],
    part: int,
    position: int,
) -> CalibrationFitted:
    """The next calibration, from what ``state`` remembers; it counts in ``state`` from now on."""
    numbers, values = state.history.rows()
    choice = choose(
        values[:, SCORE],
        values[:, WON],
        numbers[:, DECIDED],
        numbers[:, CLOSED],
        base=values[:, BASE],
        # Outcomes that overlap tell less than as many that do not: each counts for what it is worth.
        weight=uniqueness(numbers[:, DECIDED], numbers[:, CLOSED]),
        least_effective=strategy.learning.least_effective,
    )
    counters = state.part.counters
    counters[k.CALIBRATION] += 1
    counters[k.ASKS_BASE] = int(choice.of_base)
    state.fitted_at = int(counters[k.RESOLVED])
    counters[k.DUE_AT] = next_due(state.fitted_at, strategy.learning)
    _use(state.part, choice.table)
    priors = _pool(state, strategy.learning, timeframes, voters)
    return CalibrationFitted(
        strategy=strategy.name,
        strategy_version=strategy.version,
        part=part,
        number=int(counters[k.CALIBRATION]),
        position=position,
        first_position=int(numbers[:, FROM].min()),
        last_position=int(numbers[:, UNTIL].max()),
        priors=priors,
        **choice.as_data(),
    )


def _use(part: k.Part, table: Table) -> None:
    part.table_x[:], part.table_p[:] = table.padded()


def _pool(
    state: EngineState, learning: Learning, timeframes: Sequence[int], voters: Sequence[str]
) -> dict[str, tuple[float, float]]:
    """What a voter is believed to be worth where it was not measured: its skill in all markets together.

    Brier skill by timeframe and regime over the sums of the markets' cells, shrunk to ``prior_skill``. Only
    those with any outcome are named; the others keep ``prior_skill``.
    """
    total = np.zeros_like(next(iter(state.markets.values())).arrays.cells)
    for _, market in sorted(state.markets.items()):
        total += market.arrays.cells
    count, errors, base = total[..., COUNT], total[..., ERRORS], total[..., BASE_ERRORS]
    measured = 1.0 - np.divide(errors, base, out=np.ones_like(base), where=base > 0)
    weight = count + learning.prior_weight
    shrunk = (count * measured + learning.prior_weight * learning.prior_skill) / weight
    state.part.priors[:] = np.where(count > 0, shrunk, learning.prior_skill)
    named: dict[str, tuple[float, float]] = {}
    for slot, regime, voter in np.argwhere(count > 0).tolist():
        name = f"{voters[voter]}|{REGIME_NAMES[regime]}|{timeframes[slot]}"
        named[name] = (float(shrunk[slot, regime, voter]), float(count[slot, regime, voter]))
    return named
