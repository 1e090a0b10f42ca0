"""From votes to one opinion, and from it to a claim: the arithmetic of a decision, compiled.

All in float64, every sum from voter 0 to the last, with nothing but what IEEE 754 rounds in one way: the same
bytes on any machine. Each number stands in the decision beside those that it is made of.

- s = direction * score of a voter, 0 where it abstains.
- measured = 1 - B / B0 over resolved candidates in which it voted: B is the sum of (q - y)**2 for its
  forecast q = sigmoid(logit(base) + sharpness * s * side) that the candidate's side wins, B0 that of the
  forecast ``base`` = stop distance / (stop + target distance), which is what a market without any edge
  gives; y is 1 if the target came first. Each outcome of a cell (market, timeframe, regime, voter) makes
  those before it count 0.5**(1 / half_life) as much; n is what they count together. (Brier skill, after
  G. Brier, Verification of forecasts expressed in terms of probability, 1950.)
- skill = (n * measured + prior_weight * prior) / (n + prior_weight).
- likeness of two voters = max(r, 0)**2, where r is the cosine of the angle between their s over the rows
  seen so far, this one included, decayed. Before LEAST_ROWS rows it is 1 for those that said exactly the
  same on all of them, and 0 for others.
- copies of a voter = how many of those that vote on this row have always said the same (a likeness of 1, less
  what rounding makes of it), itself included.
- crowd = copies * sum of likeness / (their copies), over the same: a voter that sits there twice has twice
  the crowd, and all others the crowd that they had with one of it. So both together count as the one.
- weight = max(skill, 0) / crowd, over the sum of all. Where nobody that votes has any skill it is 1 / crowd:
  what they say is still watched, or they could never show that they have learnt; it is never issued,
  and while an idea of that market and timeframe is open no other is had of them.
- consensus = sum of weight * s; disagreement = the
  weighted standard deviation of s; voters = sum of 1 / crowd.
"""

import numpy as np

from alphapulse.domain.analysis.compiled import inner_piece
from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.analysis.logarithm import log

PAIR_HALF_LIFE = 500.0  # rows on which anybody voted, after which one counts half in how alike voters are
LEAST_ROWS = 30
ALMOST_ONE = 1.0 - 1e-9  # a likeness above is that of copies
SILENT = 1e-9  # a score below is an abstention

# Columns of what is written down of a voter.
SIGNED, MEASURED, OUTCOMES, PRIOR, SKILL, CROWD, WEIGHT = range(7)
OF_VOTER = 7

# Columns of a cell: decayed count, the voter's squared errors, those of ``base``.
COUNT, ERRORS, BASE_ERRORS = range(3)
OF_CELL = 3

_LN2_HIGH = 3_048_493_539_143 / 2.0**42
_LN2_LOW = 5.497923018708371e-14
_LARGEST = 700.0


@inner_piece
def exp(x: float) -> float:
    """e**``x``, within two units in the last place; beyond -700 and 700 that of the end.

    2**k * e**r with |r| <= ln(2) / 2, by the Taylor series up to r**14, which leaves out less than 2**-60.
    """
    x = min(max(x, -_LARGEST), _LARGEST)
    k = np.floor(x / (_LN2_HIGH + _LN2_LOW) + 0.5)
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    value = 1.0
    for n in range(14, 0, -1):
        value = 1.0 + r * value / n
    return value * np.int64((np.int64(k) + 1023) << 52).view(np.float64)


@inner_piece
def sigmoid(x: float) -> float:
    return 1.0 / (1.0 + exp(-x))


@inner_piece
def logit(p: float) -> float:
    """NaN unless 0 < p < 1."""
    return log(p / (1.0 - p))


@inner_piece
def learn(
    cells: Floats, votes: Floats, side: int, base: float, y: float, sharpness: float, decay: float
) -> None:
    """Judge ``votes`` (V,) by an outcome: ``cells`` (V, OF_CELL) of its market, timeframe and regime."""
    odds, reference = logit(base), (base - y) * (base - y)
    for v in range(votes.shape[0]):
        if votes[v] != 0.0:
            miss = sigmoid(odds + sharpness * votes[v] * side) - y
            cell = cells[v]
            cell[COUNT] = cell[COUNT] * decay + 1.0
            cell[ERRORS] = cell[ERRORS] * decay + miss * miss
            cell[BASE_ERRORS] = cell[BASE_ERRORS] * decay + reference


@inner_piece
def measured_skill(cell: Floats) -> float:
    """Brier skill; 0 before any outcome."""
    return 1.0 - cell[ERRORS] / cell[BASE_ERRORS] if cell[BASE_ERRORS] > 0.0 else 0.0


