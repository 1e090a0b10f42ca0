"""A thousand rules without sense on a made-up market: none can be worth anything, and the best looks good.

The walk is a martingale of hourly prices: whatever was seen before, the expected return of the next hour is
0. In a planted world the three hours after nine o'clock rise on average, and one rule knows it.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.backtest.splits import DAY_NS
from alphapulse.domain.performance.trades import Trades

HOUR_NS = DAY_NS // 24
DEVIATION = 0.004  # of an hour's log return
EDGE = "edge"


class RuleOfThumb(NamedTuple):
    """With or against the return over ``lookback`` bars where it is beyond ``least`` of its deviations.

    Or a coin is tossed now and then, whatever the market does.
    """

    lookback: int
    least: float
    direction: int  # 1 with it, -1 against it, 0: a coin
    hold: int  # bars
    stop_bps: float
    target_bps: float
    size: float


def walk(seed: int, days: int, drift: float = 0.0) -> Floats:
    """Hourly closes; ``drift``: mean log return, in deviations, of each of the hours 10 to 12 of a day."""
    steps = np.random.default_rng(seed).normal(-(DEVIATION**2) / 2, DEVIATION, days * 24)
    hour = np.arange(days * 24) % 24
    steps[(hour > 9) & (hour <= 12)] += drift * DEVIATION
    return np.exp(np.cumsum(steps))


def rules(seed: int, count: int, *, tossed: bool) -> list[RuleOfThumb]:
    rng = np.random.default_rng(seed)
    return [
        RuleOfThumb(
            lookback=int(rng.integers(1, 120)),
            least=float(rng.uniform(0.3, 1.8)),
            direction=0 if tossed else int(rng.choice([-1, 1])),
            hold=int(rng.integers(1, 24)),
            stop_bps=float(rng.uniform(60, 250)),
            target_bps=float(rng.uniform(60, 250)),
            size=float(rng.uniform(0.2, 1.0)),
        )
        for _ in range(count)
    ]


def ledgers(prices: Floats, chosen: list[RuleOfThumb], *, with_edge: bool = False) -> Mapping[str, Trades]:
    found = {}
    for number, rule in enumerate(chosen):
        wanted = _wanted(prices, rule) if rule.direction else _tossed(prices, rule, number)
        found[f"rule {number}"] = _traded(prices, rule, *wanted)
    if with_edge:
        nine = np.flatnonzero(np.arange(len(prices) - 3) % 24 == 9)
        rule = RuleOfThumb(1, 0.0, 1, 3, 400.0, 400.0, 0.5)
        found[EDGE] = _traded(prices, rule, nine, np.ones(len(nine), np.int64))
    return found


def _wanted(prices: Floats, rule: RuleOfThumb) -> tuple[Int64s, Int64s]:
    """Bars at whose close it would like to open, and the sides."""
    logs = np.log(prices)
    moves = (logs[rule.lookback :] - logs[: -rule.lookback]) / (DEVIATION * np.sqrt(rule.lookback))
    places = np.flatnonzero(np.abs(moves) > rule.least)
    sides = rule.direction * np.sign(moves[places]).astype(np.int64)
    places = places + rule.lookback
    within = places + rule.hold < len(prices)
    return places[within], sides[within]


def _tossed(prices: Floats, rule: RuleOfThumb, number: int) -> tuple[Int64s, Int64s]:
    rng = np.random.default_rng(number)
    places = np.flatnonzero(rng.random(len(prices) - rule.hold) < 0.3 * rule.least / rule.hold)
    return places, rng.choice([-1, 1], len(places))


def _traded(prices: Floats, rule: RuleOfThumb, places: Int64s, sides: Int64s) -> Trades:
    """One position at a time; closed at the first close beyond a level, or when its time is over."""
    paths = prices[places[:, None] + np.arange(1, rule.hold + 1)] / prices[places][:, None] - 1
    gains = paths * sides[:, None] * 1e4
    beyond = (gains >= rule.target_bps) | (gains <= -rule.stop_bps)
    beyond[:, -1] = True
    last = beyond.argmax(axis=1)
    kept, free = [], 0
    for n, (place, after) in enumerate(zip(places.tolist(), last.tolist(), strict=True)):
        if place >= free:
            kept.append(n)
            free = place + after + 1
    return _columns(rule, places[kept], sides[kept], last[kept], gains[kept, last[kept]])


def _columns(rule: RuleOfThumb, places: Int64s, sides: Int64s, last: Int64s, gains: Floats) -> Trades:
    count, number = len(places), np.arange(1, len(places) + 1)
    won = gains >= rule.target_bps
    reason = np.where(won, "target", np.where(gains <= -rule.stop_bps, "stop", "expiry"))
    same = {"instrument": "made:WALK", "regime": "all"}
    return Trades(
        decision=np.array([f"{n:06}" for n in number], dtype=np.object_),
        strategy_version=np.ones(count, np.int64),
        instrument=np.full(count, same["instrument"], dtype=np.object_),
        timeframe=np.full(count, 60),
        regime=np.full(count, same["regime"], dtype=np.object_),
        side=sides,
        number=number,
        opened=(places + 1) * HOUR_NS,
        closed=(places + last + 2) * HOUR_NS,
        confidence=np.full(count, 0.6),
        size_ratio=np.full(count, rule.size),
        reason=reason.astype(np.object_),
        is_win=won,
        worst_win=won,
        best_win=won,
        gross_bps=gains,
        net_bps=gains,
        net_r=gains / rule.stop_bps,
        worst_bps=np.full(count, np.nan),
        best_bps=np.full(count, np.nan),
        position=np.arange(1, count + 1),
    )
