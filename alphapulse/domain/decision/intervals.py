"""How sure one may be of a mean of outcomes that come in time and overlap."""

import math

import numpy as np

from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.analysis.proportions import Z95, wilson

DRAWS = 1_000
MAX_DRAWS = 100_000
_AT_ONCE = 1 << 20  # numbers of one round of draws, so that memory has a bound


class BadSample(ValueError):
    """Values that are missing or not finite, or a block (two need to fit), level or number out of range."""


def win_rate_interval(wins: float, outcomes: float, z: float = Z95) -> tuple[float, float]:
    """Wilson's bounds of a win rate; NaN without outcomes. Counts may be real: overlap and decay lessen them.

    Raises:
        BadSample: not 0 <= wins <= outcomes < infinity.
    """
    if not 0 <= wins <= outcomes < math.inf:
        raise BadSample(f"{wins} wins of {outcomes} outcomes")
    rate = wins / outcomes if outcomes > 0 else math.nan
    low, high = wilson(np.array([rate]), np.array([float(outcomes)]), z)
    return float(low[0]), float(high[0])


def block_length(count: int, overlapping: float = 1.0) -> int:
    """How many neighbours in time to draw together: 2 count**(1/3), or twice as many as overlap one another.

    But at most a quarter of them. The rate that keeps the error of the variance least is count**(1/3); the
    factor is ours, for short memories. Source: H. R. Kuensch, The jackknife and the bootstrap for general
    stationary observations (1989), section 3.
    """
    wanted = math.ceil(2 * max(math.cbrt(count), overlapping))
    return max(1, min(wanted, count // 4))


def block_means(values: Floats, *, block: int, seed: int, draws: int = DRAWS) -> Floats:
    """Means (draws,) of series put together from blocks of ``values`` (n,), which are in order of time.

    Blocks begin anywhere; the last one is cut so that each series has n values. The same seed gives the
    same means on any machine: numpy keeps the bits of PCG64 for ever, those of its distributions not.

    Raises:
        BadSample: see there.

    Source: H. R. Kuensch (1989).
    """
    count = len(values)
    if values.ndim != 1 or count == 0 or not np.isfinite(values).all():
        raise BadSample(f"{values.shape} values, {np.count_nonzero(~np.isfinite(values))} of them not finite")
    if not 1 <= block <= count / 2 or not 1 <= draws <= MAX_DRAWS:
        raise BadSample(f"blocks of {block} from {count} values, {draws} draws of at most {MAX_DRAWS}")
    whole, rest = divmod(count, block)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    of_block, of_rest = sums[block:] - sums[:-block], sums[rest:] - sums[: len(sums) - rest]
    raw, blocks = np.random.PCG64(seed), whole + (rest > 0)
    means = [np.empty(0)]
    for first in range(0, draws, max(1, _AT_ONCE // blocks)):
        some = min(max(1, _AT_ONCE // blocks), draws - first)
        # A remainder of 64 bits prefers some blocks by less than one in 10**12.
        begins = (raw.random_raw(some * blocks) % np.uint64(count - block + 1)).astype(np.int64)
        begins = begins.reshape(some, blocks)
        total = of_block[begins[:, :whole]].sum(axis=1)
        means.append(total + of_rest[begins[:, -1]] if rest else total)
    return np.concatenate(means) / count


def mean_interval(
    values: Floats, *, block: int, seed: int, draws: int = DRAWS, level: float = 0.95
) -> tuple[float, float]:
    """Bounds of the mean of ``values``, in order of time: quantiles of ``block_means``. Raises BadSample."""
    if not 0 < level < 1:
        raise BadSample(f"level {level} is not between 0 and 1")
    tail = (1 - level) / 2
    low, high = np.quantile(block_means(values, block=block, seed=seed, draws=draws), [tail, 1 - tail])
    return float(low), float(high)


def mean_error(values: Floats, *, block: int, seed: int, draws: int = DRAWS) -> float:
    """The standard error of the mean of ``values``, in order of time. Raises BadSample."""
    return float(np.std(block_means(values, block=block, seed=seed, draws=draws)))


def uniqueness(time: Int64s, until: Int64s) -> Floats:
    """The share (n,) of each outcome that it has for itself: the mean, over its life, of 1 / (those alive).

    Each is alive from ``time`` (n,), excluded, to ``until`` (n,), in any unit; one that ends as it begins
    lives for one unit. Its sum is the effective size of the sample.

    Raises:
        BadSample: one ends before it begins, or the arrays differ in length.

    Source: M. Lopez de Prado, Advances in Financial Machine Learning (2018), 4.4.
    """
    if time.shape != until.shape or time.ndim != 1 or np.any(until < time):
        raise BadSample(f"{time.shape} decisions, {until.shape} outcomes, each after its decision")
    end = np.maximum(until, time + 1)
    edges = np.sort(np.concatenate([time, end]))
    edges = edges[np.append(np.diff(edges) > 0, True)[: len(edges)]]  # np.unique hashes: ten times slower
    begun = np.searchsorted(np.sort(time), edges, side="right")
    ended = np.searchsorted(np.sort(end), edges, side="right")
    alive = np.maximum(begun - ended, 1)[:-1]
    shares = np.concatenate([[0.0], np.cumsum(np.diff(edges) / alive)])
    lives = shares[np.searchsorted(edges, end)] - shares[np.searchsorted(edges, time)]
    return np.asarray(lives / (end - time))


def effective_size(time: Int64s, until: Int64s) -> float:
    """How many outcomes that do not overlap these are worth. Raises BadSample."""
    return float(uniqueness(time, until).sum())
