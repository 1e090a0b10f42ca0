"""Ticks and rows of one instrument in the order of the log: outcomes, lessons, candidates, gate. Compiled.

A tick whose event came before that of a row, or that was known by the time the row was (moment <= known
time of one event), is watched before the row is decided. Rows come in the order of event, known time and
timeframe. What is found is written down as a list of notes in that order; the shell makes events of it. The
loop stops for four reasons: the end, a fit that is due (the next row is to see it), notes that must be
taken first, and room for more open ideas.
"""

from typing import NamedTuple

import numpy as np

from alphapulse.domain.analysis.compiled import inner_piece
from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.decision.breaker import mutes_at
from alphapulse.domain.decision.consensus import (
    expected_bps,
    has_skill,
    learn,
    logit,
    needed,
    see_pairs,
    weigh,
)
from alphapulse.domain.decision.geometry import is_ordered, placed
from alphapulse.domain.decision.table import lookup_at
from alphapulse.domain.market.timeframes import MINUTE_NS
from alphapulse.domain.signals import ticks as t
from alphapulse.domain.signals import watch as w
from alphapulse.domain.signals.idea import DAY_NS, MAX_HORIZON_DAYS, MAX_PRICE
from alphapulse.domain.signals.outcome import GAP_TARGET, TARGET

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
    """``order`` (NOTES, 2): kind and row of the list of that kind; ``counts`` (5,): by kind, then all."""

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


@inner_piece
def run(
    steps: Steps,
    rules: Rules,
    market: Market,
    part: Part,
    notes: Notes,
    cursor: Int64s,
    tick_end: int,
    row_end: int,
) -> int:
    """Go on from ``cursor`` (tick, row) to the ends; why it stopped, with the cursor where it goes on."""
    numbers, prices = steps.tick_i, steps.tick_f
    while cursor[0] < tick_end or cursor[1] < row_end:
        if notes.counts[4] + market.ideas_f.shape[0] + 2 > notes.order.shape[0]:
            return FULL
        i, r = cursor[0], cursor[1]
        if i < tick_end and (r == row_end or _comes_first(numbers, i, steps.row_i[r])):
            cursor[0] = i + 1
            if market.around_i[w.COUNT] > 0 and _watch(numbers, prices, i, market):
                _conclude(rules, market, part, notes)
                if part.counters[RESOLVED] >= part.counters[DUE_AT]:
                    return DUE
            continue
        if market.around_i[w.COUNT] == market.ideas_f.shape[0] < MAX_OPEN_IDEAS:
            return GROW
        _decide(r, steps, rules, market, part, notes)
        cursor[1] = r + 1
    return END


@inner_piece
def _comes_first(numbers: Int64s, i: int, row: Int64s) -> bool:
    position = numbers[t.POSITION, i]
    if position != row[POSITION]:
        return bool(position < row[POSITION])
    return bool(numbers[t.MOMENT, i] <= row[KNOWN])


@inner_piece
def _watch(numbers: Int64s, prices: Floats, i: int, market: Market) -> bool:
    """Whether the tick closed any idea."""
    closed = w.watch_tick(
        market.ideas_f,
        market.ideas_i,
        market.around_f,
        market.around_i,
        numbers[t.KIND, i],
        numbers[t.START, i],
        numbers[t.MOMENT, i],
        numbers[t.UNSEEN, i],
        numbers[t.POSITION, i],
        prices[t.OPEN, i],
        prices[t.HIGH, i],
        prices[t.LOW, i],
        prices[t.CLOSE, i],
    )
    return closed > 0


@inner_piece
def _conclude(rules: Rules, market: Market, part: Part, notes: Notes) -> None:
    """Learn from the ideas that the last tick closed, in the order in which they were had."""
    first, closed = market.around_i[w.COUNT], market.around_i[w.CLOSED]
    last = -1
    for _ in range(closed):
        at = -1
        for slot in range(first, first + closed):
            number = market.ideas_i[slot, w.NUMBER]
            if number > last and (at < 0 or number < market.ideas_i[at, w.NUMBER]):
                at = slot
        last = int(market.ideas_i[at, w.NUMBER])
        _resolve(at, rules, market, part, notes)


