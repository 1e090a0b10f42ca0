"""Ledgers to measure: single trades by what differs, and generated ones of any length."""

from typing import Any

import numpy as np

from alphapulse.domain.performance.trades import Trade, Trades
from alphapulse.domain.signals.idea import DAY_NS

HOUR_NS = DAY_NS // 24
FIRST_DAY = 19_000  # 2022-01-08
START = FIRST_DAY * DAY_NS


def trade(name: str, opened_h: float, closed_h: float, net_bps: float = 100.0, **changes: Any) -> Trade:
    """A signal of half the equity, that risked 200 bps; hours from START."""
    given: dict[str, Any] = {
        "decision": name,
        "strategy_version": 1,
        "instrument": "kraken:BTC/USD",
        "timeframe": 5,
        "regime": "range",
        "side": 1,
        "number": 1,
        "opened": START + round(opened_h * HOUR_NS),
        "closed": START + round(closed_h * HOUR_NS),
        "confidence": 0.8,
        "size_ratio": 0.5,
        "reason": "target" if net_bps > 0 else "stop",
        "is_win": net_bps > 0,
        "worst_win": net_bps > 0,
        "best_win": net_bps > 0,
        "gross_bps": net_bps + 10,
        "net_bps": net_bps,
        "net_r": net_bps / 200,
    }
    return Trade(**{**given, **changes})


def generated(
    count: int,
    *,
    seed: int = 1,
    days: int = 365,
    hours: float = 6.0,
    lift: float = 0.0,
    is_refused: bool = False,
) -> Trades:
    """Trades of ``hours`` at most, of claims that are exact but for ``lift``: wins come more often by it."""
    random = np.random.default_rng(seed)
    opened = START + random.integers(0, days * DAY_NS, count)
    closed = opened + random.integers(1, round(hours * HOUR_NS), count)
    claimed = random.uniform(0.5, 0.8, count)
    won = random.random(count) < claimed + lift
    risk = random.uniform(50, 150, count)
    gross = np.where(won, risk * 0.6, -risk)
    net = gross - 6
    order = np.argsort(closed, kind="stable")
    nothing = np.full(count, np.nan)
    return Trades(
        decision=np.array([f"d{i}" for i in range(count)], dtype=object),
        strategy_version=np.ones(count, np.int64),
        instrument=np.full(count, "kraken:BTC/USD", dtype=object),
        timeframe=np.full(count, 5),
        regime=np.full(count, "range", dtype=object),
        side=np.ones(count, np.int64),
        number=np.zeros(count, np.int64) if is_refused else np.arange(1, count + 1),
        opened=opened,
        closed=closed,
        confidence=claimed,
        size_ratio=np.zeros(count) if is_refused else random.uniform(0.05, 0.3, count),
        reason=np.where(won, "target", "stop").astype(object),
        is_win=won,
        worst_win=won,
        best_win=won,
        gross_bps=gross,
        net_bps=net,
        net_r=net / risk,
        worst_bps=nothing,
        best_bps=nothing,
        position=np.arange(count),
    ).take(order)
