"""What the open signals may lose together: value at risk and expected shortfall, and what they add up to.

Losses are shares of the equity, positive where money is lost. Exposures are signed notionals as shares of the
equity, long over 0; they are held as they are over the horizon. Returns are logarithmic, one row a bar, one
column a market.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.signals.book import Book, Open

HISTORICAL, BOOTSTRAP = "historical", "bootstrap"
LEAST_WINDOWS = 30  # horizons that fit into the rows side by side, however low the confidence
MAX_HORIZON_BARS = 5_000
MAX_SAMPLES = 1_000_000
_AT_ONCE = 1_000_000  # numbers of the bootstrap's working arrays


class BadSample(ValueError):
    """Too few rows, or not what a risk can be told from: the message holds the numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """With probability ``confidence`` the loss over ``horizon_bars`` is at most ``value_at_risk``.

    ``expected_shortfall`` is the mean of the worst 1 - confidence of all losses. Both may be under 0, where
    even those earn. ``losses``: how many they were told from, of ``rows`` bars.
    """

    method: str
    confidence: float
    horizon_bars: int
    value_at_risk: float
    expected_shortfall: float
    losses: int
    rows: int


def historical(
    returns: Floats, exposures: Floats, *, confidences: Sequence[float], horizon_bars: int = 1
) -> Sequence[Tail]:
    """From every horizon in the past, overlapping: returns (n, k), exposures (k,); a Tail each confidence.

    Raises:
        BadSample: fewer than one horizon of the past would lie in the tail, or numbers are missing.
    """
    _check(returns, exposures, confidences, horizon_bars)
    sums = _cumulated(returns)
    losses = _losses(sums[horizon_bars:] - sums[:-horizon_bars], exposures)
    return _tails(HISTORICAL, losses, confidences, horizon_bars, len(returns))