@inner_piece
def shrunk(measured: float, count: float, prior: float, prior_weight: float) -> float:
    weight = count + prior_weight
    return (count * measured + prior_weight * prior) / weight if weight > 0.0 else prior


@inner_piece
def see_pairs(pairs: Floats, votes: Floats, decay: float) -> None:
    """``pairs`` (V, V), decayed sums of products of two voters' s, after a row of ``votes``."""
    for u in range(votes.shape[0]):
        row, s = pairs[u], votes[u]
        for v in range(votes.shape[0]):
            row[v] = row[v] * decay + s * votes[v]


@inner_piece
def likeness(pairs: Floats, u: int, v: int, rows: int) -> float:
    """max(cosine, 0)**2 of two that vote on the last of ``rows`` rows seen; exactly 1 for copies."""
    if u == v:
        return 1.0
    both = pairs[u, v]
    if rows < LEAST_ROWS:
        return 1.0 if both == pairs[u, u] and both == pairs[v, v] else 0.0
    return both * both / (pairs[u, u] * pairs[v, v]) if both > 0.0 else 0.0


@inner_piece
def count_copies(votes: Floats, pairs: Floats, rows: int, copies: Floats) -> None:
    """``copies`` (V,) of each that votes."""
    for v in range(votes.shape[0]):
        if votes[v] != 0.0:
            copies[v] = 0.0
            for u in range(votes.shape[0]):
                if votes[u] != 0.0:
                    copies[v] += 1.0 if likeness(pairs, u, v, rows) > ALMOST_ONE else 0.0


@inner_piece
def weigh(
    votes: Floats,
    cells: Floats,
    priors: Floats,
    prior_weight: float,
    pairs: Floats,
    rows: int,
    found: Floats,
) -> tuple[float, float, float]:
    """Consensus, disagreement and voters of a row; ``found`` (V, OF_VOTER) takes the numbers of each.

    ``votes`` and ``priors`` are (V,), ``cells`` (V, OF_CELL). Somebody must vote.
    """
    total, voters = 0.0, 0.0
    for v in range(votes.shape[0]):
        mine, cell = found[v], cells[v]
        mine[SIGNED], mine[OUTCOMES], mine[PRIOR] = votes[v], cell[COUNT], priors[v]
        mine[MEASURED] = measured_skill(cell)
        mine[SKILL] = shrunk(mine[MEASURED], cell[COUNT], priors[v], prior_weight)
        mine[CROWD], mine[WEIGHT] = 1.0, 0.0
    count_copies(votes, pairs, rows, found[:, CROWD])
    for v in range(votes.shape[0]):
        if votes[v] != 0.0:
            alike = 0.0
            for u in range(votes.shape[0]):
                if votes[u] != 0.0:
                    alike += likeness(pairs, u, v, rows) / found[u, CROWD]
            found[v, WEIGHT] = found[v, CROWD] * alike
    for v in range(votes.shape[0]):
        if votes[v] != 0.0:
            mine = found[v]
            mine[CROWD] = mine[WEIGHT]
            mine[WEIGHT] = max(mine[SKILL], 0.0) / mine[CROWD]
            total += mine[WEIGHT]
            voters += 1.0 / mine[CROWD]
    if total == 0.0:
        total = voters
        for v in range(votes.shape[0]):
            found[v, WEIGHT] = 1.0 / found[v, CROWD] if votes[v] != 0.0 else 0.0
    consensus, spread = 0.0, 0.0
    for v in range(votes.shape[0]):
        found[v, WEIGHT] /= total
        consensus += found[v, WEIGHT] * votes[v]
    for v in range(votes.shape[0]):
        away = votes[v] - consensus
        spread += found[v, WEIGHT] * away * away
    return consensus, np.sqrt(spread), voters


@inner_piece
def has_skill(found: Floats) -> bool:
    """Whether anybody that votes, by the numbers of ``weigh``, has any skill."""
    skilled = 0
    for v in range(found.shape[0]):
        if found[v, SIGNED] != 0.0 and found[v, SKILL] > 0.0:
            skilled += 1
    return skilled > 0


@inner_piece
def expected_bps(
    raw: float, stop_distance: float, target_distance: float, entry: float, cost: float
) -> float:
    """What a geometry gives by its raw odds, after ``cost`` (in price, as the distances), in basis points."""
    p = sigmoid(raw)
    return (p * target_distance - (1.0 - p) * stop_distance - cost) / entry * 1e4


@inner_piece
def needed(stop_distance: float, target_distance: float, cost: float) -> float:
    """The win rate at which a geometry pays for itself, costs included."""
    return (stop_distance + cost) / (stop_distance + target_distance)
