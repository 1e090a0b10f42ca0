"""What else could have come of the same trades: bands of equity, drawdown and time under water.

Four questions, each with runs of its own: had other trades of the same kind come (``trades``: drawn with
replacement), the same ones in another order (``order``), other days in the same moods (``blocks`` of days),
or worse fills and missed trades (``noise``). The same seed gives the same runs on any machine: numpy keeps
the bits of PCG64 for ever. Steps are trades in the order in which they closed, days with ``blocks``.

Signals compound: a step multiplies the equity by 1 + its return, as the book does when one trade is open at
a time, and 0 is the end. Candidates at a fixed risk add up. What was observed is put through the same sum.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.backtest.results import Band, Fan, MonteCarlo
from alphapulse.domain.decision.intervals import block_length
from alphapulse.domain.performance.equity import Equity, daily_of, equity_of
from alphapulse.domain.performance.resampling import draws_of
from alphapulse.domain.performance.trades import Trades

RUNS, MAX_RUNS = 1_000, 10_000
MAX_STEPS = 50_000_000  # of all runs of a kind together: some seconds
FAN_STEPS = 101  # a step a per cent
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_AT_ONCE = 1 << 20  # numbers of one round of runs, so that memory has a bound


class BadRuns(ValueError):
    """Too few trades or days, or a number of runs out of range: the message holds the values."""


class Noise(NamedTuple):
    """What may go wrong between a decision and an account, drawn for each trade of each run."""

    skipped: float = 0.05  # probability that it is missed
    slippage_bps: float = 2.0  # at most, uniform from 0, on top of what is booked
    scale: float = 0.1  # of the deviation from the mean R of another trade, added to its R


class _Steps(NamedTuple):
    observed: Floats  # (n,) returns of the steps, as they happened
    compounds: bool


def monte_carlo(
    trades: Trades,
    *,
    of: str = "signals",
    risk_ratio: float = 0.01,
    runs: int = RUNS,
    seed: int = 1,
    noise: Noise | None = None,
) -> Sequence[MonteCarlo]:
    """All kinds in their order; none for fewer than two trades. ``of``, ``risk_ratio``: see equity_of.

    There are fewer ``runs`` where the trades are so many that MAX_STEPS would be passed.

    Raises:
        BadRuns, BadSample.
    """
    equity = equity_of(trades, of=of, risk_ratio=risk_ratio)
    if len(equity.trades) < 2:
        return ()
    most = MAX_STEPS // max(len(equity.trades), len(daily_of(equity).day))
    runs = min(runs, most)
    kinds = [resampled(equity, runs, seed), reordered(equity, runs, seed)]
    kinds += [of_days(equity, runs, seed)] if len(daily_of(equity).day) > 1 and not equity.is_ruined else []
    return (*kinds, with_noise(equity, runs, seed, noise))


def resampled(equity: Equity, runs: int = RUNS, seed: int = 1) -> MonteCarlo:
    """As many trades drawn with replacement. Raises BadRuns."""
    steps = _of_trades(equity, runs)
    drawn = draws_of(len(steps.observed), block=1, seed=seed, draws=runs)
    return _found("trades", steps, (steps.observed[places] for places in drawn), runs, seed)


def reordered(equity: Equity, runs: int = RUNS, seed: int = 1) -> MonteCarlo:
    """All of the trades in another order: what they sum to stays, the way there does not. Raises BadRuns."""
    steps = _of_trades(equity, runs)
    raw, count = np.random.PCG64(seed), len(steps.observed)
    # A key holds its place in the lower bits: no two are equal, so that any way of sorting gives the same.
    place = np.uint64((1 << count.bit_length()) - 1)

    def runs_of(some: int) -> Floats:
        keys = raw.random_raw(some * count).reshape(some, count) & ~place
        keys |= np.arange(count, dtype=np.uint64)
        keys.sort(axis=1)
        return steps.observed[(keys & place).astype(np.int64)]

    return _found("order", steps, _in_rounds(runs_of, runs, count), runs, seed)


def of_days(equity: Equity, runs: int = RUNS, seed: int = 1) -> MonteCarlo:
    """Days put together from blocks of neighbours: good and bad times stay together. Raises BadRuns."""
    returns = daily_of(equity).returns
    if not np.isfinite(returns).all():
        raise BadRuns(f"{len(returns)} days, on one of which all was lost")
    steps = _Steps(returns, equity.compounds)
    _check(len(returns), "days", runs)
    block = min(block_length(len(returns)), len(returns) // 2)
    drawn = draws_of(len(returns), block=block, seed=seed, draws=runs)
    note = f"blocks of {block} of {len(returns)} days"
    return _found("blocks", steps, (returns[places] for places in drawn), runs, seed, note)


def with_noise(equity: Equity, runs: int = RUNS, seed: int = 1, noise: Noise | None = None) -> MonteCarlo:
    """The same trades in their order, each with luck of its own. Raises BadRuns."""
    noise = noise or Noise()
    if not (0 <= noise.skipped <= 1 and noise.slippage_bps >= 0 and noise.scale >= 0):
        raise BadRuns(f"{noise}: needs 0 <= skipped <= 1 and nothing below 0")
    steps = _of_trades(equity, runs)
    trades, count, raw = equity.trades, len(steps.observed), np.random.PCG64(seed)
    deviation = noise.scale * (trades.net_r - trades.net_r.mean())
    known = trades.net_r != 0
    of_one_r = np.divide(steps.observed, trades.net_r, out=np.zeros(count), where=known)
    of_slippage = equity.size * noise.slippage_bps / 1e4

    def runs_of(some: int) -> Floats:
        numbers = raw.random_raw(some * 3 * count).reshape(some, 3, count)
        other = (numbers[:, 0] % np.uint64(count)).astype(np.int64)
        taken = _uniform(numbers[:, 2]) >= noise.skipped
        worse = of_one_r * deviation[other] - of_slippage * _uniform(numbers[:, 1])
        return np.where(taken, steps.observed + worse, 0.0)

    note = (
        f"each trade missed with probability {noise.skipped:g}, up to {noise.slippage_bps:g} bps of slippage "
        f"more, its R moved by {noise.scale:g} of what another's deviates from the mean"
    )
    return _found("noise", steps, _in_rounds(runs_of, runs, 3 * count), runs, seed, note)


def _of_trades(equity: Equity, runs: int) -> _Steps:
    trades = equity.trades
    _check(len(trades), "trades", runs)
    if equity.compounds:
        return _Steps(equity.size * trades.net_bps / 1e4, compounds=True)
    return _Steps(equity.contribution, compounds=False)


def _check(count: int, what: str, runs: int) -> None:
    if count < 2 or not 1 <= runs <= MAX_RUNS or count * runs > MAX_STEPS:
        raise BadRuns(
            f"{runs} runs (1 to {MAX_RUNS}) of {count} {what} (2 at least), {MAX_STEPS:,} of both at most"
        )


def _in_rounds(runs_of: Callable[[int], Floats], runs: int, numbers: int) -> Iterator[Floats]:
    at_once = max(1, _AT_ONCE // numbers)
    for first in range(0, runs, at_once):
        yield runs_of(min(at_once, runs - first))


def _uniform(raw: NDArray[np.uint64]) -> Floats:
    """From 0 up to 1, of the upper 53 of 64 bits."""
    return np.asarray((raw >> np.uint64(11)) * 2.0**-53)


def _found(
    kind: str, steps: _Steps, rounds: Iterator[Floats], runs: int, seed: int, note: str = ""
) -> MonteCarlo:
    count = len(steps.observed)
    places = np.unique(np.linspace(0, count, min(FAN_STEPS, count + 1)).round().astype(np.int64))
    figures, shown = np.empty((runs, len(_FIGURES))), np.empty((runs, len(places)))
    done = 0
    for returns in rounds:
        paths = _paths(returns, steps.compounds)
        now = slice(done, done + len(paths))
        figures[now], shown[now] = _figures(paths), paths[:, places]
        done += len(paths)
    observed = _paths(steps.observed[None], steps.compounds)
    lines = np.quantile(shown, QUANTILES, axis=0)
    fan = Fan(
        shares=tuple((places / count).tolist()),
        lines={f"{q:g}": tuple(line.tolist()) for q, line in zip(QUANTILES, lines, strict=True)},
        observed=tuple(observed[0, places].tolist()),
    )
    bands = tuple(map(_band, _FIGURES, _figures(observed)[0], figures.T))
    return MonteCarlo(kind=kind, runs=runs, seed=seed, bands=bands, fan=fan, note=note)


def _band(name: str, observed: float, values: Floats) -> Band:
    quantiles = np.quantile(values, QUANTILES)
    named = {f"{q:g}": float(value) for q, value in zip(QUANTILES, quantiles, strict=True)}
    return Band(name=name, observed=float(observed), quantiles=named)


def _paths(returns: Floats, compounds: bool) -> Floats:
    """The equity (runs, n + 1) before the first step and after each."""
    paths = np.ones((len(returns), returns.shape[1] + 1))
    if compounds:
        np.cumprod(np.maximum(1.0 + returns, 0.0), axis=1, out=paths[:, 1:])
    else:
        np.cumsum(returns, axis=1, out=paths[:, 1:])
        paths[:, 1:] += 1.0
    return paths


_FIGURES = ("final_equity", "max_drawdown", "under_water", "longest_under_water")


def _figures(paths: Floats) -> Floats:
    """(runs, 4) as _FIGURES names them; the last two as shares of the steps."""
    peaks, steps = np.maximum.accumulate(paths, axis=1), paths.shape[1] - 1
    below = paths < peaks
    at_peak = np.where(below, 0, np.arange(steps + 1))
    longest = (np.arange(steps + 1) - np.maximum.accumulate(at_peak, axis=1)).max(axis=1)
    drawdown = (1.0 - paths / peaks).max(axis=1)
    return np.stack([paths[:, -1], drawdown, below[:, 1:].mean(axis=1), longest / steps], axis=1)
