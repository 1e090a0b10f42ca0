"""Intervals by the block bootstrap: the figure of many series put together from blocks of the one seen.

Blocks begin anywhere, and the last one of a series is cut. The same seed gives the same bits, on any machine.
Source: H. R. Kuensch, The jackknife and the bootstrap for general stationary observations (1989).
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.decision.intervals import DRAWS, MAX_DRAWS, BadSample, block_length

LEVEL = 0.95
MAX_UNDEFINED = 0.05  # share of draws without the figure, above which there is no interval
MAX_BLOCKS = 1_000  # of a draw of outcomes
_AT_ONCE = 1 << 15  # numbers of one round of draws: what they become stays in the cache


class Interval(NamedTuple):
    low: float | None = None
    high: float | None = None
    note: str = ""
    is_drawn: bool = True  # by the bootstrap


def draws_of(count: int, *, block: int, seed: int, draws: int = DRAWS) -> Iterator[Int64s]:
    """Places (some, count), until there are ``draws`` rows: at most 2**15 places at once, or one row.

    Raises:
        BadSample: a block that does not fit twice, or a number of draws out of range.
    """
    within = np.arange(block)
    for begins in _begins(count, block, count, seed, draws):
        yield (begins[:, :, None] + within).reshape(len(begins), -1)[:, :count]


def sums_of_draws(columns: Floats, *, overlapping: float, seed: int, draws: int = DRAWS) -> Floats:
    """Sums (k, draws) of ``columns`` (k, n), all over the same draws: their ratios are those of one series.

    A draw has about MAX_BLOCKS blocks at most. Those of large samples are longer than they need to be: the
    variance is then known less exactly, and not understated.

    Raises:
        BadSample: fewer than two values, or a number of draws out of range.
    """
    count = columns.shape[1]
    block = max(block_length(count, overlapping), -(-count // MAX_BLOCKS))
    rest = count % block or block
    sums = np.concatenate([np.zeros((len(columns), 1)), np.cumsum(columns, axis=1)], axis=1)
    of_block, of_last = sums[:, block:] - sums[:, :-block], sums[:, rest:] - sums[:, :-rest]
    found = [np.empty((len(columns), 0))]
    for begins in _begins(count, block, -(-count // block), seed, draws):
        most, last = begins[:, :-1], begins[:, -1]
        rounds = [b[most].sum(axis=1) + r[last] for b, r in zip(of_block, of_last, strict=True)]
        found.append(np.stack(rounds))
    return np.concatenate(found, axis=1)


def interval_of(values: Floats) -> Interval:
    """The middle 95 % of ``values`` (draws,): NaN where a draw has none, inf where it has no bound."""
    known = np.sort(values[~np.isnan(values)])
    undefined = len(values) - len(known)
    if undefined > MAX_UNDEFINED * len(values) or not len(known):
        return Interval(note=f"no interval: undefined in {undefined} of {len(values)} draws")
    tail = (1 - LEVEL) / 2 * (len(known) - 1)
    low, high = known[int(tail)], known[-1 - int(tail)]
    note = "" if np.isfinite([low, high]).all() else "open to one side: some draws have no bound"
    return Interval(_finite(low), _finite(high), note)


def effective_days(returns: Floats, *, seed: int, draws: int = DRAWS) -> float:
    """How many independent days ``returns`` (n,) are worth for their mean.

    Those with a return that is not 0, times the variance of a day over what the bootstrap finds for the
    mean times n, if that is less than 1: returns that follow one another tell less.
    """
    days, seen = len(returns), float(np.count_nonzero(returns))
    if days < 2 or draws == 0:
        return seen
    means = sums_of_draws(returns[None], overlapping=1.0, seed=seed, draws=draws)[0] / days
    spread = float(np.var(means)) * days
    return seen * min(float(np.var(returns)) / spread, 1.0) if spread > 0 else seen


def _begins(count: int, block: int, at_once_each: int, seed: int, draws: int) -> Iterator[Int64s]:
    """Where blocks begin, (some, blocks): as many rows at once as ``at_once_each`` numbers a row allow.

    Raises:
        BadSample: see ``draws_of``.
    """
    if not 1 <= block <= count / 2 or not 1 <= draws <= MAX_DRAWS:
        raise BadSample(f"blocks of {block} from {count} values, {draws} draws of at most {MAX_DRAWS}")
    raw, blocks = np.random.PCG64(seed), -(-count // block)
    rows = max(1, _AT_ONCE // at_once_each)
    for first in range(0, draws, rows):
        some = min(rows, draws - first)
        # A remainder of 64 bits prefers some blocks by less than one in 10**12.
        begins = raw.random_raw(some * blocks) % np.uint64(count - block + 1)
        yield begins.astype(np.int64).reshape(some, blocks)


def _finite(value: np.float64) -> float | None:
    return float(value) if np.isfinite(value) else None
