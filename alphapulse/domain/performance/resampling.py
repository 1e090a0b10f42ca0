"""Intervals by the block bootstrap: the figure of many series put together from blocks of the one seen."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.decision.intervals import DRAWS, MAX_DRAWS, BadSample, block_length, block_means

LEVEL = 0.95
MAX_UNDEFINED = 0.05  # share of draws without the figure, above which there is no interval
FEW = 20  # a sample below this: the bootstrap sees too little of what can happen
_AT_ONCE = 1 << 20  # numbers of one round of draws, so that memory has a bound


class Interval(NamedTuple):
    low: float | None = None
    high: float | None = None
    note: str = ""


def draws_of(count: int, *, block: int, seed: int, draws: int = DRAWS) -> Iterator[Int64s]:
    """Places (some, count) of blocks of neighbours, until there are ``draws`` rows; the same for a seed.

    Blocks begin anywhere, the last one is cut. At most 2**20 places at once, or one row.

    Raises:
        BadSample: a block that does not fit twice, or a number of draws out of range.

    Source: H. R. Kuensch, The jackknife and the bootstrap for general stationary observations (1989).
    """
    if not 1 <= block <= count / 2 or not 1 <= draws <= MAX_DRAWS:
        raise BadSample(f"blocks of {block} from {count} values, {draws} draws of at most {MAX_DRAWS}")
    raw, blocks, within = np.random.PCG64(seed), -(-count // block), np.arange(block)
    at_once = max(1, _AT_ONCE // count)
    for first in range(0, draws, at_once):
        some = min(at_once, draws - first)
        begins = (raw.random_raw(some * blocks) % np.uint64(count - block + 1)).astype(np.int64)
        yield (begins[:, None] + within).reshape(some, blocks * block)[:, :count]


def sums_of_draws(columns: Floats, *, overlapping: float, seed: int, draws: int) -> Floats:
    """Means (k, draws) of ``columns`` (k, n), all over the same draws: ratios of them are one series' ratios.

    Raises:
        BadSample: fewer than two values.
    """
    block = block_length(columns.shape[1], overlapping)
    return np.stack([block_means(column, block=block, seed=seed, draws=draws) for column in columns])


def interval_of(values: Floats) -> Interval:
    """The middle 95 % of ``values`` (draws,): NaN where a draw has none, inf where it has no bound."""
    known = np.sort(values[~np.isnan(values)])
    undefined = len(values) - len(known)
    if undefined > MAX_UNDEFINED * len(values) or not len(known):
        return Interval(note=f"no interval: undefined in {undefined} of {len(values)} draws")
    tail = (1 - LEVEL) / 2
    low = known[int(np.floor(tail * (len(known) - 1)))]
    high = known[int(np.ceil((1 - tail) * (len(known) - 1)))]
    note = "" if np.isfinite([low, high]).all() else "open to one side: some draws have no bound"
    return Interval(
        float(low) if np.isfinite(low) else None, float(high) if np.isfinite(high) else None, note
    )


def effective_days(returns: Floats, *, seed: int, draws: int) -> float:
    """How many independent days ``returns`` (n,) are worth for their mean: at most n.

    The variance of a day over that of the bootstrap's means.
    """
    if len(returns) < 2:
        return float(len(returns))
    means = block_means(returns, block=block_length(len(returns)), seed=seed, draws=draws)
    spread = float(np.var(means))
    return min(float(np.var(returns)) / spread, float(len(returns))) if spread > 0 else float(len(returns))
