"""Ticks and rows of one instrument in the order of the log: outcomes, lessons, candidates, gate. Compiled.

A tick whose event came before that of a row, or that was known by the time the row was (moment <= known
time of one event), is watched before the row is decided. Rows come in the order of event, known time and
timeframe. What is found is written down as a list of notes in that order; the shell makes events of it. The
loop stops for four reasons: the end, a fit that is due (the next row is to see it), notes that must be
taken first, and room for more open ideas.
"""

import numpy as np

from alphapulse.domain.analysis.compiled import inner_piece
from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.decision.consensus import (
    has_skill,
    learn,
    see_pairs,
    weigh,
)
from alphapulse.domain.signals import engine_arrays as k
from alphapulse.domain.signals import ticks as t
from alphapulse.domain.signals import watch as w
from alphapulse.domain.signals.engine_gate import gate, propose
from alphapulse.domain.signals.outcome import GAP_TARGET, TARGET


@inner_piece
def run(
    steps: k.Steps,
    rules: k.Rules,
    market: k.Market,
    part: k.Part,
    notes: k.Notes,
    cursor: Int64s,
    tick_end: int,
    row_end: int,
) -> int:
    """Go on from ``cursor`` (tick, row) to the ends; why it stopped, with the cursor where it goes on."""
    numbers, prices = steps.tick_i, steps.tick_f
    while cursor[0] < tick_end or cursor[1] < row_end:
        if notes.counts[4] + market.ideas_f.shape[0] + 2 > notes.order.shape[0]:
            return k.FULL
        i, r = cursor[0], cursor[1]
        if i < tick_end and (r == row_end or _comes_first(numbers, i, steps.row_i[r])):
            cursor[0] = i + 1
            if market.around_i[w.COUNT] > 0 and _watch(numbers, prices, i, market):
                _conclude(rules, market, part, notes)
                if part.counters[k.RESOLVED] >= part.counters[k.DUE_AT]:
                    return k.DUE
            continue
        if market.around_i[w.COUNT] == market.ideas_f.shape[0] < k.MAX_OPEN_IDEAS:
            return k.GROW
        _decide(r, steps, rules, market, part, notes)
        cursor[1] = r + 1
    return k.END


@inner_piece
def _comes_first(numbers: Int64s, i: int, row: Int64s) -> bool:
    position = numbers[t.POSITION, i]
    if position != row[k.POSITION]:
        return bool(position < row[k.POSITION])
    return bool(numbers[t.MOMENT, i] <= row[k.KNOWN])


@inner_piece
def _watch(numbers: Int64s, prices: Floats, i: int, market: k.Market) -> bool:
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
def _conclude(rules: k.Rules, market: k.Market, part: k.Part, notes: k.Notes) -> None:
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
def _resolve(at: int, rules: k.Rules, market: k.Market, part: k.Part, notes: k.Notes) -> None:
    whole = market.ideas_i[at]
    room = whole[w.NUMBER] % k.MAX_OPEN_IDEAS
    mine, own = market.mine_f[room], market.mine_i[room]
    won = 1.0 if whole[w.REASON] == TARGET or whole[w.REASON] == GAP_TARGET else 0.0
    slot = own[k.ITS_SLOT]
    numbers = rules.numbers
    learn(
        market.cells[slot, own[k.ITS_REGIME]],
        mine[k.OF_IDEA :],
        whole[w.SIDE],
        mine[k.BASE],
        won,
        numbers[k.SHARPNESS],
        numbers[k.SKILL_DECAY],
    )
    if own[k.PASSED] > 0:
        told = market.counts[slot, 1]
        ring = market.breaker[slot, told % market.breaker.shape[1]]
        ring[0], ring[1] = won, mine[k.CLAIM]
        market.counts[slot, 1] = told + 1
    part.counters[k.RESOLVED] += 1
    n = _note(notes, k.OUTCOME, whole[w.POSITION])
    for j in range(w.F_ROWS):
        notes.outcome_f[n, j] = market.ideas_f[at, j]
    for j in range(w.I_ROWS):
        notes.outcome_i[n, j] = whole[j]
    for j in range(mine.shape[0]):
        notes.outcome_mine_f[n, j] = mine[j]
    for j in range(k.OF_IDEA_I):
        notes.outcome_mine_i[n, j] = own[j]
    own[k.USED] = 0


@inner_piece
def _note(notes: k.Notes, kind: int, position: int) -> int:
    """The row for one more note of ``kind``, which follows from the event at ``position``."""
    n, total = notes.counts[kind], notes.counts[4]
    notes.order[total, 0], notes.order[total, 1], notes.order[total, 2] = kind, n, position
    notes.counts[kind], notes.counts[4] = n + 1, total + 1
    return n  # type: ignore[no-any-return]


