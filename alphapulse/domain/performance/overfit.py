"""Whether a search finds what lasts: the probability of backtest overfitting.

Combinatorially symmetric cross-validation: days are cut into blocks, and every half of the blocks is once
what the best configuration is chosen by, while the other half shows what became of it. Source:
D. H. Bailey, J. Borwein, M. Lopez de Prado, Q. J. Zhu, The probability of backtest overfitting (2015).
"""

from dataclasses import dataclass
from itertools import combinations, islice
from math import comb

import numpy as np

from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.decision.intervals import BadSample

BLOCKS = 16
MAX_BLOCKS = 20  # 184,756 combinations
MAX_WORK = 1 << 32  # combinations times configurations
_AT_ONCE = 1 << 20  # numbers of one round of combinations, so that memory has a bound


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Overfit:
    """``probability`` that the best of a search does no better than the median where it was not chosen.

    ``logits`` (c,) by combination: ln of w / (1 - w), w the rank of the chosen one among all, out of sample,
    over their number + 1. Sharpe ratios are per day, of the chosen one: in and out of the sample.
    """

    probability: float
    logits: Floats
    chosen: Int64s  # (c,) which configuration
    in_sample: Floats
    out_of_sample: Floats
    slope: float | None  # of the least squares line of out of sample over in sample; None: no line
    intercept: float | None
    loss: float  # share of combinations in which the chosen one lost out of sample
    days: int
    configurations: int
    blocks: int


def overfit_of(returns: Floats, *, blocks: int = BLOCKS) -> Overfit:
    """How often the best of configurations, by Sharpe ratio, is in the worse half on days not chosen by.

    ``returns`` (days, configurations): of the same days, in their order. Blocks differ by one day at most.
    A configuration that does not vary has a Sharpe ratio of 0; of equal ones in sample the first is chosen,
    and out of sample they share their ranks.

    Raises:
        BadSample: fewer than two configurations, an odd number of blocks or not 2 to MAX_BLOCKS, fewer than
            two days a block, values that are not finite, or more than MAX_WORK.
    """
    _check(returns, blocks)
    days, configurations = returns.shape
    sums, squares, sizes = _by_block(returns, blocks)
    chosen, inside, outside, logits = [], [], [], []
    halves = combinations(range(blocks), blocks // 2)
    while some := list(islice(halves, max(1, _AT_ONCE // configurations))):
        mask = np.zeros((len(some), blocks))
        mask[np.arange(len(some))[:, None], np.array(some)] = 1.0
        seen = _sharpes(mask, sums, squares, sizes)
        unseen = _sharpes(1.0 - mask, sums, squares, sizes)
        best = seen.argmax(axis=1)
        mine = np.take_along_axis(unseen, best[:, None], axis=1)
        below, equal = (unseen < mine).sum(axis=1), (unseen == mine).sum(axis=1)
        share = (below + (equal + 1) / 2) / (configurations + 1)
        chosen.append(best)
        inside.append(np.take_along_axis(seen, best[:, None], axis=1)[:, 0])
        outside.append(mine[:, 0])
        logits.append(np.log(share / (1 - share)))
    was, became, odds = np.concatenate(inside), np.concatenate(outside), np.concatenate(logits)
    slope, intercept = _line(was, became)
    return Overfit(
        probability=float((odds <= 0).mean()),
        logits=odds,
        chosen=np.concatenate(chosen),
        in_sample=was,
        out_of_sample=became,
        slope=slope,
        intercept=intercept,
        loss=float((became < 0).mean()),
        days=days,
        configurations=configurations,
        blocks=blocks,
    )


def _check(returns: Floats, blocks: int) -> None:
    if returns.ndim != 2 or returns.shape[1] < 2:
        raise BadSample(f"returns {returns.shape}: days of two configurations are needed at least")
    if blocks % 2 or not 2 <= blocks <= MAX_BLOCKS:
        raise BadSample(f"{blocks} blocks: an even number from 2 to {MAX_BLOCKS} is allowed")
    if len(returns) < 2 * blocks:
        raise BadSample(f"{len(returns)} days: {blocks} blocks need {2 * blocks}")
    if not np.isfinite(returns).all():
        raise BadSample(f"{np.count_nonzero(~np.isfinite(returns))} returns are not finite")
    work = comb(blocks, blocks // 2) * returns.shape[1]
    if work > MAX_WORK:
        raise BadSample(f"{blocks} blocks of {returns.shape[1]} configurations: {work} exceeds {MAX_WORK}")


def _by_block(returns: Floats, blocks: int) -> tuple[Floats, Floats, Floats]:
    """Sums and sums of squares (blocks, configurations), and days (blocks,).

    Each configuration is divided by its largest return, which leaves its ratios: no square underflows.
    """
    largest = np.abs(returns).max(axis=0)
    scaled = returns / np.where(largest > 0, largest, 1.0)
    edges = np.linspace(0, len(returns), blocks + 1).astype(np.int64)
    sums = np.add.reduceat(scaled, edges[:-1], axis=0)
    squares = np.add.reduceat(scaled * scaled, edges[:-1], axis=0)
    return sums, squares, np.diff(edges).astype(np.float64)


def _sharpes(mask: Floats, sums: Floats, squares: Floats, sizes: Floats) -> Floats:
    """(combinations, configurations) over the blocks of ``mask``; 0 where nothing varies.

    What is left of a variance below the rounding of its sums is none.
    """
    count = (mask @ sizes)[:, None]
    mean, square = mask @ sums / count, mask @ squares / count
    variance = square - mean * mean
    varies = variance > 1e-14 * square
    spread = np.sqrt(np.where(varies, variance * count / (count - 1), 1.0))
    return np.where(varies, mean / spread, 0.0)


def _line(x: Floats, y: Floats) -> tuple[float | None, float | None]:
    away = x - x.mean()
    if x.min() == x.max():
        return None, None
    slope = float(away @ (y - y.mean()) / (away @ away))
    return slope, float(y.mean() - slope * x.mean())
