"""Generated bars, (INPUTS, T) of one slot: lifelike ones, and those that bring out an indicator's errors."""

from collections.abc import Callable

import numpy as np

from alphapulse.domain.analysis.fields import Floats

MINUTE_OF_2024 = 28_401_120


def from_ohlcv(open_: Floats, high: Floats, low: Floats, close: Floats, volume: Floats) -> Floats:
    """Bars without gaps in time; takers bought 60 % of each volume, a trade for each unit of it."""
    time = MINUTE_OF_2024 + np.arange(len(close), dtype=np.float64)
    return np.stack([time, open_, high, low, close, volume, 0.6 * volume, np.ceil(volume)])


def walk(
    count: int, seed: int = 1, *, start: float = 100.0, tick: float = 0.01, step: float = 0.002
) -> Floats:
    """A random walk on a grid of ticks, with trends and quiet spells, bars that open where the last closed.

    Takers' share and the number of trades vary; each tenth bar has no range, each twentieth no volume.
    """
    rng = np.random.default_rng(seed)
    drift = np.repeat(rng.normal(0, step / 2, count // 50 + 1), 50)[:count]
    loud = np.repeat(rng.choice([0.3, 1.0, 2.5], count // 70 + 1), 70)[:count]
    close = start * np.exp(np.cumsum(drift + rng.normal(0, step, count) * loud))
    open_ = np.concatenate([[start], close[:-1]])
    reach = np.abs(rng.normal(0, step * start, (2, count))) * loud
    still = rng.random(count) < 0.1
    close[still] = open_[still]
    reach[:, still] = 0
    on_grid = (np.round(x / tick) * tick for x in (open_, close))
    open_, close = (np.maximum(x, tick) for x in on_grid)
    high = np.maximum(open_, close) + np.round(reach[0] / tick) * tick
    low = np.maximum(np.minimum(open_, close) - np.round(reach[1] / tick) * tick, tick)
    volume = np.round(rng.lognormal(1, 1, count), 3) * (rng.random(count) > 0.05)
    bars = from_ohlcv(open_, high, low, close, volume)
    bars[6] = np.round(volume * rng.random(count), 3)
    bars[7] = rng.poisson(20, count)
    return bars


def gaps(count: int) -> Floats:
    """Every 30th bar jumps by some percent over the one before, up or down."""
    bars = walk(count, 2)
    rng = np.random.default_rng(3)
    jumps = np.where(np.arange(count) % 30 == 0, rng.normal(0, 0.05, count), 0.0)
    bars[1:5] *= np.exp(np.cumsum(jumps))
    return bars


def flat(count: int) -> Floats:
    """Stretches in which nothing moves at all, from the first bar on, with a walk between them."""
    bars = walk(count, 4)
    still = (np.arange(count) // 150) % 2 == 0
    held = np.where(still, (np.arange(count) // 150) * 150, np.arange(count))
    price = bars[4, held]
    for field in range(1, 5):
        bars[field] = np.where(still, price, bars[field])
    bars[2] = bars[1:5].max(axis=0)
    bars[3] = bars[1:5].min(axis=0)
    return bars


def spikes(count: int) -> Floats:
    """A few wicks and closes at ten times or a tenth of the price, and volumes a thousand times the usual."""
    bars = walk(count, 5)
    at = np.arange(97, count, 193)
    bars[2, at] *= 10
    bars[3, at[::2]] /= 10
    bars[4, at[::3]] = bars[2, at[::3]]
    bars[5:7, at] *= 1000
    return bars


def tiny_ticks(count: int) -> Floats:
    """Prices of a few hundred ticks of 1e-8, as of a coin quoted in bitcoin."""
    return walk(count, 6, start=3e-6, tick=1e-8, step=0.004)


def equal_highs(count: int) -> Floats:
    """Prices on so coarse a grid that highs, lows and closes meet again all the time."""
    return walk(count, 7, start=50, tick=0.5)


def staircase(count: int) -> Floats:
    """Only up, each bar by the same, then only down: oscillators at their ends."""
    turn = np.abs(count // 2 - np.arange(count, dtype=np.float64))
    close = 2000 - turn
    open_ = close - np.where(np.arange(count) <= count // 2, 1, -1)
    return from_ohlcv(open_, np.maximum(open_, close), np.minimum(open_, close), close, np.full(count, 5.0))


def large(count: int) -> Floats:
    """Prices of some millions, with a tick of one."""
    return walk(count, 8, start=5e6, tick=1.0)


ADVERSARIAL: dict[str, Callable[[int], Floats]] = {
    made.__name__: made for made in (walk, gaps, flat, spikes, tiny_ticks, equal_highs, staircase, large)
}
