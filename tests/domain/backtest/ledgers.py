"""Ledgers of made-up configurations, as the same Trades that decisions and outcomes make."""

from collections.abc import Sequence

import numpy as np

from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.backtest.splits import DAY_NS
from alphapulse.domain.performance.trades import Trade, Trades

HOUR_NS = DAY_NS // 24


def ledger(
    opened: Int64s,
    closed: Int64s,
    net_r: Floats,
    *,
    stop_bps: float = 50.0,
    size: float = 0.2,
    name: str = "a",
    numbers: Sequence[int] | None = None,
) -> Trades:
    """Trades that risk ``stop_bps`` each, with a notional of ``size`` times the equity."""
    return Trades.of(
        Trade(
            decision=f"{name}-{n}",
            strategy_version=1,
            instrument="made:UP",
            timeframe=60,
            regime="all",
            side=1,
            number=n + 1 if numbers is None else numbers[n],
            opened=int(begin),
            closed=int(end),
            confidence=0.9,
            size_ratio=size,
            reason="target" if r > 0 else "stop",
            is_win=bool(r > 0),
            worst_win=bool(r > 0),
            best_win=bool(r > 0),
            gross_bps=float(r) * stop_bps,
            net_bps=float(r) * stop_bps,
            net_r=float(r),
        )
        for n, (begin, end, r) in enumerate(zip(opened, closed, net_r, strict=True))
    )


def normal(seed: int, *, days: int = 200, a_day: int = 2, mean: float = 0.0, name: str = "a") -> Trades:
    """``a_day`` trades a day of a few hours each, with normal results around ``mean`` R."""
    rng = np.random.default_rng(seed)
    opened = np.sort(rng.integers(0, days * 24 - 12, days * a_day)) * HOUR_NS
    closed = opened + rng.integers(1, 12, len(opened)) * HOUR_NS
    return ledger(opened, closed, rng.normal(mean, 1.0, len(opened)), name=name)