@inner_piece
def _resolve(at: int, rules: Rules, market: Market, part: Part, notes: Notes) -> None:
    whole = market.ideas_i[at]
    room = whole[w.NUMBER] % MAX_OPEN_IDEAS
    mine, own = market.mine_f[room], market.mine_i[room]
    won = 1.0 if whole[w.REASON] == TARGET or whole[w.REASON] == GAP_TARGET else 0.0
    slot = own[ITS_SLOT]
    numbers = rules.numbers
    learn(
        market.cells[slot, own[ITS_REGIME]],
        mine[OF_IDEA:],
        whole[w.SIDE],
        mine[BASE],
        won,
        numbers[SHARPNESS],
        numbers[SKILL_DECAY],
    )
    if own[PASSED] > 0:
        told = market.counts[slot, 1]
        ring = market.breaker[slot, told % market.breaker.shape[1]]
        ring[0], ring[1] = won, mine[CLAIM]
        market.counts[slot, 1] = told + 1
    part.counters[RESOLVED] += 1
    n = _note(notes, OUTCOME)
    for k in range(w.F_ROWS):
        notes.outcome_f[n, k] = market.ideas_f[at, k]
    for k in range(w.I_ROWS):
        notes.outcome_i[n, k] = whole[k]
    for k in range(mine.shape[0]):
        notes.outcome_mine_f[n, k] = mine[k]
    for k in range(OF_IDEA_I):
        notes.outcome_mine_i[n, k] = own[k]
    own[USED] = 0


@inner_piece
def _note(notes: Notes, kind: int) -> int:
    """The row for one more note of ``kind``."""
    n, total = notes.counts[kind], notes.counts[4]
    notes.order[total, 0], notes.order[total, 1] = kind, n
    notes.counts[kind], notes.counts[4] = n + 1, total + 1
    return n  # type: ignore[no-any-return]


@inner_piece
def _decide(r: int, steps: Steps, rules: Rules, market: Market, part: Part, notes: Notes) -> None:
    """One row: who votes, and whether that makes a candidate."""
    row, votes = steps.row_i[r], steps.votes[r]
    if row[SKIPPED] > 0:
        return
    slot, numbers = row[SLOT], rules.numbers
    _adapt(r, row, market.adapted[slot], notes)
    voting = 0
    for v in range(votes.shape[0]):
        if votes[v] != 0.0:
            voting += 1
    if voting == 0:
        return
    see_pairs(market.pairs[slot], votes, numbers[PAIR_DECAY])
    market.counts[slot, 0] += 1
    width = steps.row_f[r, RANGE]
    if voting < numbers[QUORUM] or not (width > 0.0 and width < np.inf):
        return
    # Written where the next decision would be: if none is made of it, the next row overwrites it.
    n = notes.counts[DECISION]
    consensus, disagreement, voters = weigh(
        votes,
        market.cells[slot, row[REGIME]],
        part.priors[slot, row[REGIME]],
        numbers[PRIOR_WEIGHT],
        market.pairs[slot],
        market.counts[slot, 0],
        notes.of_voters[n],
    )
    change = rules.changes[market.adapted[slot, 0]]
    least = numbers[LEAST_CONSENSUS] + change[OF_CONSENSUS]
    if voters < numbers[QUORUM] or abs(consensus) < least or consensus == 0.0:
        return
    floats, whole = notes.decision_f[n], notes.decision_i[n]
    floats[CONSENSUS], floats[DISAGREEMENT], floats[VOTERS] = consensus, disagreement, voters
    whole[ROW], whole[PARAMETERS] = r, market.adapted[slot, 0]
    whole[SIDE] = 1 if consensus > 0.0 else -1
    whole[OPEN_IDEAS], whole[RESOLVED_SO_FAR] = market.around_i[w.COUNT], part.counters[RESOLVED]
    _propose(n, row, steps.row_f[r], change, rules, notes)
    _gate(n, row, steps.row_f[r], rules, market, part, notes)
    _note(notes, DECISION)
    if whole[REFUSALS] & (CAPACITY | BAD_LEVELS) == 0:
        _open(n, row, steps.row_f[r], votes, market, notes)
    elif whole[REFUSALS] & CAPACITY:
        market.numbers[1] += 1
    _warn(n, whole[SIDE], slot, market, notes)


