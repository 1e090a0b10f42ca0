"""What was decided and what became of it, as columns: for ledgers of every candidate, refused or not.

The numbers are those of the events, to the last bit, and no event is made. Times are ns by the venue's
clock, ``bar_start`` minutes, prices in quote currency, ``_bps`` basis points of the entry. ``row`` is the
place among the outputs. A decision and its outcome share instrument, timeframe and ``bar_start``.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.decision import decisions as d
from alphapulse.domain.decision.strategy import Risk
from alphapulse.domain.signals import engine_arrays as k
from alphapulse.domain.signals import watch as w
from alphapulse.domain.signals.engine_events import DECISION, OUTCOME, Outputs
from alphapulse.domain.signals.engine_noted import Noted
from alphapulse.domain.signals.engine_picked import Picked
from alphapulse.domain.signals.outcome import AMBIGUOUS, WINS

Bools = NDArray[np.bool_]
Names = NDArray[np.object_]

# Why a candidate was refused: by bits of ``Decisions.refusals``, in the order of DecisionMade.refusals.
REFUSALS = (
    (k.UNCALIBRATED, d.UNCALIBRATED),
    (k.LOW_CONFIDENCE, d.LOW_CONFIDENCE),
    (k.DOES_NOT_PAY, d.DOES_NOT_PAY),
    (k.BREAKER, d.BREAKER),
    (k.CAPACITY, d.CAPACITY),
    (k.BAD_LEVELS, d.BAD_LEVELS),
    (k.NO_SKILL, d.NO_SKILL),
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Decisions:
    """Columns (n,) of DecisionMade. ``regime`` is its place among engine_clerk.REGIME_NAMES."""

    row: Int64s
    position: Int64s
    time: Int64s
    instrument: Names
    timeframe: Int64s
    bar_start: Int64s
    side: Int64s
    entry: Floats
    stop: Floats
    target: Floats
    horizon_end: Int64s
    regime: Int64s
    parameters: Int64s  # number of the adaptation in force, from 1; 0: none
    average_true_range: Floats
    consensus: Floats
    disagreement: Floats
    voters: Floats
    chosen: Int64s
    base: Floats
    expected_bps: Floats
    calibration: Int64s
    confidence: Floats  # 0 where nothing was claimed
    needed: Floats
    refusals: Int64s  # bits of REFUSALS; 0: it passed the gate

    def __len__(self) -> int:
        return len(self.row)

    @property
    def passed(self) -> Bools:
        """Those that passed the gate, and are proposed to the book."""
        return np.asarray(self.refusals == 0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcomes:
    """Columns (n,) of OutcomeRecorded; ``reason`` is a code of outcome.REASONS."""

    row: Int64s
    position: Int64s
    instrument: Names
    timeframe: Int64s
    bar_start: Int64s
    regime: Int64s
    side: Int64s
    confidence: Floats
    entry: Floats
    stop: Floats
    target: Floats
    decided: Int64s
    horizon_end: Int64s
    closed: Int64s
    reason: Int64s
    label: Int64s
    worst_label: Int64s
    best_label: Int64s
    exit_price: Floats
    worst_price: Floats
    best_price: Floats
    fill_price: Floats
    gross_bps: Floats
    net_bps: Floats
    r_multiple: Floats
    net_r_multiple: Floats
    mfe_bps: Floats
    mae_bps: Floats
    unseen_from: Int64s
    unseen_until: Int64s
    passed: Bools  # the gate, when it was decided

    def __len__(self) -> int:
        return len(self.row)


def names_of(refusals: int) -> tuple[str, ...]:
    """The words of DecisionMade.refusals."""
    return tuple(name for bit, name in REFUSALS if refusals & bit)


def decisions_of(outputs: Outputs) -> Decisions:
    """The decisions among ``outputs``, which an engine gave."""
    picked = Picked(outputs, DECISION)
    whole, floats = picked.whole(lambda b: b.notes.decision_i), picked.floats(lambda b: b.notes.decision_f)
    steps, bars = picked.whole(lambda b: b.decided.whole), picked.floats(lambda b: b.decided.floats)
    # One geometry of each: that which was chosen, or the first one where none would do.
    levels, horizon_end = picked.floats(_levels), picked.whole(_horizons)
    return Decisions(
        row=picked.rows,
        position=steps[:, k.POSITION],
        time=steps[:, k.KNOWN],
        instrument=picked.each(lambda b: b.instrument),
        timeframe=picked.timeframes(steps[:, k.SLOT]),
        bar_start=steps[:, k.START],
        side=whole[:, k.SIDE],
        entry=bars[:, k.CLOSE],
        stop=levels[:, k.STOP],
        target=levels[:, k.TARGET_PRICE],
        horizon_end=horizon_end[:, 0],
        regime=steps[:, k.REGIME],
        parameters=whole[:, k.PARAMETERS],
        average_true_range=bars[:, k.RANGE],
        consensus=floats[:, k.CONSENSUS],
        disagreement=floats[:, k.DISAGREEMENT],
        voters=floats[:, k.VOTERS],
        chosen=whole[:, k.CHOSEN],
        base=levels[:, k.PROPOSED_BASE],
        expected_bps=levels[:, k.EXPECTED],
        calibration=picked.each(lambda b: b.table.number, np.int64),
        confidence=floats[:, k.CONFIDENCE],
        needed=floats[:, k.NEEDED],
        refusals=whole[:, k.REFUSALS],
    )


def _levels(block: Noted) -> Floats:
    chosen = np.maximum(block.notes.decision_i[:, k.CHOSEN], 0)
    return block.notes.proposed[np.arange(len(chosen)), chosen]


def _horizons(block: Noted) -> Int64s:
    chosen = np.maximum(block.notes.decision_i[:, k.CHOSEN], 0)
    return block.notes.horizons[np.arange(len(chosen)), chosen, None]


def outcomes_of(outputs: Outputs, risk: Risk) -> Outcomes:
    """The outcomes among ``outputs``, which an engine gave, as outcome.booked books each at the costs of
    ``risk``: the same operations in the same order."""
    picked = Picked(outputs, OUTCOME)
    f, i = picked.floats(lambda b: b.notes.outcome_f), picked.whole(lambda b: b.notes.outcome_i)
    own, mine = (
        picked.whole(lambda b: b.notes.outcome_mine_i),
        picked.floats(lambda b: b.notes.outcome_mine_f),
    )
    side, entry, reason, left = i[:, w.SIDE], f[:, w.ENTRY], i[:, w.REASON], f[:, w.EXIT]
    won = np.isin(reason, WINS)
    doubtful = (reason == AMBIGUOUS) | (i[:, w.UNSEEN_UNTIL] > 0)

    def bps(price: Floats) -> Floats:
        return np.asarray(side * (price - entry) / entry * 1e4)

    fill = np.where(won, left, left * (1 - side * risk.slippage_bps / 1e4))
    gross, net = bps(left), bps(fill) - risk.slippage_bps - 2 * risk.fee_bps
    risk_bps = np.abs(entry - f[:, w.STOP_AT]) / entry * 1e4
    high, low = bps(f[:, w.HIGHEST]), bps(f[:, w.LOWEST])
    return Outcomes(
        row=picked.rows,
        position=i[:, w.POSITION],
        instrument=picked.each(lambda b: b.instrument),
        timeframe=picked.timeframes(own[:, k.ITS_SLOT]),
        bar_start=own[:, k.ITS_START],
        regime=own[:, k.ITS_REGIME],
        side=side,
        confidence=mine[:, k.CLAIM],
        entry=entry,
        stop=f[:, w.STOP_AT],
        target=f[:, w.TARGET_AT],
        decided=i[:, w.DECIDED],
        horizon_end=i[:, w.HORIZON],
        closed=i[:, w.MOMENT],
        reason=reason,
        label=won.astype(np.int64),
        worst_label=np.where(doubtful, 0, won).astype(np.int64),
        best_label=np.where(doubtful, 1, won).astype(np.int64),
        exit_price=left,
        worst_price=f[:, w.WORST],
        best_price=f[:, w.BEST],
        fill_price=fill,
        gross_bps=gross,
        net_bps=net,
        r_multiple=gross / risk_bps,
        net_r_multiple=net / risk_bps,
        mfe_bps=np.maximum(0.0, np.maximum(high, low)),
        mae_bps=np.maximum(0.0, -np.minimum(high, low)),
        unseen_from=i[:, w.UNSEEN_FROM],
        unseen_until=i[:, w.UNSEEN_UNTIL],
        passed=own[:, k.PASSED] > 0,
    )
