"""Reports with made-up contents: of nothing, of few trades, of many; and one whose names are hostile."""

from collections.abc import Sequence
from functools import cache

import msgspec
import numpy as np

from alphapulse.domain.backtest.results import (
    ROLLING,
    BacktestReport,
    Band,
    Cell,
    Counts,
    CrossValidation,
    Fan,
    Fold,
    MonteCarlo,
    Scatter,
    Search,
    Source,
    SourceFile,
    WalkForward,
)  # fmt: skip
from alphapulse.domain.decision.strategy import Geometry, StrategyDefined, VoterChoice
from alphapulse.domain.performance.figures import Attribution, Part
from alphapulse.domain.performance.report import performance_of
from alphapulse.domain.performance.trades import Trade, Trades

DAY = 86_400 * 10**9
START = 1_514_764_800 * 10**9  # 2018-01-01
HOSTILE = '</script><script>alert("x")</script>&$\\frac{1}$\n<b>字'
REASONS = ("target", "stop", "ambiguous", "expiry", "gap_stop", "gap_target", "unseen_expiry")


@cache
def report_of(trades: int, *, seed: int = 1, name: str = "sample", drift: float = 0.0) -> BacktestReport:
    """A report of ``trades`` signals and three times as many refused candidates; 0: of nothing at all."""
    rng = np.random.default_rng(seed)
    strategy = StrategyDefined(
        name=name, version=3, owner="tests", description="", timeframes=(5, 60),
        voters=(VoterChoice(name="momentum", kind="trend"),),
        geometries=(Geometry(stop_atr=1.0, target_atr=1.5, horizon_bars=24),),
    )  # fmt: skip
    files = (SourceFile(name="XBTUSD-1m.parquet", sha256="ab" * 32, bytes=11_412_345, rows=1_051_201),)
    candidates = trades_of(rng, trades, name, drift)
    source = Source(
        name="XBTUSD-1m.parquet", files=files, markets=("bitmex:XBTUSD",), first_time=START - 90 * DAY,
        last_time=START + 364 * DAY, since=START, until=START + 364 * DAY, bars=123_456, last_position=1052,
    )  # fmt: skip
    signals = performance_of(candidates.signals, of="signals", risk_ratio=0.005, draws=50)
    return BacktestReport(
        trial="0123456789abcdef" * 4,
        configuration=strategy,
        source=source,
        settings={"latency_ms": 250.0},
        counts=Counts(
            decisions=4 * trades, signals=trades, outcomes=4 * trades, trades=trades, won=trades // 2,
            calibrations=min(trades, 4),
            refused={"confidence": 3 * trades, name: trades // 3} if trades else {},
        ),
        decisions_digest="cd" * 32,
        outcomes_digest="ef" * 32,
        performance=signals,
        candidates=performance_of(candidates, of="candidates", risk_ratio=0.005, draws=50),
        attribution=tuple(attribution_of(rng, by, keys, trades) for by, keys in DIMENSIONS.items()),
        trades=Scatter.of(candidates),
        search=search_of(rng, trades, name),
        walk_forward=tuple(
            WalkForward(kind=kind, folds=folds_of(rng, trades, name), performance=signals)
            for kind in (ROLLING,)
        ),
        cross_validation=CrossValidation(
            groups=8, tested=2, splits=28, sharpes=sharpes_of(rng, 7 if trades > 10 else 0), overfit=None
        ),
        monte_carlo=tuple(monte_carlo_of(rng, kind, trades) for kind in ("blocks",)),
        code_version="0.1.0",
        command=f"alphapulse backtest {name}",
        notes=(f"Made up for a test: {name}.",),
    )  # fmt: skip


DIMENSIONS: dict[str, Sequence[str]] = {
    "voter": (
        "momentum",
        "mean reversion",
        "boosted-7",
        "a voter with quite a long name of its own indeed",
        "news",
    ),
    "instrument": [f"venue{i}:COIN{i}" for i in range(40)],
}


def trades_of(rng: np.random.Generator, signals: int, name: str, drift: float) -> Trades:
    """So many signals among four times as many candidates, a tenth of which claimed nothing."""
    n = 4 * signals
    numbered = np.zeros(n, bool)
    numbered[rng.permutation(n)[:signals]] = True
    opened = START + np.sort(rng.integers(0, 360 * 24, n)) * (DAY // 24)
    reasons = rng.choice(REASONS, n, p=[0.4, 0.38, 0.05, 0.1, 0.03, 0.02, 0.02])
    return Trades.of(
        _trade(f"{name}-{i}", int(at), str(reason), int(number), rng, drift)
        for i, (at, reason, number) in enumerate(
            zip(opened, reasons, np.cumsum(numbered) * numbered, strict=True)
        )
    )


def _trade(
    decision: str, opened: int, reason: str, number: int, rng: np.random.Generator, drift: float
) -> Trade:
    won = reason in ("target", "gap_target")
    net_r = (1.3 if won else -1.2 if "stop" in reason else 0.1) + float(rng.normal(drift, 0.15))
    claim = float(np.clip(rng.normal(0.8 if number else 0.6, 0.08), 0, 1))
    return Trade(
        decision=decision, strategy_version=3, instrument="bitmex:XBTUSD", timeframe=5, regime="range",
        side=1 if rng.random() < 0.5 else -1, number=number, opened=opened, closed=opened + DAY // 3,
        confidence=float("nan") if rng.random() < 0.1 else claim, size_ratio=0.4 if number else 0.0,
        reason=reason, is_win=won, worst_win=won, best_win=won or reason == "ambiguous",
        gross_bps=net_r * 40 + 12, net_bps=net_r * 40, net_r=net_r,
    )  # fmt: skip


def attribution_of(rng: np.random.Generator, by: str, keys: Sequence[str], trades: int) -> Attribution:
    if not trades:
        return Attribution(by=by, trades=0, total=0.0, total_r=0.0, parts=())
    values = np.sort(rng.normal(0.004, 0.02, len(keys)))[::-1]
    total = float(values.sum())
    parts = tuple(
        Part(
            key=key, trades=trades // (i + 1), contribution=float(value), share=float(value) / total,
            r=float(value) * 100, low=float(value) - 0.01, high=float(value) + 0.012,
            without=float(value) * 1.3 if by == "voter" else None,
        )
        for i, (key, value) in enumerate(zip(keys, values, strict=True))
    )  # fmt: skip
    return Attribution(by=by, trades=trades, total=total, total_r=total * 100, parts=parts)


def search_of(rng: np.random.Generator, trades: int, name: str) -> Search:
    sharpes = rng.normal(0, 0.05, 12)
    cells = tuple(
        Cell(
            trial=f"{i:064x}", name=f"gate.threshold={0.5 + i / 40:.3g}, {name}", trades=trades,
            sharpe=float(sharpe) if trades else None, total=float(sharpe) / 2 if trades else None,
        )
        for i, sharpe in enumerate(sharpes)
    )  # fmt: skip
    if trades < 10:
        return Search(trials=37, cells=cells, note="Too few daily returns.")
    logits = np.log(np.arange(1, 13) / np.arange(12, 0, -1))
    counts = rng.multinomial(252, np.arange(12, 0, -1) / 78)
    return Search(
        trials=37, cells=cells, best=cells[0].name, best_sharpe=0.08, expected_best=0.11, deflated=0.21,
        overfit=float(counts[logits <= 0].sum() / 252),
        logits=tuple(zip(logits.tolist(), counts.tolist(), strict=True)),
    )  # fmt: skip


def folds_of(rng: np.random.Generator, trades: int, name: str) -> tuple[Fold, ...]:
    folds = []
    for i in range(12):
        begin = START + i * 30 * DAY
        known = trades > 10 and i != 4
        folds.append(
            Fold(
                train_from=begin - 90 * DAY, train_until=begin, test_from=begin, test_until=begin + 30 * DAY,
                chosen=f"gate.threshold=0.6, {name}", tried=12,
                in_sample=abs(float(rng.normal(0.1, 0.05))) if known else None,
                out_of_sample=float(rng.normal(0, 0.1)) if known else None,
                in_sample_trades=trades // 4, out_of_sample_trades=trades // 12 if known else 0,
                out_of_sample_total=float(rng.normal(0, 0.01)) if known else None,
            )
        )  # fmt: skip
    return tuple(folds)


def sharpes_of(rng: np.random.Generator, paths: int) -> tuple[float | None, ...]:
    return (*rng.normal(0.01, 0.05, paths).tolist(), None)


def monte_carlo_of(rng: np.random.Generator, kind: str, trades: int) -> MonteCarlo:
    shares = np.linspace(0, 1, min(trades, 100) + 1)
    levels = {"0.05": -1.64, "0.25": -0.67, "0.5": 0.0, "0.75": 0.67, "0.95": 1.64}
    lines = {level: tuple((1 + z * 0.05 * np.sqrt(shares)).tolist()) for level, z in levels.items()}
    observed = 1 + np.cumsum(np.append(0.0, rng.normal(0, 0.004, len(shares) - 1)))
    bands = tuple(
        Band(
            name=name,
            observed=float(observed[-1]),
            quantiles={level: 1 + z * 0.05 for level, z in levels.items()},
        )
        for name in ("final_equity", "max_drawdown")
    )
    if not trades:
        empty = Fan(shares=(), lines={}, observed=())
        return MonteCarlo(kind=kind, runs=0, seed=7, bands=(), fan=empty, note="There are no trades.")
    fan = Fan(shares=tuple(shares.tolist()), lines=lines, observed=tuple(observed.tolist()))
    return MonteCarlo(kind=kind, runs=1000, seed=7, bands=bands, fan=fan)


def unclaimed(report: BacktestReport) -> BacktestReport:
    """The same where nobody ever claimed a confidence."""
    trades = msgspec.structs.replace(report.trades, confidence=(None,) * len(report.trades.decision))
    performance = msgspec.structs.replace(report.performance, bins=())
    return msgspec.structs.replace(report, trades=trades, performance=performance)