def bootstrap(
    returns: Floats,
    exposures: Floats,
    *,
    confidences: Sequence[float],
    horizon_bars: int = 1,
    samples: int = 10_000,
    block_bars: int | None = None,
    seed: int,
) -> Sequence[Tail]:
    """From ``samples`` futures pieced together from blocks of the past, the rows of all markets together.

    Blocks keep what neighbouring bars have to do with each other; the past counts as a circle, so that every
    bar is as likely. ``block_bars``: the cube root of the rows where it is not given.

    Raises:
        BadSample: as ``historical``; or the samples or blocks are none.

    Sources: D. N. Politis, J. P. Romano, A circular block-resampling procedure for stationary data (1992);
    the length grows like the cube root: P. Hall, J. L. Horowitz, B.-Y. Jing, On blocking rules for the
    bootstrap with dependent data, Biometrika (1995).
    """
    _check(returns, exposures, confidences, horizon_bars)
    rows, markets = returns.shape
    block = min(block_bars if block_bars is not None else max(1, round(rows ** (1 / 3))), horizon_bars)
    if not 1 <= block <= rows or not 1 <= samples <= MAX_SAMPLES:
        raise BadSample(f"{samples} samples of blocks of {block} bars: 1 to {MAX_SAMPLES}, 1 to {rows}")
    sums, lengths = _cumulated(np.concatenate([returns, returns[:block]])), _lengths(horizon_bars, block)
    random, at_once = np.random.default_rng(seed), max(1, _AT_ONCE // (len(lengths) * markets))
    found = []
    for first in range(0, samples, at_once):
        starts = random.integers(rows, size=(min(at_once, samples - first), len(lengths)))
        found.append(_losses((sums[starts + lengths] - sums[starts]).sum(axis=1), exposures))
    return _tails(BOOTSTRAP, np.concatenate(found), confidences, horizon_bars, rows)


def _lengths(horizon: int, block: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    """Blocks that make up a horizon, the last one cut."""
    whole, rest = divmod(horizon, block)
    return np.array([block] * whole + ([rest] if rest else []), dtype=np.int64)


def _cumulated(returns: Floats) -> Floats:
    """(n + 1, k): sums of the rows before each."""
    return np.concatenate([np.zeros((1, returns.shape[1])), np.cumsum(returns, axis=0)])


def _losses(returns: Floats, exposures: Floats) -> Floats:
    """Of log returns over a horizon, (m, k)."""
    lost: Floats = -(np.expm1(returns) @ exposures)
    return lost


def _tails(
    method: str, losses: Floats, confidences: Sequence[float], horizon_bars: int, rows: int
) -> Sequence[Tail]:
    ordered = np.sort(losses)
    return [
        Tail(
            method=method,
            confidence=confidence,
            horizon_bars=horizon_bars,
            value_at_risk=value_at_risk(ordered, confidence),
            expected_shortfall=expected_shortfall(ordered, confidence),
            losses=len(ordered),
            rows=rows,
        )
        for confidence in confidences
    ]


def value_at_risk(ordered: Floats, confidence: float) -> float:
    """The smallest of the losses, ascending, that at least ``confidence`` of them do not exceed."""
    return float(ordered[_rank(len(ordered), confidence)])


def expected_shortfall(ordered: Floats, confidence: float) -> float:
    """Mean of the worst 1 - ``confidence`` of the losses, ascending; the one at the edge counts in part.

    Source: C. Acerbi, D. Tasche, On the coherence of expected shortfall, J. Banking and Finance (2002).
    """
    rank = _rank(len(ordered), confidence)
    beyond = ordered[rank + 1 :]
    share = len(ordered) * (1 - confidence)
    return float((beyond.sum() + (share - len(beyond)) * ordered[rank]) / share)


def _rank(count: int, confidence: float) -> int:
    """Place of the value at risk; a product that rounding carried past a whole number counts as that."""
    return min(max(ceil(count * confidence - 1e-9) - 1, 0), count - 1)


def _check(returns: Floats, exposures: Floats, confidences: Sequence[float], horizon_bars: int) -> None:
    """Raises BadSample."""
    if returns.ndim != 2 or exposures.shape != returns.shape[1:]:
        raise BadSample(f"returns {returns.shape} do not go with exposures {exposures.shape}")
    if not confidences or not all(0.5 <= c < 1 for c in confidences):
        raise BadSample(f"confidences {list(confidences)} are not from 0.5 to under 1")
    if not 1 <= horizon_bars <= MAX_HORIZON_BARS:
        raise BadSample(f"a horizon of {horizon_bars} bars is not 1 to {MAX_HORIZON_BARS}")
    most = max(confidences)
    needed = horizon_bars * max(LEAST_WINDOWS, ceil(1 / (1 - most) - 1e-9))
    if len(returns) < needed:
        raise BadSample(
            f"{len(returns)} rows: a confidence of {most:g} over {horizon_bars} bars needs {needed}"
        )
    missing = int((~np.isfinite(returns)).any(axis=1).sum())
    if missing or not np.isfinite(exposures).all():
        raise BadSample(f"{missing} of {len(returns)} rows, or exposures {exposures}, hold what is no number")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """Notionals as shares of the equity, signed in ``net``. ``at_stops``: lost if all are stopped out."""

    open: int
    gross: float
    net: float
    long: float
    short: float
    at_stops: float
    by_instrument: Mapping[str, float]  # signed


def exposure_of(book: Book) -> Exposure:
    """Raises BadSample where there is no equity that they could be shares of."""
    if not book.equity > 0:
        raise BadSample(f"equity {book.equity!r} is not over 0")
    signed: dict[str, float] = {}
    long = short = at_stops = 0.0
    for held in book.open.values():
        share = held.notional / book.equity
        long, short = (long + share, short) if held.signal.side > 0 else (long, short + share)
        at_stops += share * _stop_ratio(held)
        signed[held.signal.instrument] = signed.get(held.signal.instrument, 0.0) + held.signal.side * share
    return Exposure(
        open=len(book.open),
        gross=long + short,
        net=long - short,
        long=long,
        short=short,
        at_stops=at_stops,
        by_instrument=signed,
    )


def _stop_ratio(held: Open) -> float:
    return abs(held.signal.entry - held.signal.stop) / held.signal.entry
