"""What a backtest found, as reports draw it and as it is written as JSON. Plain data, finite numbers or None.

Times are ns by the venues' clocks (0: there is none), ``_bps`` basis points of the entry. Ranges hold their
beginning and not their end.
"""

import msgspec
import numpy as np
from numpy.typing import NDArray

from alphapulse.domain.decision.strategy import StrategyDefined
from alphapulse.domain.performance.figures import Attribution, Performance
from alphapulse.domain.performance.trades import Trades

# Signals that a report holds one by one, and as many refused candidates; the log decides all of them again.
MAX_SCATTER = 500
ROLLING, ANCHORED = "rolling", "anchored"


class SourceFile(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    sha256: str
    bytes: int
    rows: int  # taken from it


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """What was read: the log between two positions, or files. ``since`` and ``until`` bound what counts."""

    name: str  # log, or the names of the files
    files: tuple[SourceFile, ...] = ()
    markets: tuple[str, ...] = ()  # venue:symbol of those decided on
    first_position: int = 0
    last_position: int = 0
    first_time: int = 0  # of the market data that was read
    last_time: int = 0
    since: int = 0  # decisions from here on count; before it is only learnt from
    until: int = 0
    bars: int = 0  # that were decided on or could have been, of all timeframes


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Within the range that counts."""

    decisions: int = 0  # candidates: refused ones too
    signals: int = 0
    outcomes: int = 0  # candidates of which the market has decided what became
    trades: int = 0  # signals among those
    won: int = 0
    missed: int = 0  # signals among those that were over before they could be filled
    open: int = 0  # signals at the end of the data
    calibrations: int = 0
    refused: dict[str, int] = {}  # by reason; a candidate may have several


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One configuration of a search: the values that it has other than the first one."""

    trial: str  # id
    name: str  # gate.threshold=0.85, risk.fee_bps=2
    trades: int
    sharpe: float | None  # per day, not annualised
    total: float | None  # return on the equity at the beginning


class Fold(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a walk-forward: chosen on the train range, measured on the test range."""

    train_from: int
    train_until: int
    test_from: int
    test_until: int
    chosen: str  # name of a Cell; empty: none, ``note`` says why
    tried: int  # configurations
    in_sample: float | None  # Sharpe ratio per day of the chosen one
    out_of_sample: float | None
    in_sample_trades: int
    out_of_sample_trades: int
    out_of_sample_total: float | None  # return on the equity at the beginning
    figure: float | None = None  # of the chosen one, by which it was chosen
    note: str = ""


class WalkForward(msgspec.Struct, frozen=True, kw_only=True):
    """``performance`` is that of the out-of-sample trades of all folds, one after the other."""

    kind: str  # ROLLING, ANCHORED
    folds: tuple[Fold, ...]
    performance: Performance
    note: str = ""


class CrossValidation(msgspec.Struct, frozen=True, kw_only=True):
    """Combinatorial and purged: ``sharpes`` of the paths (per day), each made of test groups only."""

    groups: int
    tested: int  # groups of each split
    splits: int
    sharpes: tuple[float | None, ...]
    overfit: float | None  # probability of backtest overfitting, by CSCV
    chosen: tuple[str, ...] = ()  # name of a Cell by split; empty: none
    note: str = ""


class Band(msgspec.Struct, frozen=True, kw_only=True):
    """Quantiles over the runs of a Monte Carlo; ``observed`` is what happened."""

    name: str  # final_equity, max_drawdown, under_water, longest_under_water: shares of the steps
    observed: float
    quantiles: dict[str, float]  # by 0.05, 0.25, 0.5, 0.75, 0.95


class Fan(msgspec.Struct, frozen=True, kw_only=True):
    """The equity of the runs by share of the trades (0 to 1): one line a quantile."""

    shares: tuple[float, ...]
    lines: dict[str, tuple[float, ...]]
    observed: tuple[float, ...]


class MonteCarlo(msgspec.Struct, frozen=True, kw_only=True):
    """``kind``: trades (resampled), order (of the same trades), blocks (of days), noise (on the fills)."""

    kind: str
    runs: int
    seed: int
    bands: tuple[Band, ...]
    fan: Fan
    note: str = ""


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """How hard was looked, and what is left of the best Sharpe ratio after that."""

    trials: int  # of this strategy in the log, this run among them
    cells: tuple[Cell, ...] = ()  # of this run
    best: str = ""  # name of the best Cell
    best_sharpe: float | None = None  # per day
    expected_best: float | None = None  # of so many trials without any skill
    deflated: float | None = None  # probability that the best one is more than that
    overfit: float | None = None  # probability of backtest overfitting: share of splits whose logit is <= 0
    # Of CSCV: the rank out of sample of the best in sample, each with the number of splits that found it.
    logits: tuple[tuple[float, int], ...] = ()
    note: str = ""


class Scatter(msgspec.Struct, frozen=True, kw_only=True):
    """Resolved candidates as columns, in the order in which they closed; at most MAX_SCATTER of a kind."""

    decision: tuple[str, ...]
    instrument: tuple[str, ...]
    timeframe: tuple[int, ...]
    regime: tuple[str, ...]
    side: tuple[int, ...]
    number: tuple[int, ...]  # 0: refused
    opened: tuple[int, ...]
    closed: tuple[int, ...]
    confidence: tuple[float | None, ...]
    size_ratio: tuple[float, ...]
    reason: tuple[str, ...]
    is_win: tuple[bool, ...]
    gross_bps: tuple[float, ...]
    net_bps: tuple[float, ...]
    net_r: tuple[float, ...]
    left_out: int = 0

    @classmethod
    def of(cls, trades: Trades, most: int = MAX_SCATTER) -> "Scatter":
        """At most so many signals and so many that were refused; fewer of either lie evenly over its time."""
        signals, refused = np.flatnonzero(trades.number > 0), np.flatnonzero(trades.number == 0)
        kept = trades.take(np.sort(np.concatenate([_evenly(signals, most), _evenly(refused, most)])))
        columns = {name: getattr(kept, name).tolist() for name in cls.__struct_fields__ if name != "left_out"}
        columns["confidence"] = [x if x == x else None for x in columns["confidence"]]
        return cls(**{n: tuple(c) for n, c in columns.items()}, left_out=len(trades) - len(kept))


def _evenly(places: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    if len(places) <= most:
        return places
    return places[np.linspace(0, len(places) - 1, most).astype(np.intp)]


class BacktestReport(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. ``performance`` is that of the signals, ``candidates`` that of all, gate or no gate."""

    trial: str  # id in trials-{strategy}
    configuration: StrategyDefined
    source: Source
    settings: dict[str, float]  # latency_ms and what else changes the result
    counts: Counts
    decisions_digest: str  # SHA-256
    outcomes_digest: str
    performance: Performance
    candidates: Performance
    attribution: tuple[Attribution, ...]
    trades: Scatter
    search: Search
    walk_forward: tuple[WalkForward, ...] = ()
    cross_validation: CrossValidation | None = None
    monte_carlo: tuple[MonteCarlo, ...] = ()
    code_version: str = ""
    command: str = ""  # that makes it again
    notes: tuple[str, ...] = ()
