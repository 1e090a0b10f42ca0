"""A candidate in the kernel: its levels, and whether it may be issued. Compiled."""

import numpy as np

from alphapulse.domain.analysis.compiled import inner_piece
from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.decision.breaker import mutes_at
from alphapulse.domain.decision.consensus import expected_bps, has_skill, logit, needed
from alphapulse.domain.decision.geometry import is_ordered, placed
from alphapulse.domain.decision.table import lookup_at
from alphapulse.domain.market.timeframes import MINUTE_NS
from alphapulse.domain.signals import engine_arrays as k
from alphapulse.domain.signals import watch as w
from alphapulse.domain.signals.idea import MAX_PRICE


@inner_piece
def propose(n: int, row: Int64s, bar: Floats, change: Floats, rules: k.Rules, notes: k.Notes) -> None:
    """Weigh every geometry; chosen is the one with most to expect, the first of equals; -1: none will do."""
    whole, floats = notes.decision_i[n], notes.decision_f[n]
    side, entry, strength = whole[k.SIDE], bar[k.CLOSE], abs(floats[k.CONSENSUS])
    cost = rules.numbers[k.COST_RATIO] * entry
    whole[k.CHOSEN], best = -1, -np.inf
    for g in range(rules.geometries.shape[0]):
        geometry, found = rules.geometries[g], notes.proposed[n, g]
        stop, target = placed(
            side,
            entry,
            bar[k.RANGE],
            geometry[k.STOP_FACTOR] * change[k.OF_STOP],
            geometry[k.TARGET_FACTOR] * change[k.OF_TARGET],
            bar[k.SWING_LOW],
            bar[k.SWING_HIGH],
            geometry[k.TO_LEVELS] > 0.0,
        )
        bars = max(np.floor(geometry[k.HORIZON_BARS] * change[k.OF_HORIZON] + 0.5), 1.0)
        lasts = bars * rules.timeframes[row[k.SLOT]] * MINUTE_NS
        found[k.STOP], found[k.TARGET_PRICE] = stop, target
        notes.horizons[n, g] = row[k.KNOWN] + np.int64(min(lasts, 2.0 * k.MAX_HORIZON_NS))
        found[k.PROPOSED_BASE], found[k.PROPOSED_RAW], found[k.EXPECTED] = 0.0, 0.0, 0.0
        if (
            not is_ordered(side, entry, stop, target)
            or lasts > k.MAX_HORIZON_NS
            or not _is_price(entry, target)
        ):
            continue
        risk, gain = side * (entry - stop), side * (target - entry)
        base = risk / (risk + gain)
        found[k.PROPOSED_BASE] = base
        found[k.PROPOSED_RAW] = logit(base) + rules.numbers[k.SHARPNESS] * strength
        found[k.EXPECTED] = expected_bps(found[k.PROPOSED_RAW], risk, gain, entry, cost)
        if found[k.EXPECTED] > best:
            whole[k.CHOSEN], best = g, found[k.EXPECTED]


@inner_piece
def _is_price(entry: float, target: float) -> bool:
    return entry <= MAX_PRICE and target <= MAX_PRICE


@inner_piece
def gate(
    n: int, row: Int64s, bar: Floats, rules: k.Rules, market: k.Market, part: k.Part, notes: k.Notes
) -> None:
    """Probability, what it pays, and the breaker; every rule that says no is written down."""
    whole, floats, numbers = notes.decision_i[n], notes.decision_f[n], rules.numbers
    slot, side, entry = row[k.SLOT], whole[k.SIDE], bar[k.CLOSE]
    refused = 0
    if market.around_i[w.COUNT] >= k.MAX_OPEN_IDEAS:
        refused |= k.CAPACITY
    if not has_skill(notes.of_voters[n]):
        refused |= k.NO_SKILL
    floats[k.CONFIDENCE], floats[k.NEEDED] = 0.0, 0.0
    if whole[k.CHOSEN] < 0:
        refused |= k.BAD_LEVELS
    else:
        chosen = notes.proposed[n, whole[k.CHOSEN]]
        risk, gain = side * (entry - chosen[k.STOP]), side * (chosen[k.TARGET_PRICE] - entry)
        floats[k.NEEDED] = needed(risk, gain, numbers[k.COST_RATIO] * entry)
        if part.counters[k.CALIBRATION] == 0:
            refused |= k.UNCALIBRATED
        else:
            floats[k.CONFIDENCE] = lookup_at(part.table_x, part.table_p, _asked(part, chosen))
            if not floats[k.CONFIDENCE] >= numbers[k.THRESHOLD]:
                refused |= k.LOW_CONFIDENCE
            if not floats[k.CONFIDENCE] - floats[k.NEEDED] >= numbers[k.MARGIN]:
                refused |= k.DOES_NOT_PAY
    size = market.breaker.shape[1]
    told = min(market.counts[slot, 1], size)
    wins, claims = 0.0, 0.0
    for j in range(told):
        wins += market.breaker[slot, j, 0]
        claims += market.breaker[slot, j, 1]
    mean = claims / told if told > 0 else 0.0
    whole[k.OUTCOMES], floats[k.WINS], floats[k.MEAN_CLAIM] = told, wins, mean
    whole[k.IS_CLOSED] = 1 if mutes_at(wins, float(told), mean, numbers[k.BREAKER_LEAST]) else 0
    if whole[k.IS_CLOSED] > 0:
        refused |= k.BREAKER
    whole[k.REFUSALS] = refused


@inner_piece
def _asked(part: k.Part, chosen: Floats) -> float:
    """The log-odds that the table is asked with."""
    return logit(chosen[k.PROPOSED_BASE]) if part.counters[k.ASKS_BASE] > 0 else chosen[k.PROPOSED_RAW]
