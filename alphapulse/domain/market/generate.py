"""A seeded tape of lifelike trades, for demos, tests and benchmarks.

Arrivals are a self-exciting (Hawkes) process with an intraday rhythm and changing regimes; the price is
a random walk in ticks with a spread, order-flow persistence and impact; sizes have a heavy tail; ids
rise with small holes. Randomness comes from the generator that is passed in, drawn in blocks of fixed
size: the tape is the same for a seed however it is cut into chunks.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from alphapulse.domain.market.columns import RECEIVE_TIME, TradeColumns

BLOCK = 1 << 15
_MAX_GAPS = 64  # in one block
_BRANCHING = 0.6  # part of the trades that other trades set off
_DECAY_PER_S = 0.5  # how fast an excitement fades
_SWITCH = 1 / 20_000  # chance of a new regime at each trade
_RHYTHM_EVERY = 64  # trades between looks at the time of day

# Regimes: quiet, normal, volatile, rising, falling. Activity averages about 1.
_ACTIVITY = np.array([0.5, 1.0, 2.0, 1.2, 1.2])
_VOLATILITY = np.array([0.4, 1.0, 2.5, 1.2, 1.2])
_DRIFT = np.array([0.0, 0.0, 0.0, 0.15, -0.15])  # in standard deviations of one step
_SPREAD = np.array([1, 1, 3, 1, 1], dtype=np.int64)  # half of it, ticks

_TIME, _ID, _REGIME, _SIDE, _BURST_SIDE, _RUN_SIDE, _BURST_END, _RUN_END = range(8)
_MID, _EXCITEMENT, _RHYTHM = range(3)

# A burst: a minute of heavy one-sided trading, then a run that goes the same way as often as is planted.
_BURST_NS = 60_000_000_000
_RUN_NS = 45 * 60_000_000_000
_BURST_ACTIVITY = 8.0
_BURST_DRIFT = 0.6  # in standard deviations of one step
_RUN_DRIFT = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class TapeSpec:
    """What the market is like. Ratios are of trades; times in ns."""

    start: int = 1_704_067_200_000_000_000  # 2024-01-01
    first_id: int = 1
    price: float = 40_000.0  # quote currency, at the start
    price_exponent: int = 1  # one tick is 10**-price_exponent
    size_exponent: int = 4  # one lot is 10**-size_exponent
    typical_size: float = 0.02  # base units, the median
    rate_per_s: float = 10.0
    step_ratio: float = 2e-5  # standard deviation of one trade's price change
    time_step: int = 1_000_000  # the venue stamps milliseconds
    gaps_per_day: float = 0.0  # holes of 1 to 30 minutes: the feed saw nothing
    duplicate_ratio: float = 0.0  # repeated rows, as overlapping polls give them
    blank_time_ratio: float = 0.0  # rows without a time of their own: flagged RECEIVE_TIME
    shuffled: bool = False  # delivered out of order, within some dozens of rows
    bursts_per_day: float = 0.0  # of one-sided trading, each followed by a run of the price
    planted_edge: float = 0.5  # how often the run goes the way of its burst: 0.5 tells nothing

    def __post_init__(self) -> None:
        if self.rate_per_s <= 0 or self.price <= 0 or self.typical_size <= 0:
            raise ValueError(
                f"rate {self.rate_per_s}, price {self.price}, size {self.typical_size} must be above 0"
            )
        for ratio in (self.duplicate_ratio, self.blank_time_ratio, self.planted_edge):
            if not 0 <= ratio <= 1:
                raise ValueError(f"ratio {ratio} is not between 0 and 1")

    @property
    def orderly(self) -> bool:
        return not (self.shuffled or self.duplicate_ratio or self.blank_time_ratio)


@dataclass(frozen=True, slots=True)
class TapeChunk:
    """Trades, and the holes [start, end) in ns in which the feed was down.

    Ordered by id and time, no id twice, unless the spec asks for duplicates or disorder.
    """

    trades: TradeColumns
    gaps: tuple[tuple[int, int], ...]


def tape(
    spec: TapeSpec, rng: np.random.Generator, *, rows: int, chunk_rows: int = BLOCK
) -> Iterator[TapeChunk]:
    """``rows`` trades, in chunks of ``chunk_rows``; holes stand in the chunk that begins after them."""
    if chunk_rows < 1:
        raise ValueError(f"chunk of {chunk_rows} rows")
    waiting: list[TradeColumns] = []
    gaps: list[tuple[int, int]] = []
    ready, given = 0, 0
    blocks = _blocks(spec, rng)
    while given < rows:
        wanted = min(chunk_rows, rows - given)
        while ready < wanted:
            block = next(blocks)
            waiting.append(block.trades)
            gaps += block.gaps
            ready += len(block.trades)
        trades = _joined(waiting)
        chunk, rest = trades.take(slice(0, wanted)), trades.take(slice(wanted, None))
        last = int(chunk.time.max())
        yield TapeChunk(chunk, tuple(g for g in gaps if g[1] <= last))
        gaps = [g for g in gaps if g[1] > last]
        waiting, ready, given = [rest], len(rest), given + wanted


def _joined(parts: list[TradeColumns]) -> TradeColumns:
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    return TradeColumns(
        **{
            name: np.concatenate([getattr(p, name) for p in parts])
            for name in ("time", "price", "size", "side", "id", "flags")
        },
        price_exponent=first.price_exponent,
        size_exponent=first.size_exponent,
    )


def _blocks(spec: TapeSpec, rng: np.random.Generator) -> Iterator[TapeChunk]:
    whole = np.array([spec.start, spec.first_id, 1, 1, 0, 0, 0, 0], dtype=np.int64)
    real = np.array([spec.price * 10**spec.price_exponent, 0.0, 1.0])
    numbers = np.array(
        [
            spec.rate_per_s,
            spec.step_ratio,
            np.log(spec.typical_size * 10**spec.size_exponent),
            spec.gaps_per_day / (86_400 * spec.rate_per_s),
            spec.bursts_per_day / 86_400e9,
            spec.planted_edge,
        ]
    )
    # Streams of their own: the trades are those of the orderly tape, and of the one without bursts.
    disorder, bursts = rng.spawn(2)
    while True:
        columns = TradeColumns(
            time=np.empty(BLOCK, dtype=np.int64),
            price=np.empty(BLOCK, dtype=np.int64),
            size=np.empty(BLOCK, dtype=np.int64),
            side=np.empty(BLOCK, dtype=np.int8),
            id=np.empty(BLOCK, dtype=np.int64),
            flags=np.zeros(BLOCK, dtype=np.uint8),
            price_exponent=spec.price_exponent,
            size_exponent=spec.size_exponent,
        )
        holes = np.empty((_MAX_GAPS, 2), dtype=np.int64)
        count = _fill(
            whole, real, numbers, spec.time_step,
            rng.standard_exponential((2, BLOCK)), rng.standard_normal((2, BLOCK)), rng.random((3, BLOCK)),
            bursts.random((3, BLOCK if spec.bursts_per_day else 0)),
            columns.time, columns.price, columns.size, columns.side, columns.id, holes,
        )  # fmt: skip
        gaps = tuple((int(a), int(b)) for a, b in holes[:count])
        yield TapeChunk(columns if spec.orderly else _disordered(spec, disorder, columns), gaps)


@njit(cache=True, nogil=True)
def _fill(  # type: ignore[no-untyped-def]
    whole, real, numbers, time_step, waits, normal, uniform, bursts, time, price, size, side, ids, holes
):
    """One block of trades from the state in ``whole`` and ``real``, which move on; return the holes."""
    now, last_id, regime, last_side = whole[_TIME], whole[_ID], whole[_REGIME], whole[_SIDE]
    mid, excitement, rhythm = real[_MID], real[_EXCITEMENT], real[_RHYTHM]
    rate, step, typical, gap_chance, burst_chance, edge = numbers
    burst_side, run_side, burst_end, run_end = whole[_BURST_SIDE:]
    day = 86_400_000_000_000
    count = 0
    for i in range(len(time)):
        if i % _RHYTHM_EVERY == 0:  # busiest at 14:00 UTC, quietest at 02:00
            rhythm = 1 + 0.6 * np.sin(2 * np.pi * ((now % day) / day - 8 / 24))
        draw = uniform[0, i]
        if draw < _SWITCH:
            regime = int(draw / _SWITCH * len(_ACTIVITY))
        # Exact simulation: Dassios and Zhao, Electronic Communications in Probability 18 (2013).
        base = rate * (1 - _BRANCHING) * rhythm * _ACTIVITY[regime]
        pull = 0.0
        if now < burst_end:
            base *= _BURST_ACTIVITY
            pull = burst_side * _BURST_DRIFT
        elif now < run_end:
            pull = run_side * _RUN_DRIFT
        wait = waits[0, i] / base
        left = 1 - _DECAY_PER_S * waits[1, i] / excitement if excitement > 0 else -1.0
        if left > 0:
            wait = min(wait, -np.log(left) / _DECAY_PER_S)
        excitement = excitement * np.exp(-_DECAY_PER_S * wait) + _DECAY_PER_S * _BRANCHING
        now += int(wait * 1e9)
        if draw > 1 - gap_chance and count < len(holes):
            end = now + int((1 + 29 * uniform[1, i]) * 60e9)
            holes[count, 0], holes[count, 1] = now, end
            count += 1
            now = end
        if bursts.shape[1] and now >= run_end and bursts[0, i] < burst_chance * max(wait * 1e9, 1.0):
            burst_side = 1 if bursts[1, i] < 0.5 else -1
            run_side = burst_side if bursts[2, i] < edge else -burst_side
            burst_end, run_end = now + _BURST_NS, now + _BURST_NS + _RUN_NS
        way = last_side if uniform[1, i] < 0.65 else -last_side
        last_side = way
        move = normal[0, i] * _VOLATILITY[regime] + 0.1 * way + _DRIFT[regime] + pull
        mid = max(mid * (1 + step * move), 10.0)
        lots = typical + 1.3 * normal[1, i]
        if uniform[2, i] < 0.01:  # the tail: Pareto with index 1.4
            lots -= np.log(max(uniform[2, i] * 100, 1e-6)) / 1.4
        last_id += 1 + (3 if uniform[2, i] > 0.95 else 0)
        time[i] = now - now % time_step
        price[i] = int(np.rint(mid)) + way * _SPREAD[regime]
        size[i] = max(1, int(np.exp(min(lots, 30.0))))
        side[i] = way
        ids[i] = last_id - 1
    whole[_TIME], whole[_ID], whole[_REGIME], whole[_SIDE] = now, last_id, regime, last_side
    whole[_BURST_SIDE], whole[_RUN_SIDE], whole[_BURST_END], whole[_RUN_END] = (
        burst_side,
        run_side,
        burst_end,
        run_end,
    )
    real[_MID], real[_EXCITEMENT], real[_RHYTHM] = mid, excitement, rhythm
    return count


def _disordered(spec: TapeSpec, rng: np.random.Generator, columns: TradeColumns) -> TradeColumns:
    """As a venue's polls deliver it: some rows again, some without a time, out of order."""
    rows: NDArray[np.intp] = np.arange(len(columns))
    flags = np.where(rng.random(len(rows)) < spec.blank_time_ratio, RECEIVE_TIME, 0).astype(np.uint8)
    again = rows[rng.random(len(rows)) < spec.duplicate_ratio]
    place = np.concatenate([rows, again + rng.integers(1, 500, len(again))]).astype(np.float64)
    if spec.shuffled:
        place += rng.random(len(place)) * 40
    order = np.argsort(place, kind="stable")
    delivered = np.concatenate([rows, again])[order]
    taken = columns.take(delivered)
    return TradeColumns(
        time=taken.time,
        price=taken.price,
        size=taken.size,
        side=taken.side,
        id=taken.id,
        flags=flags[delivered],
        price_exponent=taken.price_exponent,
        size_exponent=taken.size_exponent,
    )