@inner_piece
def _adapt(r: int, row: Int64s, adapted: Int64s, notes: Notes) -> None:
    """Other parameters count once they were asked for on ADAPT_BARS bars in a row."""
    wanted = row[WANTED]
    if wanted == adapted[0]:
        adapted[1], adapted[2] = wanted, 0
        return
    adapted[2] = adapted[2] + 1 if wanted == adapted[1] else 1
    adapted[1] = wanted
    if adapted[2] >= ADAPT_BARS:
        n = _note(notes, ADAPTED)
        notes.adapted[n, 0], notes.adapted[n, 1], notes.adapted[n, 2] = r, adapted[0], wanted
        adapted[0], adapted[2] = wanted, 0


@inner_piece
def _propose(n: int, row: Int64s, bar: Floats, change: Floats, rules: Rules, notes: Notes) -> None:
    """Weigh every geometry; chosen is the one with most to expect, the first of equals; -1: none will do."""
    whole, floats = notes.decision_i[n], notes.decision_f[n]
    side, entry, strength = whole[SIDE], bar[CLOSE], abs(floats[CONSENSUS])
    cost = rules.numbers[COST_RATIO] * entry
    whole[CHOSEN], best = -1, -np.inf
    for g in range(rules.geometries.shape[0]):
        geometry, found = rules.geometries[g], notes.proposed[n, g]
        stop, target = placed(
            side,
            entry,
            bar[RANGE],
            geometry[STOP_FACTOR] * change[OF_STOP],
            geometry[TARGET_FACTOR] * change[OF_TARGET],
            bar[SWING_LOW],
            bar[SWING_HIGH],
            geometry[TO_LEVELS] > 0.0,
        )
        bars = max(np.floor(geometry[HORIZON_BARS] * change[OF_HORIZON] + 0.5), 1.0)
        lasts = bars * rules.timeframes[row[SLOT]] * MINUTE_NS
        found[STOP], found[TARGET_PRICE] = stop, target
        notes.horizons[n, g] = row[KNOWN] + np.int64(min(lasts, 2.0 * MAX_HORIZON_NS))
        found[PROPOSED_BASE], found[PROPOSED_RAW], found[EXPECTED] = 0.0, 0.0, 0.0
        if (
            not is_ordered(side, entry, stop, target)
            or lasts > MAX_HORIZON_NS
            or not _is_price(entry, target)
        ):
            continue
        risk, gain = side * (entry - stop), side * (target - entry)
        base = risk / (risk + gain)
        found[PROPOSED_BASE] = base
        found[PROPOSED_RAW] = logit(base) + rules.numbers[SHARPNESS] * strength
        found[EXPECTED] = expected_bps(found[PROPOSED_RAW], risk, gain, entry, cost)
        if found[EXPECTED] > best:
            whole[CHOSEN], best = g, found[EXPECTED]


@inner_piece
def _is_price(entry: float, target: float) -> bool:
    return entry <= MAX_PRICE and target <= MAX_PRICE


