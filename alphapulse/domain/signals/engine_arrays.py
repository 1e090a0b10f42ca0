"""What the kernel of the engine works on: arrays by name, and the names of their columns."""

from typing import NamedTuple

import numpy as np

from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.decision.consensus import OF_VOTER
from alphapulse.domain.signals import watch as w
from alphapulse.domain.signals.idea import DAY_NS, MAX_HORIZON_DAYS

MAX_OPEN_IDEAS = 256  # of one instrument; a candidate beyond is refused
NOTES = 2_048  # that are kept before the shell must take them
ADAPT_BARS = 10  # in a row that ask for other parameters before these count
REGIMES = 4
MAX_HORIZON_NS = MAX_HORIZON_DAYS * DAY_NS

# Why the loop stopped.
END, DUE, FULL, GROW = range(4)

# Refusals, as bits.
UNCALIBRATED, LOW_CONFIDENCE, DOES_NOT_PAY, BREAKER, CAPACITY, BAD_LEVELS, NO_SKILL = (
    1 << n for n in range(7)
)

# Kinds of notes.
OUTCOME, ADAPTED, DECISION, EXIT = range(4)

# Columns of Steps.row_i, a row that is to be decided.
POSITION, KNOWN, SLOT, START, SKIPPED, REGIME, WANTED, AT = range(8)
OF_ROW = 8
# Columns of Steps.row_f.
CLOSE, RANGE, SWING_LOW, SWING_HIGH = range(4)
OF_ROW_F = 4

# Columns of Rules.geometries.
STOP_FACTOR, TARGET_FACTOR, HORIZON_BARS, TO_LEVELS = range(4)
# Columns of Rules.changes, as strategy.ADAPTABLE; row 0 changes nothing, row n is adaptation n - 1.
OF_STOP, OF_TARGET, OF_HORIZON, OF_SIZE, OF_CONSENSUS = range(5)
# Rules.numbers
(
    QUORUM,
    LEAST_CONSENSUS,
    SHARPNESS,
    THRESHOLD,
    MARGIN,
    BREAKER_LEAST,
    COST_RATIO,  # of the entry, all costs
    PRIOR_WEIGHT,
    SKILL_DECAY,
    PAIR_DECAY,
) = range(10)

# Market.mine_f: what an open idea has to remember; the votes follow.
CLAIM, BASE, RAW = range(3)
OF_IDEA = 3
# Market.mine_i
USED, ITS_SLOT, ITS_REGIME, PASSED, ISSUED, WARNED, ITS_START, ITS_POSITION = range(8)
OF_IDEA_I = 8

# Part.counters
CALIBRATION, RESOLVED, DUE_AT, ASKS_BASE = range(4)  # ASKS_BASE: the table is of the base's log-odds

# Columns of Notes.decision_i and decision_f, proposed
(
    ROW, SIDE, CHOSEN, PARAMETERS, REFUSALS, IS_CLOSED, OUTCOMES, OPEN_IDEAS, RESOLVED_SO_FAR,
) = range(9)  # fmt: skip
CONSENSUS, DISAGREEMENT, VOTERS, CONFIDENCE, NEEDED, WINS, MEAN_CLAIM = range(7)
STOP, TARGET_PRICE, PROPOSED_BASE, PROPOSED_RAW, EXPECTED = range(5)


class Steps(NamedTuple):
    """Ticks (see ticks.py), and rows to decide: R by event, known time and timeframe. ``votes`` (R, V)."""

    tick_i: Int64s
    tick_f: Floats
    row_i: Int64s
    row_f: Floats
    votes: Floats


class Rules(NamedTuple):
    """What the strategy says, as numbers. ``timeframes`` in minutes, ascending: the slots of a market."""

    numbers: Floats
    timeframes: Int64s
    geometries: Floats
    changes: Floats


class Market(NamedTuple):
    """What is carried of one instrument. T slots, V voters, C ideas at most, W outcomes for the breaker.

    ``breaker`` holds (y, claim) of the last candidates that passed the first two rules. ``adapted`` holds
    for each slot the parameters in force, those asked for instead, and on how many bars. ``counts`` (T, 2):
    rows on which anybody voted, outcomes that the breaker was told.
    """

    cells: Floats  # (T, REGIMES, V, OF_CELL)
    pairs: Floats  # (T, V, V)
    breaker: Floats  # (T, W, 2)
    counts: Int64s
    adapted: Int64s  # (T, 3)
    ideas_f: Floats  # (C, w.F_ROWS)
    ideas_i: Int64s  # (C, w.I_ROWS)
    around_f: Floats
    around_i: Int64s
    mine_f: Floats  # (C, OF_IDEA + V)
    mine_i: Int64s  # (C, OF_IDEA_I)
    numbers: Int64s  # (2,): ideas so far, candidates that found no room


class Part(NamedTuple):
    """What the markets of one part share: the claims' table, priors (T, REGIMES, V), counters."""

    table_x: Floats
    table_p: Floats
    priors: Floats
    counters: Int64s


class Notes(NamedTuple):
    """``order`` (NOTES, 3): kind, row in the list of that kind, position. ``counts`` (5,): by kind, all."""

    order: Int64s
    counts: Int64s
    outcome_f: Floats  # (NOTES, w.F_ROWS)
    outcome_i: Int64s  # (NOTES, w.I_ROWS)
    outcome_mine_f: Floats  # (NOTES, OF_IDEA + V)
    outcome_mine_i: Int64s  # (NOTES, OF_IDEA_I)
    adapted: Int64s  # (NOTES, 3): row, before, after
    decision_i: Int64s
    decision_f: Floats
    of_voters: Floats  # (NOTES, V, consensus.OF_VOTER)
    proposed: Floats  # (NOTES, G, 5)
    horizons: Int64s  # (NOTES, G)
    exits: Int64s  # (NOTES, OF_IDEA_I + 1): of the idea; the decision against it


def new_notes(voters: int, geometries: int) -> Notes:
    """Room for what the kernel writes down."""
    n = NOTES
    return Notes(
        order=np.empty((n, 3), dtype=np.int64),
        counts=np.zeros(5, dtype=np.int64),
        outcome_f=np.empty((n, w.F_ROWS)),
        outcome_i=np.empty((n, w.I_ROWS), dtype=np.int64),
        outcome_mine_f=np.empty((n, OF_IDEA + voters)),
        outcome_mine_i=np.empty((n, OF_IDEA_I), dtype=np.int64),
        adapted=np.empty((n, 3), dtype=np.int64),
        decision_i=np.empty((n, 9), dtype=np.int64),
        decision_f=np.empty((n, 7)),
        of_voters=np.empty((n, voters, OF_VOTER)),
        proposed=np.empty((n, geometries, 5)),
        horizons=np.empty((n, geometries), dtype=np.int64),
        exits=np.empty((n, OF_IDEA_I + 1), dtype=np.int64),
    )