@inner_piece
def _decide(r: int, steps: k.Steps, rules: k.Rules, market: k.Market, part: k.Part, notes: k.Notes) -> None:
    """One row: who votes, and whether that makes a candidate."""
    row, votes = steps.row_i[r], steps.votes[r]
    if row[k.SKIPPED] > 0:
        return
    slot, numbers = row[k.SLOT], rules.numbers
    _adapt(r, row, market.adapted[slot], notes)
    voting = 0
    for v in range(votes.shape[0]):
        if votes[v] != 0.0:
            voting += 1
    if voting == 0:
        return
    see_pairs(market.pairs[slot], votes, numbers[k.PAIR_DECAY])
    market.counts[slot, 0] += 1
    width = steps.row_f[r, k.RANGE]
    if voting < numbers[k.QUORUM] or not (width > 0.0 and width < np.inf):
        return
    # Written where the next decision would be: if none is made of it, the next row overwrites it.
    n = notes.counts[k.DECISION]
    consensus, disagreement, voters = weigh(
        votes,
        market.cells[slot, row[k.REGIME]],
        part.priors[slot, row[k.REGIME]],
        numbers[k.PRIOR_WEIGHT],
        market.pairs[slot],
        market.counts[slot, 0],
        notes.of_voters[n],
    )
    change = rules.changes[market.adapted[slot, 0]]
    least = numbers[k.LEAST_CONSENSUS] + change[k.OF_CONSENSUS]
    if voters < numbers[k.QUORUM] or abs(consensus) < least or consensus == 0.0:
        return
    if not has_skill(notes.of_voters[n]) and _is_watching(slot, market):
        return
    floats, whole = notes.decision_f[n], notes.decision_i[n]
    floats[k.CONSENSUS], floats[k.DISAGREEMENT], floats[k.VOTERS] = consensus, disagreement, voters
    whole[k.ROW], whole[k.PARAMETERS] = r, market.adapted[slot, 0]
    whole[k.SIDE] = 1 if consensus > 0.0 else -1
    whole[k.OPEN_IDEAS], whole[k.RESOLVED_SO_FAR] = market.around_i[w.COUNT], part.counters[k.RESOLVED]
    propose(n, row, steps.row_f[r], change, rules, notes)
    gate(n, row, steps.row_f[r], rules, market, part, notes)
    _note(notes, k.DECISION, row[k.POSITION])
    if whole[k.REFUSALS] & (k.CAPACITY | k.BAD_LEVELS) == 0:
        _open(n, row, steps.row_f[r], votes, market, notes)
    elif whole[k.REFUSALS] & k.CAPACITY:
        market.numbers[1] += 1
    _warn(n, whole[k.SIDE], row, market, notes)


@inner_piece
def _is_watching(slot: int, market: k.Market) -> bool:
    """Whether an idea of this timeframe is open: of voters without skill one at a time is enough to learn.

    It spares a decision on every tenth bar that nobody could ever act upon.
    """
    for idea in range(market.mine_i.shape[0]):
        if market.mine_i[idea, k.USED] > 0 and market.mine_i[idea, k.ITS_SLOT] == slot:
            return True
    return False


@inner_piece
def _adapt(r: int, row: Int64s, adapted: Int64s, notes: k.Notes) -> None:
    """Other parameters count once they were asked for on k.ADAPT_BARS bars in a row."""
    wanted = row[k.WANTED]
    if wanted == adapted[0]:
        adapted[1], adapted[2] = wanted, 0
        return
    adapted[2] = adapted[2] + 1 if wanted == adapted[1] else 1
    adapted[1] = wanted
    if adapted[2] >= k.ADAPT_BARS:
        n = _note(notes, k.ADAPTED, row[k.POSITION])
        notes.adapted[n, 0], notes.adapted[n, 1], notes.adapted[n, 2] = r, adapted[0], wanted
        adapted[0], adapted[2] = wanted, 0


@inner_piece
def _open(n: int, row: Int64s, bar: Floats, votes: Floats, market: k.Market, notes: k.Notes) -> None:
    """Watch the candidate, refused or not: the market decides what it was worth."""
    whole = notes.decision_i[n]
    room = 0
    while market.mine_i[room, k.USED] > 0:
        room += 1
    number = market.numbers[0] * k.MAX_OPEN_IDEAS + room
    market.numbers[0] += 1
    chosen = notes.proposed[n, whole[k.CHOSEN]]
    w.open_idea(
        market.ideas_f,
        market.ideas_i,
        market.around_f,
        market.around_i,
        number,
        whole[k.SIDE],
        row[k.KNOWN],
        notes.horizons[n, whole[k.CHOSEN]],
        bar[k.CLOSE],
        chosen[k.STOP],
        chosen[k.TARGET_PRICE],
    )
    mine, own = market.mine_f[room], market.mine_i[room]
    mine[k.CLAIM] = notes.decision_f[n, k.CONFIDENCE]
    mine[k.BASE], mine[k.RAW] = chosen[k.PROPOSED_BASE], chosen[k.PROPOSED_RAW]
    for v in range(votes.shape[0]):
        mine[k.OF_IDEA + v] = votes[v]
    own[k.USED], own[k.ITS_SLOT], own[k.ITS_REGIME] = 1, row[k.SLOT], row[k.REGIME]
    own[k.PASSED] = 1 if whole[k.REFUSALS] & ~k.BREAKER == 0 else 0
    own[k.ISSUED] = 1 if whole[k.REFUSALS] == 0 else 0
    own[k.WARNED], own[k.ITS_START], own[k.ITS_POSITION] = 0, row[k.START], row[k.POSITION]


@inner_piece
def _warn(n: int, side: int, row: Int64s, market: k.Market, notes: k.Notes) -> None:
    """Advise to leave what was proposed on the other side, by as small a timeframe: once each."""
    for i in range(market.around_i[w.COUNT]):
        own = market.mine_i[market.ideas_i[i, w.NUMBER] % k.MAX_OPEN_IDEAS]
        against = market.ideas_i[i, w.SIDE] == -side
        if against and own[k.ISSUED] > 0 and own[k.WARNED] == 0 and own[k.ITS_SLOT] <= row[k.SLOT]:
            own[k.WARNED] = 1
            e = _note(notes, k.EXIT, row[k.POSITION])
            for j in range(k.OF_IDEA_I):
                notes.exits[e, j] = own[j]
            notes.exits[e, k.OF_IDEA_I] = n