@inner_piece
def _gate(n: int, row: Int64s, bar: Floats, rules: Rules, market: Market, part: Part, notes: Notes) -> None:
    """Probability, what it pays, and the breaker; every rule that says no is written down."""
    whole, floats, numbers = notes.decision_i[n], notes.decision_f[n], rules.numbers
    slot, side, entry = row[SLOT], whole[SIDE], bar[CLOSE]
    refused = 0
    if market.around_i[w.COUNT] >= MAX_OPEN_IDEAS:
        refused |= CAPACITY
    if not has_skill(notes.of_voters[n]):
        refused |= NO_SKILL
    floats[CONFIDENCE], floats[NEEDED] = 0.0, 0.0
    if whole[CHOSEN] < 0:
        refused |= BAD_LEVELS
    else:
        chosen = notes.proposed[n, whole[CHOSEN]]
        risk, gain = side * (entry - chosen[STOP]), side * (chosen[TARGET_PRICE] - entry)
        floats[NEEDED] = needed(risk, gain, numbers[COST_RATIO] * entry)
        if part.counters[CALIBRATION] == 0:
            refused |= UNCALIBRATED
        else:
            floats[CONFIDENCE] = lookup_at(part.table_x, part.table_p, _asked(part, chosen))
            if not floats[CONFIDENCE] >= numbers[THRESHOLD]:
                refused |= LOW_CONFIDENCE
            if not floats[CONFIDENCE] - floats[NEEDED] >= numbers[MARGIN]:
                refused |= DOES_NOT_PAY
    size = market.breaker.shape[1]
    told = min(market.counts[slot, 1], size)
    wins, claims = 0.0, 0.0
    for k in range(told):
        wins += market.breaker[slot, k, 0]
        claims += market.breaker[slot, k, 1]
    mean = claims / told if told > 0 else 0.0
    whole[OUTCOMES], floats[WINS], floats[MEAN_CLAIM] = told, wins, mean
    whole[IS_CLOSED] = 1 if mutes_at(wins, float(told), mean, numbers[BREAKER_LEAST]) else 0
    if whole[IS_CLOSED] > 0:
        refused |= BREAKER
    whole[REFUSALS] = refused


@inner_piece
def _asked(part: Part, chosen: Floats) -> float:
    """The log-odds that the table is asked with."""
    return logit(chosen[PROPOSED_BASE]) if part.counters[ASKS_BASE] > 0 else chosen[PROPOSED_RAW]


@inner_piece
def _open(n: int, row: Int64s, bar: Floats, votes: Floats, market: Market, notes: Notes) -> None:
    """Watch the candidate, refused or not: the market decides what it was worth."""
    whole = notes.decision_i[n]
    room = 0
    while market.mine_i[room, USED] > 0:
        room += 1
    number = market.numbers[0] * MAX_OPEN_IDEAS + room
    market.numbers[0] += 1
    chosen = notes.proposed[n, whole[CHOSEN]]
    w.open_idea(
        market.ideas_f,
        market.ideas_i,
        market.around_f,
        market.around_i,
        number,
        whole[SIDE],
        row[KNOWN],
        notes.horizons[n, whole[CHOSEN]],
        bar[CLOSE],
        chosen[STOP],
        chosen[TARGET_PRICE],
    )
    mine, own = market.mine_f[room], market.mine_i[room]
    mine[CLAIM] = notes.decision_f[n, CONFIDENCE]
    mine[BASE], mine[RAW] = chosen[PROPOSED_BASE], chosen[PROPOSED_RAW]
    for v in range(votes.shape[0]):
        mine[OF_IDEA + v] = votes[v]
    own[USED], own[ITS_SLOT], own[ITS_REGIME] = 1, row[SLOT], row[REGIME]
    own[PASSED] = 1 if whole[REFUSALS] & ~BREAKER == 0 else 0
    own[ISSUED] = 1 if whole[REFUSALS] == 0 else 0
    own[WARNED], own[ITS_START], own[ITS_POSITION] = 0, row[START], row[POSITION]


@inner_piece
def _warn(n: int, side: int, slot: int, market: Market, notes: Notes) -> None:
    """Advise to leave what was proposed on the other side, by as small a timeframe: once each."""
    for k in range(market.around_i[w.COUNT]):
        own = market.mine_i[market.ideas_i[k, w.NUMBER] % MAX_OPEN_IDEAS]
        against = market.ideas_i[k, w.SIDE] == -side
        if against and own[ISSUED] > 0 and own[WARNED] == 0 and own[ITS_SLOT] <= slot:
            own[WARNED] = 1
            e = _note(notes, EXIT)
            for j in range(OF_IDEA_I):
                notes.exits[e, j] = own[j]
            notes.exits[e, OF_IDEA_I] = n
